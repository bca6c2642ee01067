# SPDX-License-Identifier: Apache-2.0
"""`rollcall wait` and `rollcall watch`: until a node is there, until a name is free, every change; through restarts of the
daemon, and never by asking again and again."""

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from daemon.commands import begun, node_keys, rollcall, tenure_keys, told
from daemon.helpers import counter, status, unregister
from lib.fake_control import END, HEAD, FakeControl, field, record, refusal, request, u16, u64
from lib.process import wait_for


def epoch(number=1):
    return record(71, field(48, u64(number)), field(76, u64(1)))


def synced(revision=1):
    return record(72, field(76, u64(revision)))


def node(name=b"app", state=b"up", scope=b"*", *more):
    return record(67, field(16, name), field(17, state), field(25, scope), field(18, u16(40000)), *more)


def gone(name=b"app", scope=b"*"):
    return record(73, field(16, name), field(25, scope), field(43, b"left"), field(42, u64(1795266605000000)))


def finish(process, timeout=20):
    """(exit status, stdout, stderr)"""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def said(process):
    """The next line that a command prints."""
    line = process.stdout.readline()
    assert line.endswith("\n"), process.stderr.read()
    return line


# --- one snapshot, by a daemon that says what we want ---------------------------------------------------------


SNAPSHOTS = {
    # what is there: (arguments, exit status)
    (): [([], 4), (["--free"], 0), (["--state", "any"], 4)],
    (node(),): [([], 0), (["--free"], 4), (["--state", "up"], 0), (["--state", "ready"], 4), (["--state", "ready,up"], 0), (["--state", "any"], 0)],
    (node(state=b"starting"),): [([], 0), (["--state", "starting"], 0), (["--state", "up,ready"], 4)],
    (node(state=b"ready"),): [([], 0), (["--state", "ready"], 0), (["--state", "up"], 4)],
    (node(state=b"awaited"),): [([], 0), (["--state", "awaited"], 0), (["--state", "up"], 4)],
    (node(state=b"stopping"),): [([], 4), (["--state", "stopping"], 0), (["--state", "any"], 0), (["--free"], 4)],
    (node(state=b"melting"),): [([], 4), (["--free"], 4)],
    (node(name=b"apple"), node(name=b"ap")): [([], 4), (["--free"], 0)],
    (node(state=b"stopping", scope=b"127.0.0.2"), node(scope=b"127.0.0.3")): [([], 0), (["--state", "stopping"], 0), (["--free"], 4)],
    (node(), gone()): [([], 4), (["--free"], 0)],
    (node(scope=b"127.0.0.2"), gone(scope=b"127.0.0.3")): [([], 0), (["--free"], 4)],
    (node(), node(state=b"stopping")): [([], 4)],
}


@pytest.mark.parametrize("records, args, expected", [(records, *case) for records, cases in SNAPSHOTS.items() for case in cases])
def test_what_is_there_decides(directory, records, args, expected):
    done = []

    def script(connection, data):
        assert data == request(6, field(17, b"any"), field(52, b"\x01"), field(16, b"app"))
        connection.sendall(HEAD + epoch() + b"".join(records) + synced())
        connection.recv(1)
        done.append(True)

    with FakeControl(directory / "control", script) as server:
        out = rollcall("wait", "app", "--timeout", "0", *args, "--control", server.path)
    assert out.returncode == expected, out
    assert (out.stdout == "") == (expected == 4) and (out.stderr == "") == (expected == 0)


ADDRESSES = {
    "app@127.0.0.2": {b"127.0.0.2": 0, b"*": 0, b"127.0.0.3": 4},
    "app@*": {b"127.0.0.2": 4, b"*": 0},
    "app@host": {b"127.0.0.2": 0, b"*": 0},
}


@pytest.mark.parametrize("name, scope, expected", [(name, *case) for name, cases in ADDRESSES.items() for case in cases.items()])
def test_an_address_selects(directory, name, scope, expected):
    def script(connection, _):
        connection.sendall(HEAD + epoch() + node(b"app", b"up", scope) + synced())
        connection.recv(1)

    with FakeControl(directory / "control", script) as server:
        assert rollcall("wait", name, "--timeout", "0", "--control", server.path).returncode == expected
        assert rollcall("wait", "--free", name, "--timeout", "0", "--control", server.path).returncode == 4 - expected


