# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed, stopped, restarted and the machine rebooted beneath live nodes."""

import contextlib
import time

import pytest

from lib.epmd_client import Refused
from lib.inside import Lookups
from lib.machine import Machine
from lib.process import wait_for

DEPENDENT = """
[Unit]
Requires=epmd.service
After=epmd.service

[Service]
ExecStart=/usr/bin/sleep infinity
"""


@pytest.fixture(scope="module")
def shared_machine():
    """With a unit that requires epmd.service, as Debian's ejabberd does."""
    with Machine() as machine:
        machine.write("/etc/systemd/system/dependent.service", DEPENDENT)
        machine.install_rollcall()
        machine.run("systemctl", "start", "dependent.service")
        yield machine


@pytest.fixture
def dependent_untouched(machine):
    """The dependent unit has the same process after the test as before."""
    machine.run("systemctl", "start", "dependent.service")
    pid = machine.main_pid("dependent.service")
    yield
    assert machine.main_pid("dependent.service") == pid


def states(machine):
    return {name: state for name, state in machine.sql("SELECT name, state FROM nodes")}


def wait_all_up(machine, names):
    """Nodes come back by themselves 2 s after they lost their connection."""
    wait_for(lambda: states(machine) == {name: "up" for name in names}, lambda: f"all up: {states(machine)}", 20)


def n_ended(machine, name, how):
    return int(machine.sql(f"SELECT count(*) FROM history WHERE name = '{name}' AND how = '{how}'")[0][0])


@contextlib.contextmanager
def ends_as(machine, name, how):
    """In this block a registration of the name ends, and the history says how."""
    before = n_ended(machine, name, how)
    yield
    wait_for(lambda: n_ended(machine, name, how) == before + 1, lambda: machine.sql("SELECT name, how FROM history"))


def test_kill_9_beneath_live_nodes_is_not_noticed(machine, dependent_untouched):
    client = machine.client
    with machine.node("a") as a, machine.node("b") as b:
        ports = {name: client.port_please(name).port for name in ("a", "b")}
        rows = machine.sql("SELECT name, port, creation, since FROM nodes")
        history = machine.sql("SELECT * FROM history")
        with Lookups(machine, ports) as stream:
            for _ in range(3):
                machine.kill9_daemon()
                assert dict(client.names()) == ports
            wait_all_up(machine, ("a", "b"))
        stream.check(cut=3)
        # Those that lost their connections came back to their own rows, and to their own creations.
        assert machine.sql("SELECT name, port, creation, since FROM nodes") == rows
        assert machine.sql("SELECT * FROM history") == history
        assert a.ping(b) == "pong"
        assert [node.eval("length(nodes())") for node in (a, b)] == ["1", "1"]


def test_a_stopped_daemon_answers_for_live_nodes_from_its_first_answer_on(machine):
    """`systemctl stop`, and the next lookup starts it: before the node can have come back."""
    with machine.node("a") as a:
        port = machine.client.port_please("a").port
        with a.frozen():
            machine.run("systemctl", "stop", "rollcalld.service")
            assert machine.client.port_please("a").port == port
            wait_for(lambda: states(machine) == {"a": "awaited"}, lambda: states(machine))
        wait_all_up(machine, ["a"])


def test_a_stopped_daemon_stays_stopped_until_somebody_connects(machine):
    """One that is not OTP and does not come back by itself: all is quiet."""
    with machine.client.register("a", listen=True) as a:
        machine.run("systemctl", "stop", "rollcalld.service")
        wait_for(lambda: not a.is_open(), "the close")
        time.sleep(1)  # not a wait for anything: nothing must happen
        assert machine.show("rollcalld.service", "ActiveState") == "inactive"
        assert machine.client.port_please("a").port == a.port
        assert machine.show("rollcalld.service", "ActiveState") == "active"


def test_another_process_is_refused_the_name_of_an_awaited_node(machine):
    with machine.node("a") as a:
        port = machine.client.port_please("a").port
        with a.frozen():
            machine.stop_and_start_daemon()
            wait_for(lambda: states(machine) == {"a": "awaited"}, lambda: states(machine))
            with pytest.raises(Refused):
                machine.client.register("a", listen=True)
            assert machine.client.port_please("a").port == port
        wait_all_up(machine, ["a"])
        assert a.eval("1 + 1") == "2"


def test_a_killed_node_is_gone_and_its_name_free_at_once(machine):
    creations = set()
    for _ in range(5):
        with machine.node("a") as a:
            creations.add(a.eval("erlang:system_info(creation)"))
            a.kill9()
            # No waiting: the very next request.
            with machine.client.register("a", listen=True) as next_holder:
                assert machine.client.port_please("a").port == next_holder.port
                creations.add(str(next_holder.creation))
    assert len(creations) == 10


def test_a_node_restarted_by_its_unit_never_meets_its_own_ghost(machine):
    """erl under Restart=always, killed again and again: it must start at the first attempt each time."""
    machine.write(
        "/etc/systemd/system/release.service",
        "[Service]\nEnvironment=HOME=/root\nRestart=always\nRestartSec=0\nStartLimitBurst=100\n"
        f"ExecStart=/usr/bin/erl -noinput -sname release@{machine.name} -setcookie x\n",
    )
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "release.service")
    try:
        for attempt in range(4):
            wait_for(lambda: machine.client.port_please("release"), "the release to register", 20)
            machine.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", "release.service")
            wait_for(lambda n=attempt: machine.show("release.service", "NRestarts") == str(n + 1), "its restart")
        wait_for(lambda: machine.client.port_please("release"), "the release to register", 20)
        # Its own death by a refused name would count as one more.
        assert machine.show("release.service", "NRestarts") == "4"
    finally:
        machine.run("systemctl", "stop", "release.service")


