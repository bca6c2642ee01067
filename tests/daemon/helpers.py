# SPDX-License-Identifier: Apache-2.0
"""What several tests of the daemon share: how to look at it from outside, and programs that tests compile."""

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from lib.epmd_client import receive_all
from lib.process import build_directory, built, die_with_parent

HERE = Path(__file__).resolve().parent
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def is_sanitized():
    """Memory that is freed stays with such a build."""
    return b"__asan_init" in Path(built("rollcalld")).read_bytes()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# --- the process, from outside --------------------------------------------------------------------


def cpu_seconds(pid):
    """CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def n_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def allow_descriptors():
    """This process may have as many as the machine allows; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def descriptor_limit(n):
    """argv to put before the daemon: soft and hard RLIMIT_NOFILE. The process keeps its pid."""
    return ["prlimit", f"--nofile={n}:{n}", "--"]


def traced(*args):
    """argv to put before the daemon: strace with these arguments. The daemon then is a child of what the test has
    started, and ends with it."""
    return ["strace", "-f", *map(str, args), "setpriv", "--pdeathsig", "KILL", "--"]


def end_traced(daemon):
    """Kills it: strace passes no signal on. Fine with one that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    daemon.wait()


def _own_cgroup():
    """The directory of ours in cgroup v2, or None."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::/")]
    return Path(roots[0] + own[0]) if roots and own else None


def _enter_cgroup(cgroup):
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def _remove_cgroup(cgroup):
    with contextlib.suppress(OSError):  # a child of ours may be about to end
        cgroup.rmdir()


@contextlib.contextmanager
def in_a_unit(name):
    """This process, and what it starts, in a cgroup below its own, called as that of a service. Where none may be made it
    stays where it is."""
    home = _own_cgroup()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            if home:
                unit = home / f"{name}-{os.getpid()}.service"
                unit.mkdir()
                stack.callback(_remove_cgroup, unit)
                _enter_cgroup(unit)
                stack.callback(_enter_cgroup, home)
        yield


# --- what it says of itself -----------------------------------------------------------------------


def status(daemon):
    """`rollcall status --json`; fails if the daemon cannot be reached."""
    done = daemon.rollcall("status", "--json")
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    found = json.loads(done.stdout)
    assert (done.returncode == 0) == found["healthy"], done.stdout
    return found


def counter(daemon, name):
    return status(daemon)["counters"][name]


def is_degraded(daemon):
    return not status(daemon)["healthy"]


# --- its registry file ----------------------------------------------------------------------------


@contextlib.contextmanager
def database(path, writable=False):
    """The registry file as another process sees it, by Python's own SQLite."""
    handle = sqlite3.connect(f"file:{path}?mode={'rw' if writable else 'ro'}", uri=True, isolation_level=None, timeout=10)
    try:
        yield handle
    finally:
        handle.close()


def query(path, statement, *arguments):
    with database(path) as handle:
        return handle.execute(statement, arguments).fetchall()


def names_on_disk(path):
    """{name: (port, state)} of the view `nodes`."""
    return {name: (port, state) for name, port, state in query(path, "SELECT name, port, state FROM nodes")}


def history(path, name=None):
    """[(name, how), ...] of the view `history`, oldest first."""
    rows = query(path, "SELECT name, how FROM history")
    return [row for row in rows if name is None or row[0] == name]


def assert_intact(path):
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


# --- its disk -------------------------------------------------------------------------------------


class SickDisk:
    """A daemon whose registry file does as the rules of preload_disk.c say, from when they are set."""

    CALLS = ["open", "read", "write", "sync", "truncate", "map", "lock", "stat", "unlink"]

    def __init__(self, daemon):
        self.control, self._counts = daemon.directory / "rules", daemon.directory / "counts"
        self._counts.write_bytes(bytes(4 * len(self.CALLS)))
        library = compiled(HERE.parent / "preload_disk.c", "-shared", "-fPIC", "-ldl")
        env = {
            "LD_PRELOAD": library, "PRELOAD_DISK_MATCH": "registry.db", "PRELOAD_DISK_CONTROL": self.control,
            "PRELOAD_DISK_COUNTS": self._counts, "ASAN_OPTIONS": "verify_asan_link_order=0",
        }  # fmt: skip
        daemon.env.update(env)

    def counts(self):
        """{call: how often it was made}, also by daemons that have ended."""
        return dict(zip(self.CALLS, struct.unpack(f"{len(self.CALLS)}I", self._counts.read_bytes())))

    def set(self, *rules):
        new = self.control.with_name("rules.new")
        new.write_text("\n".join(rules) + "\n")
        new.rename(self.control)

    def heal(self):
        self.control.unlink()


# --- connections ----------------------------------------------------------------------------------


@contextlib.contextmanager
def closing_all(connections=None):
    """A list of sockets (or registrations) that are closed in the end."""
    connections = [] if connections is None else connections
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def end_orderly(sock):
    """Half-closes and waits for the other side's close, so that what the end causes is over. What came before it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    data = receive_all(sock)
    sock.close()
    return data


def unregister(registration):
    """Ends it and waits until the daemon has taken notice."""
    end_orderly(registration.sock)
    registration.close()


# --- programs -------------------------------------------------------------------------------------


def compiled(source, *flags):
    """The path of a program (or, with -shared, a library) compiled from a C file. It stays in the build directory, where
    it is found by the next who wants it."""
    source = Path(source)
    directory = build_directory() / "tests"
    directory.mkdir(exist_ok=True)
    target = directory / f"for-python-{source.stem}"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            fresh = Path(scratch) / "fresh"
            gcc = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
            subprocess.run([*gcc, "-o", fresh, source, *flags], check=True, timeout=60)
            fresh.replace(target)
    return str(target)


# --- other users ----------------------------------------------------------------------------------

# Connects, sends what it is given, prints every byte of the answer in hex, or keeps the connection until its stdin
# ends ("hold": after so many bytes).
_AS_ANOTHER = """
import socket, sys
address, data, hold = eval(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
sock = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
sock.settimeout(20)
sock.connect(address)
sock.sendall(data)
got = b""
while (not hold or len(got) < hold) and (piece := sock.recv(65536)):
    got += piece
print(got.hex(), flush=True)
if hold:
    sys.stdin.read()
"""


def _as_user(uid, address, data, hold=0):
    argv = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--", "/usr/bin/python3", "-c", _AS_ANOTHER]
    address = address if isinstance(address, tuple) else str(address)
    return [*argv, repr(address), data.hex(), str(hold)]


def ask_as(uid, address, data):
    """Every byte of the answer to `data`, sent by another user to a path or (host, port). Needs root."""
    argv = _as_user(uid, address, data)
    return bytes.fromhex(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30, cwd="/").stdout)


@contextlib.contextmanager
def registered_as(uid, daemon, data):
    """A registration of another user, who lives until the end; the bytes of the answer (6 of them). Needs root."""
    process = subprocess.Popen(_as_user(uid, (daemon.host, daemon.port), data, 6), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, cwd="/", preexec_fn=die_with_parent())  # fmt: skip
    try:
        yield bytes.fromhex(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