def test_a_host_that_was_told_counts(directory):
    def script(connection, _):
        connection.sendall(HEAD + epoch() + node(b"app", b"up", b"*", field(32, b"here")) + synced())
        connection.recv(1)

    with FakeControl(directory / "control", script) as server:
        assert rollcall("wait", "app@here", "--timeout", "0", "--control", server.path).returncode == 0
        assert rollcall("wait", "app@there", "--timeout", "0", "--control", server.path).returncode == 4


def test_half_a_snapshot_says_nothing(directory):
    """A name that was not named yet is not free; one that was, may be gone before the end."""
    release = threading.Event()

    def script(connection, _):
        connection.sendall(HEAD + epoch() + node(b"app", b"up", b"127.0.0.2"))
        release.wait(20)
        connection.sendall(gone(b"app", b"127.0.0.2") + synced())
        connection.recv(1)

    with FakeControl(directory / "control", script) as server:
        for args, expected in ((["app"], 4), (["--free", "app"], 0)):
            release.clear()
            with begun("wait", *args, "--timeout", "0.2", "--control", server.path) as process:
                wait_for(lambda n=1 if expected == 4 else 2: len(server.requests) == n, "the request")
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.3)
                release.set()
                assert finish(process)[0] == expected


def test_changes_in_any_pieces_are_understood(directory):
    def script(connection, _):
        for byte in HEAD + epoch() + synced() + node(state=b"starting") + node(state=b"ready"):
            connection.sendall(bytes([byte]))
        connection.recv(1)

    with FakeControl(directory / "control", script) as server:
        done = rollcall("wait", "app", "--state", "ready", "--timeout", "20", "--control", server.path)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "app is ready")


# --- connections that are lost -------------------------------------------------------------------------------


def test_a_connection_that_is_lost_is_made_anew_once_in_a_second_and_begins_anew(directory):
    """What was known before the loss is forgotten by the new epoch; meanwhile nothing is decided."""

    def script(connection, _):
        n = len(server.requests)
        if n == 1:
            connection.sendall(HEAD + epoch(1) + node() + synced())
        elif n == 2:
            connection.sendall(HEAD + epoch(2))
        elif n == 3:
            connection.sendall(refusal(5, b"Too many watch already."))
        elif n == 4:
            connection.sendall(HEAD + epoch(3) + synced())

    with FakeControl(directory / "control", script) as server:
        done = rollcall("wait", "--free", "app", "--timeout", "30", "--control", server.path)
    assert (done.returncode, done.stderr, len(server.times)) == (0, "", 4)
    assert all(after - before >= 0.9 for before, after in zip(server.times, server.times[1:]))


def test_a_socket_that_is_away_for_a_moment_is_waited_for(directory):
    def script(connection, _):
        connection.sendall(HEAD + epoch() + synced())
        again.wait(20)

    again = threading.Event()
    with FakeControl(directory / "control", script) as server, begun("wait", "app", "--timeout", "30", "--control", server.path) as process:
        wait_for(lambda: server.requests, "the first request")
        os.unlink(server.path)
        again.set()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)

        def late(connection, _):
            connection.sendall(HEAD + epoch(2) + node() + synced())
            connection.recv(1)

        with FakeControl(directory / "control", late):
            assert finish(process)[0] == 0


def test_the_time_is_over_also_while_nobody_is_there(directory):
    def script(connection, _):
        connection.sendall(HEAD + epoch() + synced())
        os.unlink(server.path)

    began = time.monotonic()
    with FakeControl(directory / "control", script) as server:
        exit_status, line = told(rollcall("wait", "app", "--timeout", "1.5", "--control", server.path))
    assert exit_status == 4 and "app" in line
    assert 1.4 < time.monotonic() - began < 5


def test_who_is_not_there_from_the_start_is_told_at_once(directory):
    for command in (["wait", "app"], ["wait", "--free", "app"], ["watch"]):
        assert told(rollcall(*command, "--control", directory / "control"))[0] == 3


