# SPDX-License-Identifier: Apache-2.0
"""A daemon whose schema is newer takes the registry over, and the older one takes it back: nobody loses a name, a
creation or the past. The newer one is tests/rollcalld-next, today's daemon with one more migration that only adds
(tests/next/next.sql)."""

import subprocess

import pytest

from daemon.helpers import (
    assert_intact,
    closing_all,
    database,
    history,
    is_degraded,
    names_on_disk,
    query,
    status,
    unregister,
)
from lib.daemon import Daemon
from lib.epmd_client import Refused
from lib.process import built, wait_for


def today():
    return built("rollcalld")


def tomorrow():
    try:
        return built("tests/rollcalld-next")
    except FileNotFoundError:
        pytest.skip("tests/rollcalld-next is not built: make check TESTS=")


def stop(daemon):
    assert daemon.stop() == 0


def kill(daemon):
    daemon.kill9()


both_ways = pytest.mark.parametrize("end_it", [stop, kill], ids=lambda function: function.__name__)


def schema_version(daemon):
    return query(daemon.state, "PRAGMA user_version")[0][0]


def read_by_shell(daemon, statement):
    """As a person reads it, while the daemon runs or not."""
    done = subprocess.run(
        ["sqlite3", "-readonly", daemon.state, statement], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.split("\n")[:-1]


def registrations(daemon):
    """What must not change while a node lives, on disk."""
    return query(
        daemon.state, "SELECT name, scope, port, type, creation, since_usec, serial, extra FROM registrations ORDER BY serial"
    )


def go_on_with(daemon, program, end_it):
    end_it(daemon)
    daemon.program = program
    daemon.start()
    assert not is_degraded(daemon)
    assert_intact(daemon.state)


def register_some(daemon):
    client = daemon.client
    nodes = [client.register(f"n{i}", listen=True, extra=b"\0e") for i in range(10)]
    nodes += [client.register("app", listen=True, address=f"127.0.0.{i}") for i in (2, 3)]
    nodes.append(client.register("old", listen=True, highest=5, lowest=5))
    nodes.append(client.register("hidden", listen=True, type=72))
    return nodes


@both_ways
def test_up_and_down_again(end_it):
    with Daemon(program=today()) as daemon, closing_all() as nodes:
        later = tomorrow()
        for name in ("past", "dreamer", "past"):
            unregister(daemon.client.register(name, listen=True))
        unregister(daemon.client.register("past16", listen=True, highest=5, lowest=5))
        nodes += register_some(daemon)
        wait_for(lambda: len(history(daemon.state)) == 4, "the ends of those before")
        version = schema_version(daemon)
        before = registrations(daemon)
        names = daemon.client.names()
        past = history(daemon.state)
        assert len(before) == 14 and len(past) == 4

        def assert_nothing_is_lost():
            assert daemon.client.names() == names
            assert registrations(daemon) == before
            for node in nodes[:10]:
                found = daemon.client.port_please(node.name)
                assert (found.port, found.extra) == (node.port, b"\0e")
            shown = read_by_shell(daemon, "SELECT name FROM nodes")
            assert shown == sorted(row[0] for row in before)
            assert [name for name, _ in history(daemon.state)][: len(past)] == [name for name, _ in past]

        go_on_with(daemon, later, end_it)
        assert schema_version(daemon) == version + 1
        assert query(daemon.state, "SELECT n_registrations, n_tenures FROM visits") == [(14, 4)]
        assert_nothing_is_lost()
        assert ("dreamer", "dreamt-away") in history(daemon.state)
        unregister(daemon.client.register("of_tomorrow", listen=True))
        wait_for(lambda: ("of_tomorrow", "left") in history(daemon.state), "the end of of_tomorrow")

        go_on_with(daemon, today(), end_it)
        assert schema_version(daemon) == version + 1
        assert status(daemon)["registry"]["schema_version"] == version + 1
        assert_nothing_is_lost()
        # It writes: rows that are new, changed, and ended, and the newer one's additions stand.
        with daemon.client.register("of_today", listen=True) as node:
            assert names_on_disk(daemon.state)["of_today"] == (node.port, "up")
            unregister(node)
        wait_for(lambda: ("of_today", "left") in history(daemon.state), "the end of of_today")
        assert query(daemon.state, "SELECT mood FROM moods GROUP BY mood") == [("unknown",)]
        assert query(daemon.state, "SELECT name FROM farewells") == [("of_tomorrow",), ("of_today",)]
        assert query(daemon.state, "SELECT count(*) FROM tenures WHERE mood = 'remembered'") == [(4,)]

        # And up again: nothing is migrated twice.
        go_on_with(daemon, later, end_it)
        assert_nothing_is_lost()
        assert query(daemon.state, "SELECT count(*) FROM visits") == [(1,)]


@both_ways
def test_creations_go_on_in_both_directions(end_it):
    given = []
    with Daemon(program=today()) as daemon:
        later = tomorrow()
        of_name = {}
        for program in (later, today(), later, today()):
            with daemon.client.register("a", listen=True) as node:
                given.append(node.creation)
                unregister(node)
            with daemon.client.register("old", listen=True, highest=5, lowest=5) as node:
                assert node.creation != of_name.get("old")
                of_name["old"] = node.creation
                unregister(node)
            go_on_with(daemon, program, end_it)
    assert given == sorted(set(given))


def test_a_node_comes_back_to_its_own_row():
    """Its connection is lost with the daemon; it registers again with the other one, and has its creation."""
    with Daemon(program=today()) as daemon, daemon.client.register("a", listen=True) as node, closing_all() as returns:
        row = registrations(daemon)
        for program in (tomorrow(), today()):
            go_on_with(daemon, program, kill)
            assert dict(daemon.client.names()) == {"a": node.port}
            with pytest.raises(Refused):
                # Whoever is not that node is told that it lives.
                daemon.client.register("a", 1)
            returns.append(daemon.client.register("a", node.port))
            assert returns[-1].creation == node.creation
            assert registrations(daemon) == row


def test_a_reader_sees_both_through():
    """Views that he knows answer the same questions, whichever daemon wrote."""
    with Daemon(program=today()) as daemon, daemon.client.register("a", listen=True) as node:
        with database(daemon.state) as reader:
            ask = "SELECT name, port, type, scope, creation FROM nodes"
            expected = [("a", node.port, "normal", "*", node.creation)]
            for program in (tomorrow(), today()):
                assert reader.execute(ask).fetchall() == expected
                go_on_with(daemon, program, stop)
                assert reader.execute(ask).fetchall() == expected
                assert reader.execute("SELECT name, how FROM history").fetchall() == []
