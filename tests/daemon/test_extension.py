# SPDX-License-Identifier: Apache-2.0
"""FIND and WATCH as programs on this machine and on others use them: on the control socket and over TCP, by what the
document says, with many nodes and watchers, across restarts of the daemon."""

import contextlib
import fnmatch
import random
import re
import socket
import time
from pathlib import Path

import pytest

from daemon.helpers import allow_descriptors, closing_all, is_sanitized, needs_root, unregister
from lib.control_client import BrokenOff, ControlClient, ControlError, Record, get_fields
from lib.daemon import Daemon
from lib.epmd_client import Alive2Reply, HIDDEN, alive2, frame, receive_all, receive_exactly
from lib.process import wait_for

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["control", "tcp"])
def desk(request, daemon):
    """A ControlClient of `daemon`."""
    return ControlClient(daemon.control if request.param == "control" else ("127.0.0.1", daemon.port))


def names(found):
    return [name for name, _ in found]


# --- the document ---------------------------------------------------------------------------------

KINDS = {67: "NODE", 71: "EPOCH", 72: "SYNCED", 73: "GONE", 64: "END", 65: "ERROR"}


def is_hex(text):
    return bool(text) and all(re.fullmatch(r"([0-9a-f]{2})+", word) for word in text.split())


def examples(title):
    """[(label, bytes), ...] of a section, as its indented lines draw them; comments are what is no hex."""
    section = re.search(rf"^(#+) {title}\n(.*?)(?=^#{{1,3}} |\Z)", (SOURCE / "PROTOCOL.md").read_text(), re.S | re.M).group(2)
    found = []
    for line in section.splitlines():
        if not line.startswith("    ") or not line.strip():
            continue
        chunks = re.split(r" {2,}| (?=(?:[0-9a-f]{4} )?4c ?52)", line.strip())
        if not line.startswith("     ") and not re.match(r"[A-Z]+ ", line.strip()):
            found.append((chunks.pop(0), b""))
        data = b"".join(bytes.fromhex(chunk) for chunk in chunks if is_hex(chunk))
        found[-1] = (found[-1][0], found[-1][1] + data) if found else ("", data)
    return found


def dialogues():
    """[(what is asked, what is answered), ...] of the extension's examples."""
    found = []
    for label, data in examples("Examples"):
        if int.from_bytes(data[:2], "big") == len(data) - 2 and data[2:3] == b"L":
            found.append([label, data, None])
        else:
            assert found[-1][2] is None
            found[-1][2] = data
    return found


def decode(answer):
    assert answer[:4] == b"LRC\x01"
    rest, records = answer[4:], []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        records.append(Record(KINDS[rest[4]], get_fields(rest[5 : 4 + size])))
        assert len(rest) >= 4 + size
        rest = rest[4 + size :]
    return records


def test_the_document_has_so_many_examples():
    """So that what follows does not pass because nothing was found."""
    asked = dialogues()
    assert [label for label, _, _ in asked] == ["ask"] * 4 + ["status", "kind 63", "version 9", "cut short", "no LRC"]
    assert sum(answer is not None for _, _, answer in asked) == 8
    for title, n in (("FIND", 2), ("WATCH", 3)):
        requests = [data for _, data in examples(title) if data]
        assert len(requests) == n
        assert all(int.from_bytes(data[:2], "big") == len(data) - 2 for data in requests)


def fields_that_are_shown(told, drawn, daemon_epoch, first_revision):
    """Of what the daemon told, what the document draws, with the document's epoch and revisions."""
    fields = dict(told.fields)
    if "EPOCH" in fields:
        fields["EPOCH"] = 4711 if fields["EPOCH"] == daemon_epoch else None
    if "REVISION" in fields:
        fields["REVISION"] += 17 - first_revision
    return {name: fields.get(name) for name in drawn.fields}


def assert_is_as_drawn(told, drawn, daemon_epoch, first_revision):
    assert [record.kind for record in told] == [record.kind for record in drawn]
    for one, other in zip(told, drawn):
        assert fields_that_are_shown(one, other, daemon_epoch, first_revision) == other.fields


