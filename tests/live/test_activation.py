# SPDX-License-Identifier: Apache-2.0
"""A machine on which only the socket is up, as after boot, and an unmodified `erl -sname a`."""

import pytest

from lib.machine import Machine
from lib.process import wait_for


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        machine.run("systemd-sysusers")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "enable", "--now", "-q", "epmd.socket")
        yield machine


def test_first_node_starts_the_daemon_and_is_found_in_the_registry(shared_machine):
    machine = shared_machine
    assert machine.show("rollcalld.service", "ActiveState") == "inactive"
    with machine.node("a") as a:
        assert machine.show("rollcalld.service", "ActiveState") == "active"
        assert "degraded" not in machine.journal("-u", "rollcalld.service").lower()
        port = machine.client.port_please("a").port
        assert machine.client.names() == [("a", port)]
        assert machine.sql("SELECT name, port, type FROM nodes") == [["a", str(port), "normal"]]
        # erl started its own epmd, as always: it found the port taken and left.
        assert machine.run("pgrep", "-x", "epmd", check=False).stdout == ""
        assert a.eval("length(nodes())") == "0"
    wait_for(lambda: machine.client.names() == [], "the name to go with its node")
    assert machine.sql("SELECT name, how FROM history") == [["a", "left"]]


def test_status_and_names_are_told_to_the_operator(shared_machine):
    machine = shared_machine
    with machine.node("b"):
        assert machine.run("rollcall", "status", check=False).returncode == 0
        assert '"b"' in machine.output("rollcall", "names", "--json")
        assert machine.show("rollcalld.service", "StatusText") != ""


def test_the_daemon_ends_cleanly_and_has_done_so_once(shared_machine):
    """With sanitizers, an error of theirs would have ended it, or spoilt its exit status."""
    machine = shared_machine
    assert machine.show("rollcalld.service", "NRestarts") == "0"
    machine.run("systemctl", "stop", "rollcalld.service")
    assert machine.show("rollcalld.service", "Result") == "success"
    assert machine.show("rollcalld.service", "ExecMainStatus") == "0"
    assert "Sanitizer" not in machine.journal("-u", "rollcalld.service")
