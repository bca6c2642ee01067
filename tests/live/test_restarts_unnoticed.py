# SPDX-License-Identifier: Apache-2.0
"""Restarts that nobody notices: fifty nodes and a stream of lookups; two thousand; a service manager that is busy."""

import contextlib
import os
import shutil
import time

import pytest

from lib.epmd_client import is_closed
from lib.inside import Lookups, Swarm
from lib.machine import Machine
from lib.process import build_directory, wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"
N_NODES = 50
N_REAL = N_NODES if LONG else 5
N_STORED_MAX = 512

DEPENDENT = """
[Unit]
Requires=epmd.service
After=epmd.service

[Service]
ExecStart=/usr/bin/sleep infinity
"""

ROWS = "SELECT name, scope, port, creation, since FROM nodes"


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        machine.write("/etc/systemd/system/dependent.service", DEPENDENT)
        machine.install_rollcall()
        machine.run("systemctl", "start", "dependent.service")
        yield machine


def n_settled(machine):
    """When every connection is stored: how many."""
    wait_for(lambda: machine.n_stored() == len(machine.client.names()), lambda: f"{len(machine.client.names())} in the store: {machine.n_stored()}", 15)
    return machine.n_stored()


# --- fifty nodes -------------------------------------------------------------------------------------


class Crowd:
    """Real nodes and a swarm; what they would notice is asked of themselves."""

    def __init__(self, machine, real, swarm):
        self.machine, self.real, self.swarm = machine, real, swarm
        self.ports = swarm.ports | {node.alive_name: machine.client.port_please(node.alive_name).port for node in real}

    def __len__(self):
        return len(self.ports)

    def noticed(self):
        """Grows with all that a node learns of its connection; a real one's is known by its Erlang port."""
        connections = [node.eval("element(2, sys:get_state(erl_epmd))") for node in self.real]
        return connections, [node.eval("erlang:system_info(creation)") for node in self.real], self.swarm.noticed()

    def rows(self):
        return self.machine.sql(ROWS)

    def wait_stored(self, n=None):
        n = len(self) if n is None else n
        wait_for(lambda: self.machine.n_stored() == n, lambda: f"{n} in the fd store: {self.machine.n_stored()}", 15)


@pytest.fixture(scope="module")
def crowd(shared_machine):
    with contextlib.ExitStack() as stack:
        nodes = [shared_machine.node(f"real{i}", wait=False) for i in range(N_REAL)]
        for node in nodes:
            stack.enter_context(node)
        swarm = stack.enter_context(Swarm(shared_machine, max(N_NODES - N_REAL, 1)))
        for node in nodes:
            node.wait_started()
        yield Crowd(shared_machine, nodes, swarm)


def restart(machine):
    machine.run("systemctl", "restart", "rollcalld.service")


def kill9(machine):
    machine.kill9_daemon()


def watchdog(machine):
    pid = machine.daemon_pid()
    machine.run("kill", "-STOP", pid)
    machine.wait_daemon_other_than(pid)


def daemon_reload(machine):
    machine.run("systemctl", "daemon-reload")


def daemon_reexec(machine):
    machine.run("systemctl", "daemon-reexec")


@contextlib.contextmanager
def watchdog_of_two_seconds(machine):
    machine.drop_in("rollcalld.service", "watchdog", "[Service]\nWatchdogSec=2s\n")
    restart(machine)
    try:
        yield
    finally:
        machine.remove_drop_in("rollcalld.service", "watchdog")
        restart(machine)


# What happens, how many questions may be cut off each time: those between accept and answer in a killed process.
HAPPENINGS = [
    pytest.param(restart, 3, 0, id="restart"),
    pytest.param(kill9, 3, 1, id="kill-9"),
    pytest.param(watchdog, 1, 1, id="watchdog"),
    pytest.param(daemon_reload, 2, 0, id="daemon-reload"),
    pytest.param(daemon_reexec, 2, 0, id="daemon-reexec"),
]


