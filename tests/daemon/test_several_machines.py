# SPDX-License-Identifier: Apache-2.0
"""`rollcall watch` and `rollcall wait --count` over patterns and several machines: connections that are lost, machines that come
late, stock epmd."""

import contextlib
import json
import subprocess
import threading
import time

import pytest

from daemon.commands import begun, found_keys, rollcall, tenure_keys, told
from daemon.helpers import status, unregister
from lib.daemon import Daemon, StockEpmd, free_port
from lib.epmd_client import HIDDEN
from lib.fake_control import END, HEAD, FakeControl, field, record, refusal, request, u16, u64
from lib.process import wait_for

ANY = field(17, b"any")
HEARTBEAT = field(53, (15000).to_bytes(4, "big"))


def epoch(number=1, revision=1):
    return record(71, field(48, u64(number)), field(76, u64(revision)))


def synced(revision=1):
    return record(72, field(76, u64(revision)))


def node(name=b"web_1", state=b"up", scope=b"*", *more):
    return record(67, field(16, name), field(17, state), field(25, scope), field(18, u16(40000)), *more)


def gone(name=b"web_1", scope=b"*"):
    return record(73, field(16, name), field(25, scope), field(43, b"left"), field(42, u64(1795266605000000)))


def snapshot(*nodes, number=1):
    return HEAD + epoch(number) + b"".join(nodes) + synced()