def with_revision(request, epoch, first_revision):
    """The document's request, with the daemon's epoch and revision for 4711 and 18."""
    old = bytes.fromhex("0030 0008 0000000000001267 004c 0008 0000000000000012")
    assert old in request
    new = old[:4] + epoch.to_bytes(8, "big") + old[12:16] + (first_revision + 1).to_bytes(8, "big")
    return request.replace(old, new)


def read_records(sock, n):
    """The head and so many records of a stream, as bytes."""
    data = receive_exactly(sock, 4)
    for _ in range(n):
        size = receive_exactly(sock, 4)
        data += size + receive_exactly(sock, int.from_bytes(size, "big"))
    return data


def test_the_document_draws_what_is_said(daemon):
    """Its registry, its requests byte by byte, and of the answers each record and each field that it shows."""
    (_, find, found), (_, select, _), (_, watch, watched), (_, resume, resumed) = dialogues()[:4]
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon.client.register("db_1", 4370))
        stack.enter_context(daemon.client.register("web_1", 4371))
        told = decode(daemon.client.raw(find))
        epoch, first = told[0]["EPOCH"], told[0]["REVISION"]
        assert_is_as_drawn(told, decode(found), epoch, first)
        assert [record.get("NAME") for record in decode(daemon.client.raw(select))] == [None, "web_1", None]
        stream = stack.enter_context(daemon.client.connect())
        stream.sendall(watch)
        begun = read_records(stream, 3)
        ControlClient(daemon.control).request("ANNOUNCE", NAME="web_1", ANNOUNCED="draining")
        left = read_records_of(stream, 2)
        stack.enter_context(daemon.client.register("web_2", 4372))
        whole = begun + left + read_records_of(stream, 2)
        assert_is_as_drawn(decode(whole), decode(watched), epoch, first)
        back = stack.enter_context(daemon.client.connect())
        back.sendall(with_revision(resume, epoch, first))
        assert_is_as_drawn(decode(read_records(back, 2)), decode(resumed), epoch, first)


def read_records_of(sock, n):
    data = b""
    for _ in range(n):
        size = receive_exactly(sock, 4)
        data += size + receive_exactly(sock, int.from_bytes(size, "big"))
    return data


@pytest.mark.parametrize("label", ["status", "kind 63", "version 9", "cut short", "no LRC"])
def test_the_document_draws_the_refusals_byte_by_byte(daemon, label):
    (request, answer), = [(request, answer) for what, request, answer in dialogues() if what == label]
    assert daemon.client.raw(request) == (answer or b"")


@pytest.mark.parametrize("title", ["FIND", "WATCH"])
def test_the_document_has_requests_that_are_understood(daemon, title):
    with daemon.client.register("a", 1):
        for request in [data for _, data in examples(title) if data]:
            with daemon.client.connect() as sock:
                sock.sendall(request)
                assert decode(read_records(sock, 1))[0].kind == "EPOCH"


# --- FIND -----------------------------------------------------------------------------------------


def test_find_tells_what_is_selected_in_order(daemon, desk):
    with closing_all() as nodes:
        for name in ("web_2", "db", "web_10", "web_1"):
            nodes.append(daemon.client.register(name, 4000))
        nodes.append(daemon.client.register("hidden", 4001, type=HIDDEN))
        assert names(desk.find()) == ["db", "web_1", "web_10", "web_2"]
        assert names(desk.find(HIDDEN=1)) == ["db", "hidden", "web_1", "web_10", "web_2"]
        assert names(desk.find(PREFIX="web_", EXCLUDE="*0")) == ["web_1", "web_2"]
        assert names(desk.find(NAME=["web_2", "nobody"], PATTERN="d?")) == ["db", "web_2"]
        assert names(desk.find(STATE=["ready", "awaited"])) == []
        assert names(desk.find(SCOPE="127.0.0.2")) == []
        ControlClient(daemon.control).request("ANNOUNCE", NAME="db", HOST="db.example.org", ANNOUNCED="ready", PAIR={"k": "v"})
        node = desk.find(STATE="ready")[("db", "*")]
        assert (node["HOST"], node["HOST_SOURCE"], node["NAME_KIND"]) == ("db.example.org", "announced", "long")
        assert (node["PORT"], node["STATE_SOURCE"], node["PAIR"]) == (4000, "announcement", {"k": "v"})


