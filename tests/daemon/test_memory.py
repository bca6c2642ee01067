# SPDX-License-Identifier: Apache-2.0
"""RLIMIT_AS: there is no memory to start with, or none for more. (P6 bounds what clients can take; this is what happens
where the machine has less.)"""

import contextlib
import re
import resource
import sqlite3

import pytest

from daemon.helpers import closing_all, is_degraded, is_sanitized, names_on_disk
from lib.control_client import BrokenOff, ControlClient, ControlError
from lib.daemon import Daemon, NotReady
from lib.epmd_client import ClosedWithoutAnswer, Refused
from lib.process import wait_for

MB = 1024 * 1024

# pthread_create() has one word for all that it may lack.
LACKS_MEMORY = ["Cannot allocate memory", "Resource temporarily unavailable"]

pytestmark = pytest.mark.skipif(is_sanitized(), reason="sanitizers map more than any limit")


def limit(n_bytes):
    """argv to put before the daemon."""
    return ["prlimit", f"--as={n_bytes}:{n_bytes}", "--"]


def address_space(daemon):
    with open(f"/proc/{daemon.pid}/statm") as file:
        return int(file.read().split()[0]) * 4096


def has_row(daemon, node):
    """False, too, while the file has no tables yet."""
    with contextlib.suppress(sqlite3.OperationalError):
        return names_on_disk(daemon.state) == {node.name: (node.port, "up")}
    return False


def test_without_memory_to_start_with_it_says_so(daemon):
    """From a limit in which not even the loader has room up to one that is enough."""
    enough = address_space(daemon)
    daemon.stop()
    outcomes = []
    for n in range(13):
        with contextlib.closing(Daemon(wrapper=limit(4 * MB + enough * n // 8))) as tight:
            try:
                tight.start()
            except NotReady as failure:
                # 127: the loader's word.
                words = ["error while loading shared libraries"] if failure.status == 127 else LACKS_MEMORY
                assert failure.status in (1, 127) and any(word in failure.log for word in words), failure
                outcomes.append("says why")
                continue
            with tight.client.register("a", listen=True) as a:
                assert has_row(tight, a) or is_degraded(tight)
            outcomes.append("serves")
    assert outcomes[0] == "says why" and outcomes[-1] == "serves", outcomes


def crowd(daemon, nodes, n):
    """Registers as many as there is room for: each takes some kilobytes. Returns how many were turned away."""
    n_turned_away = 0
    for i in range(n):
        try:
            nodes.append(daemon.client.register(f"n{i}".ljust(250, "x"), 1 + i, extra=bytes(1000)))
        except (Refused, ClosedWithoutAnswer, OSError):
            n_turned_away += 1
            if n_turned_away > 20:
                break
    return n_turned_away


def try_register(daemon, name):
    """None: there is no memory for it."""
    with contextlib.suppress(ClosedWithoutAnswer):
        return daemon.client.register(name, listen=True)
    return None


def names(daemon):
    """None: there is no memory for an answer."""
    with contextlib.suppress(ClosedWithoutAnswer):
        return dict(daemon.client.names())
    return None


def is_healthy(control):
    with contextlib.suppress(ControlError, BrokenOff):
        return not any(record.get("DEGRADED") for record in control.request("STATUS"))
    return False


def is_found(daemon, node):
    with contextlib.suppress(ClosedWithoutAnswer):
        return daemon.client.port_please(node.name).port == node.port
    return False


def test_without_memory_for_more_those_who_are_there_are_served(daemon):
    # What a thread's arena reserves in advance would be room for tens of thousands.
    daemon.env["MALLOC_ARENA_MAX"] = "1"
    daemon.restart()
    room = address_space(daemon) + 6 * MB
    resource.prlimit(daemon.pid, resource.RLIMIT_AS, (room, room))
    control = ControlClient(daemon.control)
    with daemon.client.register("first", listen=True) as first, closing_all() as nodes:
        n_turned_away = crowd(daemon, nodes, 8000)
        assert n_turned_away > 0, f"{len(nodes)} nodes in {room} bytes"
        assert daemon.is_running(), daemon.log()
        # Whoever meets it first says so: ours, or SQLite.
        assert re.search("Cannot allocate memory|out of memory", daemon.log())
        assert all(node.is_open() for node in [first, *nodes]), "who is there stays"
        # A little room is enough to find them; what takes more is refused, in words where there are some.
        for node in nodes[:20]:
            node.close()
        del nodes[:20]
        wait_for(lambda: is_found(daemon, first), "an answer", 2)
        for kind in ("NAMES", "HISTORY", "STATUS"):
            with contextlib.suppress(ControlError, BrokenOff, OSError):
                control.request(kind)
        assert daemon.is_running(), daemon.log()
        while nodes:
            nodes.pop().close()
        wait_for(lambda: names(daemon) == {"first": first.port}, "end of the others")
        # What is still to be written takes memory until it is.
        with wait_for(lambda: try_register(daemon, "last"), "a registration", 15) as last:
            wait_for(lambda: is_healthy(control), lambda: f"health:\n{daemon.log()[-3000:]}", 15)
            wait_for(lambda: set(names_on_disk(daemon.state)) == {"first", "last"}, "rows of both")
            daemon.kill9()
            daemon.start()
            assert dict(daemon.client.names()) == {"first": first.port, "last": last.port}
