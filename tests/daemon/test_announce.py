# SPDX-License-Identifier: Apache-2.0
"""A node, or a script of its unit, tells of itself: its full name, that it is ready or draining, a few pairs. On the
control socket and over TCP."""

import contextlib
import random
import socket
import struct
import time

import pytest

from daemon.helpers import SickDisk, ask_as, closing_all, counter, end_orderly, needs_root, query, registered_as
from lib.control_client import ControlClient, ControlError, put_fields, put_request
from lib.daemon import Daemon
from lib.epmd_client import EpmdClient, alive2, frame, receive_all
from lib.netns import Namespace, join
from lib.process import wait_for

STRANGER = 54321
WHO_MAY = {"control": "Only the user who registered the name, or root, may announce for it.",
           "tcp": "Over TCP only the user who registered the name may announce for it."}


@pytest.fixture(params=["control", "tcp"])
def desk(request, daemon):
    """A ControlClient of `daemon`."""
    return ControlClient(daemon.control if request.param == "control" else ("127.0.0.1", daemon.port))


def announce(client, **fields):
    """The node's record afterwards."""
    (record,) = client.request("ANNOUNCE", **fields)
    assert record.kind == "NODE"
    return record


def refusal(client, **fields):
    with pytest.raises(ControlError) as refused:
        announce(client, **fields)
    return refused.value


def node(daemon, name="a"):
    (found,) = [record for record in ControlClient(daemon.control).request("NAMES") if record["NAME"] == name]
    return found


# --- what is told ---------------------------------------------------------------------------------


def test_what_is_announced_is_told_and_on_disk(daemon, desk):
    with daemon.client.register("a", listen=True) as a:
        record = announce(desk, NAME="a", HOST="mail.example.org", ANNOUNCED="ready", PAIR={"role": "db", "zone": "1"})
        assert (record["STATE"], record["STATE_SOURCE"]) == ("ready", "announcement")
        assert (record["HOST"], record["ANNOUNCED"], record["PAIR"]) == ("mail.example.org", "ready", {"role": "db", "zone": "1"})
        daemon.kill9()
        assert query(daemon.state, "SELECT state, state_source, host FROM nodes") == [("ready", "announcement", "mail.example.org")]
        assert query(daemon.state, "SELECT key, value FROM metadata ORDER BY key") == [("role", "db"), ("zone", "1")]
        daemon.start()
        record = node(daemon)
        assert (record["HOST"], record["ANNOUNCED"], record["PAIR"]) == ("mail.example.org", "ready", {"role": "db", "zone": "1"})
        assert record["STATE"] == "awaited"
        with daemon.client.register("a", a.port):
            assert node(daemon)["STATE"] == "ready"


def test_one_thing_after_the_other(daemon, desk):
    with daemon.client.register("a", 1):
        announce(desk, NAME="a", HOST="h1", PAIR={"k": "1", "l": "1"})
        announce(desk, NAME="a", ANNOUNCED="ready", PAIR={"k": "2"})
        assert announce(desk, NAME="a")["PAIR"] == {"k": "2", "l": "1"}
        record = announce(desk, NAME="a", ANNOUNCED="draining")
        assert (record["STATE"], record["HOST"], record["PAIR"]) == ("stopping", "h1", {"k": "2", "l": "1"})
        assert announce(desk, NAME="a", ANNOUNCED="ready")["STATE"] == "ready"


def test_a_draining_node_is_still_found_and_holds_its_name(daemon, desk):
    with daemon.client.register("a", 1):
        announce(desk, NAME="a", ANNOUNCED="draining")
        assert daemon.client.port_please("a").port == 1
        with daemon.client.connect() as sock:
            sock.sendall(frame(alive2("a", 2)))
            began = time.monotonic()
            assert receive_all(sock)[:2] == b"v\1"
            assert time.monotonic() - began < 2


