# SPDX-License-Identifier: Apache-2.0
"""Daemons under test, each on a loopback port of its own: ours (Daemon) and the stock one (StockEpmd).

    with Daemon() as daemon:                       rollcalld, own directory, ready
        daemon.client.register("a")
        daemon.kill9(); daemon.start()             the same port, registry file and log
        daemon.restart()                           SIGTERM and start
        assert "started" in daemon.log()

    run_rollcalld("--bogus")                       for what is expected to end by itself
"""

import contextlib
import fcntl
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

from lib.epmd_client import EpmdClient
from lib.process import built, clean_environment, die_with_parent, end, wait_for

# Below the range that the kernel takes client ports from, so that the port of a daemon that is down for a
# moment is not given to somebody's connection.
_PORTS = range(15000, 32000)
_PER_WORKER = 1000


def _own_ports():
    """This process' share, so that no other worker takes a port between our look and our use of it; none of it twice
    as long as there are others. Where in the range the shares of a run begin differs from run to run."""
    run = zlib.crc32(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode())
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _PORTS.start + (run + worker) * _PER_WORKER % len(_PORTS)
    while True:
        yield from random.sample(range(first, first + _PER_WORKER), _PER_WORKER)


_own = _own_ports()


def free_port():
    """A TCP port on which nobody listens, on any address."""
    while True:
        port = next(_own)
        with socket.socket(socket.AF_INET) as four, contextlib.suppress(OSError):
            four.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            four.bind(("0.0.0.0", port))
            return port


def run_rollcalld(*args, env=None, timeout=20, program="rollcalld", **kwargs):
    """Runs a built program that is expected to end; a CompletedProcess with text in stdout and stderr."""
    return subprocess.run(
        [built(program), *map(str, args)],
        env=clean_environment(env), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **kwargs,
    )


class NotifySocket:
    """What a service manager would be told by sd_notify, and what it was given to keep: `stored`, {name: descriptor}."""

    def __init__(self, directory):
        self.path = Path(directory) / "notify"
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(self.path))
        self._sock.setblocking(False)
        self._lines = []
        self.stored = {}

    def lines(self):
        """Every line so far: "READY=1", "STATUS=...", oldest first."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, fds, _, _ = socket.recv_fds(self._sock, 65536, 8)
                lines = data.decode().splitlines()
                self._lines += lines
                self._store(lines, fds)
        return self._lines

    def _store(self, lines, fds):
        name = next((line.split("=", 1)[1] for line in lines if line.startswith("FDNAME=")), None)
        if "FDSTORE=1" in lines:
            (self.stored[name],) = fds
        elif "FDSTOREREMOVE=1" in lines:
            os.close(self.stored.pop(name))

    def value(self, key):
        """The last value of KEY=, or None."""
        found = [line.split("=", 1)[1] for line in self.lines() if line.startswith(key + "=")]
        return found[-1] if found else None

    def close(self):
        while self.stored:
            os.close(self.stored.popitem()[1])
        self._sock.close()


class _Foreground:
    """A program in the foreground with a directory of its own and its stderr in a file."""

    def __init__(self, port=None, host="127.0.0.1", env=None, directory=None):
        self.port = port or free_port()
        self.host = host
        self.env = dict(env or {})
        self._own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="rollcall-test-"))
        self.process = None
        self.client = EpmdClient(self.port, host)

    @property
    def pid(self):
        return self.process.pid

    @property
    def log_path(self):
        return self.directory / "log"

    def log(self):
        """The text of stderr of all starts so far."""
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def wait_for_log(self, text, timeout=10.0):
        wait_for(lambda: text in self.log(), lambda: f"{text!r} in the log:\n{self.log()}", timeout)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self, timeout=10.0):
        """Waits for its end; the exit status (negative: a signal's number)."""
        return self.process.wait(timeout)

    def stop(self):
        """SIGTERM; the exit status."""
        status = end(self.process) if self.process else None
        return status

    def kill9(self):
        self.process.kill()
        return self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def close(self):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
        self.stop()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *failure):
        if failure[0] is not None:
            print(f"--- log of {type(self).__name__} on port {self.port}:\n{self.log()[-20000:]}")
        self.close()


class NotReady(Exception):
    """The daemon ended, or did not get ready; `status` is its exit status or None, `log` its stderr."""

    def __init__(self, status, log):
        super().__init__(f"rollcalld did not get ready (exit status {status}):\n{log}")
        self.status, self.log = status, log


