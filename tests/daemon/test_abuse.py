# SPDX-License-Identifier: Apache-2.0
"""P6: what clients can do to the daemon and to each other. Times are bounds that a loaded machine keeps, not
benchmarks."""

import contextlib
import os
import re
import resource
import socket
import struct
import threading
import time

import pytest

from daemon.helpers import (
    allow_descriptors,
    closing_all,
    counter,
    cpu_seconds,
    descriptor_limit,
    is_sanitized,
    needs_root,
    resident_bytes,
    status,
)
from lib.daemon import Daemon
from lib.epmd_client import Alive2Reply, Refused, alive2, frame, is_closed, receive_all, receive_exactly, reset
from lib.netns import Namespace
from lib.process import wait_for

MB = 1024 * 1024
FOUR_BYTES = "\U0001f3a9"

# --- many at once ---------------------------------------------------------------------------------


def register_many(client, names, batch=250):
    """Registers the names {name: port}, many at a time; the open sockets."""
    sockets, items = [], list(names.items())
    for start in range(0, len(items), batch):
        fresh = []
        for name, port in items[start : start + batch]:
            sock = client.connect()
            sockets.append(sock)
            sock.sendall(frame(alive2(name, port)))
            fresh.append(sock)
        for sock in fresh:
            reply = Alive2Reply.decode(receive_exactly(sock, 6))
            assert reply.result == 0, reply
    return sockets


def many_names(n, n_longest):
    """n different names of 1 to 255 characters, of which n_longest have 255, some of them of four bytes each."""
    names = {}
    for i in range(n):
        name = f"n{i}"
        if i < n_longest:
            name = name.ljust(255, FOUR_BYTES if i % 20 == 0 else "x")
        elif i % 7 == 0:
            name = name.ljust(6 + i % 120, "y")
        names[name] = i % 65535 + 1
    return names


def names_lines(names):
    """What NAMES has to say behind the port, sorted."""
    return sorted(f"name {name} at port {port}\n".encode() for name, port in names.items())


def sorted_lines(answer):
    return sorted(answer[4:].splitlines(keepends=True))


def idle_connections(client, n):
    return [client.connect() for _ in range(n)]


def slow_reader(client, request=b"n", room=2048):
    """A connection whose answer is asked for and not read, with little room for it in the kernel."""
    with client.network.entered() if client.network else contextlib.nullcontext():
        sock = socket.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.settimeout(10)
    sock.connect((client.host, client.port))
    sock.sendall(frame(request))
    return sock


@contextlib.contextmanager
def slow_network():
    """A network whose sockets hold little, so that an answer that is not read stays with the daemon; or, for others than
    root, nothing."""
    if os.geteuid() != 0:
        yield None
        return
    with Namespace() as namespace:
        namespace.run("sh", "-c", "echo 4096 16384 16384 > /proc/sys/net/ipv4/tcp_wmem")
        yield namespace


# --- nobody delays anybody ------------------------------------------------------------------------


def assert_others_are_served(client, n=100, within=10.0):
    """Lookups, listings and registrations by others are answered: whoever waited for one of those who do nothing would wait for a
    minute."""
    for i in range(n):
        began = time.monotonic()
        assert client.port_please("unknown") is None
        with client.register(f"other{i}", i):
            assert client.port_please(f"other{i}").port == i
        assert client.names_raw()[:4] == struct.pack(">I", client.port)
        took = time.monotonic() - began
        assert took < within, f"round {i} took {took:.3f} s"


def do_nothing(client):
    return idle_connections(client, 100)


def send_half_a_request(client):
    sockets = idle_connections(client, 100)
    for i, sock in enumerate(sockets):
        request = frame(alive2("half", 1))
        sock.sendall(request[: i % len(request)])
    return sockets


def do_not_read_names(client):
    return [slow_reader(client) for _ in range(100)]


def do_not_read_dump(client):
    return [slow_reader(client, b"d") for _ in range(100)]


