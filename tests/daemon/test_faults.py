# SPDX-License-Identifier: Apache-2.0
"""Each system call of a day's work fails once (strace's fault injection): the daemon goes on, or says why it does not;
clients are answered afterwards, and what was acknowledged is true. FAULTS.md tells the outcomes."""

import collections
import contextlib
import errno
import os
import random
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from daemon.fault_scenario import Story, Template
from daemon.helpers import HERE, compiled, is_degraded, traced
from lib.daemon import Daemon
from lib.epmd_client import ClosedWithoutAnswer, Refused
from lib.process import die_with_parent, end, wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"
# The first call of our own: what the loader asks for before has nothing to do with us.
FIRST_OWN = "/proc/sys/kernel/random/boot_id"

# What each call can say, as far as it concerns us. Those that cannot fail in a way that we could do anything about, and
# close(), which has closed whatever it says (and has not where it is injected), are left out.
_NO_DESCRIPTOR = ["EMFILE", "ENOMEM"]
_DISK_READ = ["EIO", "EINTR"]
_DISK_WRITE = ["ENOSPC", "EIO", "EINTR"]
_RECEIVE = ["EAGAIN", "EINTR", "ENOMEM"]
_SEND = ["EAGAIN", "EINTR", "ENOBUFS"]
ERRORS = {
    "accept4": [*_NO_DESCRIPTOR, "ECONNABORTED", "EINTR", "EAGAIN"],
    "bind": ["EADDRINUSE", "ENOMEM", "EACCES"],
    "chmod": ["EIO"],
    "clone3": ["EAGAIN", "ENOMEM"],
    "connect": ["EAGAIN", "EINTR", "ECONNREFUSED"],
    "epoll_create1": _NO_DESCRIPTOR,
    "epoll_ctl": ["ENOMEM", "ENOSPC"],
    "epoll_wait": ["EINTR"],
    "eventfd2": _NO_DESCRIPTOR,
    "fchown": ["EIO"],
    "fcntl": ["EAGAIN", "ENOLCK", "EMFILE"],
    "fdatasync": ["EIO", "ENOSPC", "EINTR"],
    "flock": ["EINTR", "EIO", "ENOLCK", "EAGAIN"],
    "ftruncate": ["EIO", "ENOSPC", "EINTR"],
    "getrandom": ["EAGAIN", "EINTR"],
    "getsockname": ["ENOBUFS"],
    "getsockopt": ["ENOMEM"],
    "listen": ["EADDRINUSE"],
    "lseek": ["EIO"],
    "madvise": ["ENOMEM"],
    "mkdir": ["ENOSPC", "EIO"],
    "mmap": ["ENOMEM"],
    "mprotect": ["ENOMEM"],
    "newfstatat": ["EIO", "ENOMEM"],
    "openat": [*_NO_DESCRIPTOR, "EIO", "EINTR", "ENOSPC"],
    "poll": ["EINTR", "ENOMEM"],
    "pread64": _DISK_READ,
    "prlimit64": ["EPERM"],
    "pwrite64": _DISK_WRITE,
    "read": ["EIO", "EINTR", "EAGAIN"],
    "readlink": ["EIO", "ENOMEM"],
    "recvfrom": _RECEIVE,
    "recvmsg": [*_RECEIVE, "ENOBUFS"],
    "sendmsg": _SEND,
    "sendto": _SEND,
    "setsockopt": ["ENOMEM", "ENOBUFS"],
    "shutdown": ["ENOTCONN"],
    "signalfd4": _NO_DESCRIPTOR,
    "socket": [*_NO_DESCRIPTOR, "EAFNOSUPPORT"],
    "socketpair": _NO_DESCRIPTOR,
    "statfs": ["EIO"],
    "timerfd_create": _NO_DESCRIPTOR,
    "unlink": ["EIO"],
    "write": ["ENOSPC", "EIO", "EINTR", "EAGAIN"],
}  # fmt: skip


@pytest.fixture(scope="module")
def template():
    with tempfile.TemporaryDirectory() as directory, contextlib.closing(Template(directory)) as template:
        yield template


def parse_calls(text):
    """{call: the numbers that are ours}. Each thread's are counted by themselves: that is how strace does. Of write()
    those to the log are meant; an eventfd's cannot fail."""
    counts, before, ours, is_own = collections.Counter(), {}, collections.defaultdict(set), False
    for line in text.splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if not match:
            continue
        thread, call = match[1], match[2]
        if call == "write" and " write(2, " not in line:
            continue
        is_own = is_own or FIRST_OWN in line
        counts[call, thread] += 1
        if is_own:
            ours[call].add(counts[call, thread])
        else:
            before[call] = counts[call, thread]
    return {call: sorted(n for n in numbers if n > before.get(call, 0)) for call, numbers in ours.items()}


@pytest.fixture(scope="module")
def calls(template):
    with Story(template) as story:
        trace = story.daemon.directory / "strace"
        story.play(traced("-qq", "-o", trace))
        assert story.ended == []
        found = parse_calls(trace.read_text())
        story.conclude()
    return found


# Calls without which there is no daemon: where they fail in its start it ends with status 1 and says why, and is
# started again.
NEEDED_AT_START = {
    "bind", "clone3", "epoll_create1", "epoll_ctl", "eventfd2", "fcntl", "flock", "listen", "setsockopt", "signalfd4",
    "socket", "socketpair", "timerfd_create", "mmap", "mprotect",
}  # fmt: skip


