# SPDX-License-Identifier: Apache-2.0
"""Each system call of a day's work fails once (strace's fault injection): the daemon goes on, or says why it does not;
clients are answered afterwards, and what was acknowledged is true. FAULTS.md tells the outcomes."""

import collections
import contextlib
import errno
import itertools
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

# Counted is what the daemon does about its own clients; that it finds out whose unit they are is a part of it.
pytestmark = pytest.mark.usefixtures("own_network", "own_unit")

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
    "fchmod": ["EIO", "EPERM"],
    "fchown": ["EIO"],
    "fcntl": ["EAGAIN", "ENOLCK", "EMFILE"],
    "fdatasync": ["EIO", "ENOSPC", "EINTR"],
    "flock": ["EINTR", "EIO", "ENOLCK", "EAGAIN"],
    "fsync": ["EIO", "ENOSPC", "EINTR"],
    "ftruncate": ["EIO", "ENOSPC", "EINTR"],
    "getdents64": ["EIO", "ENOMEM"],
    "getrandom": ["EAGAIN", "EINTR"],
    "getpeername": ["ENOBUFS", "ENOTCONN"],
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
    "recvmmsg": [*_RECEIVE, "ENOBUFS"],
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


# Those that are made in the life of a client, who hears nothing of it if they are only to be made again.
ON_CONNECTIONS = {"accept4", "epoll_wait", "poll", "recvfrom", "recvmmsg", "recvmsg", "sendmsg", "sendto"}
# Those that test_start_faults makes fail.
IN_OTHER_BEGINNINGS = {"fchmod", "fsync", "getpeername"}
# What other architectures have in place of some, or another release of libc or systemd.
ALSO = {
    "chmod": ["fchmodat"], "clone3": ["clone"], "epoll_wait": ["epoll_pwait", "epoll_pwait2"], "mkdir": ["mkdirat"],
    "newfstatat": ["fstat", "lstat", "stat", "statx"], "poll": ["ppoll"], "readlink": ["readlinkat"], "unlink": ["unlinkat"],
}  # fmt: skip
NAMES = {other: call for call, others in ALSO.items() for other in others}
# brk() knows no errors (a limit of memory is in test_memory), and FUTEX_WAKE does not fail. Some are made only where SQLite
# meets another reader, a call was interrupted, qsort() has much to sort, or the clock cannot be read in user space.
HARMLESS = {
    "access", "arch_prctl", "brk", "clock_gettime", "clock_nanosleep", "close", "execve", "exit", "exit_group", "futex", "geteuid",
    "getpid", "gettid", "gettimeofday", "getuid", "mremap", "munmap", "nanosleep", "prctl", "restart_syscall", "rseq", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sysinfo",
    "timerfd_settime",
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
    call = NAMES.get(call, call)
    log = story.daemon.log()
    for step, status in story.ended:
        # Of its own descriptors for signals and timers: the loop does not go on without.
        if call == "read" and status == 1 and "The event loop has failed" in log:
            continue
        assert step == "start" and status == 1 and call in NEEDED_AT_START, f"it ended in {step} with {status}:\n{log}"
        assert any(words in log for words in words_for(call, error)), f"it does not say why:\n{log}"
    assert not story.is_without_control or call in NEEDED_AT_START or call in ("chmod", "mkdir", "unlink")


def is_to_be_made_again(call, error):
    """Then no client hears of it. (Six bytes that do not fit into an empty socket, a registration's answer, want memory.)"""
    call = NAMES.get(call, call)
    return call in ON_CONNECTIONS and error in ("EINTR", "EAGAIN") and (call, error) != ("sendmsg", "EAGAIN")


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
        if is_to_be_made_again(call, error):
            assert story.broken == [], "it goes on"
        assert story.daemon.log().count("\n") < 300, "it fills the log"
        return has_failed


def fail_once(template, call, error, numbers, number):
    """This one or, since how often some are made differs from run to run, an earlier one. True if it was reached."""
    while not play(template, call, error, number):
        if number == numbers[0]:
            return False
        number = max((n for n in numbers if n <= number // 2), default=numbers[0])
    return True


@pytest.mark.parametrize("call", [call for call in ERRORS if call not in IN_OTHER_BEGINNINGS])
def test_a_call_that_fails_once(template, calls, call):
    made = [name for name in [call, *ALSO.get(call, [])] if calls.get(name)]
    if not made:
        pytest.skip(f"{call} is not made here")
    chance = random.Random(call)
    reached = []
    for name, error in itertools.product(made, ERRORS[call]):
        # A lock that cannot be given back keeps SQLite trying for ten seconds; test_disk_faults has those that are taken.
        n_sample = 2 if not LONG else 30 if call == "fcntl" else len(calls[name])
        for number in chance.sample(calls[name], min(len(calls[name]), n_sample)):
            reached.append(fail_once(template, name, error, calls[name], number))
    assert sum(reached) >= len(reached) / 2, f"{sum(reached)} of {len(reached)} were reached"


def test_every_call_of_the_scenario_is_known(calls):
    unknown = {NAMES.get(call, call) for call in calls} - ERRORS.keys() - HARMLESS
    assert not unknown


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
