# SPDX-License-Identifier: Apache-2.0
"""P5: one identity. A 32-bit creation is never given twice; a 16-bit one differs from that name's previous one; a node
that comes back to its own row gets its own creation again."""

import contextlib
import socket
import time

import pytest

from daemon.helpers import closing_all, database, query, unregister
from lib.control_client import ControlClient
from lib.daemon import Daemon, NotReady, free_port
from lib.process import wait_for


def damage(path, offset=100, n=4096):
    """Overwrites a part of a file with what no database has."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * n)


def remove(path):
    """A database with all that belongs to it; not the lock file."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()


def stop(daemon):
    assert daemon.stop() == 0


def kill(daemon):
    daemon.kill9()


def kill_and_delete(daemon):
    daemon.kill9()
    remove(daemon.state)


def stop_and_delete(daemon):
    stop(daemon)
    remove(daemon.state)


def stop_and_damage(daemon):
    stop(daemon)
    damage(daemon.state)


def kill_and_damage(daemon):
    daemon.kill9()
    damage(daemon.state, offset=0)


def stop_and_empty(daemon):
    stop(daemon)
    remove(daemon.state)
    daemon.state.touch()


MISFORTUNES = [stop, kill, stop_and_delete, kill_and_delete, stop_and_damage, kill_and_damage, stop_and_empty]


def creations_of(daemon, n, **fields):
    """Of n registrations one after the other, of one name and of several."""
    given = []
    for i in range(n):
        with daemon.client.register("one" if i % 2 else f"other{i}", 1, **fields) as node:
            given.append(node.creation)
            unregister(node)
    return given


@pytest.mark.parametrize("misfortune", MISFORTUNES, ids=lambda function: function.__name__)
def test_no_creation_is_given_twice(daemon, misfortune):
    given = creations_of(daemon, 20)
    for _ in range(3):
        misfortune(daemon)
        daemon.start()
        given += creations_of(daemon, 20)
    assert len(set(given)) == len(given), given
    assert given == sorted(given)
    assert all(4 <= creation < 2**32 for creation in given)


@pytest.mark.parametrize("misfortune", [stop_and_delete, stop_and_damage, kill_and_delete, stop_and_empty])
def test_no_creation_of_a_lost_file_is_given_again_although_it_was_ahead_of_the_time(daemon, misfortune):
    """More were given than seconds have passed: what was reserved is remembered beside the file, and in the damaged one."""
    stop(daemon)
    with database(daemon.state, writable=True) as handle:
        handle.execute("UPDATE registry SET creation_reserved = 3000000000")
    daemon.start()
    given = creations_of(daemon, 3)
    assert min(given) >= 3000000000
    misfortune(daemon)
    daemon.start()
    again = creations_of(daemon, 3)
    assert min(again) > max(given)


def test_creations_are_reserved_on_disk_before_they_are_given(daemon):
    for _ in range(5):
        given = max(creations_of(daemon, 300))
        daemon.kill9()
        ((reserved,),) = query(daemon.state, "SELECT creation_reserved FROM registry")
        assert given < reserved
        daemon.start()


def test_creations_from_memory_begin_at_the_time():
    with Daemon("--no-state", state=False) as daemon:
        given = creations_of(daemon, 5)
    assert time.time() - 60 <= min(given) <= time.time()


def test_creations_begin_again_above_the_end_of_the_range(daemon):
    stop(daemon)
    with database(daemon.state, writable=True) as handle:
        handle.execute("UPDATE registry SET creation_reserved = 4294967290")
    # The lock file knows how far a former run has got; it is a later mark only if it is near.
    daemon.state.with_name(daemon.state.name + ".lock").unlink()
    daemon.start()
    given = creations_of(daemon, 20)
    assert len(set(given)) == 20
    assert given[0] >= 4294967290 and given[-1] < 1000
    assert all(creation >= 4 for creation in given)
    daemon.kill9()
    daemon.start()
    assert not set(creations_of(daemon, 20)) & set(given)


# --- 16 bits --------------------------------------------------------------------------------------


def small(daemon, name, **fields):
    with daemon.client.register(name, 1, highest=5, lowest=5, **fields) as node:
        assert node.reply.opcode == "y"
        assert node.creation in (1, 2, 3)
        unregister(node)
        return node.creation