def test_with_its_node_all_of_it_is_gone(daemon, desk):
    with daemon.client.register("a", 1):
        announce(desk, NAME="a", ANNOUNCED="ready", HOST="h", PAIR={"k": "v"})
    wait_for(lambda: not daemon.client.names(), "its end")
    assert refusal(desk, NAME="a", ANNOUNCED="ready").word == "not-found"
    with daemon.client.register("a", 1):
        record = node(daemon)
        assert [record.get(field) for field in ("HOST", "ANNOUNCED", "PAIR")] == [None, None, None]
        assert record["STATE"] == "up"
    assert query(daemon.state, "SELECT count(*) FROM metadata") == [(0,)]


def test_of_many_announcements_the_last_counts(daemon, desk):
    with daemon.client.register("a", 1):
        for i in range(300):
            announce(desk, NAME="a", ANNOUNCED=("ready", "draining")[i % 2], PAIR={"n": str(i)})
        assert node(daemon)["PAIR"] == {"n": "299"}
        assert query(daemon.state, "SELECT value FROM metadata") == [("299",)]


# --- what is none ---------------------------------------------------------------------------------

BAD = {
    "no name": put_fields(ANNOUNCED="ready"),
    "empty name": put_fields(NAME="", ANNOUNCED="ready"),
    "name with a line feed": put_fields(NAME="a\n"),
    "name with a zero byte": put_fields(NAME="a\0"),
    "name that is not UTF-8": put_fields(NAME=b"\xff"),
    "name that is too long": put_fields(NAME="a" * 256),
    "scope that is none": put_fields(NAME="a", SCOPE="everywhere"),
    "empty scope": put_fields(NAME="a", SCOPE=""),
    "scope with a zero byte": put_fields(NAME="a", SCOPE="*\0"),
    "unknown word": put_fields(NAME="a", ANNOUNCED="up"),
    "empty word": put_fields(NAME="a", ANNOUNCED=""),
    "word with a zero byte": put_fields(NAME="a", ANNOUNCED=b"ready\0"),
    "empty host": put_fields(NAME="a", HOST=""),
    "host with a blank": put_fields(NAME="a", HOST="a b"),
    "host with an @": put_fields(NAME="a", HOST="a@b"),
    "host with a zero byte": put_fields(NAME="a", HOST="a\0b"),
    "host that is not UTF-8": put_fields(NAME="a", HOST=b"\xc3"),
    "host with an escape": put_fields(NAME="a", HOST="\x1b[2J"),
    "host that is too long": put_fields(NAME="a", HOST="h" * 256),
    "pair without a value": put_fields(NAME="a", PAIR=[b"key"]),
    "empty pair": put_fields(NAME="a", PAIR=[b""]),
    "empty key": put_fields(NAME="a", PAIR=[b"\0v"]),
    "key with a blank": put_fields(NAME="a", PAIR=[b"k k\0v"]),
    "key that is not ASCII": put_fields(NAME="a", PAIR=["k\xe9\0v".encode()]),
    "key that is too long": put_fields(NAME="a", PAIR=[b"k" * 65 + b"\0v"]),
    "value with a line feed": put_fields(NAME="a", PAIR=[b"k\0v\n"]),
    "value with a zero byte": put_fields(NAME="a", PAIR=[b"k\0v\0"]),
    "value that is not UTF-8": put_fields(NAME="a", PAIR=[b"k\0\xff"]),
    "value that is too long": put_fields(NAME="a", PAIR=[b"k\0" + b"v" * 257]),
    "33 pairs": put_fields(NAME="a", PAIR={f"k{i}": "v" for i in range(33)}),
    "field over the end": put_fields(NAME="a") + b"\0\x10\0\2a",
    "field without a length": put_fields(NAME="a") + b"\0\x10\0",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_none_is_told_and_changes_nothing(daemon, what):
    body = b"LRC\x01\x07" + BAD[what]
    with daemon.client.register("a", 1):
        before = node(daemon)
        for address in (daemon.control, ("127.0.0.1", daemon.port)):
            data = ask_raw(address, frame(body))
            assert error_of(data) == 1, data
        assert node(daemon) == before


def ask_raw(address, data):
    client = ControlClient(address)
    with contextlib.closing(client_socket(client)) as sock:
        sock.sendall(data)
        return receive_all(sock)


def client_socket(client):
    if isinstance(client.address, tuple):
        return socket.create_connection(client.address, 20)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(client.address))
    return sock