def send_garbage(client):
    sockets = idle_connections(client, 100)
    for i, sock in enumerate(sockets):
        with contextlib.suppress(OSError):
            sock.sendall(bytes([i % 256]) * (1 + i * 37))
    return sockets


@pytest.mark.parametrize("abuse", [do_nothing, send_half_a_request, do_not_read_names, do_not_read_dump, send_garbage])
def test_client_cannot_delay_others(abuse):
    names = {f"{i}".ljust(255, FOUR_BYTES): i for i in range(1000)}
    with Daemon() as daemon, closing_all(register_many(daemon.client, names)), closing_all(abuse(daemon.client)):
        assert_others_are_served(daemon.client)


def test_clients_that_write_a_byte_at_a_time_cannot_delay_others(daemon):
    requests = [frame(b"n"), frame(b"z" + b"unknown"), frame(alive2("slow", 1)), frame(b"d")]
    stop = threading.Event()

    def trickle():
        with closing_all(idle_connections(daemon.client, 100)) as sockets:
            for at in range(1000):
                for i, sock in enumerate(sockets):
                    request = requests[i % len(requests)]
                    with contextlib.suppress(OSError):
                        sock.sendall(request[at : at + 1])
                if stop.wait(0.2):
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert_others_are_served(daemon.client)
    finally:
        stop.set()
        thread.join()


REQUESTS_TO_BREAK = {
    "names": frame(b"n"),
    "lookup": frame(b"zname"),
    "registration": frame(alive2("broken", 1, extra=b"extra")),
    "dump": frame(b"d"),
    "garbage": frame(b"Q" + b"x" * 10),
}


@pytest.mark.parametrize("which", REQUESTS_TO_BREAK)
def test_reset_at_every_point_harms_nobody(daemon, which):
    request = REQUESTS_TO_BREAK[which]
    with daemon.client.register("name", 1):
        for at in range(len(request) + 1):
            for pause in (False, True):
                sock = daemon.client.connect()
                for byte in request[:at]:
                    with contextlib.suppress(OSError):
                        sock.sendall(bytes([byte]))
                if pause:
                    # Until the daemon has seen what came so far, in the end the answer.
                    assert daemon.client.port_please("name").port == 1
                reset(sock)
        wait_for(lambda: daemon.client.names() == [("name", 1)], "end of what was broken off")
        assert_others_are_served(daemon.client, 10)
    wait_for(lambda: status(daemon)["connections"]["open"] <= 1, "close of every connection")


def test_reset_of_registered_connections_unregisters(daemon):
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(daemon.client.register(f"n{i}", i)) for i in range(50)]
        for node in nodes:
            node.reset_connection()
        wait_for(lambda: daemon.client.names() == [], "end of all")


# --- 15,000 names ---------------------------------------------------------------------------------


@pytest.fixture(scope="class")
def crowded():
    """A daemon with 15,000 names, as NAMES has to tell them."""
    if allow_descriptors() < 17000:
        pytest.skip("RLIMIT_NOFILE does not allow 17,000 descriptors")
    names = many_names(15000, 1000)
    args = ["--max-nodes-per-uid", "16000", "--log-level", "warning"]
    with slow_network() as network, Daemon(*args, wrapper=network.prefix if network else []) as daemon:
        daemon.client.timeout, daemon.client.network = 60, network
        with closing_all(register_many(daemon.client, names)):
            yield daemon, names


