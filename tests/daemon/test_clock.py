# SPDX-License-Identifier: Apache-2.0
"""The machine's clock is set, forwards and back, beneath a daemon (preload_clock.c: the time of day alone)."""

import time

import pytest

from daemon.helpers import HERE, closing_all, compiled, history, is_degraded, query, unregister
from lib.control_client import ControlClient
from lib.daemon import Daemon
from lib.epmd_client import Refused, is_closed
from lib.process import wait_for

HOUR, YEAR = 3600, 365 * 24 * 3600


class Clock:
    def __init__(self, daemon):
        self.control = daemon.directory / "clock"
        library = compiled(HERE.parent / "preload_clock.c", "-shared", "-fPIC", "-ldl")
        daemon.env.update({"LD_PRELOAD": library, "PRELOAD_CLOCK_CONTROL": self.control, "ASAN_OPTIONS": "verify_asan_link_order=0"})

    def set(self, seconds):
        """Ahead of the right time by so many seconds."""
        new = self.control.with_name("clock.new")
        new.write_text(str(seconds))
        new.rename(self.control)


@pytest.fixture
def clocked():
    """(daemon, clock)"""
    daemon = Daemon()
    clock = Clock(daemon)
    with daemon:
        yield daemon, clock


@pytest.mark.parametrize("seconds", [10 * YEAR, -10 * YEAR], ids=["forwards", "back"])
def test_a_clock_that_is_set_ends_nobody_and_stops_nothing(clocked, seconds):
    daemon, clock = clocked
    control = ControlClient(daemon.control)
    with closing_all() as nodes:
        nodes.append(daemon.client.register("listening", listen=True))
        nodes.append(daemon.client.register("portless", 1))
        daemon.kill9()
        daemon.start()
        # One is awaited for as long as its listening socket is open, the other for 12 s.
        expected = dict(daemon.client.names())
        assert set(expected) == {"listening", "portless"}
        idle = daemon.client.connect()
        nodes.append(idle)
        with control.watch() as watch:
            watch.sync()
            clock.set(seconds)
            assert dict(daemon.client.names()) == expected
            nodes.append(daemon.client.register("later", listen=True))
            watch.wait(lambda: ("later", "*") in watch.nodes, 5)
            since = watch.nodes["later", "*"]["SINCE"] / 1e6
            assert abs(since - (time.time() + seconds)) < 60, "the clock was set"
            with pytest.raises(Refused):
                daemon.client.register("later", 2)
            # No timeout is measured by that clock: those of a second would be over now.
            time.sleep(1.2)
            assert dict(daemon.client.names()) == expected | {"later": nodes[-1].port}
            assert not is_closed(idle)
            daemon.restart()
            assert dict(daemon.client.names()) == expected | {"later": nodes[-1].port}
            clock.set(0)
            assert dict(daemon.client.names()) == expected | {"later": nodes[-1].port}
        assert not is_degraded(daemon)
        assert daemon.stop() == 0


def test_history_keeps_the_order_of_ends_and_tells_the_times_that_the_clock_told(clocked):
    daemon, clock = clocked
    for seconds in (0, -HOUR, 2 * HOUR, 0):
        node = daemon.client.register("a", 1)
        clock.set(seconds)
        unregister(node)
    wait_for(lambda: len(history(daemon.state)) == 4, "history")
    rows = query(daemon.state, "SELECT since_usec, until_usec, creation FROM tenures ORDER BY id")
    ends = [round((until / 1e6 - time.time()) / HOUR) for _, until, _ in rows]
    assert ends == [0, -1, 2, 0]
    creations = [creation for _, _, creation in rows]
    assert creations == sorted(creations)
    assert len(ControlClient(daemon.control).request("HISTORY", NAME="a")) == 4
    for hours in (-2, -1, 0, 1, 3):
        ControlClient(daemon.control).request("AT", AT=int((time.time() + hours * HOUR) * 1e6))
    assert daemon.rollcall("history", "a").returncode == 0


def give(daemon, n):
    given = []
    for _ in range(n):
        node = daemon.client.register("a", 1)
        given.append(node.creation)
        unregister(node)
    return given


@pytest.mark.parametrize("is_lost", [False, True], ids=["with_its_file", "without_its_file"])
def test_a_clock_that_is_set_back_gives_no_creation_again(clocked, is_lost):
    daemon, clock = clocked
    given = give(daemon, 5)
    for seconds in (-HOUR, -10 * YEAR, 0):
        daemon.kill9()
        if is_lost:
            for file in daemon.directory.glob("registry.db*"):
                if file.suffix != ".lock":
                    file.unlink()
        clock.set(seconds)
        daemon.start()
        given += give(daemon, 5)
    assert len(set(given)) == len(given) and given == sorted(given)


def test_a_clock_that_is_set_forwards_ages_history_and_not_what_creations_need(clocked):
    daemon, clock = clocked
    with daemon.client.register("a", 1, highest=5) as node:
        given = node.creation
        unregister(node)
    unregister(daemon.client.register("b", 1))
    wait_for(lambda: len(history(daemon.state)) == 2, "history")
    clock.set(YEAR)
    daemon.restart()
    wait_for(lambda: history(daemon.state) == [("a", "left")], lambda: f"what is older than --history-days to go: {history(daemon.state)}")
    clock.set(0)
    daemon.restart()
    with daemon.client.register("a", 1, highest=5) as node:
        assert node.creation != given
