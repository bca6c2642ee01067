# SPDX-License-Identifier: Apache-2.0
"""The EPMD protocol, byte for byte: every request is sent to stock epmd, too, and the answers must be equal, but for
the differences that PROTOCOL.md lists."""

import contextlib
import random
import re
import select
import socket
import struct
import unicodedata

import pytest

from daemon.helpers import closing_all, end_orderly
from lib.daemon import Daemon, StockEpmd
from lib.epmd_client import C_NODE, HIDDEN, NORMAL, alive2, frame, receive_all

REFUSED_32 = b"v\x01" + struct.pack(">I", 99)
REFUSED_16 = b"y\x01" + struct.pack(">H", 99)
NOT_FOUND = b"w\x01"
BODY_MAX = 3057

# --- one exchange ---------------------------------------------------------------------------------


def is_incomplete(data):
    return len(data) < 2 or len(data) < 2 + struct.unpack(">H", data[:2])[0]


def body_of(data):
    """The body of a well-framed request, else b""."""
    return data[2:] if len(data) > 2 and struct.unpack(">H", data[:2])[0] == len(data) - 2 else b""


def exchange(client, *pieces):
    """Sends the pieces one by one; every byte that comes back. Returns when the daemon has closed."""
    data = b"".join(pieces)
    with client.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                sock.sendall(piece)
            if body_of(data)[:1] == b"x":
                answer = sock.recv(1)
                while answer and len(answer) < (6 if answer[:1] == b"v" else 4):
                    answer += sock.recv(6 - len(answer))
            if not is_incomplete(data) and body_of(data)[:1] != b"x":
                return receive_all(sock)
        return answer + end_orderly(sock)


def masked(answer, port):
    """Without what may differ: the daemon's own port (which must be right), creations given, fd numbers."""
    if answer[:4] == struct.pack(">I", port):
        answer = b"PORT" + answer[4:]
    if len(answer) == 6 and answer[:2] == b"v\x00":
        (creation,) = struct.unpack(">I", answer[2:])
        return b"v\x00creation" if creation >= 4 else answer
    if len(answer) == 4 and answer[:2] == b"y\x00":
        (creation,) = struct.unpack(">H", answer[2:])
        return b"y\x00creation" if 1 <= creation <= 3 else answer
    return re.sub(rb", fd = -?\d+", b", fd = N", answer)


# --- what may differ ------------------------------------------------------------------------------


def parse_alive2(body):
    """(highest version, name) of an ALIVE2_REQ that is laid out well, else None."""
    if len(body) < 14:
        return None
    highest, _, n_name = struct.unpack(">HHH", body[5:11])
    name, rest = body[11 : 11 + n_name], body[11 + n_name :]
    if len(name) < n_name or len(rest) < 2 or len(rest) - 2 < struct.unpack(">H", rest[:2])[0]:
        return None
    return highest, name


def has_control_character(name):
    with contextlib.suppress(UnicodeDecodeError):
        return any(unicodedata.category(character) == "Cc" for character in name.decode())
    return False


def ours_instead(data, answer):
    """What Rollcall says where stock epmd says `answer`: the same, but for the listed differences."""
    body = body_of(data)
    if body[:1] == b"x" and (parsed := parse_alive2(body)):
        highest, name = parsed
        if not name or b"\0" in name or has_control_character(name):
            return REFUSED_32 if highest >= 6 else REFUSED_16
    if body[:1] == b"z" and len(body) > 1:
        name = body[1:].removesuffix(b"\0")
        with contextlib.suppress(UnicodeDecodeError):
            if b"\0" not in name and len(name.decode()) == 255 and answer == b"":
                return NOT_FOUND
    if answer == b"NOEXISTSTOPPED":
        return b"NOEXIST"
    return answer


# --- the two, side by side ------------------------------------------------------------------------

FOUR_BYTES = "\U0001f3a9"

