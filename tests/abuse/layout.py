# SPDX-License-Identifier: Apache-2.0
"""Who runs where while it is measured how soon a client is answered beside an attack: so that it is the daemon that is
measured, and not the scheduler. Standard library only.

The victim has a core for itself, all its threads. Attack and witness share another, on which the witness goes first: what
it waits for is the victim. In peace it is the same, without the attack. That takes two cores and root; where it is not
allowed, all run where they happen to.
"""

import contextlib
import os
from pathlib import Path

_cores = sorted(os.sched_getaffinity(0))


def is_allowed():
    return len(_cores) > 1 and os.geteuid() == 0


def _go_first(task, priority):
    with contextlib.suppress(OSError):
        os.sched_setscheduler(task, os.SCHED_FIFO, os.sched_param(priority))


def seat_victim(pid):
    """Threads that it starts from now on come along."""
    if not is_allowed():
        return
    for task in map(int, os.listdir(f"/proc/{pid}/task")):
        os.sched_setaffinity(task, {_cores[-1]})
        _go_first(task, 1 if task == pid else 2)


def seat_attack():
    """For the child, before it becomes the attack."""
    if is_allowed():
        os.sched_setaffinity(0, {_cores[0]})


def seat_witness():
    if is_allowed():
        os.sched_setaffinity(0, {_cores[0]})
        _go_first(0, 1)


@contextlib.contextmanager
def favoured():
    """Our session before others: where the kernel groups by session, priorities count within such a group alone."""
    path = Path("/proc/self/autogroup")
    before = path.read_text().split()[-1] if is_allowed() and path.exists() else None
    if before:
        path.write_text("-20")
    try:
        yield
    finally:
        if before:
            path.write_text(before)


def waited_seconds(pid):
    """How long its threads were ready to run and did not: what others on its core, and its own threads, took from it."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[1])
    return total / 1e9
