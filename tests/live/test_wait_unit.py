# SPDX-License-Identifier: Apache-2.0
"""rollcall-wait@.service: units that are started after a node, and what becomes of them when it goes and comes back; and
commands of a unit whose user may not use the control socket."""

import contextlib
import json

import pytest

from lib.inside import LightNode
from lib.machine import CommandFailed
from lib.process import wait_for

DEPENDENT = """\
[Unit]
Requires={wait}
After={wait}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
"""


@contextlib.contextmanager
def dependent(machine, name, drop_in=None):
    """dependent.service, which needs the node `name`. Yields the unit that it waits for."""
    wait = machine.output("systemd-escape", "--template=rollcall-wait@.service", name)
    machine.write("/etc/systemd/system/dependent.service", DEPENDENT.format(wait=wait))
    if drop_in:
        machine.drop_in(wait, "test", drop_in)
    machine.run("systemctl", "daemon-reload")
    try:
        yield wait
    finally:
        machine.run("systemctl", "stop", "dependent.service", wait, check=False)
        if drop_in:
            machine.remove_drop_in(wait, "test")
        (machine.root / "etc/systemd/system/dependent.service").unlink()
        machine.run("systemctl", "daemon-reload")


def state(machine, unit="dependent.service"):
    return machine.show(unit, "ActiveState")


def wait_state(machine, expected, unit="dependent.service", timeout=10):
    wait_for(lambda: state(machine, unit) == expected, lambda: f"{unit} to be {expected}: {state(machine, unit)}", timeout)


def n_watchers(machine):
    return json.loads(machine.run("rollcall", "status", "--json", check=False).stdout)["watchers"]


@pytest.mark.parametrize("name", ["plain", "my-app@127.0.0.2", "a b/c"])
def test_a_unit_starts_after_a_node_whatever_its_name(machine, name):
    with dependent(machine, name) as wait:
        machine.run("systemctl", "start", "--no-block", "dependent.service")
        wait_state(machine, "activating", wait)
        wait_for(lambda: n_watchers(machine) == 1, "the watcher")
        assert state(machine) == "inactive"
        uid = machine.output("stat", "-c", "%u", f"/proc/{machine.main_pid(wait)}")
        assert int(uid) >= 1000  # a user of its own
        with machine.client.register(name.partition("@")[0], listen=True, address="127.0.0.2"):
            wait_state(machine, "active")
        wait_state(machine, "inactive", wait)


def test_each_start_waits_anew_and_a_node_that_goes_stops_nothing(machine):
    with dependent(machine, "app") as wait:
        with machine.client.register("app", listen=True):
            machine.run("systemctl", "start", "dependent.service")
            assert (state(machine), state(machine, wait)) == ("active", "inactive")
        wait_for(lambda: machine.client.names() == [], "the node's end")
        assert state(machine) == "active"
        machine.run("systemctl", "restart", "--no-block", "dependent.service")
        wait_state(machine, "activating", wait)
        wait_for(lambda: n_watchers(machine) == 1, "the watcher")
        with machine.client.register("app", listen=True):
            wait_state(machine, "active")


def test_a_restart_of_the_daemon_is_waited_out(machine):
    with dependent(machine, "app") as wait:
        machine.run("systemctl", "start", "--no-block", "dependent.service")
        wait_for(lambda: n_watchers(machine) == 1, "the watcher")
        machine.run("systemctl", "restart", "rollcalld.service")
        wait_for(lambda: n_watchers(machine) == 1, "the watcher again")
        machine.kill9_daemon()
        assert state(machine, wait) == "activating"
        with machine.client.register("app", listen=True):
            wait_state(machine, "active")


def test_a_stopped_daemon_is_started_by_whoever_waits(machine):
    machine.run("systemctl", "stop", "rollcalld.service")
    with dependent(machine, "app"):
        machine.run("systemctl", "start", "--no-block", "dependent.service")
        wait_state(machine, "active", "rollcalld.service")
        with machine.client.register("app", listen=True):
            wait_state(machine, "active")


def test_a_node_that_does_not_come_fails_the_start(machine):
    with dependent(machine, "app", "[Service]\nTimeoutStartSec=1s\n"):
        with pytest.raises(CommandFailed):
            machine.run("systemctl", "start", "dependent.service")
        assert state(machine) == "inactive"


def test_a_drop_in_asks_for_a_state(machine):
    with dependent(machine, "app", '[Service]\nEnvironment="ROLLCALL_WAIT_OPTIONS=--state ready"\n') as wait:
        with machine.client.register("app", listen=True):
            machine.run("systemctl", "start", "--no-block", "dependent.service")
            wait_for(lambda: n_watchers(machine) == 1, "the watcher")
            assert state(machine, wait) == "activating"
            machine.run("rollcall", "ready", "app")
            wait_state(machine, "active")


def test_a_unit_whose_user_may_not_use_the_control_socket_tells_of_its_node(machine):
    node = LightNode(machine, "theirs", "theirs", "--going", "-1", properties=[
        "Type=exec", "User=nobody", "ExecStartPost=/usr/local/bin/rollcall ready theirs@here zone=b --wait 10",
        "ExecStop=-/usr/local/bin/rollcall not-ready theirs"])
    try:
        machine.run("systemctl", "daemon-reload")
        node.start()
        [found] = [row for row in json.loads(machine.output("rollcall", "names", "--json")) if row["name"] == "theirs"]
        assert (found["user"], found["state"], found["state_source"], found["host"]) == ("nobody", "ready", "announcement", "here")
        assert (found["unit"], found["metadata"]) == ("theirs.service", {"zone": "b"})
        assert "theirs@here is held by theirs.service (main process" in machine.output("rollcall", "why", "theirs")
    finally:
        node.remove()
        machine.run("systemctl", "daemon-reload")