# name, port, more fields. What the requests below find registered, in both.
NODES = [
    ("a", 39449, {}),
    ("hidden", 1, {"type": HIDDEN}),
    ("c_node", 2, {"type": C_NODE, "highest": 6, "lowest": 6}),
    ("odd", 65535, {"type": 0, "protocol": 255, "highest": 65535, "lowest": 0}),
    ("no_port", 0, {"highest": 5, "lowest": 5}),
    ("extra", 3, {"extra": b"x\0y\xff"}),
    ("extra1020", 4, {"extra": bytes(range(255)) * 4}),
    ("n" * 254, 5, {}),
    ("\u00e4" * 254, 6, {}),
    (FOUR_BYTES * 254, 7, {}),
    ("with space", 8, {}),
    ("at@host", 9, {}),
    ("<brackets>, port = 1, fd", 10, {}),
    ("100%s%n", 11, {}),
]


class Pair:
    """`old`: the names that are not registered any more are compared in DUMP, too. They cannot be where stock epmd has
    taken names that Rollcall refuses."""

    def __init__(self, stock, ours, relaxed, old=True):
        self.stock, self.ours, self.relaxed, self.old = stock, ours, relaxed, old

    def masked(self, answer, port):
        answer = masked(answer, port)
        return answer if self.old else re.sub(rb"old/unused name <[^\0]*\0", b"", answer)

    def compare(self, *pieces):
        data = b"".join(pieces)
        by_stock = exchange(self.stock.client, *pieces)
        by_ours = exchange(self.ours.client, *pieces)
        expected = self.masked(ours_instead(data, by_stock), self.stock.port)
        assert self.masked(by_ours, self.ours.port) == expected, (data[:200], by_stock[:200], by_ours[:200])
        return by_ours


@pytest.fixture(scope="module", params=["strict", "relaxed"])
def pair(request):
    relaxed = request.param == "relaxed"
    with StockEpmd(*["-relaxed_command_check"] * relaxed) as stock, Daemon(*["--relaxed-command-check"] * relaxed) as ours:
        with closing_all() as registrations:
            for name, port, fields in NODES:
                registrations += [each.client.register(name, port, **fields) for each in (stock, ours)]
            yield Pair(stock, ours, relaxed, old=False)


BAD_UTF8 = {
    "a_lone_byte": b"\xff",
    "a_lone_continuation": b"a\x80",
    "cut_short": b"a\xc3",
    "an_overlong_nul": b"\xc0\x80",
    "an_overlong_slash": b"\xe0\x80\xaf",
    "an_overlong_of_four": b"\xf0\x80\x80\xaf",
    "a_surrogate": b"\xed\xa0\x80",
    "beyond_10ffff": b"\xf4\x90\x80\x80",
    "five_bytes": b"\xf8\x88\x80\x80\x80",
}

LOOKUPS = {
    "of_nothing": b"",
    "of_a_nul": b"\0",
    "of_another_case": b"A",
    "of_an_unknown_name": b"unknown",
    "of_a_prefix": b"hid",
    "of_a_longer_name": b"hiddenn",
    "with_a_nul_behind": b"a\0",
    "with_two_nuls_behind": b"a\0\0",
    "with_a_nul_inside": b"a\0b",
    "with_a_line_feed": b"a\n",
    "of_254_characters": b"q" * 254,
    "of_254_characters_and_a_nul": b"q" * 254 + b"\0",
    "of_255_characters": b"q" * 255,
    "of_255_characters_and_a_nul": b"q" * 255 + b"\0",
    "of_256_characters": b"q" * 256,
    "of_255_characters_of_four_bytes": FOUR_BYTES.encode() * 255,
    "of_256_characters_of_four_bytes": FOUR_BYTES.encode() * 256,
    "of_as_much_as_fits": b"q" * (BODY_MAX - 1),
    **{f"of_bad_utf8_{which}": name for which, name in BAD_UTF8.items()},
}

