# SPDX-License-Identifier: Apache-2.0
"""`rollcall history` and `rollcall at`: who was registered when. How times are written is tested by check_times."""

import contextlib
import json
import os
import pwd
import time

import pytest

from daemon.commands import rollcall, tenure_keys, told
from daemon.helpers import unregister
from lib.daemon import Daemon
from lib.fake_control import END, HEAD, FakeControl, field, record, request, u64
from lib.process import wait_for

HEADINGS = ["NAME", "PORT", "SINCE", "UNTIL", "HOW", "BY", "TYPE", "SCOPE", "USER", "HOST", "UNIT"]


def past(daemon, *args, command="history"):
    done = daemon.rollcall(command, "--json", *args)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def at(daemon, usec):
    return [row["name"] for row in past(daemon, f"@{usec / 1e6:.6f}", command="at")]


def come_and_go(daemon, *names):
    for name in names:
        with daemon.client.register(name, listen=True) as registration:
            unregister(registration)


# --- history -------------------------------------------------------------------------------------------------


def test_those_who_are_and_those_who_were_newest_first(daemon):
    come_and_go(daemon, "first", "second")
    with daemon.client.register("here", listen=True) as here:
        done = daemon.rollcall("history")
        rows = past(daemon)
    assert (done.returncode, done.stderr) == (0, "")
    table = [line.split() for line in done.stdout.splitlines()]
    assert table[0] == HEADINGS and {len(row) for row in table} == {len(HEADINGS)}
    assert [(row[0], row[3] == "now", row[4]) for row in table[1:]] == [("here", True, "-"), ("second", False, "left"), ("first", False, "left")]
    assert {row[8] for row in table[1:]} == {pwd.getpwuid(os.getuid()).pw_name}
    assert [row["name"] for row in rows] == ["here", "second", "first"]
    assert all(list(row) == tenure_keys() for row in rows)
    assert (rows[0]["until"], rows[0]["how"], rows[0]["port"], rows[0]["state"]) == (None, None, here.port, "up")
    assert (rows[1]["how"], rows[1]["by"]) == ("left", None)
    assert rows[2]["since_usec"] < rows[2]["until_usec"] <= rows[1]["until_usec"]


def test_of_one_name(daemon):
    come_and_go(daemon, "a", "b", "a")
    with daemon.client.register("a", listen=True), daemon.client.register("ab", listen=True):
        assert [(row["name"], row["until"] is None) for row in past(daemon, "a")] == [("a", True), ("a", False), ("a", False)]
        assert len(past(daemon, "a@127.0.0.1")) == 3
    assert past(daemon, "nobody") == []
    assert daemon.rollcall("history", "nobody").stdout == " ".join(HEADINGS) + "\n"


def test_of_one_name_on_one_address(daemon):
    for last in (2, 3):
        with daemon.client.register("app", listen=True, address=f"127.0.0.{last}") as app:
            unregister(app)
    assert [row["scope"] for row in past(daemon, "app@127.0.0.2")] == ["127.0.0.2"]
    assert [row["scope"] for row in past(daemon, "app")] == ["127.0.0.3", "127.0.0.2"]


def test_since_and_until_select_who_was_there_at_some_moment_between(daemon):
    come_and_go(daemon, "before", "between", "after")
    after, between, before = past(daemon)
    with daemon.client.register("still", listen=True):

        def names(*args):
            return [row["name"] for row in past(daemon, *args)]

        def unix(usec):
            return f"@{usec // 1000000}.{usec % 1000000:06}"

        assert names("--since", unix(before["until_usec"] + 1), "--until", unix(after["since_usec"] - 1)) == ["between"]
        assert names("--since", unix(between["until_usec"]), "--until", unix(between["until_usec"])) == ["between"]
        assert names("--until", unix(before["until_usec"])) == ["before"]
        assert names("--since", unix(after["until_usec"])) == ["still", "after"]
        assert names("--since", "-1h") == ["still", "after", "between", "before"]
        assert names("--until", "-1h") == []
        assert names("--since=yesterday", "--until=now", "between") == ["between"]


def test_a_limit_is_of_the_newest_and_told(daemon):
    come_and_go(daemon, *(f"n{i}" for i in range(5)))
    done = daemon.rollcall("history", "--limit", "2")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "n4", "n3"]
    assert (done.returncode, done.stderr) == (0, "only the newest 2 (--limit 0 shows all)\n")
    assert daemon.rollcall("history", "--limit", "5").stderr == ""


def test_nodes_of_tools_do_not_crowd_out_the_others(daemon):
    come_and_go(daemon, "real", *(f"rabbitmqcli-{i}-rabbit" for i in range(3)))
    with daemon.client.register("rabbitmqcli-9-rabbit", listen=True), daemon.client.register("here", listen=True):
        moment = f"@{time.time():.6f}"
        assert [row["name"] for row in past(daemon, "--limit", "2")] == ["here", "real"]
        assert len(past(daemon, "--all")) == 6
        assert [row["name"] for row in past(daemon, "rabbitmqcli-1-rabbit")] == ["rabbitmqcli-1-rabbit"]
        assert [row["name"] for row in past(daemon, moment, command="at")] == ["here"]
        assert [row["name"] for row in past(daemon, moment, "--all", command="at")] == ["here", "rabbitmqcli-9-rabbit"]
        assert daemon.rollcall("history").stderr == daemon.rollcall("at", moment).stderr == "nodes of tools are not shown (--all shows all)\n"
        assert daemon.rollcall("history", "--all").stderr == ""