def test_over_tcp_users_processes_and_cookies_are_not_told(daemon):
    with daemon.client.register("a", listen=True), closing_all() as watchers:
        told = []
        for address in (daemon.control, ("127.0.0.1", daemon.port)):
            client = ControlClient(address)
            watchers.append(client.watch().sync())
            told.append([client.find()[watchers[-1].told[1].key], watchers[-1].told[1]])
    for full, public in zip(*told):
        assert set(full.fields) - set(public.fields) == {"UID", "LISTENER"}
        assert {name: full[name] for name in public.fields} == public.fields


@needs_root
def test_over_tcp_it_is_not_told_who_ended_it(daemon):
    with daemon.client.register("a", listen=True), closing_all() as watchers:
        watchers += [ControlClient(address).watch().sync() for address in (daemon.control, ("127.0.0.1", daemon.port))]
        ControlClient(daemon.control).request("RELEASE", NAME="a")
        full, public = [watch.wait(lambda: watch.gone).gone["a", "*"] for watch in watchers]
    assert full["BY"] == "uid 0"
    assert set(full.fields) - set(public.fields) == {"UID", "LISTENER", "BY"}
    assert {name: full[name] for name in public.fields} == public.fields


def test_find_is_what_names_says_also_with_many_nodes(daemon, desk):
    """An answer that fits no socket buffer, to one who reads it in pieces."""
    with closing_all() as nodes:
        register_many(daemon, nodes, [f"n{i:04}" for i in range(1500)])
        found = desk.find()
        assert names(found) == [f"n{i:04}" for i in range(1500)]
        told = {record.key: record for record in ControlClient(daemon.control).request("NAMES")}
        assert {key: record["CREATION"] for key, record in found.items()} == {
            key: record["CREATION"] for key, record in told.items()
        }


def test_watch_goes_on_from_find(daemon, desk):
    with daemon.client.register("a", 1):
        epoch, *_ = desk.request("FIND", NAME="nobody")
        with daemon.client.register("b", 2):
            with desk.watch(EPOCH=epoch["EPOCH"], REVISION=epoch["REVISION"]) as watch:
                watch.sync()
                assert [record.kind for record in watch.told] == ["NODE", "SYNCED"]
                assert names(watch.nodes) == ["b"]


# --- WATCH ----------------------------------------------------------------------------------------


def test_whoever_leaves_the_selection_is_told_of_once(daemon, desk):
    announce = ControlClient(daemon.control)
    with daemon.client.register("a", 1) as a, desk.watch(STATE=None, HIDDEN=None) as watch:
        watch.sync()
        announce.request("ANNOUNCE", NAME="a", ANNOUNCED="draining")
        watch.wait(lambda: not watch.nodes)
        announce.request("ANNOUNCE", NAME="a", PAIR={"k": "v"})
        announce.request("ANNOUNCE", NAME="a", ANNOUNCED="ready")
        watch.wait(lambda: watch.nodes)
        announce.request("ANNOUNCE", NAME="a", ANNOUNCED="draining")
        watch.wait(lambda: not watch.nodes)
        unregister(a)
        with daemon.client.register("b", 2):
            watch.wait(lambda: names(watch.nodes) == ["b"])
    states = [record["STATE"] for record in watch.told if record.kind == "NODE"]
    assert states == ["up", "stopping", "ready", "stopping", "up"]
    assert not [record for record in watch.told if record.kind == "GONE"]