REGISTRATIONS = {
    "as_otp_does": alive2("new", 39450),
    "hidden": alive2("new", 1, type=HIDDEN),
    "as_ei_does": alive2("new", 1, type=C_NODE, highest=6, lowest=6),
    "with_unknown_type_and_protocol": alive2("new", 1, type=255, protocol=255),
    "at_port_0": alive2("new", 0),
    "at_port_65535": alive2("new", 65535),
    "for_a_16_bit_creation": alive2("new", 1, highest=5, lowest=5),
    "of_version_0": alive2("new", 1, highest=0, lowest=0),
    "of_version_65535": alive2("new", 1, highest=65535, lowest=65535),
    "with_lowest_above_highest": alive2("new", 1, highest=5, lowest=6),
    "of_255_characters": alive2("q" * 255, 1),
    "of_256_characters": alive2("q" * 256, 1),
    "of_255_characters_of_two_bytes": alive2("\u00e9" * 255, 1),
    "of_255_characters_of_four_bytes": alive2(FOUR_BYTES * 255, 1),
    "of_256_characters_of_four_bytes": alive2(FOUR_BYTES * 256, 1),
    "of_1021_bytes": alive2(b"q" * 1021, 1),
    "of_an_empty_name": alive2("", 1, extra=b"e"),
    "of_an_empty_name_for_a_16_bit_creation": alive2("", 1, extra=b"e", highest=5),
    "of_an_empty_name_and_nothing": alive2("", 1),
    "with_a_nul": alive2("a\0b", 1),
    "of_a_nul": alive2("\0", 1),
    "with_a_line_feed": alive2("x\nname forged at port 1", 1),
    "with_a_line_feed_for_a_16_bit_creation": alive2("x\n", 1, highest=5),
    "with_a_tab": alive2("a\tb", 1),
    "with_a_delete": alive2("a\x7f", 1),
    "with_a_c1_control": alive2("a\u0085", 1),
    "with_a_line_separator": alive2("a\u2028", 1),
    "with_a_space": alive2("a b", 1),
    "with_an_at_sign": alive2("new@host", 1),
    "with_marks_of_dump": alive2("<new>, port = 1", 1),
    **{f"with_bad_utf8_{which}": alive2(name, 1) for which, name in BAD_UTF8.items()},
    "with_bad_utf8_for_a_16_bit_creation": alive2(b"\xff", 1, highest=5),
    "with_extra": alive2("new", 1, extra=b"\0\xff"),
    "with_extra_of_1020_bytes": alive2("new", 1, extra=b"e" * 1020),
    "with_extra_of_1021_bytes": alive2("new", 1, extra=b"e" * 1021),
    "with_extra_of_1021_bytes_for_a_16_bit_creation": alive2("new", 1, extra=b"e" * 1021, highest=5),
    "with_bytes_behind": alive2("new", 1) + b"more",
    "with_as_much_behind_as_fits": alive2("new", 1).ljust(BODY_MAX, b"m"),
    "with_a_name_that_overruns": alive2("new", 1)[:9] + struct.pack(">H", 6) + b"new\0\0",
    "with_a_name_of_65535": alive2("new", 1)[:9] + struct.pack(">H", 65535) + b"new\0\0",
    "with_extra_that_overruns": alive2("new", 1)[:-2] + struct.pack(">H", 1),
    "with_extra_of_65535": alive2("new", 1)[:-2] + struct.pack(">H", 65535) + b"e" * 20,
    "without_the_length_of_extra": alive2("new", 1)[:-2],
    "without_half_the_length_of_extra": alive2("new", 1)[:-1],
    "of_nothing": b"x",
    "of_a_head_only": alive2("new", 1)[:11],
    "of_a_live_name": alive2("a", 39450),
    "of_a_live_name_for_a_16_bit_creation": alive2("a", 39450, highest=5),
    "of_a_live_name_as_it_is": alive2("a", 39449),
    "of_a_live_name_in_another_case": alive2("A", 39450),
    "of_a_live_name_by_a_hidden_node": alive2("hidden", 1, type=HIDDEN),
}