@pytest.mark.parametrize("between", [None, stop, kill], ids=["without_a_restart", "restart", "kill"])
def test_16_bit_creation_differs_from_the_previous_one_of_that_name(daemon, between):
    last = {}
    for round_ in range(8 if between else 30):
        for name in ("a", "b", "c"):
            # Others in between, so that it is not the counter alone that makes the difference.
            for _ in range(round_ % 4):
                small(daemon, f"other{round_}")
            given = small(daemon, name)
            assert given != last.get(name), (name, round_)
            last[name] = given
        if between:
            between(daemon)
            daemon.start()


def test_16_bit_creation_of_a_name_is_remembered_behind_many_others(daemon):
    first = small(daemon, "a")
    for i in range(700):
        with daemon.client.register(f"other{i}", 1) as node:
            unregister(node)
    daemon.restart()
    # Three others, so that the counter alone would give the same again in one case of three.
    for padding in range(3):
        with daemon.client.register(f"padding{padding}", 1) as node:
            unregister(node)
        second = small(daemon, "a")
        assert second != first
        first = second


def test_name_registered_both_ways(daemon):
    for _ in range(5):
        first = small(daemon, "a")
        assert creations_of(daemon, 2)[1] >= 4
        assert small(daemon, "a") in (1, 2, 3)
        assert first in (1, 2, 3)


# --- nodes that come back -------------------------------------------------------------------------


@pytest.mark.parametrize("highest", [5, 6])
@pytest.mark.parametrize("between", [stop, kill])
def test_returning_node_keeps_its_creation(daemon, between, highest):
    with closing_all() as every:
        nodes = [daemon.client.register(f"n{i}", listen=True, highest=highest, lowest=5) for i in range(5)]
        every += nodes
        for _ in range(3):
            between(daemon)
            daemon.start()
            others = creations_of(daemon, 3)
            back = [daemon.client.register(node.name, node.port, highest=highest, lowest=5) for node in nodes]
            every += back
            assert [node.creation for node in back] == [node.creation for node in nodes]
            assert not {node.creation for node in back} & set(others)
            for node in nodes:
                node.close_connection()
            nodes = back


def test_successor_of_a_node_is_not_given_its_creation(daemon):
    """The same name and port, another listening socket."""
    with daemon.client.register("a", listen=True) as node:
        daemon.kill9()
        node.close()
        daemon.start()
        with daemon.client.register("a", port=node.port, listen=True) as successor:
            assert successor.creation != node.creation


def test_reservation_does_not_stand_still_while_the_disk_does(daemon):
    """Without a file there is nothing to reserve on: registrations go on for longer than a block."""
    stop(daemon)
    with contextlib.suppress(NotReady), Daemon("--no-state", state=False) as memory:
        given = creations_of(memory, 1500)
        assert given == list(range(given[0], given[0] + 1500))
        wait_for(lambda: memory.client.names() == [], "end")


@pytest.mark.parametrize("end_it", [None, stop, kill], ids=["stays", "stop", "kill"])
@pytest.mark.parametrize("is_there", [False, True], ids=["went", "there"])
def test_a_16_bit_one_differs_also_where_the_name_was_an_entrys_meanwhile(end_it, is_there):
    """Who is there by a static entry has not registered, and has no creation."""
    with Daemon() as daemon, contextlib.ExitStack() as stack:
        control = ControlClient(daemon.control)
        for turn in range(4):
            with daemon.client.register("old", highest=5) as node:
                before = node.creation
            wait_for(lambda: not daemon.client.port_please("old"), "its end")
            port = free_port()
            listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
            control.request("ADD", NAME="old", PORT=port)
            assert daemon.client.port_please("old").port == port
            if not is_there:
                listener.close()
                wait_for(lambda: not daemon.client.port_please("old"), "the end of its listener")
            if end_it:
                end_it(daemon)
                daemon.start()
            listener.close()
            control.request("REMOVE", NAME="old")
            # With these, the next number alone would lead to the same of three, sooner or later.
            for other in range(turn):
                unregister(daemon.client.register(f"other-{other}", highest=5))
            with daemon.client.register("old", highest=5) as node:
                assert node.creation != before
            wait_for(lambda: not daemon.client.port_please("old"), "its end")