def test_heartbeats_come_when_there_is_nothing_else(daemon):
    with closing_all() as watches:
        for address in (daemon.control, ("127.0.0.1", daemon.port)):
            watches.append(ControlClient(address).watch(NAME="a", HEARTBEAT=1000).sync())
        began = time.monotonic()
        with daemon.client.register("b", 1):  # does not concern them
            for watch in watches:
                before = watch.revision
                watch.sync()
                assert time.monotonic() - began > 0.9
                assert watch.revision == before + 1 and watch.told[-1].kind == watch.told[-2].kind == "SYNCED"


# --- a model of watching --------------------------------------------------------------------------

SELECTIONS = [
    {},
    {"STATE": None, "HIDDEN": None},
    {"PATTERN": ["a*", "?b"], "STATE": None},
    {"NAME": ["a", "ab", "ba"], "EXCLUDE": "*b"},
    {"PREFIX": "b", "STATE": ["ready", "stopping"]},
    {"EXCLUDE": ["a*"], "STATE": ["up", "awaited"], "HIDDEN": None},
]


def selects(selection, record):
    name, state = record["NAME"], record["STATE"]
    wanted = selection.get("STATE", "any") or ["up", "starting", "ready", "awaited"]
    texts = {tag: [selection[tag]] if isinstance(selection.get(tag), str) else selection.get(tag, [])
             for tag in ("NAME", "PREFIX", "PATTERN", "EXCLUDE")}  # fmt: skip
    is_meant = not (texts["NAME"] or texts["PREFIX"] or texts["PATTERN"]) or name in texts["NAME"] or any(
        name.startswith(prefix) for prefix in texts["PREFIX"]
    ) or any(fnmatch.fnmatchcase(name, pattern) for pattern in texts["PATTERN"])
    return (is_meant and not any(fnmatch.fnmatchcase(name, pattern) for pattern in texts["EXCLUDE"])
            and (wanted == "any" or state in wanted)
            and (selection.get("HIDDEN", 1) or record["TYPE"] != HIDDEN))  # fmt: skip


def essence(record):
    return record["NAME"], record["STATE"], record["PORT"], record["CREATION"], record.get("PAIR")


class Believer:
    """A watcher that hangs up and comes back, and what it believed at its last SYNCED."""

    def __init__(self, address, selection):
        self.client, self.selection = ControlClient(address), selection
        self.watch = self.synced = None
        self.n_checked = self.n_resumed = 0

    def open(self):
        """Goes on from the last SYNCED, or begins anew."""
        self.close()
        fields = dict(self.selection)
        if self.synced:
            fields.update(EPOCH=self.synced[0], REVISION=self.synced[1])
        self.watch = self.client.watch(**fields)
        if self.synced:
            self.watch.epoch, self.watch.nodes = self.synced[0], dict(self.synced[2])
        return self

    def forget(self):
        self.synced = None

    def close(self):
        if self.watch:
            self.watch.close()

    def step(self, truth, timeout):
        """One record; at a SYNCED what is believed has to be what there was. False: there is none in time, or no more."""
        try:
            record = self.watch.step(timeout)
        except TimeoutError:
            return False
        if record is None:
            return False
        if record.kind == "SYNCED":
            self.check(truth)
        return True

    def check(self, truth):
        watch = self.watch
        self.n_resumed += watch.n_epochs == 0
        self.synced = (watch.epoch, watch.revision, dict(watch.nodes))
        there_was = truth.get((watch.epoch, watch.revision))
        if there_was is None:
            return
        expected = {key: essence(record) for key, record in there_was.items() if selects(self.selection, record)}
        assert {key: essence(record) for key, record in watch.nodes.items()} == expected, (self.selection, watch.revision)
        self.n_checked += 1

    def catch_up(self, truth, epoch, revision):
        """Reads until it knows that revision, which has to be in time."""
        deadline = time.monotonic() + 20
        while self.watch.epoch != epoch or self.watch.revision is None or self.watch.revision < revision:
            assert time.monotonic() < deadline, (self.selection, self.watch.revision, revision)
            if not self.step(truth, 0.01) and self.watch._ended:
                self.open()
            if self.watch.revision is not None and self.watch.revision < revision and self.watch.epoch == epoch:
                # Nothing has concerned it since: whoever comes back is told where he is.
                self.open()