# Bytes as they are sent; a list is sent piece by piece.
REQUESTS = {
    "names": frame(b"n"),
    "names_with_bytes_behind": frame(b"nxx"),
    "names_with_as_much_behind_as_fits": frame(b"n" * BODY_MAX),
    "names_with_more_behind_than_fits": frame(b"n" * (BODY_MAX + 1)),
    "dump": frame(b"d"),
    "dump_with_bytes_behind": frame(b"dxx"),
    "stop_of_nothing": frame(b"s"),
    "stop_of_an_unknown_name": frame(b"sunknown"),
    "stop_of_an_unknown_name_with_a_nul_behind": frame(b"sunknown\0"),
    "stop_of_bad_utf8": frame(b"s\xff"),
    "stop_of_more_than_a_name": frame(b"s" + b"q" * 2000),
    "nothing": b"",
    "one_byte": b"\0",
    "a_length_only": b"\0\1",
    "length_0": b"\0\0",
    "length_0_and_a_byte": b"\0\0n",
    "length_3058": struct.pack(">H", BODY_MAX + 1),
    "length_65535": b"\xff\xffn",
    "an_end_in_the_middle": frame(alive2("new", 1))[:-1],
    "a_byte_more_than_announced": frame(b"n") + b"x",
    "two_requests_at_once": frame(b"za") + frame(b"n"),
    "an_old_alive": frame(b"a" + struct.pack(">H", 1) + b"new"),
    "an_old_port_please": frame(b"pa"),
    "http": b"GET / HTTP/1.0\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303"),
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    **{f"lookup_{which}": frame(b"z" + name) for which, name in LOOKUPS.items()},
    **{f"lookup_of_node_{i}": frame(b"z" + name.encode()) for i, (name, _, _) in enumerate(NODES)},
    **{f"registration_{which}": frame(body) for which, body in REGISTRATIONS.items()},
    "lookup_byte_by_byte": [bytes([byte]) for byte in frame(b"zhidden")],
    "names_byte_by_byte": [bytes([byte]) for byte in frame(b"n")],
    "registration_byte_by_byte": [bytes([byte]) for byte in frame(alive2("new", 1, extra=b"e"))],
    "refused_registration_byte_by_byte": [bytes([byte]) for byte in frame(alive2("a", 1))],
    "garbage_byte_by_byte": [bytes([byte]) for byte in frame(b"Q123")],
}


@pytest.mark.parametrize("which", REQUESTS)
def test_answer_is_that_of_stock_epmd(pair, which):
    request = REQUESTS[which]
    pair.compare(*(request if isinstance(request, list) else [request]))


def test_every_other_opcode_is_closed_without_a_byte(pair):
    for opcode in sorted(set(range(256)) - set(b"xzndks")):
        assert pair.compare(frame(bytes([opcode]))) == b""
        assert pair.compare(frame(bytes([opcode]) + b"\0" * 20)) == b""


def mutated(random, data):
    data = bytearray(data)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data)) if data else 0
        match random.randrange(6):
            case 0:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << random.randrange(8)]) if data else b""
            case 2:
                del data[at : at + random.randint(1, 4)]
            case 3:
                data[at:at] = random.randbytes(random.randint(1, 4))
            case 4:
                data[at:at] = random.choice([b"\0", b"\n", b"\xff", b"\xc3\xa4", b"\x7f", b"\xed\xa0\x80"])
            case 5:
                data = data[:at]
    return bytes(data)


def is_to_be_left_out(pair, data):
    """What would end the daemons, and names that are C strings to stock epmd only."""
    body = body_of(data)
    return (pair.relaxed and body[:1] == b"k") or (body[:1] == b"s" and b"\0" in body)


