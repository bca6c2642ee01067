# SPDX-License-Identifier: Apache-2.0
"""P4: a name is refused only if its holder is alive at that moment."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
from random import Random

import pytest

from daemon.helpers import HERE, closing_all, compiled, counter, status
from lib.daemon import Daemon, free_port
from lib.epmd_client import Alive2Reply, EpmdClient, Refused, alive2, frame, receive_all
from lib.nodes import ErlangNode
from lib.process import wait_for


def run_pairs(port, n_clients, n_pairs, *more):
    """(refused, failed in another way)"""
    argv = [compiled(HERE / "pairs.c", "-pthread"), port, n_clients, n_pairs, *more]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=True, timeout=300)
    words = done.stdout.split()
    return int(words[1]), int(words[3])


@pytest.mark.parametrize(
    "n_clients, n_pairs, how, args",
    [
        *[(n_clients, 20000, "close", []) for n_clients in (1, 4, 16)],
        *[(n_clients, 4000, "reset", []) for n_clients in (1, 4, 16)],
        *[(n_clients, 4000, "close", ["--no-state"]) for n_clients in (1, 4, 16)],
    ],
)
def test_name_that_was_closed_can_be_registered_again_at_once(n_clients, n_pairs, how, args):
    with Daemon("--log-level", "warning", *args, state=False if args else None) as daemon:
        assert run_pairs(daemon.port, n_clients, n_pairs, how) == (0, 0)
        wait_for(lambda: daemon.client.names() == [], "end of all")


def test_stock_epmd_refuses_some_of_such_pairs(stock_epmd):
    """So what was measured above can be seen at all."""
    n_refused, _ = run_pairs(stock_epmd.port, 16, 3000)
    assert n_refused > 0


# --- refusals -------------------------------------------------------------------------------------


def test_live_name_is_refused_and_its_holder_stays(daemon):
    with daemon.client.register("a", 1) as holder:
        for _ in range(10):
            with pytest.raises(Refused) as refused:
                daemon.client.register("a", 2)
            assert refused.value.reply == Alive2Reply("v", 1, 99)
        assert holder.is_open()
        assert daemon.client.names() == [("a", 1)]
        assert counter(daemon, "refused.name-taken") == 10


def test_refused_client_is_closed_and_leaks_nothing(daemon):
    with daemon.client.register("a", 1), closing_all() as refused:
        for _ in range(200):
            sock = daemon.client.connect()
            sock.sendall(frame(alive2("a", 2)))
            refused.append(sock)
        for sock in refused:
            assert receive_all(sock) == b"v\1\0\0\0\x63"
        assert daemon.client.names() == [("a", 1)]


def test_failure_to_answer_a_refused_client_does_not_end_the_holder(daemon):
    """Stock epmd then drops the name."""
    with daemon.client.register("a", 1) as holder:
        for _ in range(200):
            with daemon.client.connect() as sock:
                sock.sendall(frame(alive2("a", 2)))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # the close is an RST
        # One that is reset before it is looked at is not even refused.
        wait_for(lambda: counter(daemon, "connections.accepted") >= 201, "every client")
        wait_for(lambda: status(daemon)["connections"]["open"] <= 2, "close of every connection but the holder's")
        assert counter(daemon, "refused.name-taken") <= 200
        assert holder.is_open()
        assert daemon.client.names() == [("a", 1)]


def test_log_names_the_holder(daemon):
    with daemon.client.register("a", 4711):
        with pytest.raises(Refused):
            daemon.client.register("a", 4712)
    line = next(line for line in daemon.log().splitlines() if "refused" in line)
    assert "a at port 4712 is refused" in line
    assert f"held (up) at port 4711 by uid {os.geteuid()}," in line
    assert " since 20" in line and "unit " in line


def test_newcomer_that_overtakes_the_close_of_the_holder_is_registered(daemon):
    """The close arrives while the daemon is stopped, and behind the newcomer's request in the order of descriptors."""
    for how in ("close_connection", "reset_connection"):
        with daemon.client.register("a", 1) as holder:
            daemon.signal(signal.SIGSTOP)
            newcomer = daemon.client.connect()
            newcomer.sendall(frame(alive2("a", 2)))
            getattr(holder, how)()
            daemon.signal(signal.SIGCONT)
            with newcomer:
                assert newcomer.recv(6)[:2] == b"v\0"
                assert daemon.client.names() == [("a", 2)]
        wait_for(lambda: daemon.client.names() == [], "end")


def test_same_name_of_another_type_or_width_is_a_duplicate(daemon):
    with daemon.client.register("a", 1):
        for fields in ({"type": 72}, {"highest": 5}, {"protocol": 1}, {"extra": b"e"}):
            with pytest.raises(Refused):
                daemon.client.register("a", 1, **fields)


