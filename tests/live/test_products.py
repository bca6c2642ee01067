# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ and ejabberd as Debian packages them, on our units, with the daemon restarted beneath them."""

import shutil
import subprocess

import pytest

from lib.machine import Machine
from lib.process import wait_for
from lib.watching import watching

pytestmark = pytest.mark.long


def machine_with(product):
    """A machine with what the product's package put outside of /usr on this one."""

    def copy(root):
        for path in (f"etc/{product}", f"etc/default/{product}", f"var/lib/{product}", f"var/log/{product}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"/{path}", root / path], check=False, capture_output=True, timeout=60)

    return Machine(prepare=copy)


def start(machine, unit):
    machine.run("systemctl", "start", unit, timeout=180)
    assert machine.show(unit, "ActiveState") == "active"
    return machine.main_pid(unit)


@pytest.mark.skipif(not shutil.which("rabbitmqctl"), reason="rabbitmq-server is not installed")
def test_rabbitmq():
    with machine_with("rabbitmq") as machine:
        machine.install_rollcall()
        pid = start(machine, "rabbitmq-server.service")
        port = machine.client.port_please("rabbit").port
        machine.run("rabbitmqctl", "add_user", "roll", "call")
        for _ in range(3):
            machine.kill9_daemon()
            # At once: the node has not come back by itself yet.
            assert "roll" in machine.output("rabbitmqctl", "-q", "list_users")
        machine.run("systemctl", "restart", "rollcalld.service")
        assert f"rabbit@{machine.name}" in machine.output("rabbitmqctl", "-q", "cluster_status")
        assert machine.client.port_please("rabbit").port == port
        assert machine.main_pid("rabbitmq-server.service") == pid

        # Its own stop and start: no ghost of its name, and none of its helpers' names stays.
        machine.run("systemctl", "restart", "rabbitmq-server.service", timeout=180)
        assert "roll" in machine.output("rabbitmqctl", "-q", "list_users")
        wait_for(lambda: [name for name, _ in machine.client.names()] == ["rabbit"], lambda: machine.client.names())
        machine.run("systemctl", "stop", "rabbitmq-server.service", timeout=120)
        assert machine.client.names() == []


@pytest.mark.skipif(not shutil.which("rabbitmqctl"), reason="rabbitmq-server is not installed")
def test_rabbitmqs_helpers_are_not_found():
    """Nodes of its own start, and of each of its commands."""
    with machine_with("rabbitmq") as machine:
        machine.install_rollcall()
        with watching(machine, "*", timeout=300) as watch, watching(machine, "*", "--hidden", timeout=300) as watch_all:
            for it in (watch, watch_all):
                it.until("synced")
            start(machine, "rabbitmq-server.service")
            for _ in range(3):
                machine.run("rabbitmqctl", "-q", "list_users")
            assert f"rabbit@{machine.name}" in machine.output("rollcall", "find")
            machine.run("systemctl", "stop", "rabbitmq-server.service", timeout=120)
            for it in (watch, watch_all):
                it.until("gone", "rabbit")
        assert set(watch.names("node")) == {"rabbit"} and watch.names("gone") == ["rabbit"]
        helpers = [name for name in watch_all.names("gone") if name.startswith("rabbitmqcli-")]
        # How many of its start, and of its stop, is its affair.
        assert len(set(helpers)) >= 3


@pytest.mark.skipif(not shutil.which("ejabberdctl"), reason="ejabberd is not installed")
def test_ejabberd():
    """It has Requires=epmd.service; `ejabberdctl stopped` kills epmd where no name is left."""
    unit = "ejabberd.service"
    with machine_with("ejabberd") as machine:
        machine.install_rollcall()
        pid = start(machine, unit)
        machine.run("ejabberdctl", "started")
        for _ in range(3):
            machine.kill9_daemon()
            assert "is running" in machine.output("ejabberdctl", "status")
        machine.run("systemctl", "restart", "rollcalld.service")
        assert machine.main_pid(unit) == pid

        machine.run("ejabberdctl", "stop")
        machine.run("ejabberdctl", "stopped", timeout=120)
        assert machine.client.names() == []
        assert machine.show("epmd.socket", "ActiveState") == "active"
        assert machine.show("epmd.service", "ActiveState") == "active"

        # By its unit, whose ExecStop does the same.
        wait_for(lambda: machine.show(unit, "ActiveState") in ("inactive", "failed"), "the unit's end", 30)
        start(machine, unit)
        machine.run("ejabberdctl", "started")
        machine.run("systemctl", "stop", unit, timeout=120)
        assert machine.client.names() == []
        assert machine.show("epmd.socket", "ActiveState") == "active"