@pytest.mark.parametrize("answer", [b"", HEAD, HEAD + epoch(), HEAD + epoch() + END, b"HTTP/1.1 400\r\n", refusal(3), refusal(5), refusal(6)], ids=repr)
def test_a_first_answer_that_is_none_is_told_at_once(directory, answer):
    with FakeControl(directory / "control", answer) as server:
        for command in (["wait", "app", "--timeout", "30"], ["watch"]):
            assert told(rollcall(*command, "--control", server.path))[0] == 3


def test_a_daemon_that_hangs_from_the_start_is_told(directory):
    with FakeControl(directory / "control", None) as server:
        assert told(rollcall("wait", "app", "--timeout", "0.1", "--control", server.path)) == (
            3, f"rollcall: {server.path}: rollcalld has not answered within 5 s")


@pytest.mark.parametrize("args", [
    ["wait"], ["wait", "a", "b"], ["wait", "a", "--state", "alive"], ["wait", "a", "--state", ""], ["wait", "a", "--state", "up,"],
    ["wait", "--free", "a", "--state", "up"], ["wait", "a", "--timeout", "long"], ["wait", "a", "--timeout", "-1"], ["watch", "a", "--prefix", "b"],
    ["wait", "a", "--utc"],
], ids=" ".join)
def test_wrong_usage_is_one_line_and_status_2(args):
    assert told(rollcall("--control", "/nonexistent", *args))[0] == 2


# --- a real daemon -------------------------------------------------------------------------------------------


def test_a_node_is_waited_for_and_told(daemon):
    with begun("wait", "app", "--timeout", "20", "--control", daemon.control) as process:
        wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
        with daemon.client.register("other", listen=True), daemon.client.register("app", listen=True) as app:
            exit_status, out, err = finish(process)
            assert (exit_status, err) == (0, "")
            assert out.startswith(f"app is up, by its connection: port {app.port} on every address")
    wait_for(lambda: status(daemon)["watchers"] == 0, "its end")