class Test15000Names:
    def test_names_of_15000_nodes_are_complete_and_correct(self, crowded):
        daemon, names = crowded
        answer = daemon.client.names_raw()
        assert answer[:4] == struct.pack(">I", daemon.port)
        assert sorted_lines(answer) == names_lines(names)
        for name in [*list(names)[:40], *list(names)[-40:]]:
            assert daemon.client.port_please(name).port == names[name]
        assert status(daemon)["nodes"]["total"] == 15000
        assert daemon.sql("SELECT count(*) FROM nodes") == [["15000"]]

    def test_dump_of_15000_nodes_is_complete(self, crowded):
        daemon, names = crowded
        lines = daemon.client.dump_raw()[4:].split(b"\0")
        active = {line.rsplit(b", fd = ", 1)[0] for line in lines if line.startswith(b"active name     <")}
        assert active == {f"active name     <{name}> at port {port}".encode() for name, port in names.items()}

    @needs_root
    def test_slow_readers_share_listings_while_names_come_and_go(self, crowded):
        daemon, names = crowded
        n_readers, n_text = 200, sum(map(len, names_lines(names)))
        before = resident_bytes(daemon.pid)
        with closing_all([slow_reader(daemon.client) for _ in range(n_readers)]) as readers:
            assert daemon.client.port_please("unknown") is None
            assert resident_bytes(daemon.pid) - before < 10 * n_text, "readers of one listing do not share it"

            # From here on every reader asks for another listing than the one before. What the daemon holds is bounded.
            for i in range(n_readers):
                with daemon.client.register(f"churn{i}", i):
                    readers.append(slow_reader(daemon.client))
                    # Answered after the reader's request has been taken.
                    assert daemon.client.port_please(f"churn{i}").port == i
            assert n_readers * n_text > 2 * 64 * MB
            if not is_sanitized():
                assert resident_bytes(daemon.pid) - before < 64 * MB + 20 * n_text
            assert_others_are_served(daemon.client, 5)
            assert counter(daemon, "connections.shed") > 0
            answer = receive_all(readers[-1])
            assert answer[4:].startswith(f"name churn{n_readers - 1} at port {n_readers - 1}\n".encode())
            assert set(names_lines(names)) < set(sorted_lines(answer))


def test_many_connections_that_end_at_once_delay_nobody():
    if allow_descriptors() < 17000:
        pytest.skip("RLIMIT_NOFILE does not allow 17,000 descriptors")
    # To begin with so many may take a minute.
    with Daemon("--max-nodes-per-uid", "16000", "--packet-timeout", "600", "--log-level", "warning") as daemon:
        daemon.client.timeout = 60
        for sock in register_many(daemon.client, {f"n{i}": i for i in range(15000)}):
            sock.close()
        assert_others_are_served(daemon.client, 20)
        wait_for(lambda: daemon.client.names() == [], "end of all", timeout=15)
        with closing_all(idle_connections(daemon.client, 15000)) as idle:
            for sock in idle:
                sock.sendall(b"\0")
            assert_others_are_served(daemon.client, 20)
        assert daemon.stop() == 0


# --- time -----------------------------------------------------------------------------------------


class Watcher:
    """Notes when the daemon gives up which connection (its log tells it, since a client that does not read cannot see it),
    and lets the clients act meanwhile."""

    def __init__(self, daemon):
        self.daemon, self.sockets, self.actions, self.ended = daemon, {}, {}, {}

    def add(self, name, sock, action=None):
        """`action(sock)` runs every 0.4 s."""
        self.sockets[name] = (sock, f"127.0.0.1:{sock.getsockname()[1]}: timed out", time.monotonic())
        self.actions[name] = action

    def run(self, timeout):
        deadline, due = time.monotonic() + timeout, 0.0
        while len(self.ended) < len(self.sockets) and time.monotonic() < deadline:
            if time.monotonic() >= due:
                due = time.monotonic() + 0.4
                self._act()
            log = self.daemon.log()
            for name, (_, line, since) in self.sockets.items():
                if line in log:
                    self.ended.setdefault(name, time.monotonic() - since)
            time.sleep(0.02)

    def _act(self):
        for name, action in self.actions.items():
            if action and name not in self.ended:
                with contextlib.suppress(OSError):
                    action(self.sockets[name][0])


TIMES = {  # seconds with --packet-timeout 1
    "silent": (1, 6),
    "half a request": (1, 6),
    "a byte every 0.4 s": (5, 10),
    "an answer not read": (1, 6),
    "an answer read slowly": (10, 15),
}


def read_some(sock):
    sock.setblocking(False)
    sock.recv(16384)


