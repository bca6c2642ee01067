# SPDX-License-Identifier: Apache-2.0
"""What the units of nodes say of them: starting, ready, stopping; and that nothing waits for the bus."""

import contextlib
import json
import os
import time

import pytest

from lib.inside import PYTHON, LightNode
from lib.machine import Machine
from lib.nodes import COOKIE
from lib.process import wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        yield machine.install_rollcall()


@contextlib.contextmanager
def unit(machine, name, *args, properties=()):
    """A light node in a unit of its own name, which is not started yet."""
    node = LightNode(machine, name, name, *args, properties=properties)
    try:
        machine.run("systemctl", "daemon-reload")
        yield node
    finally:
        node.remove()
        machine.run("systemctl", "daemon-reload")


def told(machine, name):
    """(state, source, unit) as the daemon tells it; None: not registered."""
    nodes = json.loads(machine.output("rollcall", "names", "--json"))
    found = [(node["state"], node["state_source"], node["unit"]) for node in nodes if node["name"] == name]
    return found[0] if found else None


def wait_told(machine, name, state, source, unit_name=None, timeout=5):
    """By the daemon's word, and by the registry's."""
    wanted = (state, source, unit_name or f"{name}.service")
    wait_for(lambda: told(machine, name) == wanted, lambda: f"{wanted}: {told(machine, name)}", timeout)
    query = f"SELECT state, state_source, unit FROM nodes WHERE name = '{name}'"
    wait_for(lambda: machine.sql(query) == [list(wanted)], lambda: f"{wanted}: {machine.sql(query)}", 5)


# --- services ----------------------------------------------------------------------------------------


def test_a_notify_service_is_starting_ready_and_stopping(machine):
    with unit(machine, "life", "--ready-when", "/opt/life.ready", "--going", "-1") as node:
        node.begin_start()
        wait_told(machine, "life", "starting", "unit")
        machine.write("/opt/life.ready", "")
        wait_told(machine, "life", "ready", "unit")
        node.begin_stop()
        wait_told(machine, "life", "stopping", "unit")
        node.kill9("all")
        wait_for(lambda: told(machine, "life") is None, "its end", 2)


def test_a_notify_service_that_says_stopping_itself(machine):
    with unit(machine, "tired", "--going", "-1") as node:
        node.start()
        wait_told(machine, "tired", "ready", "unit")
        machine.run("systemctl", "kill", "-s", "HUP", node.unit)
        wait_told(machine, "tired", "stopping", "unit")


def test_states_are_known_again_after_a_kill_of_the_daemon(machine):
    with unit(machine, "old") as node, unit(machine, "young", "--ready-when", "/opt/young.ready") as other:
        node.start()
        other.begin_start()
        wait_told(machine, "young", "starting", "unit")
        wait_for(lambda: machine.n_stored() == 2, "both to be stored")
        machine.kill9_daemon()
        wait_told(machine, "old", "ready", "unit")
        wait_told(machine, "young", "starting", "unit")
        machine.write("/opt/young.ready", "")
        wait_told(machine, "young", "ready", "unit")


@pytest.mark.parametrize("type", ["simple", "exec"])
def test_of_a_plain_service_nothing_but_stopping_is_known(machine, type):
    with unit(machine, "plain", "--going", "-1", properties=[f"Type={type}"]) as node:
        node.start()
        wait_told(machine, "plain", "up", "connection")
        node.begin_stop()
        wait_told(machine, "plain", "stopping", "unit")


def pid_told(machine, name):
    return next(node["unit_pid"] for node in json.loads(machine.output("rollcall", "names", "--json")) if node["name"] == name)


def test_a_service_that_is_started_anew_is_known_as_well(machine):
    """Within the seconds in which its unit is still remembered, and with a word that comes before the node does."""
    with unit(machine, "anew", "--ready-when", "/opt/anew.ready") as node:
        for _ in range(3):
            node.begin_start()
            wait_told(machine, "anew", "starting", "unit")
            wait_for(lambda: pid_told(machine, "anew") == machine.main_pid(node.unit), "its process")
            machine.write("/opt/anew.ready", "")
            wait_told(machine, "anew", "ready", "unit")
            machine.run("systemctl", "stop", node.unit)
            (machine.root / "opt/anew.ready").unlink()


def test_a_node_that_registers_again_in_a_service_that_stays_is_ready_at_once(machine):
    """systemd has nothing new to say of it."""
    with unit(machine, "stays", properties=["NotifyAccess=all"]) as node:
        path = machine.root / f"etc/systemd/system/{node.unit}"
        command = " ".join([*PYTHON, "-m", "lib.light_node stays"])
        machine.write("/opt/stays", f"#!/bin/bash\nwhile true; do {command}; done\n")
        machine.run("chmod", "+x", "/opt/stays")
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("ExecStart")) + "ExecStart=/opt/stays\n")
        machine.run("systemctl", "daemon-reload")
        node.start()
        wait_told(machine, "stays", "ready", "unit")
        port = machine.client.port_please("stays").port
        machine.run("pkill", "-KILL", "-P", machine.main_pid(node.unit))

        def is_another():
            found = machine.client.port_please("stays")
            return found and found.port != port

        wait_for(is_another, "the next one")
        wait_told(machine, "stays", "ready", "unit")
        assert pid_told(machine, "stays") == machine.main_pid(node.unit)