def test_one_that_is_there_already_is_told_at_once(daemon):
    with daemon.client.register("app", listen=True) as app:
        done = daemon.rollcall("wait", "app", "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, list(found), found["free"]) == (0, ["name", "free", "node"], False)
        assert (list(found["node"]), found["node"]["port"]) == (node_keys(), app.port)
        done = daemon.rollcall("wait", "app", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_name_is_waited_for_until_it_is_free(daemon):
    with daemon.client.register("app", listen=True) as app:
        assert told(daemon.rollcall("wait", "--free", "app", "--timeout", "0.1"))[0] == 4
        with begun("wait", "--free", "app", "--control", daemon.control) as process:
            wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
            unregister(app)
            assert finish(process) == (0, "app is free\n", "")
    assert json.loads(daemon.rollcall("wait", "--free", "app", "--json").stdout) == {"name": "app", "free": True, "node": None}


def test_a_state_is_waited_for(daemon):
    with daemon.client.register("app", listen=True):
        assert told(daemon.rollcall("wait", "app", "--state", "ready", "--timeout", "0")) == (4, "rollcall: the time is over, and app is up")
        with begun("wait", "app", "--state", "ready", "--control", daemon.control) as process:
            wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
            daemon.rollcall("ready", "app@here")
            exit_status, out, _ = finish(process)
            assert (exit_status, out.split(":")[0]) == (0, "app@here is ready, by its own word")


def test_waiting_asks_once(daemon):
    with begun("wait", "app", "--control", daemon.control) as process:
        wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
        before = counter(daemon, "requests.control")
        time.sleep(1.5)
        assert counter(daemon, "requests.control") == before + 1  # our own
        assert process.poll() is None


def stop(daemon):
    assert daemon.stop() == 0


@pytest.mark.parametrize("end_it", [stop, lambda daemon: daemon.kill9()], ids=["stop", "kill9"])
def test_a_restart_of_the_daemon_is_waited_out(daemon, end_it):
    with begun("wait", "app", "--timeout", "30", "--control", daemon.control) as process:
        wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
        end_it(daemon)
        daemon.start()
        with daemon.client.register("app", listen=True):
            assert finish(process)[0] == 0


def test_a_node_that_outlives_the_daemon_is_not_taken_for_gone(daemon):
    with daemon.client.register("app", listen=True) as app:
        with begun("wait", "--free", "app", "--timeout", "30", "--control", daemon.control) as process:
            wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
            daemon.kill9()
            daemon.start()
            wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher again")
            assert process.poll() is None
            app.close()
            assert finish(process)[0] == 0


def test_watch_tells_what_is_and_then_every_change(daemon):
    with daemon.client.register("a", listen=True) as a, begun("watch", "--control", daemon.control) as process:
        assert f" a is up, by its connection: port {a.port} on every address" in said(process)
        with daemon.client.register("b", listen=True) as b:
            assert " b is up" in said(process)
            daemon.rollcall("ready", "b")
            assert " b is ready, by its own word" in said(process)
            unregister(b)
            line = said(process)
            assert " b is gone: its connection ended" in line
            datetime, rest = line.split(" ", 1)
            assert len(datetime) == len("2026-11-21T13:10:05+00:00") and rest.startswith("b ")


def test_a_pattern_is_waited_for_as_it_is_found(daemon):
    with daemon.client.register("web_1", listen=True):
        for pattern in ("web_*", "web_?@*", "[w]eb_1"):
            done = daemon.rollcall("wait", pattern, "--timeout", "0")
            assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("web_1@"), pattern
        assert daemon.rollcall("wait", "web_1@*", "--timeout", "0").returncode == 0
        assert daemon.rollcall("wait", "web_2*", "--timeout", "0").returncode == 4
        assert daemon.rollcall("wait", "--free", "web_*", "--timeout", "0").returncode == 2


def next_change(process):
    """Between changes it may be said up to which revision all has been told."""
    while (event := json.loads(said(process)))["event"] == "synced":
        assert list(event) == ["event", "revision"]
    return event


def test_watch_repeats_no_line(daemon):
    """What a node tells of itself is in its line; what is not in it, a pin, makes no other one."""
    with daemon.client.register("a", listen=True), begun("watch", "--control", daemon.control) as process:
        first = said(process)
        daemon.rollcall("pin", "a", "1")
        daemon.rollcall("unpin", "a")
        daemon.rollcall("ready", "a", "version=1.2", "zone=b")
        ready = said(process)
        assert " a is ready" in ready and ready.endswith(f"{first.split(', ', 2)[2].rstrip()}, version=1.2 zone=b\n")
        daemon.rollcall("ready", "a", "version=1.3")
        assert said(process) == ready.replace("1.2", "1.3")
        daemon.kill9()
        daemon.start()
        assert "Changes were missed" in said(process)
        assert " a is awaited" in said(process)


def test_watch_as_json_lines(daemon):
    with daemon.client.register("web_1", listen=True) as one, begun("watch", "--prefix", "web_", "--json", "--control", daemon.control) as process:
        events = [json.loads(said(process)) for _ in range(3)]
        assert [event["event"] for event in events] == ["epoch", "node", "synced"]
        assert list(events[0]) == ["event", "revision", "epoch"] and list(events[2]) == ["event", "revision"]
        assert list(events[1]) == ["event", "revision", *node_keys()]
        with daemon.client.register("db", listen=True), daemon.client.register("web_2", listen=True):
            assert next_change(process)["name"] == "web_2"
            unregister(one)
            event = next_change(process)
            assert (event["event"], event["name"], event["how"]) == ("gone", "web_1", "left")
            assert list(event) == ["event", "revision", *tenure_keys()]


def test_watch_goes_on_after_a_restart_and_says_so(daemon):
    with daemon.client.register("a", listen=True), begun("watch", "a", "--control", daemon.control) as process:
        assert " a is up" in said(process)
        daemon.kill9()
        daemon.start()
        assert "Changes were missed" in said(process)
        assert " a is awaited" in said(process)


def test_watch_ends_when_nobody_reads(daemon):
    with begun("watch", "--control", daemon.control) as process:
        wait_for(lambda: status(daemon)["watchers"] == 1, "the watcher")
        process.stdout.close()
        with daemon.client.register("a", listen=True):
            assert process.wait(10) in (4, -signal.SIGPIPE)
        process.stdout = open(os.devnull)