@needs_root
def test_limits_of_time():
    """Silence ends a connection after --packet-timeout and at most 5 s more, from the last byte on; a whole request may
    take 5 times as long, a whole answer 10 times. Registered connections have no limit."""
    names = {f"{i}".ljust(255, FOUR_BYTES): i for i in range(1500)}
    with (
        slow_network() as network,
        Daemon("--packet-timeout", "1", "--debug", wrapper=network.prefix) as daemon,
        closing_all() as sockets,
    ):
        daemon.client.network = network
        sockets += register_many(daemon.client, names)
        daemon.log_path.write_text("")
        watcher = Watcher(daemon)

        def add(name, sock, action=None):
            sockets.append(sock)
            watcher.add(name, sock, action)

        add("silent", daemon.client.connect())
        half = daemon.client.connect()
        half.sendall(b"\0")
        time.sleep(0.5)
        half.sendall(b"\x10")
        add("half a request", half)
        trickle = daemon.client.connect()
        trickle.sendall(struct.pack(">H", 3000))
        add("a byte every 0.4 s", trickle, lambda sock: sock.sendall(b"n"))
        add("an answer not read", slow_reader(daemon.client))
        add("an answer read slowly", slow_reader(daemon.client, room=16384), read_some)
        watcher.run(25)

        for name, (least, most) in TIMES.items():
            # What we measure begins and ends a little away from what the daemon measures.
            assert least - 0.05 <= watcher.ended.get(name, 999) <= most + 0.5, (name, watcher.ended)
        assert counter(daemon, "connections.timed-out") == len(TIMES)
        assert len(daemon.client.names()) == len(names), "registered connections have no limit"


# --- numbers --------------------------------------------------------------------------------------


def test_more_than_1024_connections(daemon):
    allow_descriptors()
    with closing_all(idle_connections(daemon.client, 3000)) as idle:
        assert daemon.client.port_please("unknown") is None
        with daemon.client.register("a", 1):
            assert daemon.client.names() == [("a", 1)]
        assert not any(is_closed(sock) for sock in idle)
        idle[0].sendall(frame(b"n"))
        assert receive_all(idle[0]) == struct.pack(">I", daemon.port)
        assert counter(daemon, "connections.shed") == 0


def assert_calm(daemon, seconds=1.0):
    """It neither spins nor floods the log."""
    cpu, log = cpu_seconds(daemon.pid), len(daemon.log())
    time.sleep(seconds)
    assert cpu_seconds(daemon.pid) - cpu < 0.25 * seconds
    assert daemon.log().count("\n", log) < 30 * seconds


@pytest.fixture
def narrow():
    """A daemon that may have 256 descriptors."""
    with Daemon("--max-nodes-per-uid", "10000", wrapper=descriptor_limit(256)) as daemon:
        yield daemon


def test_at_the_bound_the_oldest_unregistered_connection_goes_first(narrow):
    client, bound = narrow.client, status(narrow)["connections"]["max"]
    assert 100 < bound < 256
    with closing_all(register_many(client, {f"n{i}": i for i in range(40)})) as nodes:
        with closing_all(idle_connections(client, bound + 100)) as idle:
            assert client.port_please("n0").port == 0
            wait_for(lambda: is_closed(idle[99]), "close of the oldest")
            assert not any(is_closed(sock) for sock in nodes)
            first_open = next(i for i, sock in enumerate(idle) if not is_closed(sock))
            assert first_open >= 100
            assert not any(is_closed(sock) for sock in idle[first_open:]), "not the oldest went"
            with client.register("late", 1):
                assert len(client.names()) == 41
            assert_calm(narrow)
        assert narrow.log().count("Too many connections") <= 60, "the log is flooded"
    assert narrow.is_running()


def limit_running(daemon, n=None):
    """Lets it have n descriptors, or again as many as before."""
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (n or hard, hard))