@contextlib.contextmanager
def unnoticed(crowd, cut=0):
    """Nobody notices what happens in this block: no lookup fails but for `cut`, no node loses its connection, no name
    and no creation changes, no dependent unit restarts."""
    machine = crowd.machine
    crowd.wait_stored()
    before = crowd.noticed(), crowd.rows(), machine.main_pid("dependent.service")
    history = machine.sql("SELECT count(*) FROM history")
    with Lookups(machine, crowd.ports) as stream:
        stream.go_on()
        yield
        assert machine.n_stored() == len(crowd)
        stream.go_on()
    stream.check(cut=cut)
    # A node that had lost its connection would have been told so by now.
    assert (crowd.noticed(), crowd.rows(), machine.main_pid("dependent.service")) == before
    assert machine.sql("SELECT count(*) FROM history") == history
    assert {state for (state,) in machine.sql("SELECT DISTINCT state FROM nodes")} == {"up"}


@pytest.mark.parametrize("happens, times, cut", HAPPENINGS)
def test_fifty_nodes_and_who_looks_them_up_do_not_notice(crowd, happens, times, cut):
    with watchdog_of_two_seconds(crowd.machine) if happens is watchdog else contextlib.nullcontext():
        with unnoticed(crowd, cut=cut * times):
            for _ in range(times):
                happens(crowd.machine)


@pytest.fixture
def next_release(shared_machine):
    """A rollcalld of the next release, whose schema is newer by a migration that only adds: its path in the machine."""
    for built in (build_directory() / "tests/rollcalld-next", build_directory() / "rollcalld-next"):
        if built.is_file():
            shutil.copy(built, shared_machine.root / "opt/rollcalld-next")
            return "/opt/rollcalld-next"
    pytest.skip("rollcalld-next is not built (make check builds it)")


def test_fifty_nodes_do_not_notice_an_upgrade_and_a_downgrade(crowd, next_release):
    """Of the package: another program, then another schema; and back again, to an older program and the newer schema."""
    machine = crowd.machine
    (version,) = machine.sql("PRAGMA user_version")[0]
    with unnoticed(crowd):
        machine.drop_in("rollcalld.service", "next", f"[Service]\nExecPaths={next_release}\nExecStart=\nExecStart={next_release} $ROLLCALLD_OPTIONS\n")
        restart(machine)
    (newer,) = machine.sql("PRAGMA user_version")[0]
    assert int(newer) == int(version) + 1
    with machine.client.register("of-next", listen=True):
        crowd.ports["of-next"] = machine.client.port_please("of-next").port
        with unnoticed(crowd):
            machine.remove_drop_in("rollcalld.service", "next")
            restart(machine)
        crowd.ports.pop("of-next")
        # The older one reads and writes what the newer one has migrated.
        assert machine.sql("PRAGMA user_version") == [[newer]]
        assert machine.run("rollcall", "status", check=False).returncode == 0
        with machine.client.register("of-old", listen=True):
            assert machine.sql("SELECT name FROM nodes WHERE name LIKE 'of-%'") == [["of-next"], ["of-old"]]
    wait_for(lambda: len(crowd.rows()) == len(crowd), "the others to be gone")
    assert machine.sql("SELECT name FROM history WHERE name LIKE 'of-%' ORDER BY name") == [["of-next"], ["of-old"]]


def test_after_all_that_the_nodes_still_talk(crowd):
    first, *others = crowd.real[:5]
    assert [first.ping(node) for node in others] == ["pong"] * len(others)


def test_a_node_that_leaves_leaves_the_store(crowd):
    crowd.wait_stored()
    crowd.swarm.say("leave n0")
    wait_for(lambda: crowd.machine.client.port_please("n0") is None, "the name to go", 2)
    wait_for(lambda: crowd.machine.n_stored() == len(crowd) - 1, lambda: f"one less: {crowd.machine.n_stored()}")
    kill9(crowd.machine)
    assert crowd.machine.client.port_please("n0") is None
    crowd.ports.pop("n0")


def test_a_stored_connection_that_ended_while_the_daemon_was_down_is_proof_of_death(crowd):
    """Its listener lives on, but a connection that has ended says more."""
    machine = crowd.machine
    machine.client.names()
    with machine.client.listen() as listener:
        held = machine.client.register("gone", listener.getsockname()[1])
        wait_for(lambda: machine.n_stored() == len(crowd) + 1, "it to be stored")
        pid = machine.daemon_pid()
        machine.run("kill", "-STOP", pid)
        held.close()
        machine.run("kill", "-KILL", pid)
        machine.wait_daemon_other_than(pid)
        assert machine.client.port_please("gone") is None
        wait_for(lambda: machine.sql("SELECT how FROM history WHERE name = 'gone'"), "its end in the file")
    crowd.wait_stored()