def test_a_real_node_is_ready_when_it_says_so(machine):
    flags = f"-noinput -sname real@{machine.name} -setcookie {COOKIE}"
    say = 'filelib:is_file("/opt/real.ready") orelse timer:sleep(10)'
    ready = f"fun Loop() -> case {say} of true -> os:cmd(\"systemd-notify --ready\"); _ -> Loop() end end()"
    machine.write(
        "/etc/systemd/system/real.service",
        f"[Service]\nType=notify\nNotifyAccess=all\nEnvironment=HOME=/root\nExecStart=/usr/bin/erl {flags} -eval '{ready}'\n",
    )
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "--no-block", "real.service")
    try:
        wait_for(lambda: told(machine, "real"), "the node")
        wait_told(machine, "real", "starting", "unit")
        machine.write("/opt/real.ready", "")
        wait_told(machine, "real", "ready", "unit")
        machine.run("systemctl", "stop", "--no-block", "real.service")
        wait_told(machine, "real", "stopping", "unit")
    finally:
        machine.run("systemctl", "stop", "real.service")


# --- other places ------------------------------------------------------------------------------------


def test_a_child_process_is_of_its_service(machine):
    """The node is not the main process."""
    shell = f"/bin/sh -c '{' '.join(PYTHON)} -m lib.light_node child & wait'"
    with unit(machine, "child", properties=["NotifyAccess=all"]) as node:
        path = machine.root / f"etc/systemd/system/{node.unit}"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("ExecStart")) + f"ExecStart={shell}\n")
        machine.run("systemctl", "daemon-reload")
        node.start()
        wait_told(machine, "child", "ready", "unit")


def test_a_node_in_a_scope_is_up_and_stopping(machine):
    command = ["systemd-run", "-q", "--scope", "--unit=session", "--collect", *PYTHON, "-m", "lib.light_node", "scoped", "--going", "-1"]
    script = "cd /opt/tests && exec " + " ".join(command) + " >/dev/null 2>&1"
    machine.run("systemd-run", "-q", "--collect", "--unit=login", "bash", "-c", script)
    try:
        wait_for(lambda: told(machine, "scoped"), "the node")
        wait_told(machine, "scoped", "up", "connection", "session.scope")
        machine.run("systemctl", "stop", "--no-block", "session.scope")
        wait_told(machine, "scoped", "stopping", "unit", "session.scope")
    finally:
        machine.run("systemctl", "kill", "--signal=KILL", "session.scope", check=False)
        machine.run("systemctl", "stop", "session.scope", "login.service", check=False)


USER = "65534"


@pytest.fixture
def users_manager(machine):
    """That of `nobody`, without a login: what logind and PAM would do is done here."""
    for unit_name, lines in (
        ("user-runtime-dir@.service", "ExecStart=\nExecStart=/bin/install -d -m 700 -o %i /run/user/%i\nExecStop=\n"),
        ("user@.service", "Environment=XDG_RUNTIME_DIR=/run/user/%i\n"),
    ):
        machine.write(f"/etc/systemd/system/{unit_name}.d/test.conf", "[Service]\n" + lines)
    machine.write("/etc/pam.d/systemd-user", "account required pam_permit.so\nsession required pam_permit.so\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", f"user@{USER}.service")
    yield ["setpriv", f"--reuid={USER}", "--clear-groups", "env", f"XDG_RUNTIME_DIR=/run/user/{USER}"]
    machine.run("systemctl", "stop", f"user@{USER}.service")


def test_a_node_of_a_users_manager_has_that_as_its_unit_and_no_readiness(machine, users_manager):
    """The manager is of Type=notify and ready: that is not the node's word. What is within is its own affair."""
    command = ["systemd-run", "--user", "-q", "--unit=own", "--working-directory=/opt/tests", *PYTHON, "-m", "lib.light_node", "users"]
    machine.run(*users_manager, *command)
    wait_for(lambda: told(machine, "users"), "the node")
    wait_told(machine, "users", "up", "connection", f"user@{USER}.service")
    assert machine.sql("SELECT uid FROM nodes WHERE name = 'users'") == [[USER]]
    machine.run(*users_manager, "systemctl", "--user", "stop", "own")
    wait_for(lambda: told(machine, "users") is None, "its end", 2)


@pytest.mark.parametrize("inner", ["payload", "inner.service", "machine.slice/inner.scope"])
def test_what_is_under_another_manager_has_the_outer_unit_and_no_readiness(machine, inner):
    """A user's manager, a container: the outer unit is what the system knows; whether it is ready says nothing of a
    node within. That it is being stopped says all."""
    with unit(machine, "outer", "--cgroup", inner, "--going", "-1", properties=["Delegate=yes"]) as node:
        node.start()
        state = ("ready", "unit") if inner == "payload" else ("up", "connection")
        wait_told(machine, "outer", *state)
        node.begin_stop()
        wait_told(machine, "outer", "stopping", "unit")