def error_of(data):
    """The number of an answer that is one ERROR record; None for another answer."""
    assert data[:4] == b"LRC\x01", data
    if data[8] != 65:
        return None
    tag, n, error = struct.unpack(">HHH", data[9:15])
    assert (tag, n) == (1, 2)
    return error


def test_bounds_can_be_reached(daemon, desk):
    with daemon.client.register("a", 1):
        pairs = {f"{i:064}": f"{i:0256}" for i in range(32)}
        for key, value in pairs.items():
            announce(desk, NAME="a", PAIR={key: value})
        assert announce(desk, NAME="a", HOST="h" * 255)["PAIR"] == pairs
        assert refusal(desk, NAME="a", PAIR={"one-more": "v"}).word == "malformed"
        record = announce(desk, NAME="a", PAIR={"0" * 64: "\u00e9" * 128})
        assert record["PAIR"] == {**pairs, "0" * 64: "\u00e9" * 128}


def test_a_request_that_is_longer_than_any_is_closed(daemon, desk):
    with daemon.client.register("a", 1):
        data = ask_raw(desk.address, put_request("ANNOUNCE", NAME="a", PAIR={f"k{i}": "v" * 250 for i in range(30)}))
        assert data == b""
        assert announce(desk, NAME="a", ANNOUNCED="ready")


def test_a_request_may_come_byte_by_byte(daemon, desk):
    with daemon.client.register("a", 1), contextlib.closing(client_socket(desk)) as sock:
        for byte in put_request("ANNOUNCE", NAME="a", ANNOUNCED="ready"):
            sock.sendall(bytes([byte]))
            time.sleep(0.001)
        assert b"announcement" in receive_all(sock)


def test_chance_is_answered_in_words(daemon):
    chance = random.Random(4711)
    with daemon.client.register("a", 1) as a:
        for _ in range(1500):
            body = b"LRC\x01\x07" + put_fields(NAME="a")
            for _ in range(chance.randrange(4)):
                value = chance.randbytes(chance.choice((0, 1, 2, 4, 8, 20)))
                body += struct.pack(">HH", chance.choice((16, 23, 25, 32, 33, 34, 45, chance.randrange(65536))), len(value)) + value
            if chance.random() < 0.2:
                body = body[: chance.randrange(len(body) + 1)]
            if body:
                data = ask_raw(("127.0.0.1", daemon.port), frame(body))
                assert data[:4] == (b"LRC\x01" if len(body) > 2 else b"")
        assert a.is_open()
        assert daemon.client.port_please("a").port == 1


# --- who may --------------------------------------------------------------------------------------


def test_the_creation_must_be_the_nodes(daemon, desk):
    with daemon.client.register("a", 1) as a:
        assert announce(desk, NAME="a", CREATION=a.creation, ANNOUNCED="ready")["STATE"] == "ready"
        for creation in (a.creation - 1, a.creation + 1, 0, 1):
            told = refusal(desk, NAME="a", CREATION=creation, ANNOUNCED="draining")
            assert (told.word, told.text) == ("denied", "That is the creation of an earlier node of this name.")
        assert refusal(desk, NAME="a", CREATION=struct.pack(">Q", (1 << 32) + a.creation)).word == "denied"
        assert node(daemon)["STATE"] == "ready"
        old = a.creation
        end_orderly(a.sock)
        with daemon.client.register("a", 1):
            assert refusal(desk, NAME="a", CREATION=old, ANNOUNCED="ready").word == "denied"


def test_a_creation_of_16_bits_will_do(daemon, desk):
    with daemon.client.register("a", 1, highest=5) as a:
        assert a.creation in (1, 2, 3)
        assert announce(desk, NAME="a", CREATION=a.creation, ANNOUNCED="ready")
        assert announce(desk, NAME="a", CREATION=struct.pack(">H", a.creation), ANNOUNCED="ready")


