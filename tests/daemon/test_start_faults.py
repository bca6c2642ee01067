# SPDX-License-Identifier: Apache-2.0
"""Each system call of two beginnings fails once, that test_faults does not have: the very first start, with no file and no
directory for it, and one that is handed the connections of its nodes, as systemd does."""

import contextlib
import itertools
import os
import random
import socket
import tempfile
from pathlib import Path

import pytest

from daemon.helpers import assert_intact, end_traced, history, is_degraded, query, status, traced
from daemon.test_faults import ALSO, ERRORS, HARMLESS, LONG, NAMES, parse_calls, words_for
from lib.daemon import Daemon, NotReady
from lib.epmd_client import ClosedWithoutAnswer, is_closed
from lib.process import wait_for

pytestmark = pytest.mark.usefixtures("own_network", "own_unit")


class Beginning:
    """A daemon beneath a service manager that keeps its sockets: `start()` starts it anew with them if it has ended."""

    def __init__(self, directory):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.daemon = Daemon(
            port=self.listening.getsockname()[1], listen=False, sockets=[("epmd", self.listening)], notify=True,
            state=Path(directory) / "below" / "registry.db", env={"ROLLCALL_FD_STORE_MAX": "8"},
        )  # fmt: skip
        self.nodes, self.failure, self.has_left = [], None, set()

    def start(self, wrapper=()):
        self.daemon.wrapper = list(wrapper)
        try:
            self.daemon.start()
        except NotReady as failure:
            self.failure = failure
            self.daemon.wrapper = []
            self.daemon.start()
        if not self.daemon.control.exists():
            # Names are served; whoever wants to ask more starts it again.
            assert "cannot be opened" in self.daemon.log()
            self.end()
            self.daemon.start()

    def register(self, name, **fields):
        def attempt():
            with contextlib.suppress(ClosedWithoutAnswer, ConnectionError):
                return self.daemon.client.register(name, listen=True, **fields)

        self.nodes.append(wait_for(attempt, f"{name} to be registered"))

    def names(self):
        """None: it was closed, as for want of memory."""
        with contextlib.suppress(ClosedWithoutAnswer, ConnectionError, ValueError):
            return dict(self.daemon.client.names())
        return None

    def end(self):
        if self.daemon.wrapper:
            end_traced(self.daemon)
        else:
            self.daemon.kill9()
        self.daemon.wrapper = []

    def conclude(self):
        """Whoever was told that he is registered is there, also for the next one."""
        expected = {node.name: node.port for node in self.nodes}
        wait_for(lambda: not is_degraded(self.daemon), lambda: f"health: {status(self.daemon)}\n{self.daemon.log()}", 15)
        wait_for(lambda: self.names() == expected, lambda: f"{expected}, not {self.names()}\n{self.daemon.log()}")
        ask = "SELECT name, port, creation FROM registrations ORDER BY name"
        rows = sorted((node.name, node.port, node.creation) for node in self.nodes)
        wait_for(lambda: query(self.daemon.state, ask) == rows, lambda: f"{rows}, not {query(self.daemon.state, ask)}")
        assert {name for name, _ in history(self.daemon.state)} <= self.has_left, "an end was invented"
        self.end()
        assert_intact(self.daemon.state)
        self.start()
        assert self.names() == expected

    def close(self):
        for node in self.nodes:
            node.close()
        with contextlib.suppress(FileNotFoundError):
            self.end()
        self.daemon.close()
        self.listening.close()


class First(Beginning):
    """No file, no directory for it."""

    def play(self, wrapper):
        self.start(wrapper)
        self.register("a")
        self.register("b")


