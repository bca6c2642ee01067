# SPDX-License-Identifier: Apache-2.0
"""The sandbox of our units: what `systemd-analyze security` says of them, what a process in them can do and cannot
(probe.c in the daemon's place), and that the daemon needs nothing that is denied."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from lib.epmd_client import Refused
from lib.machine import Machine
from lib.process import wait_for

HERE = Path(__file__).resolve().parent
DAEMON, WAIT = "rollcalld.service", "rollcall-wait@probe.service"
RULE = "[reserve kept]\nnames = kept\nfor = user:root unit:other.service\n"
ENTRY = "[node entered]\nport = 4999\n"

# What is there for anybody to take, were it not for the sandbox.
OPEN = """\
mkdir -p /srv/open /run/open /home/open
chmod 1777 /srv/open /run/open /dev/shm
touch /home/open/file /tmp/open /var/tmp/open /dev/open
chmod 644 /home/open/file /tmp/open /var/tmp/open /dev/open
"""

# Of `probe`, as a user without any privilege: what it can, both outside and in the daemon's unit.
MAY = {"unix", "sock-diag", "bus", "journal", "control", "cgroups", "libraries", "self", "thread", "write-own"}
# And only outside.
MAY_NOT = {
    "tcp": "EAFNOSUPPORT", "tcp6": "EAFNOSUPPORT", "udp": "EAFNOSUPPORT",
    "write-elsewhere": "EROFS", "write-run": "EROFS", "shared-memory": "EACCES", "exec-tmp": "EACCES", "home": "EACCES", "tmp": "ENOENT", "var-tmp": "ENOENT", "others": "ENOENT",
    "kernel": "ENOENT", "device": "ENOENT", "suid-file": "EPERM",
    "exec": "EACCES", "exec-own": "EACCES", "map-code-of-own": "EPERM", "writable-code": "EPERM", "code-from-data": "EPERM",
    "other-memory": "EPERM", "user-namespace": "EPERM", "personality": "EPERM", "message-queue": "EPERM", "nice": "EPERM",
    "lock-memory": "EPERM",
}
# rollcall-wait@ has one thing to do.
WAIT_MAY = MAY - {"sock-diag", "write-own", "cgroups"}
WAIT_MAY_NOT = {**MAY_NOT, "sock-diag": "EAFNOSUPPORT"}
del WAIT_MAY_NOT["exec-own"], WAIT_MAY_NOT["map-code-of-own"], WAIT_MAY_NOT["suid-file"]  # it cannot even write


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        target = machine.root / "opt/probe"
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", target, HERE / "probe.c", "-lpthread"], check=True, timeout=120)
        machine.install_rollcall()
        machine.shell(OPEN)
        yield machine


def exposure(machine, unit):
    out = machine.output("systemd-analyze", "security", "--no-pager", unit)
    return float(re.search(r"Overall exposure level for \S+: (\S+)", out)[1])


@pytest.mark.parametrize("unit, most", [(DAEMON, 0.8), (WAIT, 0.2)])
def test_the_exposure_that_systemd_sees(machine, unit, most):
    assert exposure(machine, unit) <= most


# --- what a process can ---------------------------------------------------------------------------------


def results(text):
    return dict(line.split() for line in text.splitlines())


def as_a_user_without_privilege(machine):
    """Outside of any unit."""
    machine.shell("mkdir -p /srv/own && chown nobody /srv/own")
    return results(machine.output("setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=rollcall", "/opt/probe", "/srv/own"))


def in_the_place_of(machine, unit, own):
    """With all that `unit` says of its service but what makes it that service."""
    text = machine.output("cat", machine.show(unit, "FragmentPath")) + "\n"
    service = text.split("[Service]\n")[1].split("[Install]")[0]
    dropped = r"^(Type|Exec(Start|Reload)|NotifyAccess|Sockets|Restart|RestartSec|WatchdogSec|FileDescriptorStoreMax)=.*\n"
    service = re.sub(dropped, "", service, flags=re.M)
    machine.write(
        "/etc/systemd/system/probe.service",
        f"[Service]\nType=oneshot\nExecStart=/opt/probe {own}\nExecPaths=/opt/probe\nStandardOutput=truncate:/run/probe.out\n" + service,
    )
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "probe.service")
    return results(machine.output("cat", "/run/probe.out"))


def test_all_of_it_is_open_to_a_user_outside(machine):
    found = as_a_user_without_privilege(machine)
    assert {name: found[name] for name in MAY | set(MAY_NOT)} == dict.fromkeys(MAY | set(MAY_NOT), "ok")


def test_in_the_daemons_place_a_process_can_do_what_it_needs_and_nothing_else(machine):
    found = in_the_place_of(machine, DAEMON, "/var/lib/rollcall")
    assert found.pop("crypto") == "EAFNOSUPPORT"
    assert found == {**dict.fromkeys(MAY, "ok"), **MAY_NOT}


def test_in_the_place_of_one_who_waits_a_process_can_ask_and_nothing_else(machine):
    found = in_the_place_of(machine, WAIT, "/srv/open")
    assert {name: found[name] for name in WAIT_MAY} == dict.fromkeys(WAIT_MAY, "ok")
    assert {name: found[name] for name in WAIT_MAY_NOT} == WAIT_MAY_NOT
    assert found["write-own"] == "EROFS"


def test_the_daemon_has_no_privilege(machine):
    status = machine.output("cat", f"/proc/{machine.daemon_pid()}/status")
    uid = machine.output("id", "-u", "rollcall")
    assert uid != "0" and re.search(r"^Uid:\t(.*)", status, re.M)[1].split() == [uid] * 4
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert re.search(rf"^Cap{kind}:\t(\w+)", status, re.M)[1] == "0" * 16
    assert re.search(r"^Seccomp:\t(\d)", status, re.M)[1] == "2"
    assert "NoNewPrivs:\t1" in status


# --- what the daemon needs --------------------------------------------------------------------------------


@pytest.fixture
def strict(machine):
    """A call that the filter denies ends the daemon, or rollcall-wait@, at once: it does not get away with EPERM."""
    for unit in (DAEMON, "rollcall-wait@.service"):
        machine.drop_in(unit, "strict", "[Service]\nSystemCallErrorNumber=kill\n")
    machine.run("systemctl", "restart", DAEMON)
    yield machine
    machine.run("systemctl", "stop", DAEMON)
    for unit in (DAEMON, "rollcall-wait@.service"):
        machine.remove_drop_in(unit, "strict")


def rollcall(machine, *args):
    return machine.output("rollcall", *args)


def row(machine, name):
    return next((row for row in json.loads(rollcall(machine, "names", "--json")) if row["name"] == name), None)


def live_through_a_day(machine):
    """All that the daemon asks of the machine: sockets, fd store, file, journal, bus, sock_diag, cgroups, users."""
    machine.write("/etc/rollcall/rollcall.conf", RULE)
    machine.write("/etc/rollcall/nodes.d/one.conf", ENTRY)
    machine.run("systemctl", "reload", DAEMON)
    with machine.begun("rollcall", "watch", "--json") as watcher, machine.node("kept") as node:
        machine.run("systemctl", "start", "rollcall-wait@kept.service")
        assert row(machine, "kept")["unit"] == "kept.service"
        wait_for(lambda: machine.n_stored() == 1, "the connection in the fd store")
        machine.run("systemctl", "restart", DAEMON)
        assert row(machine, "kept")["state"] == "up"
        assert "kept.service" in rollcall(machine, "why", "kept")
        rollcall(machine, "ready", "kept", "role=db")
        assert row(machine, "kept")["state"] == "ready"
        rollcall(machine, "add", "ordered", "--port", "4998")
        assert {"entered", "ordered"} <= set(rollcall(machine, "entries").split())
        assert machine.sql("SELECT name, unit FROM nodes") == [["kept", "kept.service"]]
        node.kill9()
        wait_for(lambda: row(machine, "kept") is None, "the node's end")
        assert watcher.stdout.readline().startswith("{")
    with machine.client.register("served", listen=True), pytest.raises(Refused):
        machine.client.register("served", port=1)
    wait_for(lambda: row(machine, "served") is None, "the other node's end")
    assert {"kept", "served"} <= set(rollcall(machine, "history").split())


def test_the_daemon_makes_no_call_that_is_denied(strict):
    live_through_a_day(strict)
    assert strict.show(DAEMON, "NRestarts") == "0"
    assert strict.output("rollcall", "status").startswith("rollcalld")
    strict.run("systemctl", "stop", DAEMON)
    assert strict.show(DAEMON, "Result") == "success"


def test_a_denied_call_would_be_seen(strict):
    """That the test above can fail."""
    strict.drop_in(DAEMON, "stricter", "[Service]\nSystemCallFilter=~epoll_wait epoll_pwait\nRestart=no\n")
    try:
        strict.run("systemctl", "restart", DAEMON, check=False)
        wait_for(lambda: strict.show(DAEMON, "Result") == "signal", "its end by a signal")
        assert strict.show(DAEMON, "ExecMainStatus") == "31"  # SIGSYS
    finally:
        strict.remove_drop_in(DAEMON, "stricter")