def test_500_mutations_are_answered_as_by_stock_epmd(pair):
    chance = random.Random(4369)
    bodies = [body_of(request) for request in REQUESTS.values() if isinstance(request, bytes)]
    seeds = [body for body in bodies if 0 < len(body) < 300] + [alive2("seed", 1), alive2("seed", 1, highest=5)] * 20
    for _ in range(500):
        seed = chance.choice(seeds)
        # Mostly of the body, so that the frame stays right and what is inside is looked at.
        data = frame(mutated(chance, seed)) if chance.random() < 0.8 else mutated(chance, frame(seed))
        if not is_to_be_left_out(pair, data):
            pair.compare(data)
    pair.compare(frame(b"n"))


# --- in sequence ----------------------------------------------------------------------------------


@pytest.fixture(params=["strict", "relaxed"])
def fresh_pair(request):
    """Two that nothing was ever registered at, and that may be ended."""
    relaxed = request.param == "relaxed"
    with StockEpmd(*["-relaxed_command_check"] * relaxed) as stock, Daemon(*["--relaxed-command-check"] * relaxed) as ours:
        yield Pair(stock, ours, relaxed)


def test_order_of_names_and_dump_is_that_of_stock_epmd(fresh_pair):
    both = (fresh_pair.stock.client, fresh_pair.ours.client)
    with closing_all() as registrations:
        by_name = {}
        for step, name in enumerate(["a", "b", "c", "d", "-a", "-c", "e", "a", "-b", "-d", "c", "-a"]):
            for which, client in enumerate(both):
                if name.startswith("-"):
                    end_orderly(by_name.pop((which, name[1:])).sock)
                else:
                    by_name[which, name] = client.register(name, 1000 + step)
            fresh_pair.compare(frame(b"n"))
            fresh_pair.compare(frame(b"d"))
        registrations += by_name.values()


def test_kill_with_live_nodes(fresh_pair):
    with fresh_pair.stock.client.register("a", 1), fresh_pair.ours.client.register("a", 1):
        assert fresh_pair.compare(frame(b"k")) == (b"OK" if fresh_pair.relaxed else b"NO")
        if fresh_pair.relaxed:
            assert fresh_pair.stock.wait() == fresh_pair.ours.wait() == 0
        else:
            assert fresh_pair.ours.client.names() == [("a", 1)]


def test_kill_without_nodes_is_answered_and_ends_the_daemon(fresh_pair):
    assert fresh_pair.compare(frame(b"k")) == b"OK"
    assert fresh_pair.stock.wait() == fresh_pair.ours.wait() == 0


def test_stop_of_a_node(fresh_pair):
    with fresh_pair.stock.client.register("a", 1), fresh_pair.ours.client.register("a", 1) as ours:
        assert fresh_pair.compare(frame(b"sa")) == (b"STOPPED" if fresh_pair.relaxed else b"")
        fresh_pair.compare(frame(b"n"))
        assert ours.is_open() == (not fresh_pair.relaxed)
        fresh_pair.compare(frame(b"d"))


@pytest.mark.parametrize("name", [b"a\0", b"a\0rest"], ids=["with_a_nul_behind", "as_a_c_string"])
def test_stop_takes_the_name_up_to_a_nul(fresh_pair, name):
    with fresh_pair.stock.client.register("a", 1), fresh_pair.ours.client.register("a", 1):
        fresh_pair.compare(frame(b"s" + name))
        fresh_pair.compare(frame(b"n"))


@pytest.mark.parametrize("byte", [b"\0", frame(b"n"), frame(alive2("a", 1))], ids=["a_nul", "names", "alive2"])
def test_any_byte_on_a_registered_connection_ends_the_registration(fresh_pair, byte):
    for each in (fresh_pair.stock, fresh_pair.ours):
        with each.client.register("a", 1) as a:
            a.sock.sendall(byte)
            assert receive_all(a.sock) == b""
            assert each.client.port_please("a") is None


def test_half_close_right_after_the_request_is_answered_and_ends_the_registration(fresh_pair):
    def half_closed(client):
        with client.connect() as sock:
            sock.sendall(frame(alive2("a", 1)))
            return end_orderly(sock)

    for _ in range(20):
        by_stock, by_ours = half_closed(fresh_pair.stock.client), half_closed(fresh_pair.ours.client)
        assert masked(by_ours, 0) == masked(by_stock, 0)
        assert fresh_pair.ours.client.names() == fresh_pair.stock.client.names() == []


