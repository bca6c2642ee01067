# SPDX-License-Identifier: Apache-2.0
"""The units as installed: their names, log, files and who may read them. (Their sandbox: test_sandbox.)"""

import json
import re

import pytest

from lib.machine import EXAMPLES, REGISTRY, Machine
from lib.process import wait_for


def debian_has_enabled_its_own(root):
    """As erlang-base's postinst leaves a machine."""
    for target, unit in (("sockets.target", "epmd.socket"), ("multi-user.target", "epmd.service")):
        wants = root / f"etc/systemd/system/{target}.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / unit).symlink_to(f"/lib/systemd/system/{unit}")


@pytest.fixture(scope="module")
def shared_machine():
    with Machine(prepare=debian_has_enabled_its_own) as machine:
        yield machine.install_rollcall()


def test_our_units_take_the_place_of_debians(machine):
    for unit in ("epmd.socket", "epmd.service", "rollcalld.service"):
        assert machine.show(unit, "FragmentPath") == f"/usr/local/lib/systemd/system/{unit}"
        assert machine.output("systemctl", "is-enabled", unit) == "enabled"
        assert machine.show(unit, "ActiveState") == "active"
        assert machine.show(unit, "NeedDaemonReload") == "no"


def test_our_units_come_up_by_themselves_at_boot(machine):
    # multi-user.target is not part of what the test machine boots into.
    machine.write("/etc/systemd/system/default.target.d/multi-user.conf", "[Unit]\nWants=multi-user.target\n")
    machine.reboot()
    wait_for(lambda: machine.show("epmd.service", "ActiveState") == "active", "epmd.service after the boot")
    assert machine.daemon_pid() != 0
    assert machine.output("systemctl", "--failed", "--no-legend") == ""


def test_units_have_no_fault_that_systemd_knows_of(machine):
    units = [f"/usr/local/lib/systemd/system/{unit}" for unit in ("epmd.socket", "epmd.service", "rollcalld.service")]
    result = machine.run("systemd-analyze", "verify", "--man=no", *units, check=False)
    ours = [line for line in (result.stdout + result.stderr).splitlines() if "rollcall" in line or "epmd" in line]
    assert ours == []


def test_descriptors_are_not_limited_to_1024(machine):
    limits = machine.output("cat", f"/proc/{machine.daemon_pid()}/limits")
    soft, hard = re.search(r"^Max open files\s+(\d+)\s+(\d+)", limits, re.M).groups()
    assert soft == hard
    assert int(soft) > 1024


def test_status_says_in_words_what_is_held(machine):
    def text():
        return machine.show("rollcalld.service", "StatusText")

    before = text()
    with machine.client.register("a", listen=True), machine.client.register("b", listen=True):
        wait_for(lambda: text() != before and re.search(r"\b2\b", text()), lambda: f"2 nodes in the status: {text()}")


def fields_of(machine, name, text):
    for line in machine.journal("-u", "rollcalld.service", "-o", "json").splitlines():
        entry = json.loads(line)
        if entry.get("NODE") == name and re.search(text, entry["MESSAGE"]):
            return entry
    return None


def test_the_journal_has_fields(machine):
    with machine.client.register("journalled", listen=True) as held:
        entry = wait_for(lambda: fields_of(machine, "journalled", "regist"), "the registration in the journal")
        assert entry["PORT"] == str(held.port)
        assert re.fullmatch(r"[0-9a-f]{32}", entry["MESSAGE_ID"])
    ended = wait_for(
        lambda: [line for line in machine.journal("NODE=journalled", "-o", "json").splitlines()][1:], "a second entry of that node",
    )
    assert json.loads(ended[-1])["MESSAGE_ID"] != entry["MESSAGE_ID"]


def test_the_journal_names_the_unit_of_a_node(machine):
    with machine.node("within"):
        entry = wait_for(lambda: fields_of(machine, "within", "regist"), "the registration in the journal")
        assert entry["NODE_UNIT"] == "within.service"
        assert machine.sql("SELECT name, unit, uid FROM nodes") == [["within", "within.service", "0"]]