def highest_descriptor(daemon):
    return max(int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd"))


def test_without_descriptors_the_oldest_unregistered_connection_goes_first(daemon):
    """EMFILE itself, long before any bound of our own."""
    client = daemon.client
    with closing_all(register_many(client, {f"n{i}": i for i in range(30)})) as nodes, closing_all() as idle:
        idle += idle_connections(client, 20)
        assert client.port_please("n1").port == 1
        limit_running(daemon, highest_descriptor(daemon) + 1)
        for i in range(50):
            idle.append(client.connect())
            assert client.port_please("n2").port == 2
        assert all(is_closed(sock) for sock in idle[:20])
        assert not is_closed(idle[-1])
        assert not any(is_closed(sock) for sock in nodes)
        assert_calm(daemon)
        limit_running(daemon)
        assert len(client.names()) == 30


def n_said(daemon, words):
    """How often, with those that were not logged because there were many."""
    lines = [line for line in daemon.log().splitlines() if words in line]
    left_out = [re.search(r"\((\d+) more messages of this kind", line) for line in lines]
    return len(lines) + sum(int(match[1]) for match in left_out if match)


def test_without_descriptors_and_with_nothing_to_shed_the_daemon_rests(daemon):
    client = daemon.client
    with closing_all(register_many(client, {f"n{i}": i for i in range(30)})) as nodes:
        began = time.monotonic()
        limit_running(daemon, highest_descriptor(daemon) + 1)
        with closing_all(idle_connections(client, 100)) as waiting:
            assert_calm(daemon, 2.0)
            # Ten times a second it tries. (On a machine that is busy, what spins need not take much time.)
            assert 1 <= n_said(daemon, "No connection can be accepted") <= 10 * (time.monotonic() - began) + 5
            assert daemon.is_running()
            assert not any(is_closed(sock) for sock in nodes)
            limit_running(daemon)
            assert len(client.names()) == 30, "those that waited are served again"
            waiting[-1].sendall(frame(b"zn1"))
            assert receive_all(waiting[-1])[:2] == b"w\0"


# --- users ----------------------------------------------------------------------------------------

NOBODY = 65534


def register_as(uid, client, names):
    """In a child of that uid: the results of its registrations, which it holds until told to end."""
    results_read, results_write = os.pipe()
    hold_read, hold_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hold_write)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            held = []
            for name in names:
                try:
                    held.append(client.register(name, 1))
                    os.write(results_write, b"\0")
                except Refused as refused:
                    os.write(results_write, bytes([refused.reply.result]))
            os.read(hold_read, 1)
        finally:
            os._exit(0)
    os.close(hold_read)
    os.close(results_write)
    results = b""
    while len(results) < len(names) and (piece := os.read(results_read, 1)):
        results += piece
    os.close(results_read)
    return pid, hold_write, list(results)


@needs_root
def test_one_user_cannot_take_the_room_of_others():
    with Daemon("--max-nodes-per-uid", "5") as daemon:
        pid, hold, results = register_as(NOBODY, daemon.client, [f"n{i}" for i in range(8)])
        try:
            assert results == [0, 0, 0, 0, 0, 1, 1, 1]
            assert counter(daemon, "refused.uid-limit") == 3
            with daemon.client.register("n7", 1), daemon.client.register("n8", 1):
                assert len(daemon.client.names()) == 7, "another user is not bounded by it"
        finally:
            os.close(hold)
            os.waitpid(pid, 0)
        wait_for(lambda: daemon.client.names() == [], "end of all")
        pid, hold, results = register_as(NOBODY, daemon.client, ["again"])
        os.close(hold)
        os.waitpid(pid, 0)
        assert results == [0], "what has ended does not count"


def test_one_user_may_by_default_register_half_of_what_the_daemon_holds():
    with Daemon(wrapper=descriptor_limit(256)) as daemon:
        bound = status(daemon)["connections"]["max"]
        most = status(daemon)["nodes"]["max_per_uid"]
        assert bound // 3 <= most <= bound // 2 + 1
        with closing_all(register_many(daemon.client, {f"n{i}": i for i in range(most)}, batch=20)):
            with pytest.raises(Refused):
                daemon.client.register("one_more", 1)
            assert len(daemon.client.names()) == most