def test_a_long_past_comes_in_pieces_and_whole():
    """More than the daemon tells at once (500), and than is shown if nothing is said (100)."""
    n = 1203
    with Daemon() as daemon:
        come_and_go(daemon, *(f"n{i}" for i in range(n)))
        with daemon.client.register("here", listen=True):
            names = [row["name"] for row in past(daemon, "--limit", "0")]
            assert names == ["here", *(f"n{i}" for i in reversed(range(n)))]
            assert [row["name"] for row in past(daemon)] == names[:100]
            assert [row["name"] for row in past(daemon, "--limit=501")] == names[:501]
            assert [row["name"] for row in past(daemon, "--limit=1003")] == names[:1003]


def test_history_outlives_the_daemon(daemon):
    come_and_go(daemon, "old")
    with daemon.client.register("lost", listen=True):
        daemon.kill9()
    daemon.start()
    assert [(row["name"], row["how"]) for row in past(daemon)] == [("lost", "found-dead"), ("old", "left")]


# --- at ------------------------------------------------------------------------------------------------------


def test_who_was_registered_at_a_time(daemon):
    with contextlib.ExitStack() as stack:
        b = stack.enter_context(daemon.client.register("b", listen=True))
        stack.enter_context(daemon.client.register("a", listen=True))
        both = int(time.time() * 1e6)
        unregister(b)
        wait_for(lambda: len(past(daemon, "b")) == 1 and past(daemon, "b")[0]["until_usec"], "the end of b")
        [gone] = past(daemon, "b")
        assert at(daemon, gone["since_usec"] - 1) == []
        assert at(daemon, gone["since_usec"]) == ["b"]
        assert at(daemon, both) == ["a", "b"]
        assert at(daemon, gone["until_usec"] + 1) == ["a"]
        assert [row["name"] for row in past(daemon, "now", command="at")] == ["a"]
        assert past(daemon, "-2h", command="at") == []
        table = daemon.rollcall("at", f"@{both // 1000000}.{both % 1000000:06}").stdout.splitlines()
        assert [line.split()[0] for line in table] == ["NAME", "a", "b"]


def test_times_are_the_readers_or_utc(daemon):
    come_and_go(daemon, "a")
    row = past(daemon)[0]
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row["since_usec"] // 1000000))
    for args, zone, expected in ((["--utc"], "XXX-05:30", clock + "+00:00"), ([], "UTC", clock + "+00:00")):
        line = rollcall("history", *args, "--control", daemon.control, env={"TZ": zone}).stdout.splitlines()[1]
        assert line.split()[2] == expected
    assert rollcall("history", "--control", daemon.control, env={"TZ": "XXX-05:30"}).stdout.splitlines()[1].split()[2].endswith("+05:30")
    begin = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row["since_usec"] // 1000000 - 120))
    names = json.loads(rollcall("history", "--json", "--utc", "--until", begin, "--control", daemon.control, env={"TZ": "XXX-05:30"}).stdout)
    assert names == []


# --- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [
    ["at"], ["at", "noon"], ["at", "2026-02-30"], ["at", "1969-01-01"], ["at", "now", "then"], ["at", "2100-01-01"], ["at", "now", "--since", "now"],
    ["history", "--since", "2h"], ["history", "--until", ""], ["history", "--since"], ["history", "--since", "-1h", "--until", "-2h"],
    ["history", "--limit", "-1"], ["history", "--limit", "many"], ["history", "--limit", "1e3"], ["history", "a", "b"], ["history", "--free"],
    ["history", "--limit", "99999999999999999999999"],
], ids=" ".join)
def test_wrong_usage_is_one_line_and_status_2(args):
    assert told(rollcall("--control", "/nonexistent", *args))[0] == 2


def test_without_a_file_there_is_no_past():
    with Daemon("--no-state", state=False) as daemon:
        for args in (["history"], ["at", "now"]):
            status, line = told(daemon.rollcall(*args))
            assert status == 3 and "(unavailable)" in line


def test_what_is_asked_is_what_was_said(directory):
    def script(connection, data):
        cursor = field(47, u64(7)) in data
        connection.sendall(HEAD + (b"" if cursor else record(69, field(16, b"a")) + record(74, field(47, u64(7)))) + END)

    with FakeControl(directory / "control", script) as server:
        done = rollcall("history", "a@host", "--since", "@1", "--until", "@2.5", "--json", "--control", server.path)
        assert (done.returncode, len(json.loads(done.stdout))) == (0, 1)
        fields = [field(16, b"a"), field(42 - 18, u64(1000000)), field(42, u64(2500000))]
        assert server.requests == [request(4, *fields), request(4, *fields, field(47, u64(7)))]
        rollcall("at", "@3", "--control", server.path)
        assert server.requests[2] == request(5, field(45, u64(3000000)))


def test_a_page_that_breaks_off_shows_nothing(directory):
    def script(connection, data):
        first = field(47, u64(7)) not in data
        connection.sendall(HEAD + record(69, field(16, b"a")) + (record(74, field(47, u64(7))) + END if first else b""))

    with FakeControl(directory / "control", script) as server:
        status, line = told(rollcall("history", "--control", server.path))
    assert status == 3 and "breaks off" in line