def test_a_refusal_says_who_holds_the_name(machine):
    with machine.node("held"):
        second = machine.node("held", unit="second", wait=False)
        with second:
            assert second.process.wait(30) != 0
        entry = wait_for(lambda: fields_of(machine, "held", "held.service"), "the holder's unit in the journal")
        assert re.fullmatch(r"[0-9a-f]{32}", entry["MESSAGE_ID"])


# --- who may read ------------------------------------------------------------------------------------

MEMBER = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=rollcall"]
STRANGER = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
QUERY = ["sqlite3", "-readonly", REGISTRY, "SELECT name FROM nodes"]


def test_modes_of_directory_files_and_control_socket(machine):
    def mode(path):
        return machine.output("stat", "-c", "%a %U %G", path)

    assert mode("/var/lib/rollcall") == "750 rollcall rollcall"
    for suffix in ("", "-wal", "-shm"):
        assert mode(REGISTRY + suffix) == "640 rollcall rollcall"
    assert mode("/run/rollcall/control") == "660 rollcall rollcall"


def test_a_member_of_the_group_reads_the_registry_while_it_runs_and_after_kill_and_stop(machine):
    with machine.client.register("a", listen=True):
        assert machine.output(*MEMBER, *QUERY) == "a"
        machine.kill9_daemon()
        assert machine.output(*MEMBER, *QUERY) == "a"
        machine.run("systemctl", "stop", "rollcalld.service")
        assert machine.output(*MEMBER, *QUERY) == "a"
        assert machine.output("stat", "-c", "%a", REGISTRY + "-wal") == "640"


def test_a_member_cannot_write_and_a_stranger_cannot_read(machine):
    write = machine.run(*MEMBER, "sqlite3", REGISTRY, "DELETE FROM registrations", check=False)
    assert write.returncode != 0 and "readonly" in write.stderr
    assert machine.run(*STRANGER, *QUERY, check=False).returncode != 0


def test_a_member_asks_the_daemon_and_a_stranger_may_not(machine):
    with machine.client.register("a", listen=True):
        assert "a" in machine.output(*MEMBER, "rollcall", "names")
        assert machine.run(*STRANGER, "rollcall", "names", check=False).returncode == 3


def test_the_control_socket_stays_when_the_daemon_stops(machine):
    machine.run("systemctl", "stop", "rollcalld.service")
    # The question starts it.
    assert machine.run("rollcall", "status", check=False).returncode == 0
    assert machine.daemon_pid() != 0


# --- drop-ins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", sorted(path.name for suffix in ("service", "socket") for path in EXAMPLES.glob(f"*.{suffix}.d-*.conf")))
def test_example_drop_ins_are_installed_and_valid(machine, example):
    unit, name = re.fullmatch(r"(.*)\.d-(.*)\.conf", example).groups()
    machine.drop_in(unit, name, (EXAMPLES / example).read_text())
    try:
        result = machine.run("systemd-analyze", "verify", "--man=no", unit, check=False)
        assert [line for line in result.stderr.splitlines() if name + ".conf" in line] == []
        assert name + ".conf" in machine.show(unit, "DropInPaths")
    finally:
        machine.remove_drop_in(unit, name)


def test_an_address_in_the_environment_has_no_effect_and_that_is_said_once(machine):
    machine.drop_in("rollcalld.service", "address", "[Service]\nEnvironment=ERL_EPMD_ADDRESS=127.0.0.9\n")
    try:
        machine.run("systemctl", "restart", "rollcalld.service")
        invocation = machine.show("rollcalld.service", "InvocationID")
        assert machine.client.names() == []
        lines = machine.journal(f"_SYSTEMD_INVOCATION_ID={invocation}", "-o", "cat").splitlines()
        assert len([line for line in lines if "ERL_EPMD_ADDRESS" in line]) == 1
    finally:
        machine.remove_drop_in("rollcalld.service", "address")
        machine.run("systemctl", "restart", "rollcalld.service")