def words_for(call, error):
    """By which of these words it may say what it lacked."""
    words = [os.strerror(getattr(errno, error))]
    if call in ("clone3", "mmap", "mprotect"):
        words.append(os.strerror(errno.EAGAIN))  # pthread_create() has one word for all
    # Who holds the port, or the file, is named.
    return words + {"bind": ["is taken by"], "listen": ["is taken by"], "flock": ["in use by process"]}.get(call, [])


def assert_may_end(story, call, error):
    """Only in its start, for want of what it needs, and in words."""
    log = story.daemon.log()
    for step, status in story.ended:
        # Of its own descriptors for signals and timers: the loop does not go on without.
        if call == "read" and status == 1 and "The event loop has failed" in log:
            continue
        assert step == "start" and status == 1 and call in NEEDED_AT_START, f"it ended in {step} with {status}:\n{log}"
        assert any(words in log for words in words_for(call, error)), f"it does not say why:\n{log}"
    assert not story.is_without_control or call in NEEDED_AT_START or call in ("chmod", "mkdir", "unlink")


def play(template, call, error, number):
    """True if the call was reached, and failed."""
    print(f"{call} number {number}: {error}")
    inject = f"inject={call}:error={error}:when={number}"
    with Story(template) as story:
        trace = story.daemon.directory / "strace"
        story.daemon.log_path.touch()
        only = ["-P", story.daemon.log_path] if call == "write" else []
        story.play(traced("--seccomp-bpf", "-qq", "-o", trace, "-e", f"trace={call}", "-e", inject, *only))
        has_failed = "(INJECTED)" in trace.read_text()
        story.conclude()
        assert_may_end(story, call, error)
        assert story.daemon.log().count("\n") < 300, "it fills the log"
        return has_failed


@pytest.mark.parametrize("call", ERRORS)
def test_a_call_that_fails_once(template, calls, call):
    if not calls.get(call):
        pytest.skip(f"{call} is not made here")
    chance = random.Random(call)
    n_failed = n_played = 0
    # A lock that cannot be given back keeps SQLite trying for ten seconds; test_disk_faults has those that are taken.
    n_sample = 2 if not LONG else 30 if call == "fcntl" else len(calls[call])
    for error in ERRORS[call]:
        for number in chance.sample(calls[call], min(len(calls[call]), n_sample)):
            n_failed += play(template, call, error, number)
            n_played += 1
    # How often some calls are made differs a little from run to run.
    assert n_failed >= n_played / 2, f"{n_failed} of {n_played} were reached"


def test_every_call_of_the_scenario_is_known(calls):
    # brk() knows no errors (a limit of memory is in test_memory), and FUTEX_WAKE does not fail. Some are made only where
    # SQLite meets another reader, a call was interrupted, or qsort() has much to sort.
    harmless = {
        "arch_prctl", "brk", "futex", "munmap", "mremap", "clock_nanosleep", "restart_syscall",
        "close", "exit", "exit_group", "geteuid", "getpid", "gettid", "rseq", "rt_sigaction", "rt_sigprocmask",
        "set_robust_list", "set_tid_address", "timerfd_settime", "execve", "access", "prctl", "getuid", "sched_yield", "sysinfo",
    }  # fmt: skip
    assert calls.keys() <= ERRORS.keys() | harmless, calls.keys() - ERRORS.keys() - harmless


def test_sockets_that_take_and_give_a_byte_at_a_time(template):
    with Story(template) as story:
        story.daemon.env["LD_PRELOAD"] = compiled(HERE.parent / "preload_short.c", "-shared", "-fPIC", "-ldl")
        story.daemon.env["ASAN_OPTIONS"] = "verify_asan_link_order=0"
        story.play()
        story.conclude()
        assert story.ended == []


@pytest.mark.parametrize("call, error", [
    ("accept4", "EMFILE"), ("epoll_ctl", "ENOMEM"), ("getsockname", "ENOBUFS"), ("recvfrom", "ENOMEM"), ("recvmsg", "ENOBUFS"),
    ("sendmsg", "ENOBUFS"), ("sendto", "ENOBUFS"), ("write", "ENOSPC"),
])  # fmt: skip
def test_a_call_that_fails_for_a_while(call, error):
    """Those who are there are, when it is over; and it was not filled with a log, or with turns of the loop."""
    with Daemon() as daemon, daemon.client.register("a", listen=True) as a:
        inject = ["-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
        only = ["-P", daemon.log_path] if call == "write" else []
        strace = subprocess.Popen(["strace", *inject, *only, "-p", str(daemon.pid)], preexec_fn=die_with_parent())
        try:
            wait_for(lambda: is_traced(daemon), "strace")
            for _ in range(3):
                with contextlib.suppress(OSError, ClosedWithoutAnswer, Refused, ValueError):
                    daemon.client.timeout = 0.3
                    with daemon.client.register("b", listen=True):
                        daemon.client.port_please("b")
        finally:
            end(strace)
        daemon.client.timeout = 10
        with daemon.client.register("c", listen=True) as c:
            wait_for(lambda: dict(daemon.client.names()) == {"a": a.port, "c": c.port}, lambda: f"both: {daemon.client.names()}")
            assert a.is_open()
            wait_for(lambda: not is_degraded(daemon), "health")
        assert daemon.log().count("\n") < 200


def is_traced(daemon):
    return "TracerPid:\t0" not in Path(f"/proc/{daemon.pid}/status").read_text()
