# SPDX-License-Identifier: Apache-2.0
"""P3 across restarts: whoever is alive is listed from the first answer on, whoever died meanwhile is not; with the
kernel's word on listening sockets, and without it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from daemon.helpers import closing_all, counter, database, history, names_on_disk, needs_root, query, status, unregister
from lib.daemon import Daemon, free_port
from lib.epmd_client import EpmdClient, Refused
from lib.netns import Namespace
from lib.nodes import ErlangNode
from lib.process import wait_for

GRACE = 12


def stop(daemon):
    assert daemon.stop() == 0


def kill(daemon):
    daemon.kill9()


both_ways = pytest.mark.parametrize("end_it", [stop, kill], ids=lambda function: function.__name__)


def first_answer(daemon):
    """What the first client after a start is told."""
    return dict(daemon.client.names())


def states(daemon):
    return {name: state for name, (_, state) in names_on_disk(daemon.state).items()}


def n_awaited(daemon):
    return status(daemon)["nodes"]["awaited"]


# --- kept, awaited, ended -------------------------------------------------------------------------


@both_ways
def test_live_nodes_are_listed_from_the_first_answer_on(daemon, end_it):
    with closing_all([daemon.client.register(f"n{i}", listen=True, extra=b"e") for i in range(20)]) as nodes:
        expected = {node.name: node.port for node in nodes}
        end_it(daemon)
        daemon.start()
        assert first_answer(daemon) == expected
        for node in nodes:
            found = daemon.client.port_please(node.name)
            assert (found.port, found.extra) == (node.port, b"e")
        assert n_awaited(daemon) == 20
        wait_for(lambda: set(states(daemon).values()) == {"awaited"}, "rows that say so")
        assert "n7 at port" in daemon.log() and "awaited" in daemon.log()


@both_ways
def test_order_of_names_is_kept(daemon, end_it):
    with closing_all([daemon.client.register(f"n{i}", listen=True) for i in (3, 1, 2)]):
        before = daemon.client.names()
        end_it(daemon)
        daemon.start()
        assert daemon.client.names() == before
        assert [name for name, _ in before] == ["n2", "n1", "n3"]


@both_ways
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1"])
def test_nodes_are_known_by_listeners_on_any_address(daemon, end_it, address):
    with daemon.client.register("a", listen=True, address=address) as a:
        for _ in range(2):
            end_it(daemon)
            daemon.start()
            assert first_answer(daemon) == {"a": a.port}
        end_it(daemon)
        a.close_listener()
        daemon.start()
        assert first_answer(daemon) == {}


@both_ways
def test_node_that_died_while_the_daemon_was_away_is_gone_from_the_first_answer_on(daemon, end_it):
    with closing_all([daemon.client.register(name, listen=True) for name in ("dead", "alive")]) as (dead, alive):
        end_it(daemon)
        dead.close()
        daemon.start()
        assert first_answer(daemon) == {"alive": alive.port}
        assert daemon.client.port_please("dead") is None
        wait_for(lambda: history(daemon.state) == [("dead", "found-dead")], "history")
        assert "dead at port" in daemon.log() and "found-dead" in daemon.log()
        with daemon.client.register("dead", listen=True):
            assert daemon.client.port_please("dead")


def test_successor_on_the_same_port_is_not_taken_for_the_dead_node(daemon):
    """A port is not enough: the socket is another one."""
    with daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        a.close()
        with daemon.client.listen(port=a.port):
            daemon.start()
            assert first_answer(daemon) == {}


def test_awaited_node_whose_listener_closes_is_gone_at_once(daemon):
    with daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        daemon.start()
        assert first_answer(daemon) == {"a": a.port}
        a.close_listener()
        wait_for(lambda: daemon.client.names() == [], "end of a", timeout=1)
        wait_for(lambda: history(daemon.state) == [("a", "listener-gone")], "history")


# --- nodes that come back -------------------------------------------------------------------------


@both_ways
def test_node_that_comes_back_takes_its_own_row_and_creation(daemon, end_it):
    with daemon.client.register("a", listen=True) as a:
        (since,) = query(daemon.state, "SELECT since_usec, serial, creation FROM registrations")
        end_it(daemon)
        daemon.start()
        with daemon.client.register("a", a.port) as back:
            assert back.creation == a.creation
            assert n_awaited(daemon) == 0
            assert names_on_disk(daemon.state) == {"a": (a.port, "up")}
            assert query(daemon.state, "SELECT since_usec, serial, creation FROM registrations") == [since]
            assert history(daemon.state) == []
            assert "a is back" in daemon.log()
            unregister(back)
        wait_for(lambda: daemon.client.names() == [], "end: from now on it lives by its connection again")


def test_another_process_that_asks_for_the_name_while_the_listener_lives_is_refused(daemon):
    with daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        daemon.start()
        for fields in ({"listen": True}, {"port": 4711}):
            with pytest.raises(Refused):
                daemon.client.register("a", **fields)
        assert first_answer(daemon) == {"a": a.port}
        with daemon.client.register("a", a.port) as back:
            assert back.creation == a.creation


@needs_root
def test_another_process_of_another_user_that_names_the_port_of_the_node_is_refused(daemon):
    """It cannot have the node's socket."""
    with daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        daemon.start()
        answer = register_as_nobody(daemon, "a", a.port)
        assert answer == "refused"
        assert first_answer(daemon) == {"a": a.port}


