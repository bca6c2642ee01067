# SPDX-License-Identifier: Apache-2.0
"""A fixed scenario of all that a daemon does in a day, played while one of its system calls fails.

    story = Story(template)             a copy of a registry with history, whose nodes live
    story.play(wrapper)                 the steps, under strace
    story.conclude()                    without it: what was acknowledged is there, and nothing else

A client here is a well-behaved one: it tries again where its connection broke off, a node comes back as OTP's do. A
daemon that ends is started again, as systemd does; that it may end, and with which words, is for the test to judge.
"""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from daemon.helpers import assert_intact, query
from lib.control_client import BrokenOff, ControlClient, ControlError
from lib.daemon import Daemon, NotReady
from lib.epmd_client import ClosedWithoutAnswer, EpmdClient, Refused, frame, is_closed
from lib.process import wait_for

ATTEMPTS = 4
# SQLite tries for ten seconds where it cannot give a lock back.
PATIENCE = 14
BROKEN = (ClosedWithoutAnswer, BrokenOff, OSError, ValueError)


class Template:
    """A registry as a daemon left it that was killed: two nodes that live, one that does not, and a past."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.listeners = {name: EpmdClient(0).listen() for name in ("old1", "old2")}
        with Daemon(directory=self.directory) as daemon:
            nodes = [daemon.client.register(name, listener.getsockname()[1]) for name, listener in self.listeners.items()]
            nodes.append(daemon.client.register("dead", listen=True))
            nodes.append(daemon.client.register("left", 1))
            self.creations = {node.name: node.creation for node in nodes}
            nodes.pop().close()
            wait_for(lambda: query(daemon.state, "SELECT name FROM history") == [("left",)], "a past")
            daemon.kill9()
            for node in nodes:
                node.close()
        self.ports = {name: listener.getsockname()[1] for name, listener in self.listeners.items()}

    def copy(self, directory):
        for file in self.directory.glob("registry.db*"):
            shutil.copy(file, directory)

    def close(self):
        for listener in self.listeners.values():
            listener.close()


class Story:
    def __init__(self, template):
        self.daemon = Daemon("--config", "rollcall.conf", notify=True, env={"ROLLCALL_FD_STORE_MAX": "8"})
        (self.daemon.directory / "rollcall.conf").write_text("[limits]\nnodes-per-uid = 1000\n")
        template.copy(self.daemon.directory)
        self.template = template
        self.client, self.control = self.daemon.client, ControlClient(self.daemon.control, timeout=8)
        self.client.timeout = 8
        self.nodes = {}  # name: Registration
        self.creations = dict(template.creations)  # name: the last one that it was told
        self.released, self.announced = set(), {}
        self.wrapper = []
        self.ended = []  # (step, exit status) of each end that nobody asked for
        self.is_without_control = False  # one of the starts was
        self.step = "start"
        self.broken = []  # (step, failure) of each answer that broke off

    # --- the daemon's life ---

    def inner_pid(self):
        """The daemon's own, not strace's; None: it has ended."""
        if not self.daemon.wrapper:
            return self.daemon.pid if self.daemon.is_running() else None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            return int(Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split()[0])
        return None

    def start(self, wrapper=()):
        self.daemon.wrapper = list(wrapper)
        try:
            self.daemon.start()
        except NotReady as failure:
            self.ended.append((self.step, failure.status))
            self.daemon.wrapper = []
            self.daemon.start()
        if not self.daemon.control.exists():
            # Names are served; whoever wants to ask more starts it again.
            self.is_without_control = True
            self.end()
            self.daemon.wrapper = []
            self.daemon.start()

    def is_running(self):
        return self.daemon.is_running() and self.inner_pid() is not None

    def ensure_running(self):
        if not self.is_running():
            self.ended.append((self.step, self.daemon.wait()))
            self.start()

    def end(self):
        """SIGTERM; the exit status."""
        pid = self.inner_pid()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        status = self.daemon.wait(15)
        if status != 0:
            self.ended.append((self.step, status))

    # --- clients ---

    def ask(self, what):
        """The answer to what(), asked again where it broke off."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.ensure_running()
            try:
                return what()
            except BROKEN as failure:
                last = failure
                self.broken.append((self.step, failure))
            except ControlError as failure:
                if failure.word not in ("internal", "unavailable", "busy", "denied"):
                    raise
                last = failure
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.step}: the last attempt: {last!r}\n{self.daemon.log()}")
            time.sleep(0.02)

    def register(self, name, port=0, **fields):
        """As a node does that starts. An attempt whose answer was lost may have registered it."""
        listener = None if port else EpmdClient(0).listen()
        port = port or listener.getsockname()[1]

        def attempt():
            try:
                return self.client.register(name, port, **fields)
            except Refused:
                # What was lost of the attempt before is an open connection to the daemon: it ends in a moment.
                raise ClosedWithoutAnswer(b"refused") from None

        node = self.ask(attempt)
        node.listener = listener
        former = self.nodes.get(name)
        if former and former.listener and former is not node:
            node.listener = former.listener
        self.nodes[name] = node
        self.creations[name] = node.creation
        return node

    def come_back(self):
        """Whoever has lost his connection registers again."""
        for name, node in list(self.nodes.items()):
            if is_closed(node.sock):
                node.sock.close()
                self.register(name, node.port)

    def leave(self, name):
        node = self.nodes.pop(name)
        node.close()
        wait_for(lambda: self.ask(lambda: self.client.port_please(name)) is None, f"{name} to be gone")

    # --- the steps ---

    def steps(self):
        return [
            self.nodes_of_before_are_awaited, self.a_node_registers, self.one_of_16_bits_registers, self.names_are_looked_up,
            self.names_are_listed, self.garbage_is_closed, self.a_second_one_is_refused, self.a_node_announces,
            self.status_is_told, self.why_is_told, self.one_watches, self.the_past_is_told, self.one_leaves,
            self.one_is_released, self.a_listener_closes_and_a_newcomer_comes, self.old_ones_come_back, self.reload,
            self.kill_is_refused, self.many_come_and_go, self.restart, self.nodes_are_still_there,
        ]  # fmt: skip

    def nodes_of_before_are_awaited(self):
        names = dict(self.ask(self.client.names))
        # A file that could not be read yet is read later.
        if names != self.template.ports:
            wait_for(lambda: dict(self.ask(self.client.names)) == self.template.ports, "the nodes of the file", 10)

    def a_node_registers(self):
        self.register("a")

    def one_of_16_bits_registers(self):
        self.register("small", highest=5, lowest=5, extra=b"extra")
        assert self.ask(lambda: self.client.port_please("small")).extra == b"extra"

    def names_are_looked_up(self):
        assert self.ask(lambda: self.client.port_please("a")).port == self.nodes["a"].port
        assert self.ask(lambda: self.client.port_please("nobody")) is None

    def names_are_listed(self):
        self.come_back()
        assert {"a", "small", "old1", "old2"} <= dict(self.ask(self.client.names)).keys()
        assert b"active name     <a>" in self.ask(self.dump)

    def dump(self):
        if not (answer := self.client.dump_raw()):
            raise ClosedWithoutAnswer(answer)
        return answer

    def garbage_is_closed(self):
        assert self.ask(lambda: self.client.raw(frame(b"Qwhat"))) == b""

    def a_second_one_is_refused(self):
        self.come_back()
        for _ in range(ATTEMPTS):
            try:
                self.client.register("a", 1).close()
            except Refused:
                return
            except BROKEN:
                continue
            raise AssertionError("a live node's name was given away")

    def a_node_announces(self):
        self.come_back()
        self.ask(lambda: self.control.request("ANNOUNCE", NAME="a", HOST="example.org", ANNOUNCED="ready", PAIR={"k": "v"}))
        self.announced["a"] = "example.org"

    def status_is_told(self):
        assert self.ask(lambda: self.control.request("STATUS"))
        assert len(self.ask(lambda: self.control.request("NAMES"))) >= 4

    def why_is_told(self):
        self.come_back()
        records = self.ask(lambda: self.control.request("WHY", NAME="a"))
        assert records[0].kind == "NODE" and records[0]["PORT"] == self.nodes["a"].port

    def one_watches(self):
        def watch():
            if "watched" in self.nodes:
                self.nodes.pop("watched").close()
            with self.control.watch(PREFIX="w") as watch:
                watch.sync(5)
                node = self.register("watched")
                watch.wait(lambda: ("watched", "*") in watch.nodes, 5)
                node.close()
                self.nodes.pop("watched")
                watch.wait(lambda: ("watched", "*") not in watch.nodes, 5)

        self.ask(watch)

    def the_past_is_told(self):
        records = self.ask(lambda: self.control.request("HISTORY"))
        assert "left" in {record["NAME"] for record in records if record.kind == "TENURE"}
        self.ask(lambda: self.control.request("AT", AT=time.time_ns() // 1000))

    def one_leaves(self):
        self.register("b")
        self.leave("b")

    def one_is_released(self):
        self.register("r")

        def release():
            try:
                self.control.request("RELEASE", NAME="r")
            except ControlError as failure:
                # The answer to the attempt before was lost.
                if failure.word != "not-found":
                    raise

        self.ask(release)
        self.nodes.pop("r").close()
        self.released.add("r")
        assert self.ask(lambda: self.client.port_please("r")) is None

    def a_listener_closes_and_a_newcomer_comes(self):
        former = self.register("yielding")
        former.close_listener()
        # What the kernel announced may be what failed: then the newcomer's request looks.
        former.listener = None
        try:
            self.client.register("yielding", 1).close()
        except Refused:
            # Nobody could say which listening socket was its: it holds the name by its connection.
            former.sock.close()
        except BROKEN:
            pass
        self.register("yielding")
        former.sock.close()

    def old_ones_come_back(self):
        for name, port in self.template.ports.items():
            self.register(name, port)

    def reload(self):
        pid = self.inner_pid()
        if pid:
            os.kill(pid, signal.SIGHUP)
        assert self.ask(lambda: self.client.port_please("nobody")) is None

    def kill_is_refused(self):
        self.come_back()
        for _ in range(ATTEMPTS):
            with contextlib.suppress(*BROKEN):
                if self.client.kill() == b"NO":
                    return
        raise AssertionError("no answer to KILL")

    def many_come_and_go(self):
        for i in range(10):
            self.register(f"m{i}")
        for i in range(10):
            self.nodes.pop(f"m{i}").close()

    def restart(self):
        # What is acknowledged by a daemon that has said that it is degraded is not on disk (P1).
        self.wait_healthy()
        self.end()
        self.start()
        self.come_back()

    def nodes_are_still_there(self):
        self.come_back()
        names = dict(self.ask(self.client.names))
        for name, node in self.nodes.items():
            assert names.get(name) == node.port, f"{name} at {node.port}: {names}"

    def play(self, wrapper=(), last=None):
        """`last`: how many of the steps."""
        self.start(wrapper)
        for step in self.steps()[:last]:
            self.step = step.__name__
            step()
        return self

    # --- what is left ---

    def wait_healthy(self):
        def is_healthy():
            records = self.ask(lambda: self.control.request("STATUS"))
            (record,) = [record for record in records if record.kind == "STATUS"]
            return not record.get("DEGRADED")

        if is_healthy():
            return
        # Settings that could not be read stay as they were until they are asked for again.
        os.kill(self.inner_pid(), signal.SIGHUP)
        wait_for(is_healthy, lambda: f"health:\n{self.daemon.log()}", PATIENCE, interval=0.05)

    def conclude(self):
        """What was acknowledged is on disk, also for the next one."""
        self.wait_healthy()
        self.nodes_are_still_there()
        for _ in range(2):
            # An answer about the past comes after all that was to be written before it.
            self.ask(lambda: self.control.request("HISTORY", NAME="nobody"))
            expected = {name: (node.port, node.creation) for name, node in self.nodes.items()}
            rows = query(self.daemon.state, "SELECT name, port, creation, host FROM registrations")
            assert {name: (port, creation) for name, port, creation, _ in rows} == expected
            assert {name: host for name, _, _, host in rows if host} == self.announced
            past = query(self.daemon.state, "SELECT name, creation FROM tenures")
            assert ("left", self.creations["left"]) in past and ("dead", self.creations["dead"]) in past
            assert ("b", self.creations["b"]) in past and ("r", self.creations["r"]) in past
            assert not {creation for _, creation in expected.values() if creation > 3} & {creation for _, creation in past}
            self.daemon.kill9()
            assert_intact(self.daemon.state)
            self.daemon.start()
            assert dict(self.client.names()) == {name: node.port for name, node in self.nodes.items()}
        assert self.daemon.stop() == 0

    def close(self):
        for node in self.nodes.values():
            node.close()
        pid = self.inner_pid()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemon.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
