# SPDX-License-Identifier: Apache-2.0
"""The three servers and the load, each on its core, and what is read from outside of a server's process."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

from lib.daemon import Daemon, StockEpmd
from lib.epmd_client import EpmdClient
from lib.process import build_directory, die_with_parent, wait_for

PORTS = {"rollcall": 9369, "stock": 9370, "bare": 9371, "start": 9372}

cores = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = cores[0], cores[-1]


@contextlib.contextmanager
def pinned_to(core):
    """What is started here runs there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Load:
    """load.c, on the core that we are on, too."""

    def __init__(self, *args, stderr=None):
        self.process = subprocess.Popen(
            [program("load"), *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            preexec_fn=die_with_parent(),
        )

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load ended with {self.process.wait(10)}")
        return line.split()

    def done(self):
        word, *numbers = self.line()
        assert word == "done", word
        return [int(number) for number in numbers]

    def again(self):
        self.process.stdin.write("again\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if _[0]:
            self.process.kill()
        self.close()


def program(name):
    return str(build_directory() / "tests" / "bench" / name)


class Bare:
    """bare.c with its answers, {opcode: bytes}."""

    def __init__(self, answers, directory):
        self.port = PORTS["bare"]
        self.client = EpmdClient(self.port)
        self.argv = [program("bare"), str(self.port)]
        for opcode, data in answers.items():
            path = directory / f"bare.{opcode}"
            path.write_bytes(data)
            self.argv.append(f"{opcode}={path}")

    def start(self):
        self.process = subprocess.Popen(self.argv, preexec_fn=die_with_parent())
        wait_for(self._listens, "the bare server")
        return self

    def _listens(self):
        with contextlib.suppress(OSError):
            return self.client.request(b"?") == b""
        return False

    @property
    def pid(self):
        return self.process.pid

    def kill9(self):
        self.process.kill()
        self.process.wait()

    close = kill9


class Server:
    """One of the three, on its core: `name`, `port`, `pid`, `client`."""

    def __init__(self, name, bench):
        self.name, self.port = name, PORTS[name]
        if name == "rollcall":
            bench.remove_state()
            self.process = Daemon(*bench.options, port=self.port, state=bench.state)
        elif name == "stock":
            self.process = StockEpmd(port=self.port)
        else:
            self.process = Bare(bench.answers, bench.directory)
        self.client = self.process.client
        self.start()

    def start(self):
        with pinned_to(SERVER_CORE):
            self.process.start()

    @property
    def pid(self):
        return self.process.pid

    def cpu_nsec(self):
        """CPU time of the process so far: clock_getcpuclockid()."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def idle(self):
        """Waits until it has nothing left to do; its CPU time."""
        before, since = self.cpu_nsec(), time.monotonic()
        while time.monotonic() < since + 10:
            time.sleep(0.02)
            now = self.cpu_nsec()
            if now == before:
                break
            before = now
        return before

    def resident_bytes(self):
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def kill9(self):
        self.process.kill9()

    def close(self):
        self.process.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Strace:
    """Counts the system calls of a server's threads while it is entered: `counts`, {call: how often}."""

    def __init__(self, server, directory):
        self.path = directory / "strace"
        self.process = subprocess.Popen(
            ["strace", "-f", "-c", "-U", "name,calls", "-o", str(self.path), "-p", str(server.pid)],
            stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent(),
        )
        self.n_threads = len(os.listdir(f"/proc/{server.pid}/task"))
        self.server = server
        self.counts = {}

    def _is_attached(self):
        tasks = Path(f"/proc/{self.server.pid}/task").glob("*/status")
        return all(re.search(r"^TracerPid:\t[^0]", task.read_text(), re.M) for task in tasks)

    def __enter__(self):
        wait_for(self._is_attached, "strace")
        return self

    def __exit__(self, *_):
        self.server.idle()
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)
        for line in self.path.read_text().splitlines():
            match = re.fullmatch(r"\s*(\w+)\s+(\d+)", line)
            if match and match[1] != "total":
                self.counts[match[1]] = int(match[2])