def register_as_nobody(daemon, name, port):
    script = (
        "import socket, struct, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "name = sys.argv[2].encode()\n"
        "body = struct.pack('>cHBBHHH', b'x', int(sys.argv[3]), 77, 0, 6, 5, len(name)) + name + b'\\0\\0'\n"
        "s.sendall(struct.pack('>H', len(body)) + body)\n"
        "print(['registered', 'refused'][s.recv(6)[1]])\n"
    )
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    argv = [*nobody, "/usr/bin/python3", "-c", script, str(daemon.port), name, str(port)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def test_node_that_comes_back_changed_is_a_new_registration(daemon):
    """The same socket, announced in another way: the row must not tell what is not so."""
    with daemon.client.register("a", listen=True, extra=b"old") as a:
        daemon.kill9()
        daemon.start()
        with daemon.client.register("a", a.port, extra=b"new") as back:
            assert daemon.client.port_please("a").extra == b"new"
            assert back.creation != a.creation


def test_several_restarts_in_a_row(daemon):
    with closing_all([daemon.client.register(f"n{i}", listen=True) for i in range(5)]) as nodes:
        expected = {node.name: node.port for node in nodes}
        for i in range(6):
            (stop if i % 2 else kill)(daemon)
            daemon.start()
            assert first_answer(daemon) == expected
            if i == 3:
                nodes.append(daemon.client.register("n0", expected["n0"]))
        assert states(daemon) == {name: "awaited" for name in expected}
        assert history(daemon.state) == []


# --- without a listener ---------------------------------------------------------------------------


def test_row_without_a_listener_is_awaited_for_the_grace_and_then_dropped(daemon):
    """Some announce a port nobody listens on; OTP comes back after 12 s at worst."""
    with daemon.client.register("portless", 1), daemon.client.register("listening", listen=True) as listening:
        daemon.kill9()
        daemon.start()
        began = time.monotonic()
        assert first_answer(daemon) == {"portless": 1, "listening": listening.port}
        time.sleep(GRACE - 1.5 - (time.monotonic() - began))
        assert daemon.client.port_please("portless").port == 1
        wait_for(lambda: daemon.client.port_please("portless") is None, "end of the grace", timeout=4)
        assert GRACE - 1 < time.monotonic() - began < GRACE + 3
        wait_for(lambda: history(daemon.state) == [("portless", "did-not-return")], "history")
        assert first_answer(daemon) == {"listening": listening.port}


def test_row_without_a_listener_yields_to_a_newcomer(daemon):
    """P4: nothing says that its holder is alive."""
    with daemon.client.register("a", 1) as a:
        daemon.kill9()
        daemon.start()
        with daemon.client.register("a", 2) as newcomer:
            assert first_answer(daemon) == {"a": 2}
            assert newcomer.creation != a.creation
            wait_for(lambda: history(daemon.state) == [("a", "replaced")], "history")


# --- stopping -------------------------------------------------------------------------------------


def test_listener_that_closes_under_an_open_connection(daemon):
    with daemon.client.register("a", listen=True) as a:
        a.close_listener()
        wait_for(lambda: states(daemon) == {"a": "stopping"}, "state")
        assert status(daemon)["nodes"]["stopping"] == 1
        # The match may have been wrong: it is not dropped on that evidence alone.
        assert first_answer(daemon) == {"a": a.port}
        assert a.is_open()
        with daemon.client.register("a", listen=True) as newcomer:
            assert newcomer.creation != a.creation
            assert first_answer(daemon) == {"a": newcomer.port}
            wait_for(lambda: history(daemon.state) == [("a", "replaced")], "history")
            wait_for(lambda: not a.is_open(), "close of the old connection")


def test_node_whose_listener_was_never_seen_does_not_yield(daemon):
    with daemon.client.register("a", free_port()):
        with pytest.raises(Refused):
            daemon.client.register("a", listen=True)


def n_lost_announcements(daemon):
    """Of the kernel's announcements for the daemon, those that found no room (the column Drops of /proc/net/netlink)."""
    links = [os.readlink(link) for link in Path(f"/proc/{daemon.pid}/fd").iterdir()]
    rows = [line.split() for line in Path("/proc/net/netlink").read_text().splitlines()[1:]]
    return sum(int(row[8]) for row in rows if f"socket:[{row[9]}]" in links)


class Announcements:
    """What the kernel tells of listening sockets that close, as the daemon hears it."""

    NETLINK_SOCK_DIAG, INET_TCP_DESTROY, SO_COOKIE = 4, 1, 57

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, self.NETLINK_SOCK_DIAG)
        self.sock.bind((0, 1 << self.INET_TCP_DESTROY - 1))
        self.sock.setblocking(False)

    def cookies(self):
        """Of those that have closed since the last time, as far as they found room."""
        found = set()
        while True:
            try:
                message = self.sock.recv(4096)
            except BlockingIOError:
                return found
            except OSError:  # ENOBUFS: some found no room
                continue
            found.add(message[60:68])  # behind nlmsghdr, four bytes, ports, addresses and interface

    def wait_until_all_are_sent(self):
        """The kernel sends them when it has time, those of one processor in their order: until it tells of one that we close
        now."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.create_server(("127.0.0.1", 0)) as marker:
                cookie = marker.getsockopt(socket.SOL_SOCKET, self.SO_COOKIE, 8)
            with contextlib.suppress(AssertionError):
                wait_for(lambda: cookie in self.cookies(), "an announcement", 0.5, interval=0.001)
                return
        raise AssertionError("the kernel announces nothing")

    def close(self):
        self.sock.close()


@contextlib.contextmanager
def on_one_processor():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_more_listeners_that_close_than_the_kernel_can_announce(daemon):
    """What is lost of its announcements is made good by asking about every node."""
    if int(Path("/proc/sys/net/core/rmem_max").read_text()) > 5 * 1024 * 1024:
        pytest.skip("the kernel's queue may hold more than we want to send")
    with closing_all() as nodes, contextlib.closing(Announcements()) as announcements, on_one_processor():
        nodes += [daemon.client.register(f"n{i}", listen=True) for i in range(400)]
        daemon.kill9()
        daemon.start()
        assert len(first_answer(daemon)) == 400
        daemon.signal(signal.SIGSTOP)
        for _ in range(25000):
            socket.create_server(("127.0.0.1", 0)).close()
        announcements.wait_until_all_are_sent()
        wait_for(lambda: n_lost_announcements(daemon), "announcements that find no room")
        lost = n_lost_announcements(daemon)
        for node in nodes[100:]:
            node.close()
        announcements.wait_until_all_are_sent()
        wait_for(lambda: n_lost_announcements(daemon) >= lost + 300, "as many that find no room")
        daemon.signal(signal.SIGCONT)
        expected = {node.name: node.port for node in nodes[:100]}
        wait_for(lambda: dict(daemon.client.names()) == expected, "end of those that closed")
        wait_for(lambda: len(names_on_disk(daemon.state)) == 100, "their rows' end")
        assert counter(daemon, "evidence.lost") >= 1
        assert "Some of the kernel's announcements were lost" in daemon.log()


# --- another boot ---------------------------------------------------------------------------------


def test_rows_of_another_boot_are_history(daemon):
    daemon.stop()
    daemon.env["ROLLCALL_BOOT_ID"] = uuid.uuid4().hex
    daemon.start()
    with closing_all([daemon.client.register(f"n{i}", listen=True) for i in range(3)]):
        daemon.kill9()
        daemon.env["ROLLCALL_BOOT_ID"] = uuid.uuid4().hex
        daemon.start()
        # Listeners with such cookies there may be: cookies begin anew with each boot.
        assert first_answer(daemon) == {}
        wait_for(lambda: len(history(daemon.state)) == 3, "history")
        assert {how for _, how in history(daemon.state)} == {"machine-restarted"}
        with daemon.client.register("n0", listen=True):
            assert [name for name, _ in daemon.client.names()] == ["n0"]


def test_boot_id_with_dashes_is_the_same(daemon):
    daemon.stop()
    boot = uuid.uuid4()
    daemon.env["ROLLCALL_BOOT_ID"] = str(boot)
    daemon.start()
    with daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        daemon.env["ROLLCALL_BOOT_ID"] = boot.hex
        daemon.start()
        assert first_answer(daemon) == {"a": a.port}


def test_equal_boot_id_and_cookie_of_another_kernel_prove_nothing(daemon):
    """As where a file is carried into another container of the same machine: no such socket is here."""
    with daemon.client.register("a", listen=True):
        daemon.kill9()
        with database(daemon.state, writable=True) as handle:
            handle.execute("UPDATE registrations SET listener_cookie = listener_cookie + 1000000000")
        daemon.start()
        assert first_answer(daemon) == {}


# --- blind ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def blind_daemon(directory=None):
    """Its sockets are of our network namespace, itself it runs in another: it cannot see our listeners."""
    with Namespace() as elsewhere, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(100)
        port = sock.getsockname()[1]
        daemon = Daemon(port=port, listen=False, sockets=[("epmd", sock)], wrapper=elsewhere.prefix, directory=directory)
        with daemon:
            yield daemon


@needs_root
def test_blind_daemon_says_so_and_serves():
    with blind_daemon() as daemon, daemon.client.register("a", listen=True) as a:
        assert "Connections alone count" in daemon.log()
        assert status(daemon)["evidence"] == ["connections"]
        assert "another network namespace" in status(daemon)["blind"]
        assert first_answer(daemon) == {"a": a.port}
        with pytest.raises(Refused):
            daemon.client.register("a", listen=True)
        a.close_listener()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("Looked again")
        with pytest.raises(Refused):
            daemon.client.register("a", listen=True)
        unregister(a)
        with daemon.client.register("a", listen=True):
            assert dict(states(daemon)) == {"a": "up"}


@needs_root
def test_blind_daemon_gives_rows_the_grace():
    with blind_daemon() as daemon, daemon.client.register("a", listen=True) as a, daemon.client.register("b", listen=True) as b:
        daemon.kill9()
        b.close()
        daemon.start()
        began = time.monotonic()
        assert first_answer(daemon) == {"a": a.port, "b": b.port}, "nothing says that b is dead"
        with daemon.client.register("a", a.port):
            wait_for(lambda: first_answer(daemon) == {"a": a.port}, "end of the grace", timeout=GRACE + 3)
            assert GRACE - 1 < time.monotonic() - began < GRACE + 3
            wait_for(lambda: ("b", "did-not-return") in history(daemon.state), "history")


@needs_root
def test_blind_daemon_takes_loopback_for_local_and_nothing_else():
    with blind_daemon() as daemon, daemon.client.register("a", 1):
        assert daemon.client.names() == [("a", 1)]
        assert EpmdClient(daemon.port, source=("127.0.0.9", 0)).names() == [("a", 1)]


@needs_root
def test_daemon_that_was_blind_and_sees_again_judges_by_what_it_sees():
    """Rows that were written by a blind daemon name no listener: they get the grace."""
    with blind_daemon() as daemon, daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        daemon.wrapper = []
        daemon.start()
        assert "listeners" in status(daemon)["evidence"] and status(daemon)["blind"] is None
        assert first_answer(daemon) == {"a": a.port}
        with daemon.client.register("a", a.port):
            assert names_on_disk(daemon.state) == {"a": (a.port, "up")}
            ((cookie,),) = query(daemon.state, "SELECT listener_cookie FROM registrations")
            assert cookie, "from now on it is known"


# --- real nodes -----------------------------------------------------------------------------------


def test_real_node_is_found_before_it_has_come_back_and_keeps_its_row(daemon):
    with ErlangNode("a", epmd_port=daemon.port) as node:
        port = daemon.client.port_please("a").port
        creation = query(daemon.state, "SELECT creation FROM registrations")
        daemon.kill9()
        daemon.start()
        assert first_answer(daemon) == {"a": port}
        assert n_awaited(daemon) == 1
        wait_for(lambda: n_awaited(daemon) == 0, "return of the node", timeout=15)
        assert first_answer(daemon) == {"a": port}
        assert query(daemon.state, "SELECT creation FROM registrations") == creation
        assert node.eval("node()") == "a@localhost"


def test_real_node_that_was_killed_while_the_daemon_was_away(daemon):
    with ErlangNode("a", epmd_port=daemon.port) as node:
        daemon.kill9()
        node.kill9()
        daemon.start()
        assert first_answer(daemon) == {}
        with ErlangNode("a", epmd_port=daemon.port):
            assert [name for name, _ in daemon.client.names()] == ["a"]
