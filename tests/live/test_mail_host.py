# SPDX-License-Identifier: Apache-2.0
"""The mail host: three releases of one name and one port, each on its own loopback address, as systemd runs them.

No script waits for a name to be free, no table says which node has which port.
"""

import re

import pytest

from lib.machine import Machine
from lib.nodes import COOKIE
from lib.process import wait_for

PORT = 6789
UNITS = [f"mail@{i}.service" for i in (1, 2, 3)]
NODES = [f"mail@127.0.0.{i}" for i in (1, 2, 3)]

# It is ready when it has met those that are there.
CONNECT = '[net_kernel:connect_node(list_to_atom("mail@127.0.0." ++ [I])) || I <- "123"], os:cmd("systemd-notify --ready")'
TEMPLATE = f"""
[Unit]
Requires=epmd.service
After=epmd.service

[Service]
Type=notify
NotifyAccess=all
Restart=on-failure
RestartSec=0
Environment=HOME=/root ERL_CRASH_DUMP_BYTES=0
ExecStart=/usr/bin/erl -noinput -name mail@127.0.0.%i -setcookie {COOKIE} -eval '{CONNECT}' \\
  -kernel inet_dist_use_interface "{{127,0,0,%i}}" inet_dist_listen_min {PORT} inet_dist_listen_max {PORT}
"""


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        machine.write("/etc/systemd/system/mail@.service", TEMPLATE)
        yield machine.install_rollcall()


@pytest.fixture(scope="module")
def host(shared_machine):
    """All three start at the same moment, as at boot."""
    shared_machine.run("systemctl", "start", *UNITS)
    yield shared_machine
    shared_machine.run("systemctl", "stop", *UNITS)


@pytest.fixture(scope="module")
def postmaster(host):
    """A node that asks them, and is none of theirs."""
    with host.node("postmaster@127.0.0.1", "-hidden", "-connect_all", "false", long=True) as node:
        yield node


def mesh(postmaster):
    """{node: its peers}, by their own words."""
    def peers(name):
        return re.findall(r"mail@[0-9.]+", postmaster.eval(f"catch lists:sort(erpc:call('{name}', erlang, nodes, [], 5000))"))

    return {name: peers(name) for name in NODES}


FULL_MESH = {name: [other for other in NODES if other != name] for name in NODES}


def wait_mesh(postmaster):
    wait_for(lambda: mesh(postmaster) == FULL_MESH, lambda: f"all three to be connected: {mesh(postmaster)}", 20, interval=0.1)


def assert_none_was_refused(machine):
    machine.run("journalctl", "--sync")
    assert "seems to be in use" not in machine.journal("-o", "cat", "-u", "mail@*")
    assert [machine.show(unit, "NRestarts") for unit in UNITS] == ["0"] * 3


def assert_registered(machine):
    rows = [row[:3] for row in machine.sql("SELECT name, scope, port, unit FROM nodes") if row[0] == "mail"]
    assert rows == [["mail", f"127.0.0.{i}", str(PORT)] for i in (1, 2, 3)]


def test_three_releases_start_and_meet(host, postmaster):
    wait_mesh(postmaster)
    assert_registered(host)
    assert_none_was_refused(host)


def test_each_release_is_known_by_its_unit(host, postmaster):
    assert host.sql("SELECT scope, unit FROM nodes WHERE name = 'mail'") == [[f"127.0.0.{i}", f"mail@{i}.service"] for i in (1, 2, 3)]


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
def test_restarted_one_after_another(host, postmaster, times):
    for unit in UNITS * times:
        host.run("systemctl", "restart", unit)
        assert_registered(host)
    wait_mesh(postmaster)
    assert_none_was_refused(host)


def test_restarted_all_at_once(host, postmaster):
    host.run("systemctl", "restart", *UNITS)
    wait_mesh(postmaster)
    assert_registered(host)
    assert_none_was_refused(host)


def test_the_daemon_restarted_beneath_them_and_then_they(host, postmaster):
    host.run("systemctl", "restart", "rollcalld.service")
    host.run("systemctl", "restart", UNITS[1])
    host.kill9_daemon()
    host.run("systemctl", "restart", UNITS[0])
    wait_mesh(postmaster)
    assert_registered(host)
    assert_none_was_refused(host)


def test_killed_ones_come_back_at_the_first_attempt(host, postmaster):
    """Last: it counts the restarts that it causes."""
    host.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", *UNITS)
    wait_for(lambda: [host.show(unit, "NRestarts") for unit in UNITS] == ["1"] * 3, "their restarts", 20)
    wait_for(lambda: [host.show(unit, "ActiveState") for unit in UNITS] == ["active"] * 3, "all three to be ready", 20)
    wait_mesh(postmaster)
    assert_registered(host)
    assert [host.show(unit, "NRestarts") for unit in UNITS] == ["1"] * 3