class Cluster:
    """What happens: nodes that register, end, say what they are, and come back when the daemon does."""

    NAMES = ["a", "ab", "aab", "b", "ba", "bb", "c"]

    def __init__(self, daemon, chance):
        self.daemon, self.chance = daemon, chance
        self.nodes, self.truth = {}, {}
        self.control = ControlClient(daemon.control)

    def act(self):
        name = self.chance.choice(self.NAMES)
        if name not in self.nodes:
            kind = HIDDEN if name == "c" else 77
            self.nodes[name] = self.daemon.client.register(name, listen=True, type=kind)
        elif self.chance.random() < 0.4:
            node = self.nodes.pop(name)
            unregister(node)
        else:
            announced = self.chance.choice(["ready", "draining", None])
            self.control.request("ANNOUNCE", NAME=name, ANNOUNCED=announced, PAIR={"n": str(self.chance.randrange(3))})
        self.note()

    def note(self):
        """What there is now."""
        epoch, *nodes = self.control.request("FIND", STATE="any", HIDDEN=1)
        self.truth[epoch["EPOCH"], epoch["REVISION"]] = {node.key: node for node in nodes}
        return epoch["EPOCH"], epoch["REVISION"]

    def crash(self):
        """kill -9, a start, and a part of the nodes comes back; one has ended meanwhile."""
        self.daemon.kill9()
        for name in sorted(self.nodes)[:1]:
            self.nodes.pop(name).close()
        self.daemon.start()
        self.note()
        for name, node in self.nodes.items():
            node.close_connection()
            kind = HIDDEN if name == "c" else 77
            again = self.daemon.client.register(name, node.port, type=kind)
            assert again.creation == node.creation, "it has come back to its own registration"
            again.listener, self.nodes[name] = node.listener, again
            self.note()

    def close(self):
        for node in self.nodes.values():
            node.close()


def test_whatever_happens_a_watcher_believes_what_there_was(daemon):
    """Random changes, disconnects and resumptions, and kill -9 of the daemon."""
    chance = random.Random(20)
    places = [daemon.control, ("127.0.0.1", daemon.port)]
    believers = [Believer(places[i % 2], selection).open() for i, selection in enumerate(SELECTIONS * 2)]
    with closing_all(), contextlib.closing(Cluster(daemon, chance)) as cluster:
        try:
            for step in range(1500):
                cluster.act()
                if step % 250 == 249:
                    cluster.crash()
                    for believer in believers:
                        while believer.step(cluster.truth, 0):
                            pass
                        believer.open()
                for believer in chance.sample(believers, 3):
                    for _ in range(chance.randrange(8)):
                        believer.step(cluster.truth, 0)
                if chance.random() < 0.2:
                    believer = chance.choice(believers)
                    if chance.random() < 0.2:
                        believer.forget()
                    believer.open()
            epoch, revision = cluster.note()
            for believer in believers:
                believer.catch_up(cluster.truth, epoch, revision)
        finally:
            for believer in believers:
                believer.close()
    assert all(believer.n_checked > 10 for believer in believers), [believer.n_checked for believer in believers]
    assert sum(believer.n_resumed for believer in believers) > 20
    told = {record.key: essence(record) for record in cluster.truth[epoch, revision].values()}
    assert len(told) > 0


# --- many -----------------------------------------------------------------------------------------


def register_many(daemon, nodes, which):
    """Registers all, some hundred at a time; the connections go to `nodes`."""
    for i in range(0, len(which), 200):
        batch = [daemon.client.connect() for _ in which[i : i + 200]]
        nodes.extend(batch)
        for sock, name in zip(batch, which[i : i + 200]):
            sock.sendall(frame(alive2(name, 4000)))
        for sock in batch:
            assert Alive2Reply.decode(receive_exactly(sock, 6)).result == 0