class HandedOver(Beginning):
    """Two live nodes and one that has gone, whose connections were kept."""

    def play(self, wrapper):
        self.start()
        for name in ("a", "b", "gone"):
            self.register(name)
        self.daemon.stop()
        self.daemon.notify.lines()
        kept = dict(self.daemon.notify.stored)
        assert len(kept) == 3
        self.nodes.pop().close()
        self.has_left.add("gone")
        self.daemon.sockets += [(name, socket.socket(fileno=os.dup(fd))) for name, fd in kept.items()]
        try:
            self.start(wrapper)
        finally:
            for _, sock in self.daemon.sockets[1:]:
                sock.close()
            del self.daemon.sockets[1:]
        self.come_back()

    def come_back(self):
        """Whose connection was closed returns, as OTP's nodes do, and is given his own creation (P5)."""
        names = wait_for(self.names, "names")
        for i, node in enumerate(self.nodes):
            if is_closed(node.sock):
                self.has_left.add(node.name)
                node.sock.close()
                again = wait_for(lambda node=node: self.return_(node), f"{node.name} to return")
                assert again.creation == node.creation, node.name
                again.listener, self.nodes[i] = node.listener, again
            else:
                assert names.get(node.name) == node.port, f"{node.name} believes that it is registered: {names}"

    def return_(self, node):
        with contextlib.suppress(ClosedWithoutAnswer, ConnectionError):
            return self.daemon.client.register(node.name, node.port)


BEGINNINGS = {"first": First, "handed_over": HandedOver}
# What one of them does that no other start does; all that it does is tried where there is time. How many of each:
OWN = {
    "first": {"mkdir": 2, "openat": 2, "fchmod": 2, "fchown": 1, "pwrite64": 2, "fdatasync": 2, "fsync": 1},
    "handed_over": {"newfstatat": 1, "getsockopt": 4, "getsockname": 2, "getpeername": 2, "recvfrom": 8, "epoll_ctl": 2, "fcntl": 1},
}


@contextlib.contextmanager
def beginning(kind):
    with tempfile.TemporaryDirectory() as directory, contextlib.closing(BEGINNINGS[kind](directory)) as it:
        yield it


@pytest.fixture(scope="module")
def calls():
    """{kind: {call: numbers}}"""
    found = {}
    for kind in BEGINNINGS:
        with beginning(kind) as it:
            trace = it.daemon.directory / "strace"
            it.play(traced("-qq", "-o", trace))
            assert it.failure is None
            found[kind] = parse_calls(trace.read_text())
            it.conclude()
    return found


def play(kind, call, error, number):
    """True if the call was reached, and failed."""
    print(f"{kind}: {call} number {number}: {error}")
    with beginning(kind) as it:
        trace = it.daemon.directory / "strace"
        inject = f"inject={call}:error={error}:when={number}"
        it.daemon.log_path.touch()
        only = ["-P", it.daemon.log_path] if call == "write" else []
        it.play(traced("--seccomp-bpf", "-qq", "-o", trace, "-e", f"trace={call}", "-e", inject, *only))
        if it.failure:
            words = words_for(NAMES.get(call, call), error)
            assert it.failure.status == 1 and any(word in it.failure.log for word in words), it.failure
        if call == "recvfrom":
            assert it.has_left <= {"gone"}, "that the kernel is short of memory is no word of a node's"
        it.conclude()
        return "(INJECTED)" in trace.read_text()


@pytest.mark.parametrize("kind, call", [(kind, call) for kind, calls in OWN.items() for call in (ERRORS if LONG else calls)])
def test_a_call_of_another_beginning_that_fails_once(calls, kind, call):
    made = [name for name in [call, *ALSO.get(call, [])] if calls[kind].get(name)]
    chance = random.Random(call)
    reached = []
    for name, error in itertools.product(made, ERRORS[call]):
        numbers = calls[kind][name]
        for number in numbers if LONG else chance.sample(numbers, min(OWN[kind][call], len(numbers))):
            reached.append(play(kind, name, error, number))
    assert sum(reached) >= len(reached) / 2, f"{sum(reached)} of {len(reached)} were reached"


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_every_call_of_another_beginning_is_known(calls, kind):
    unknown = {NAMES.get(call, call) for call in calls[kind]} - ERRORS.keys() - HARMLESS
    assert not unknown