# --- the file is lost --------------------------------------------------------------------------------


def test_a_lost_file_takes_no_node_along(shared_machine):
    """Not even one that would not come back by itself."""
    machine = shared_machine
    machine.run("systemctl", "start", "rollcalld.service")
    with machine.client.register("a", listen=True) as a, machine.client.register("ä-%", 1) as odd:
        n_stored = n_settled(machine)
        names, rows = sorted(machine.client.names()), sorted(machine.sql(ROWS))
        assert {("a", a.port), ("ä-%", 1)} <= set(names)
        machine.drop_in("rollcalld.service", "lost", "[Service]\nExecStartPre=+/bin/sh -c 'rm -f /var/lib/rollcall/*'\n")
        restart(machine)
        machine.remove_drop_in("rollcalld.service", "lost")
        assert sorted(machine.client.names()) == names
        wait_for(lambda: sorted(machine.sql(ROWS)) == rows, lambda: f"{rows}: {machine.sql(ROWS)}")
        kill9(machine)
        assert sorted(machine.client.names()) == names
        assert a.is_open() and odd.is_open()
        assert machine.n_stored() == n_stored
    wait_for(lambda: machine.client.port_please("a") is None and machine.n_stored() == n_stored - 2, "their end")


# --- the end of a registration that PID 1 holds, too ------------------------------------------------


@pytest.fixture
def relaxed(shared_machine):
    """With STOP requests allowed, and nobody registered."""
    shared_machine.drop_in("rollcalld.service", "relaxed", "[Service]\nEnvironment=ROLLCALLD_OPTIONS=--relaxed-command-check\n")
    restart(shared_machine)
    yield shared_machine
    shared_machine.remove_drop_in("rollcalld.service", "relaxed")
    restart(shared_machine)


def test_a_stopped_node_sees_its_connection_close_though_it_is_stored(relaxed):
    with relaxed.client.register("a", listen=True) as a:
        stored = n_settled(relaxed) - 1
        assert relaxed.client.stop("a") == b"STOPPED"
        wait_for(lambda: not a.is_open(), "the close", 2)
        wait_for(lambda: relaxed.n_stored() == stored, "it to leave the store")


def test_an_adopted_node_that_is_stopped_sees_its_connection_close(relaxed):
    with relaxed.client.register("a", listen=True) as a:
        stored = n_settled(relaxed) - 1
        kill9(relaxed)
        assert a.is_open()
        assert relaxed.client.stop("a") == b"STOPPED"
        wait_for(lambda: not a.is_open(), "the close", 2)
        wait_for(lambda: relaxed.n_stored() == stored, "it to leave the store")


def test_a_released_node_sees_its_connection_close_though_it_is_stored(shared_machine):
    with shared_machine.client.register("a", listen=True) as a:
        stored = n_settled(shared_machine) - 1
        shared_machine.run("rollcall", "release", "a")
        wait_for(lambda: not a.is_open(), "the close", 2)
        wait_for(lambda: shared_machine.n_stored() == stored, "it to leave the store")
        assert shared_machine.client.port_please("a") is None
    assert shared_machine.sql("SELECT how, by FROM history WHERE name = 'a'")[-1] == ["released", "uid 0"]


def test_a_young_connection_is_stored_on_the_way_out(shared_machine):
    """`systemctl restart` in the first second of a node's life."""
    with shared_machine.client.register("young", listen=True) as young:
        restart(shared_machine)
        assert shared_machine.client.port_please("young").port == young.port
        assert young.is_open()


def test_bytes_on_an_adopted_connection_end_it(shared_machine):
    machine = shared_machine
    with machine.client.register("a", listen=True) as a:
        stored = n_settled(machine) - 1
        kill9(machine)
        a.sock.sendall(b"x")
        wait_for(lambda: machine.client.port_please("a") is None, "the name to go", 2)
        wait_for(lambda: is_closed(a.sock), "the close", 2)
        wait_for(lambda: machine.n_stored() == stored, "it to leave the store")


# --- stop and start ----------------------------------------------------------------------------------