def test_a_thousand_watchers_of_ten_thousand_nodes():
    """Each hears of what he has asked for, and nobody waits for them."""
    if allow_descriptors() < 12000:
        pytest.skip("too few descriptors")
    with Daemon("--max-nodes-per-uid", "11000") as daemon:
        watch_many(daemon, patience=20 if is_sanitized() else 5)


def watch_many(daemon, patience):
    control = ControlClient(daemon.control)
    places = [daemon.control, ("127.0.0.1", daemon.port)]
    with closing_all() as nodes, closing_all() as watches:
        register_many(daemon, nodes, [f"n{i:05}" for i in range(10000)])
        for i in range(1000):
            watches.append(ControlClient(places[i % 2]).watch(PREFIX=f"n{i:04}", NAME="all"))
        for i, watch in enumerate(watches):
            assert names(watch.sync().nodes) == [f"n{i:04}{j}" for j in range(10)]
        with pytest.raises(ControlError) as refused, control.watch() as watch:
            watch.sync()
        assert refused.value.word == "busy"
        began = time.monotonic()
        with daemon.client.register("all", 4001):
            assert daemon.client.port_please("n09999").port == 4000
            for watch in watches:
                watch.wait(lambda watch=watch: ("all", "*") in watch.nodes)
            assert time.monotonic() - began < patience
        unregister_socket(nodes.pop())
        began = time.monotonic()
        watches[999].wait(lambda: len(watches[999].nodes) == 9)
        for watch in watches[:999]:
            watch.wait(lambda watch=watch: ("all", "*") not in watch.nodes)
        assert all(len(watch.nodes) == 10 for watch in watches[:999])
        assert time.monotonic() - began < patience
        assert names(control.find(PATTERN="n0123?")) == [f"n0123{j}" for j in range(10)]


def unregister_socket(sock):
    sock.shutdown(socket.SHUT_WR)
    assert receive_all(sock) == b""
    sock.close()


# --- slow ones ------------------------------------------------------------------------------------


def pairs(watch):
    return watch.nodes[("a", "*")].get("PAIR", {})


def connect_narrow(daemon):
    """A connection whose kernel holds little for its reader."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", daemon.port))
    return sock


def test_one_who_takes_nothing_is_cut_off_with_a_word_and_loses_nothing():
    with Daemon("--packet-timeout", "1") as daemon, daemon.client.register("a", 1):
        control = ControlClient(daemon.control)
        slow = [control.watch(), ControlClient(lambda: connect_narrow(daemon)).watch()]
        with closing_all(slow), control.watch() as quick:
            for watch in [*slow, quick]:
                watch.sync()
            for i in range(32):
                control.request("ANNOUNCE", NAME="a", PAIR={f"k{i}": "v" * 250})
            for i in range(200):  # some 8 KiB each
                control.request("ANNOUNCE", NAME="a", PAIR={"k0": str(i)})
            quick.wait(lambda: pairs(quick).get("k0") == "199")
            daemon.wait_for_log("is cut off", 30)
            wait_for(lambda: daemon.log().count("is cut off") == 2, "the end of both")
            for watch in slow:
                with pytest.raises(ControlError) as cut:  # after whole records only
                    while True:
                        assert watch.step() is not None
                assert cut.value.word == "too-slow" and cut.value.text.endswith("SYNCED.")
                assert watch.revision < quick.revision
                with ControlClient(watch_place(daemon, watch)).watch(after=watch) as again:
                    again.wait(lambda again=again: pairs(again).get("k0") == "199")
                    assert again.n_epochs == 0, "it went on where it was"
                    assert pairs(again) == pairs(quick)


def watch_place(daemon, watch):
    return daemon.control if watch.sock.family == socket.AF_UNIX else ("127.0.0.1", daemon.port)


# --- what is not there ----------------------------------------------------------------------------


def test_stock_epmd_closes_so_that_it_can_be_told(stock_epmd):
    for ask in ("FIND", "WATCH"):
        with pytest.raises(BrokenOff):
            ControlClient(("127.0.0.1", stock_epmd.port)).request(ask)