def test_holder_whose_listener_closed_yields_to_a_newcomer(daemon):
    with daemon.client.register("a", listen=True) as holder:
        with pytest.raises(Refused):
            daemon.client.register("a", listen=True)
        holder.close_listener()
        with daemon.client.register("a", listen=True) as newcomer:
            assert daemon.client.names() == [("a", newcomer.port)]
            wait_for(lambda: not holder.is_open(), "close of the holder's connection")
            assert newcomer.is_open()


# --- one name on several addresses ----------------------------------------------------------------


def test_one_name_on_two_addresses():
    """As with bind(): different specific addresses do not conflict. A lookup means the node of the address it is sent to."""
    port = free_port()
    with Daemon(port=port, listen=[f"127.0.0.{i}:{port}" for i in (1, 2, 3)]) as ours:
        with ours.client.register("app", listen=True, address="127.0.0.1") as one:
            with ours.client.register("app", listen=True, address="127.0.0.2") as two:
                def lookup(host):
                    return EpmdClient(ours.port, host).port_please("app").port

                assert lookup("127.0.0.1") == one.port
                assert lookup("127.0.0.2") == two.port
                assert lookup("127.0.0.3") == one.port, "who has held the name longest"
                assert sorted(ours.client.names()) == sorted([("app", one.port), ("app", two.port)])
                for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0"):
                    with pytest.raises(Refused):
                        ours.client.register("app", listen=True, address=address)
                scopes = {(row[0], int(row[1])) for row in ours.sql("SELECT scope, port FROM nodes")}
                assert scopes == {("127.0.0.1", one.port), ("127.0.0.2", two.port)}
                ours.kill9()
                ours.start()
                assert (lookup("127.0.0.1"), lookup("127.0.0.2")) == (one.port, two.port)


class SharedPort:
    """Nodes of one name and one port on several addresses, all of this process: which connection is whose, the kernel
    does not say."""

    def __init__(self, daemon, n):
        self.daemon, self.port = daemon, free_port()
        self.held = {f"127.0.0.{i}": None for i in range(1, n + 1)}

    def start(self, *addresses):
        """At the same moment: all listen before the first of them registers."""
        listeners = {address: self.daemon.client.listen(address, self.port) for address in addresses}
        for address, listener in listeners.items():
            self.held[address] = self.daemon.client.register("app", self.port)
            self.held[address].listener = listener

    def end(self, address):
        self.held[address].close()
        self.held[address] = None

    def alive(self):
        return sorted(address for address, held in self.held.items() if held)

    def scopes(self):
        return sorted(row[0] for row in self.daemon.sql("SELECT scope FROM nodes WHERE name = 'app'"))

    def assert_all_open(self):
        assert [address for address, held in self.held.items() if held and not held.is_open()] == []

    def close(self):
        for held in self.held.values():
            if held:
                held.close()


@pytest.mark.parametrize("n", [2, 3, 8])
def test_nodes_of_one_name_on_one_port_come_and_go_in_any_order(n):
    """Each newcomer is registered, nobody loses his place to one of another address, and the scopes are those where
    somebody is."""
    random = Random(n)
    with Daemon(listen=["0.0.0.0:{port}".format(port=(port := free_port()))], port=port) as ours, contextlib.closing(SharedPort(ours, n)) as nodes:
        nodes.start(*random.sample(sorted(nodes.held), n))
        for _ in range(40):
            for address in random.sample(sorted(nodes.held), random.randint(1, n)):
                nodes.end(address)
                if random.random() < 0.5:
                    nodes.start(address)
            nodes.assert_all_open()
            wait_for(lambda: nodes.scopes() == nodes.alive(), lambda: f"{nodes.alive()}: {nodes.scopes()}", 20)
            nodes.start(*random.sample(sorted(set(nodes.held) - set(nodes.alive())), n - len(nodes.alive())))
            nodes.assert_all_open()
            assert nodes.scopes() == sorted(nodes.held)


# --- real nodes -----------------------------------------------------------------------------------


def test_node_that_was_killed_can_be_started_again_at_once(daemon):
    for _ in range(3):
        with ErlangNode("a", epmd_port=daemon.port) as node:
            node.kill9()
            with ErlangNode("a", epmd_port=daemon.port) as successor:
                assert successor.eval("node()") == "a@localhost"
                assert [name for name, _ in daemon.client.names()] == ["a"]


def test_second_node_of_a_live_name_does_not_start(daemon):
    with ErlangNode("a", epmd_port=daemon.port) as first:
        second = ErlangNode("a", epmd_port=daemon.port, wait=False)
        with second:
            assert second.process.wait(20) != 0
            assert "seems to be in use" in second.output() or "duplicate_name" in second.output()
        assert first.eval("net_adm:names()").startswith('{ok,[{"a",')