@pytest.fixture
def machine():
    """machine(said): a machine on a loopback address of its own; its FakeControl."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        addresses = (f"127.0.0.{n}" for n in range(2, 250))
        yield lambda said: stack.enter_context(FakeControl((next(addresses), port), said))


def stays(*said):
    """Says that, and stays."""

    def script(connection, _):
        connection.sendall(b"".join(said))
        connection.recv(1)

    return script


def line_of(process):
    line = process.stdout.readline()
    assert line.endswith("\n"), process.stderr.read()
    return line


def event_of(process):
    return json.loads(line_of(process))


def event(process, kind):
    """The next event of that kind; none but SYNCED may be passed over."""
    while (found := event_of(process))["event"] != kind:
        assert found["event"] == "synced", found
    return found


# --- what is asked ------------------------------------------------------------------------------------------


WATCHES = {
    "": [ANY, field(52, b"\1")],
    "app": [field(16, b"app"), ANY, field(52, b"\1")],
    "app@127.0.0.2": [field(16, b"app"), ANY, field(52, b"\1")],
    "--prefix web_": [field(49, b"web_"), ANY, field(52, b"\1")],
    "web_*": [field(49, b"web_"), ANY],
    "a b": [field(16, b"a"), field(16, b"b"), ANY],
    "app@*": [field(16, b"app"), ANY],
    "app --state ready": [field(16, b"app"), field(17, b"ready")],
    "app --exclude x": [field(16, b"app"), field(51, b"x"), ANY],
    "--hidden web_*": [field(49, b"web_"), ANY, field(52, b"\1")],
}


@pytest.mark.parametrize("args", WATCHES)
def test_a_name_is_watched_as_ever_and_a_pattern_as_it_is_found(directory, args):
    with FakeControl(directory / "control", END) as server:
        rollcall("watch", *args.split(), "--control", server.path)
    assert server.requests == [request(6, *WATCHES[args])]


@pytest.mark.parametrize("args", [["watch", "a", "--prefix", "b"], ["watch", "["], ["watch", "--state", "x"], ["watch", "--count", "2"],
                                  ["wait", "a", "b"], ["wait", "a", "--count", "0"], ["wait", "a", "--count", "x"], ["wait", "a", "--count", ""],
                                  ["wait", "--free", "a", "--count", "1"], ["wait", "--free", "a", "--at", "db1"], ["wait", "--count", "1"]],
                         ids=" ".join)
def test_wrong_usage_is_one_line_and_status_2(args):
    assert told(rollcall(*args))[0] == 2


# --- watch --------------------------------------------------------------------------------------------------


def test_a_connection_that_is_lost_is_made_anew_and_goes_on(machine):
    """By epoch and revision, and nothing is told twice."""

    def script(connection, _):
        if len(server.requests) == 1:
            connection.sendall(HEAD + epoch(7, 10) + node() + synced(10) + node(b"web_2") + synced(12))
        elif len(server.requests) == 2:
            connection.sendall(HEAD + synced(12) + gone(b"web_2") + synced(13))
            connection.recv(1)

    server = machine(script)
    with begun("watch", "web_*", "--at", server.machine, "--json") as process:
        events = [event_of(process) for _ in range(8)]
    # What is synced again without a change is said once more only after a loss.
    assert [(e["event"], e.get("name")) for e in events] == [
        ("epoch", None), ("node", "web_1"), ("synced", None), ("node", "web_2"), ("synced", None), ("unavailable", None), ("gone", "web_2"), ("synced", None)]
    assert (events[5]["reason"], events[5]["final"]) == ("the connection was lost", False)
    first, second = server.requests
    assert first == request(6, field(49, b"web_"), ANY, HEARTBEAT)
    assert second == request(6, field(49, b"web_"), ANY, field(48, u64(7)), field(76, u64(12)), HEARTBEAT)
    assert server.times[1] - server.times[0] >= 0.7


def test_half_a_snapshot_is_none_to_go_on_from(machine):
    def script(connection, _):
        if len(server.requests) == 1:
            connection.sendall(HEAD + epoch(7, 10) + node())
        else:
            stays(snapshot(node(), number=8))(connection, _)

    server = machine(script)
    with begun("watch", "--at", server.machine, "--json") as process:
        kinds = [event_of(process)["event"] for _ in range(6)]
    assert kinds == ["epoch", "node", "unavailable", "epoch", "node", "synced"]
    assert server.requests[1] == server.requests[0]


def test_one_who_was_too_slow_goes_on_at_once(machine):
    def script(connection, _):
        if len(server.requests) == 1:
            connection.sendall(HEAD + epoch(7, 10) + synced(10) + refusal(10, b"Too slow.")[4:])
        else:
            stays(HEAD + node() + synced(11))(connection, _)

    server = machine(script)
    with begun("watch", "--at", server.machine, "--json") as process:
        wait_for(lambda: len(server.requests) == 2, "another request")
        assert [event_of(process)["event"] for _ in range(4)] == ["epoch", "synced", "unavailable", "node"]
    assert server.times[1] - server.times[0] < 0.7


def test_one_who_denies_is_not_asked_again(machine):
    denies, good = machine(refusal(4, b"Not you.")), machine(stays(snapshot(node())))
    with begun("watch", "--at", denies.machine, "--at", good.machine) as process:
        assert " web_1@" in line_of(process)
        assert process.stderr.readline() == f"rollcall: {denies.machine}: rollcalld refuses (denied): Not you.\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.3)
    assert len(denies.requests) == 1
    done = rollcall("watch", "--at", denies.machine, "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["final"] is True


def test_signs_of_life_are_not_told(machine):
    server = machine(stays(snapshot(node()), synced(), synced(), gone(), synced(2)))
    with begun("watch", "--at", server.machine, "--json") as process:
        assert [event_of(process)["event"] for _ in range(5)] == ["epoch", "node", "synced", "gone", "synced"]


def test_changes_of_other_hosts_are_not_told(machine):
    server = machine(stays(snapshot(node(b"a", b"up", b"*", field(32, b"db1")), node(b"b")), gone(b"b"), node(b"c", b"up", b"*", field(32, b"db2")), synced(2)))
    with begun("watch", "*@db?", "--exclude", "*@db2", "--at", server.machine, "--json") as process:
        events = [event_of(process) for _ in range(4)]
    assert [(e["event"], e.get("node")) for e in events] == [("epoch", None), ("node", "a@db1"), ("synced", None), ("synced", None)]


def test_a_daemon_and_a_stock_epmd_are_watched_together(directory):
    with Daemon() as daemon, StockEpmd() as epmd, daemon.client.register("web_1", listen=True), epmd.client.register("web_8", 4711):
        here, there = f"127.0.0.1:{daemon.port}", f"localhost:{epmd.port}"
        with begun("watch", "web_*", "--at", here, "--at", there, "--json") as process, begun("watch", "web_*", "--at", here) as in_words:
            first = [event_of(process) for _ in range(6)]
            nodes = {e["node"]: e for e in first if e["event"] == "node"}
            assert set(nodes) == {"web_1@127.0.0.1", "web_8@localhost"}
            assert list(nodes["web_1@127.0.0.1"]) == ["event", "revision", "machine", *(key for key in found_keys() if key != "machine")]
            assert (nodes["web_8@localhost"]["told_by"], nodes["web_8@localhost"]["state"]) == ("names", None)
            assert "not a rollcalld, but another epmd" in process.stderr.readline()
            assert f" web_1@127.0.0.1 is up, by its connection: port " in line_of(in_words)
            with daemon.client.register("web_2", listen=True) as two, daemon.client.register("web_3", listen=True, type=HIDDEN), \
                 daemon.client.register("db", listen=True), epmd.client.register("web_9", 4712):
                assert event(process, "node")["name"] == "web_2"
                assert line_of(in_words).rstrip().endswith(f"on {here}")
                unregister(two)
                ended = event(process, "gone")
                assert (ended["node"], ended["how"], ended["machine"]) == ("web_2@127.0.0.1", "left", here)
                assert set(tenure_keys()) < set(ended)
                assert line_of(in_words).endswith(f"on {here}\n")
                assert event(process, "node")["node"] == "web_9@localhost"  # once it is asked again


def test_a_restart_of_another_machines_daemon_is_waited_out():
    with Daemon() as daemon, daemon.client.register("web_1", listen=True):
        at = f"127.0.0.1:{daemon.port}"
        with begun("watch", "--at", at) as process:
            assert " web_1@127.0.0.1 is up" in line_of(process)
            daemon.kill9()
            assert process.stderr.readline() == f"rollcall: {at}: the connection was lost; it is asked again\n"
            daemon.start()
            assert f"{at}: Changes were missed" in line_of(process)
            assert " web_1@127.0.0.1 is awaited" in line_of(process)
            assert process.stderr.readline() == f"rollcall: {at}: answers again\n"


# --- wait --count -------------------------------------------------------------------------------------------


def test_nodes_of_all_machines_are_counted(machine):
    one, two = machine(stays(snapshot(node(), node(b"web_2", b"ready")))), machine(stays(snapshot(node(), node(b"web_3", b"stopping"))))
    at = ["--at", one.machine, "--at", two.machine, "--timeout", "0"]
    for args, expected in {"--count 3": 0, "--count 4": 4, "--count 4 --state any": 0, "--count 1 --state ready": 0, "--count 2 --state ready": 4,
                           "": 0, "--count 1 --exclude web_?": 4, "--count 1 --state starting": 4}.items():
        done = rollcall("wait", "web_*", *args.split(), *at)
        assert done.returncode == expected, (args, done)
        assert (done.stdout == "") == (expected == 4)
        if expected == 4:
            assert told(done)[1].startswith("rollcall: the time is over, and of ")
    found = json.loads(rollcall("wait", "web_*", "--count", "3", *at, "--json").stdout)
    assert [(n["name"], n["machine"]) for n in found] == [("web_1", one.machine), ("web_1", two.machine), ("web_2", one.machine)]
    assert rollcall("wait", "web_*", "--count", "3", *at, "--quiet").stdout == ""


def test_one_that_leaves_the_wanted_states_does_not_count(machine):
    server = machine(stays(snapshot(node(), node(b"web_2")), node(b"web_2", b"stopping"), synced(2)))
    with begun("wait", "web_*", "--count", "2", "--at", server.machine, "--timeout", "0.5") as late:
        # Both are there at the first SYNCED: that counts.
        assert late.wait(10) == 0
    server = machine(stays(snapshot(node()), gone(), node(b"web_2"), synced(2)))
    assert rollcall("wait", "web_*", "--count", "2", "--at", server.machine, "--timeout", "0.3").returncode == 4


def test_nodes_of_a_lost_connection_do_not_count(machine):
    release = threading.Event()

    def script(connection, _):
        if len(server.requests) == 1:
            connection.sendall(snapshot(node()))
        elif len(server.requests) > 2:
            release.wait(20)
            stays(HEAD + synced())(connection, _)

    server, other = machine(script), machine(stays(snapshot(node(b"web_2"))))
    with begun("wait", "web_*", "--count", "3", "--at", server.machine, "--at", other.machine, "--timeout", "2") as process:
        out, err = process.communicate(timeout=20)
    release.set()
    assert process.returncode == 4
    assert "of 3 nodes 1 is there" in err and "the connection was lost; it is asked again" in err


def test_a_machine_that_is_not_there_yet_is_waited_for():
    port = free_port()
    with begun("wait", "web_*", "--count", "2", "--at", f"127.0.0.1:{port}", "--timeout", "30") as process:
        assert "nobody listens on port" in process.stderr.readline()
        with Daemon(port=port) as daemon, daemon.client.register("web_1", listen=True), daemon.client.register("web_2", listen=True):
            assert process.wait(20) == 0


def test_without_machines_the_daemon_of_this_one_has_to_be_there(directory):
    assert told(rollcall("wait", "--count", "1", "a", "--control", directory / "control"))[0] == 3
    done = rollcall("wait", "--at", f"127.0.0.1:{free_port()}", "a", "--timeout", "0")
    assert done.returncode == 3 and done.stderr.count("\n") == 2


def test_waiting_costs_nothing(directory):
    with Daemon() as daemon, begun("wait", "--count", "2", "web_*", "--control", daemon.control, "--timeout", "30") as process:
        wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
        before = status(daemon)["counters"]["requests.control"]
        time.sleep(1.2)
        assert status(daemon)["counters"]["requests.control"] == before + 1  # our own
        with daemon.client.register("web_1", listen=True), daemon.client.register("web_2", listen=True):
            assert process.wait(10) == 0
            assert process.stdout.read().count("\n") == 2


# --- one that never stops ------------------------------------------------------------------------------------


def floods(*said, has_begun=None):
    """Says that, and then tells of nodes faster than anybody can take them in."""
    batch = b"".join(node(b"x_%d" % n) for n in range(20000))

    def script(connection, _):
        connection.sendall(b"".join(said))
        while True:
            connection.sendall(batch)
            if has_begun:
                has_begun.set()

    return script


def test_one_that_talks_without_an_end_keeps_nobody_from_talking(machine):
    has_begun = threading.Event()

    def later(connection, _):
        connection.sendall(snapshot())
        has_begun.wait(20)
        connection.sendall(node() + synced(2))
        connection.recv(1)

    flood = machine(floods(snapshot(), has_begun=has_begun)).machine
    with begun("watch", "*", "--at", flood, "--at", machine(later).machine, "--json") as process:
        impatience = threading.Timer(20, process.kill)
        impatience.start()
        assert any(json.loads(line).get("node", "").startswith("web_1@") for line in process.stdout)
        impatience.cancel()


def wait_for_many(said, timeout):
    return told(rollcall("wait", "x_*", "--count", "100000", "--timeout", "0.2", "--at", said.machine, timeout=timeout))


def test_one_that_talks_without_an_end_is_not_listened_to_beyond_the_time(machine):
    status, line = wait_for_many(machine(floods(snapshot())), 20)
    assert status == 4 and line.startswith("rollcall: the time is over, and of 100000 nodes ")


@pytest.mark.long
def test_nor_one_that_never_comes_to_the_end_of_what_is_there(machine):
    status, line = wait_for_many(machine(floods(HEAD + epoch())), 60)
    assert status == 3 and line.startswith("rollcall: the time is over, and of 100000 nodes ")