def test_a_client_from_outside_of_the_machine_has_no_unit(machine):
    with machine.client.register("stranger", listen=True):
        assert told(machine, "stranger") == ("up", "connection", None)


# --- the bus -----------------------------------------------------------------------------------------


def assert_nothing_waits(machine, seconds=1.0):
    """A registration, a lookup, a listing, an end: each at once."""
    began = time.monotonic()
    with machine.client.register("quick", listen=True) as quick:
        assert machine.client.port_please("quick").port == quick.port
        assert "quick" in machine.output("rollcall", "names", "--json")
    wait_for(lambda: machine.client.port_please("quick") is None, "its end")
    assert time.monotonic() - began < seconds


@contextlib.contextmanager
def without_bus(machine):
    machine.run("systemctl", "mask", "--runtime", "-q", "dbus.service", "dbus.socket")
    machine.run("systemctl", "stop", "dbus.socket", "dbus.service")
    try:
        yield
    finally:
        machine.run("systemctl", "unmask", "--runtime", "-q", "dbus.service", "dbus.socket")
        machine.run("systemctl", "start", "dbus.socket", "dbus.service")


def test_without_a_bus_nodes_are_up_and_nothing_waits(machine):
    with unit(machine, "known") as node, unit(machine, "late") as late:
        node.start()
        wait_told(machine, "known", "ready", "unit")
        with without_bus(machine):
            assert_nothing_waits(machine)
            if LONG:
                # What is known holds for a while: most buses that go come back.
                wait_told(machine, "known", "up", "connection", timeout=30)
            late.start()
            wait_told(machine, "late", "up", "connection")
            wait_for(lambda: machine.n_stored() == 2, "both to be stored")
            machine.kill9_daemon()
            assert_nothing_waits(machine)
            wait_for(lambda: machine.client.port_please("known"), "the node")
        # It comes back, and is asked afresh.
        machine.run("systemctl", "reload", "rollcalld.service")
        wait_told(machine, "known", "ready", "unit")
        wait_told(machine, "late", "ready", "unit")


@pytest.mark.parametrize("ends", [("restart",), ("kill", "--signal=KILL")], ids=["restarted", "killed"])
def test_a_bus_that_ends_is_asked_again_by_itself(machine, ends):
    """After a kill its socket unit starts it, for whoever comes first."""
    with unit(machine, "survivor", "--going", "-1") as node:
        node.start()
        wait_told(machine, "survivor", "ready", "unit")
        machine.run("systemctl", *ends, "dbus.service")
        node.begin_stop()
        wait_told(machine, "survivor", "stopping", "unit")


def test_a_bus_that_hangs_is_not_waited_for(machine):
    with unit(machine, "steady") as node:
        node.start()
        wait_told(machine, "steady", "ready", "unit")
        pid = machine.main_pid("dbus.service")
        machine.run("kill", "-STOP", pid)
        try:
            assert_nothing_waits(machine)
            assert machine.client.port_please("steady") is not None
            # Not even who is in doubt: a newcomer to a live name hears no within a moment.
            began = time.monotonic()
            with pytest.raises(Exception, match="refused"):
                machine.client.register("steady", listen=True)
            assert time.monotonic() - began < 3
        finally:
            machine.run("kill", "-CONT", pid)
        wait_told(machine, "steady", "ready", "unit")


# --- what a node or its unit says itself -------------------------------------------------------------


def test_commands_of_the_unit_tell_that_it_is_ready_and_draining(machine):
    """ExecStartPost= and ExecStop= of a service that has no word of its own."""
    commands = ["Type=exec", "ExecStartPost=/usr/local/bin/rollcall wait told --timeout 10",
                "ExecStartPost=/usr/local/bin/rollcall ready told", "ExecStop=/usr/local/bin/rollcall not-ready told"]
    with unit(machine, "told", "--going", "-1", properties=commands) as node:
        node.start()
        wait_told(machine, "told", "ready", "announcement")
        machine.run("rollcall", "not-ready", "told")
        wait_told(machine, "told", "stopping", "announcement")
        # Which is no reason to give the name away, as it may take hours.
        with pytest.raises(Exception, match="refused"):
            machine.client.register("told", listen=True)
        machine.run("rollcall", "ready", "told")
        wait_told(machine, "told", "ready", "announcement")


def test_another_unit_waits_for_a_node_and_for_the_end_of_it(machine):
    with unit(machine, "awaited", "--ready-when", "/opt/awaited.ready") as node:
        node.begin_start()
        with machine.begun("rollcall", "wait", "awaited", "--state", "ready", "--timeout", "20") as waiter:
            wait_told(machine, "awaited", "starting", "unit")
            assert waiter.poll() is None
            machine.write("/opt/awaited.ready", "")
            assert waiter.wait(10) == 0
        assert machine.run("rollcall", "wait", "--free", "awaited", "--timeout", "0.2", check=False).returncode == 4
        with machine.begun("rollcall", "wait", "--free", "awaited", "--timeout", "20") as waiter:
            node.kill9("all")
            assert waiter.wait(10) == 0