def test_a_node_killed_while_the_daemon_is_down_is_gone_from_the_first_answer_on(machine):
    with machine.node("a"), machine.node("b") as b:
        port = machine.client.port_please("a").port
        with ends_as(machine, "b", "found-dead"):
            machine.run("systemctl", "stop", "rollcalld.service")
            b.kill9()
            assert machine.client.names() == [("a", port)]
            assert machine.client.port_please("b") is None
        wait_all_up(machine, ["a"])


def test_a_node_that_dies_while_it_is_awaited_is_gone_at_once(machine):
    with machine.node("a") as a, a.frozen():
        machine.stop_and_start_daemon()
        wait_for(lambda: states(machine) == {"a": "awaited"}, lambda: states(machine))
        with ends_as(machine, "a", "listener-gone"):
            a.kill9()
            # The kernel tells of its listener's end: no 2 s, no 12 s.
            wait_for(lambda: machine.client.port_please("a") is None, "the name to go", 1.0)


def test_reload_keeps_process_and_nodes(machine, dependent_untouched):
    with machine.node("a"):
        port, pid = machine.client.port_please("a").port, machine.daemon_pid()
        machine.run("systemctl", "reload", "rollcalld.service")
        assert machine.client.names() == [("a", port)]
        assert machine.daemon_pid() == pid
        assert states(machine) == {"a": "up"}


def test_kill_request_is_refused_with_live_nodes_and_restarts_the_daemon_without(machine, dependent_untouched):
    pid = machine.daemon_pid()
    with machine.node("a"):
        assert machine.client.kill() == b"NO"
        assert machine.daemon_pid() == pid
    wait_for(lambda: machine.client.names() == [], "the name to go")
    assert machine.client.kill() == b"OK"
    machine.wait_daemon_other_than(pid)
    # The socket has stayed: nobody could be refused.
    assert machine.show("epmd.socket", "ActiveState") == "active"
    assert machine.client.names() == []


def test_kill_request_again_and_again_does_not_close_the_port(machine):
    """More often than a start limit or a trigger limit of the service manager's would bear."""
    for _ in range(30):
        assert machine.client.kill() == b"OK"
    assert machine.client.names() == []
    assert machine.show("epmd.socket", "ActiveState") == "active"


def test_stop_and_restart_of_epmd_service_mean_the_daemon(shared_machine):
    """With the socket closed too, as the operator must who wants it gone."""
    machine = shared_machine
    machine.run("systemctl", "start", "epmd.service")
    old = machine.daemon_pid()
    machine.run("systemctl", "restart", "epmd.service")
    machine.wait_daemon_other_than(old)
    machine.run("systemctl", "stop", "epmd.service", "epmd.socket")
    assert machine.show("rollcalld.service", "ActiveState") == "inactive"
    with pytest.raises(ConnectionRefusedError):
        machine.client.names()
    machine.run("systemctl", "start", "epmd.service", "dependent.service")
    assert machine.client.names() == []


def test_a_hanging_daemon_is_replaced_by_the_watchdog(machine):
    machine.drop_in("rollcalld.service", "watchdog", "[Service]\nWatchdogSec=1s\n")
    try:
        machine.run("systemctl", "restart", "rollcalld.service")
        with machine.node("a"):
            port, pid = machine.client.port_please("a").port, machine.daemon_pid()
            time.sleep(2.5)  # not a wait for anything: it must outlive its watchdog's time
            assert machine.daemon_pid() == pid
            machine.run("kill", "-STOP", pid)
            machine.wait_daemon_other_than(pid)
            assert machine.client.port_please("a").port == port
    finally:
        machine.remove_drop_in("rollcalld.service", "watchdog")
        machine.run("systemctl", "restart", "rollcalld.service")


@pytest.mark.parametrize("boot", ["reboot", "power_cut"])
def test_a_new_boot_ends_every_registration_and_gives_no_creation_again(machine, boot):
    # Held from outside of the machine: neither its connection nor its listener ends with the machine's processes.
    with machine.client.register("a", listen=True) as before:
        with ends_as(machine, "a", "machine-restarted"):
            getattr(machine, boot)()
            assert machine.client.names() == []
    with machine.client.register("a", listen=True) as after:
        assert after.creation != before.creation


@pytest.mark.long
def test_fifty_kills_beneath_ten_nodes(machine, dependent_untouched):
    names = [f"n{i}" for i in range(10)]
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(machine.node(name)) for name in names]
        ports = {name: machine.client.port_please(name).port for name in names}
        with Lookups(machine, ports) as stream:
            for i in range(50):
                machine.kill9_daemon()
                if i % 10 == 9:
                    wait_all_up(machine, names)
        stream.check(cut=50)
        assert [nodes[0].ping(node) for node in nodes[1:]] == ["pong"] * 9
        assert machine.sql("SELECT count(*) FROM history WHERE name LIKE 'n_' AND how <> 'left'") == [["0"]]