class Daemon(_Foreground):
    """rollcalld on `host`:`port` (a free one by default).

    args       more options
    env        more environment (a value None removes)
    directory  where state, control socket and log are; made and removed by us if not given
    state      the registry file; False: no --state is given
    listen     addresses with port for --listen; False: none is given (sockets= then)
    sockets    [(name, socket)]: passed as systemd passes them
    notify     True: NOTIFY_SOCKET is set, `daemon.notify` is a NotifySocket
    wrapper    argv before the program, such as ["strace", "-f", "-o", "/tmp/x"] or a namespace's prefix
    ready      False: start() does not wait
    """

    def __init__(self, *args, port=None, host="127.0.0.1", env=None, directory=None, state=None, listen=None,
                 sockets=(), notify=False, wrapper=(), ready=True, program=None):
        super().__init__(port, host, env, directory)
        self.args = [str(arg) for arg in args]
        self.state = self.directory / "registry.db" if state is None else state
        self.control = self.directory / "control"
        bracketed = f"[{host}]" if ":" in host else host
        self.listen = [f"{bracketed}:{self.port}"] if listen is None else (listen or [])
        self.sockets = list(sockets)
        self.notify = NotifySocket(self.directory) if notify else None
        self.wrapper = list(wrapper)
        self.wait_ready = ready
        self.program = program

    def argv(self, ready_fd):
        """What it is started by, but for `wrapper`."""
        argv = [self.program or built("rollcalld")]
        if not self.program:
            argv += ["--config", "none"]  # not this machine's; a later one in `args` counts
        for address in self.listen:
            argv += ["--listen", address]
        if self.state:
            argv += ["--state", str(self.state)]
        if not any(name == "control" for name, _ in self.sockets):
            argv += ["--control", str(self.control)]
        return argv + ["--ready-fd", str(ready_fd)] + self.args

    def _pass_sockets(self, argv, env):
        """A shell moves the sockets to 3, 4, ... and says who they are for, as only the child can know its pid."""
        if not self.sockets:
            return argv, []
        fds = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 200) for _, sock in self.sockets]
        moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(fds))
        env["LISTEN_FDS"] = str(len(fds))
        env["LISTEN_FDNAMES"] = ":".join(name for name, _ in self.sockets)
        return ["bash", "-c", f'exec {moves}; LISTEN_PID=$$ exec "$0" "$@"', *argv], fds

    def start(self, *more_args):
        """Starts it and waits until it says READY on --ready-fd. Returns self."""
        read_end, write_end = os.pipe()
        # Beyond the numbers that passed sockets take.
        ready_fd = fcntl.fcntl(write_end, fcntl.F_DUPFD, 150)
        os.close(write_end)
        env = clean_environment(self.env)
        if self.notify:
            env["NOTIFY_SOCKET"] = str(self.notify.path)
        argv, fds = self._pass_sockets(self.argv(ready_fd) + [str(arg) for arg in more_args], env)
        try:
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    self.wrapper + argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=[ready_fd, *fds], preexec_fn=die_with_parent(), cwd=self.directory,
                )
        finally:
            for fd in (ready_fd, *fds):
                os.close(fd)
        try:
            if self.wait_ready:
                self._wait_ready(read_end)
        finally:
            os.close(read_end)
        return self

    def _wait_ready(self, read_end, timeout=30.0):
        deadline, data = time.monotonic() + timeout, b""
        poll = select.poll()  # select() knows no descriptors above 1023
        poll.register(read_end, select.POLLIN)
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise NotReady(None, self.log())
            piece = os.read(read_end, 100)
            if not piece:
                raise NotReady(self.process.wait(10), self.log())
            data += piece
        assert data == b"READY\n", data

    def close(self):
        super().close()
        if self.notify:
            self.notify.close()

    def rollcall(self, *args):
        """Runs our operator's command against this daemon; a CompletedProcess."""
        return run_rollcalld("--control", self.control, *args, program="rollcall")

    def sql(self, statement):
        """Rows of a read-only query on the registry file, by sqlite3(1), as lists of text."""
        out = subprocess.run(
            ["sqlite3", "-readonly", "-cmd", ".timeout 5000", "-separator", "\x1f", str(self.state), statement],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout
        return [line.split("\x1f") for line in out.splitlines()]


class StockEpmd(_Foreground):
    """Debian's epmd in the foreground on loopback; args are its own flags, such as -relaxed_command_check."""

    program = "/usr/bin/epmd"

    def __init__(self, *args, port=None, env=None):
        super().__init__(port, env=env)
        self.args = list(args)

    def start(self):
        env = clean_environment({"ERL_EPMD_PORT": self.port, "ERL_EPMD_ADDRESS": "127.0.0.1", **self.env})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self.args], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent(), cwd=self.directory,
            )
        wait_for(self._answers, "answer of stock epmd")
        return self

    def _answers(self):
        assert self.is_running(), f"stock epmd ended with {self.process.returncode}:\n{self.log()}"
        with contextlib.suppress(OSError):
            self.client.connect().close()
            return True
        return False