def test_of_several_the_one_that_is_meant(daemon, desk):
    with closing_all() as nodes:
        for address in ("127.0.0.2", "127.0.0.3"):
            nodes.append(daemon.client.register("a", listen=True, address=address))
        assert refusal(desk, NAME="a", ANNOUNCED="ready").word == "ambiguous"
        assert announce(desk, NAME="a", SCOPE="127.0.0.3", ANNOUNCED="ready")["SCOPE"] == "127.0.0.3"
        assert announce(desk, NAME="a", CREATION=nodes[0].creation, ANNOUNCED="ready")["SCOPE"] == "127.0.0.2"
        assert refusal(desk, NAME="a", SCOPE="127.0.0.4", ANNOUNCED="ready").word == "not-found"
        assert refusal(desk, NAME="a", CREATION=7, ANNOUNCED="ready").word == "ambiguous"


@needs_root
@pytest.mark.parametrize("over", ["control", "tcp"])
def test_only_its_user_and_root_may_announce(daemon, over):
    daemon.control.chmod(0o777)
    daemon.directory.chmod(0o755)
    address = daemon.control if over == "control" else ("127.0.0.1", daemon.port)
    with daemon.client.register("roots", 1), registered_as(STRANGER, daemon, frame(alive2("theirs", 2))) as answer:
        assert answer[:2] == b"v\0"
        creation = struct.unpack(">I", answer[2:])[0]
        assert b"announcement" in ask_as(STRANGER, address, put_request("ANNOUNCE", NAME="theirs", ANNOUNCED="ready"))
        denied = ask_as(STRANGER, address, put_request("ANNOUNCE", NAME="roots", ANNOUNCED="draining"))
        assert error_of(denied) == 4 and WHO_MAY[over].encode() in denied
        # to know the creation is no right
        denied = ask_as(STRANGER + 1, address, put_request("ANNOUNCE", NAME="theirs", CREATION=creation, ANNOUNCED="draining"))
        assert error_of(denied) == 4 and WHO_MAY[over].encode() in denied
        assert announce(ControlClient(daemon.control), NAME="theirs", PAIR={"by": "root"})["STATE"] == "ready"
        assert announce(ControlClient(address), NAME="roots", PAIR={"by": "root"})["STATE"] == "up"
        if over == "tcp":  # behind root's end of it may be a proxy
            assert refusal(ControlClient(address), NAME="theirs", CREATION=creation, ANNOUNCED="draining").text == WHO_MAY[over]
        assert node(daemon, "roots")["STATE"] == "up"
    assert f"by uid {STRANGER + 1} was not carried out" in daemon.log()


# --- TCP ------------------------------------------------------------------------------------------

SOCKET_ONLY = "That is answered on the control socket only."


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 8])
def test_over_tcp_what_is_for_the_operator_is_refused_in_words(daemon, kind):
    data = ask_raw(("127.0.0.1", daemon.port), put_request(kind, NAME="a"))
    assert error_of(data) == 4 and SOCKET_ONLY.encode() in data


@pytest.mark.parametrize("kind", [0, 63, 64, 255])
def test_over_tcp_a_request_that_is_not_known_is_told_so(daemon, kind):
    assert error_of(ask_raw(("127.0.0.1", daemon.port), put_request(kind, NAME="a"))) == 3


@pytest.mark.parametrize("body", [b"LRC", b"LRC\x01\x07\0", b"LRC\x01\x09\0\x10\0\2a"])
def test_over_tcp_what_is_malformed_is_told_so(daemon, body):
    assert error_of(daemon.client.request(body)) == 1


@pytest.mark.parametrize("version", [0, 2, 9, 255])
@pytest.mark.parametrize("rest", [b"", b"\x07", b"\x07\xff\xff\xff"])
def test_over_tcp_a_version_that_is_not_spoken_is_told(daemon, version, rest):
    data = ask_raw(("127.0.0.1", daemon.port), frame(b"LRC" + bytes([version]) + rest))
    assert error_of(data) == 2
    assert data.endswith(b"\0\3\0\1\1"), "the highest version"


@pytest.mark.parametrize("body", [b"L", b"LR", b"LRX\x01\x07", b"L" * 100, b"lRC\x01\x07"])
def test_what_stock_epmd_does_not_know_is_closed_without_a_byte(daemon, stock_epmd, body):
    assert daemon.client.request(body) == b""
    assert stock_epmd.client.request(body) == b""
    assert counter(daemon, "requests.unknown") == 1 or body[:1] != b"L"