# --- where Rollcall differs -----------------------------------------------------------------------


@pytest.mark.parametrize("character", ["n", "\u00e4", FOUR_BYTES])
def test_name_of_255_characters_can_be_looked_up(daemon, character):
    with daemon.client.register(character * 255, 4711, extra=b"e"):
        found = daemon.client.port_please(character * 255)
        assert (found.port, found.name.decode(), found.extra) == (4711, character * 255, b"e")


def test_refused_registration_is_answered_and_closed(daemon):
    with daemon.client.register("a", 1):
        for body, answer in [
            (alive2("a", 2), REFUSED_32),
            (alive2("a", 2, highest=5), REFUSED_16),
            (alive2("", 2, extra=b"e"), REFUSED_32),
            (alive2("a\n", 2), REFUSED_32),
            (alive2(b"\xff", 2), REFUSED_32),
            (alive2("q" * 256, 2), REFUSED_32),
        ]:
            # Comes back at all only if the daemon closes.
            assert daemon.client.request(body) == answer


def test_stop_of_an_unknown_name_says_noexist_and_nothing_more():
    with Daemon("--relaxed-command-check") as daemon:
        assert daemon.client.stop("unknown") == b"NOEXIST"


def test_control_characters_forge_no_line_of_names(daemon):
    for name in ("x\nname forged at port 1", "\n", "\x9b", "\x7f", "a\rb"):
        assert daemon.client.request(alive2(name, 1)) == REFUSED_32
    assert daemon.client.names() == []


def test_names_and_dump_tell_the_port_that_was_asked(daemon):
    with socket.socket() as first, socket.socket(socket.AF_INET6) as second:
        for sock, address in ((first, "127.0.0.1"), (second, "::1")):
            sock.bind((address, 0))
            sock.listen(10)
        ports = [sock.getsockname()[1] for sock in (first, second)]
        passed = [("epmd4", first), ("epmd6", second)]
        env = {"ERL_EPMD_PORT": daemon.port}
        with Daemon(port=ports[0], listen=False, sockets=passed, env=env) as ours, ours.client.register("a", 1):
            for port, host in zip(ports, ("127.0.0.1", "::1")):
                client = type(ours.client)(port, host)
                assert client.names() == [("a", 1)]
                assert client.dump_raw()[:4] == struct.pack(">I", port)


# --- segments -------------------------------------------------------------------------------------

TCP_CLOSE_WAIT = 8


def tcp_info(sock):
    """(state, segments with data that have come in), of struct tcp_info."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return info[0], struct.unpack_from("I", info, 152)[0]


LAST_ANSWERS = {"found": b"za", "not found": b"zunknown", "names": b"n", "dump": b"d", "refused": alive2("a", 2)}


@pytest.mark.parametrize("which", LAST_ANSWERS)
def test_last_answer_leaves_in_one_segment_with_the_fin(daemon, which):
    with daemon.client.register("a", 1):
        for _ in range(50):
            with daemon.client.connect() as sock:
                sock.sendall(frame(LAST_ANSWERS[which]))
                assert select.select([sock], [], [], 10)[0]
                assert tcp_info(sock) == (TCP_CLOSE_WAIT, 1)
                assert receive_all(sock) != b""


def test_answer_to_a_registration_is_one_segment(daemon):
    for _ in range(50):
        with daemon.client.register("a", 1) as a:
            assert tcp_info(a.sock)[1] == 1
            end_orderly(a.sock)


def test_types_and_versions_are_told_as_they_came(daemon):
    with daemon.client.register("a", 1, type=NORMAL, protocol=7, highest=65535, lowest=3, extra=b"\0\1\xff"):
        found = daemon.client.port_please("a")
        assert (found.type, found.protocol, found.highest, found.lowest, found.extra) == (NORMAL, 7, 65535, 3, b"\0\1\xff")