def test_stop_and_start_lose_the_store_and_no_name(crowd):
    machine = crowd.machine
    crowd.wait_stored()
    rows = crowd.rows()
    n_returned = len(crowd.swarm.events("returned"))
    n_swarm = len(crowd.ports) - len(crowd.real)
    machine.run("systemctl", "stop", "rollcalld.service")
    assert machine.show("rollcalld.service", "ActiveState") == "inactive"
    with Lookups(machine, crowd.ports) as stream:
        machine.run("systemctl", "start", "rollcalld.service")
        crowd.swarm.wait_events("returned", n_returned + n_swarm, 15)
        wait_for(lambda: machine.sql("SELECT count(*) FROM nodes WHERE state <> 'up'") == [["0"]], "all to be back", 15)
    stream.check()
    assert crowd.rows() == rows
    assert crowd.swarm.events("failed") == []
    crowd.wait_stored()


# --- two thousand ------------------------------------------------------------------------------------


def test_of_two_thousand_those_beyond_the_store_come_back_by_themselves(shared_machine):
    machine = shared_machine
    with Swarm(machine, 2000, prefix="many", unit="many") as swarm:
        ports = swarm.ports
        assert len(ports) == 2000
        wait_for(lambda: machine.n_stored() == N_STORED_MAX, lambda: f"a full store: {machine.n_stored()}", 20)
        rows = machine.sql(ROWS)
        with Lookups(machine, ports, rate=1000) as stream:
            kill9(machine)
            began = time.monotonic()
            lost = swarm.wait_events("lost", 1, 10)
            wait_for(lambda: machine.sql("SELECT count(*) FROM nodes WHERE state = 'awaited'") == [["0"]], "all to be back", 15)
            assert time.monotonic() - began < 15
            stream.go_on(2000)
        stream.check(cut=1)
        lost = {event["name"] for event in swarm.events("lost")}
        survivors = set(ports) - lost
        # The crowd of other tests may have some of the places.
        assert 0 < len(survivors) <= N_STORED_MAX
        assert {event["name"] for event in swarm.events("returned")} == lost
        assert swarm.events("failed") == []
        assert machine.sql(ROWS) == rows
        assert swarm.creations == {name: int(creation) for name, _, _, creation, _ in rows if name in ports}
        # Those that survived did so really: their ends are still seen.
        some = sorted(survivors)[:20]
        for name in some:
            swarm.say(f"leave {name}")
        wait_for(lambda: all(machine.client.port_please(name) is None for name in some), "their names to go")


# --- a service manager that is busy, or left alone ----------------------------------------------------


def test_the_daemon_does_not_wait_for_a_stopped_pid_1(shared_machine):
    """More nodes come and go than the notify socket takes messages."""
    machine = shared_machine
    before = n_settled(machine)
    with Swarm(machine, 300, prefix="old", unit="olds") as olds, Swarm(machine, 1, prefix="fresh", unit="fresh") as fresh:
        wait_for(lambda: machine.n_stored() == before + 301, lambda: f"all stored: {machine.n_stored()}", 15)
        with machine.manager_frozen():
            for name in list(olds.ports)[:250]:
                olds.say(f"leave {name}")
            fresh.say("more 200")
            began = time.monotonic()
            fresh.wait_events("registered", 201, 10)
            while time.monotonic() - began < 1.5:  # not a wait for anything: the new ones grow older than a second
                asked = time.monotonic()
                assert machine.client.port_please("fresh0").port == fresh.ports["fresh0"]
                assert time.monotonic() - asked < 0.5
            wait_for(lambda: machine.client.port_please("old249") is None, "those that left to be gone")
        left = before + 50 + 201
        wait_for(lambda: machine.n_stored() == left, lambda: f"{left} in the store: {machine.n_stored()}", 15)
        kill9(machine)
        assert olds.events("lost") == fresh.events("lost") == []
    wait_for(lambda: machine.n_stored() == before, lambda: f"{before} in the store: {machine.n_stored()}", 15)


def test_churn_does_not_touch_pid_1(shared_machine):
    machine = shared_machine
    with Swarm(machine, 1, prefix="churner", unit="churner") as swarm:
        n_stored = n_settled(machine)
        cpu = machine.manager_cpu()
        swarm.say("churn 2000")
        swarm.wait_events("churned", 1, 30)
        assert machine.manager_cpu() - cpu < 0.15
        assert machine.n_stored() == n_stored