def test_a_client_that_is_told_by_stock_epmd_can_tell_that_it_is_one(stock_epmd):
    assert stock_epmd.client.request(b"LRC\x01\x07" + put_fields(NAME="a", ANNOUNCED="ready")) == b""


@needs_root
@pytest.mark.parametrize("host", ["10.99.0.1", "fd99::1"])
def test_whoever_is_not_on_this_machine_is_denied_in_words(host):
    with Namespace() as here, Namespace() as there:
        join(here, there, "10.99.0.1/24", "10.99.0.2/24", "fd99::1/64", "fd99::2/64")
        daemon = Daemon(wrapper=here.prefix)
        daemon.client.network = here
        daemon.listen = [f"*:{daemon.port}"]
        with daemon, daemon.client.register("a", 1):
            stranger = EpmdClient(daemon.port, host, network=there)
            request = put_request("ANNOUNCE", NAME="a", ANNOUNCED="ready")
            for data, word in ((request, b"Only this machine"), (put_request("ANNOUNCE", NAME="b"), b"Only this machine"),
                               (put_request("STATUS"), SOCKET_ONLY.encode()), (put_request("FIND"), b"list-from"),
                               (put_request("WATCH"), b"list-from")):  # fmt: skip
                answer = stranger.raw(data)
                assert error_of(answer) == 4 and word in answer
            assert stranger.request(b"LRX") == b""
            assert node(daemon)["STATE"] == "up"
            # this machine by that address is no stranger
            assert b"announcement" in EpmdClient(daemon.port, host, network=here).raw(request)


@needs_root
def test_where_it_cannot_be_seen_who_asks_nobody_is_believed():
    """The daemon serves a socket of another network namespace."""
    with Namespace() as elsewhere, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        daemon = Daemon(wrapper=elsewhere.prefix, listen=False, sockets=[("epmd", listener)])
        daemon.port = listener.getsockname()[1]
        daemon.client = EpmdClient(daemon.port)
        with daemon, daemon.client.register("a", 1):
            data = ask_raw(("127.0.0.1", daemon.port), put_request("ANNOUNCE", NAME="a", ANNOUNCED="ready"))
            assert error_of(data) == 4 and b"It cannot be told who asks." in data
            assert announce(ControlClient(daemon.control), NAME="a", ANNOUNCED="ready")["STATE"] == "ready"


# --- the disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["control", "tcp"])
def test_a_disk_that_hangs_delays_the_answer_for_two_seconds(over):
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon, daemon.client.register("a", 1):
        disk.set("write hang", "sync hang")
        began = time.monotonic()
        address = daemon.control if over == "control" else ("127.0.0.1", daemon.port)
        assert announce(ControlClient(address), NAME="a", ANNOUNCED="ready")["STATE"] == "ready"
        assert time.monotonic() - began < 5
        # degraded now: at once
        began = time.monotonic()
        assert announce(ControlClient(address), NAME="a", PAIR={"k": "v"})["PAIR"] == {"k": "v"}
        assert time.monotonic() - began < 1
        disk.heal()
        wait_for(lambda: query(daemon.state, "SELECT state FROM nodes") == [("ready",)], "it to be written")
        wait_for(lambda: query(daemon.state, "SELECT value FROM metadata") == [("v",)], "the pair, too")


def test_a_daemon_that_ends_answers_what_it_has_written(daemon):
    """Ended while many announce: each is answered, or closed without a byte."""
    with daemon.client.register("a", 1), closing_all() as connections:
        for i in range(50):
            connections.append(client_socket(ControlClient(daemon.control)))
            connections[-1].sendall(put_request("ANNOUNCE", NAME="a", PAIR={"n": str(i)}))
        daemon.stop()
        for sock in connections:
            data = receive_all(sock)
            assert data == b"" or data.endswith(b"\0\0\0\1\x40"), data


def test_they_are_counted(daemon, desk):
    with daemon.client.register("a", 1):
        before = counter(daemon, "requests.control")
        for _ in range(3):
            announce(desk, NAME="a", ANNOUNCED="ready")
        assert counter(daemon, "requests.control") == before + 4  # and the one that asks for it
