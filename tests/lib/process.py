# SPDX-License-Identifier: Apache-2.0
"""Children that end with us, waiting for events, finding what was built."""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent(sig=signal.SIGKILL):
    """A preexec_fn: the child gets `sig` when the thread that started it ends (start it in the main thread)."""

    def preexec():
        _libc.prctl(_PR_SET_PDEATHSIG, sig, 0, 0, 0)

    return preexec


def setns(fd):
    """Moves this thread into the namespace that `fd` (of /proc/PID/ns/...) stands for."""
    if _libc.setns(fd, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, "setns: " + os.strerror(error))


def build_directory():
    """$ROLLCALL_BUILD, else ./build, else the current directory, else build/ of the checkout."""
    chosen = os.environ.get("ROLLCALL_BUILD")
    if chosen:
        return Path(chosen).resolve()
    for directory in (Path("build"), Path("."), SOURCE / "build"):
        if (directory / "rollcalld").exists():
            return directory.resolve()
    return (SOURCE / "build").resolve()


def built(program):
    """The path of a program that was built: rollcalld, rollcall, epmd."""
    for path in (build_directory() / program, build_directory() / "daemon" / program, build_directory() / "client" / program):
        if path.is_file():
            return str(path)
    raise FileNotFoundError(f"{program} is not built in {build_directory()}; run ./dev build or set ROLLCALL_BUILD")


def wait_for(condition, what, timeout=10.0, interval=0.01):
    """Returns the first true value of condition(), asked again and again; AssertionError after `timeout` seconds.

    `what` says what was waited for: a string, or a function that makes one when it is needed.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(interval)


def clean_environment(extra=None):
    """Our environment without what would steer a daemon or a node; with `extra` (a value None: removed)."""
    steering = ("ERL_", "LISTEN_", "ROLLCALL_", "XDG_")
    steering_names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "JOURNAL_STREAM")
    env = {k: v for k, v in os.environ.items() if not k.startswith(steering) and k not in steering_names}
    env["LC_ALL"] = "C.UTF-8"
    for key, value in (extra or {}).items():
        if value is None:
            env.pop(key, None)
        else:
            env[key] = str(value)
    return env


def end(process, timeout=10.0):
    """SIGTERM, then SIGKILL after `timeout`; reaped. Returns the exit status. Fine with one that has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
