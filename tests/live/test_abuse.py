# SPDX-License-Identifier: Apache-2.0
"""The unit's own limits under attack: who does it is known by user and unit, in status and journal, and nobody else notices."""

import json
import subprocess

from lib.inside import PYTHON, Lookups, Swarm
from lib.process import die_with_parent, end, wait_for

USER = "nobody"


def begin_attack(machine, name):
    """In flood.service, as another user."""
    argv = machine.service("flood", properties=("WorkingDirectory=/opt/tests", "LimitNOFILE=20000", f"User={USER}"))
    process = subprocess.Popen([*argv, *PYTHON, "-m", "abuse.attack", name, "--seconds", "60"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent())  # fmt: skip
    assert process.stdout.readline() == "READY\n"
    return process


def finish_attack(process):
    process.stdin.close()
    process.stdout.read()
    end(process)
    process.stdout.close()


def culprits(machine):
    return json.loads(machine.output("rollcall", "status", "--json"))["culprits"]


def n_stored(machine):
    return json.loads(machine.output("rollcall", "status", "--json"))["fd_store"]["stored"]


def test_a_flood_beyond_the_limit_of_descriptors_is_its_own_users_affair(machine):
    machine.drop_in("rollcalld.service", "few", "[Service]\nLimitNOFILE=1024\n")
    machine.run("systemctl", "restart", "rollcalld.service")
    try:
        with Swarm(machine, 100) as swarm, Lookups(machine, swarm.ports) as stream:
            process = begin_attack(machine, "idle")
            try:
                wait_for(lambda: [one["closed"] > 300 for one in culprits(machine)] == [True], lambda: f"{culprits(machine)}", timeout=20)
                stream.go_on(1000)
                # Whoever has registered is taken over, however many others knock at the door meanwhile.
                wait_for(lambda: n_stored(machine) == 100, lambda: f"{n_stored(machine)} stored")
                machine.run("systemctl", "restart", "rollcalld.service")
                wait_for(lambda: [one["closed"] > 300 for one in culprits(machine)] == [True], lambda: f"{culprits(machine)}", timeout=20)
                stream.go_on(1000)
            finally:
                finish_attack(process)
            stream.close()
            stream.check()
            assert swarm.noticed() == []
            [culprit] = culprits(machine)
        assert (culprit["user"], culprit["unit"], culprit["address"]) == (USER, "flood.service", None)
        # Who is said at once, by message, user and unit.
        uid = machine.output("id", "-u", USER)
        said = machine.journal("-o", "cat", "MESSAGE_ID=0dafd2da09355d3cad387f4ba09db953", f"NODE_UID={uid}", "NODE_UNIT=flood.service")
        assert f"closed 1 of uid {uid} (flood.service) to make room" in said
    finally:
        machine.remove_drop_in("rollcalld.service", "few")
        machine.run("systemctl", "restart", "rollcalld.service")


def test_a_flood_of_searches_leaves_the_watchdog_and_lookups_alone(machine):
    pid = machine.daemon_pid()
    with Swarm(machine, 200) as swarm, Lookups(machine, swarm.ports) as stream:
        process = begin_attack(machine, "find")
        try:
            stream.go_on(1000)
        finally:
            finish_attack(process)
        stream.close()
        stream.check()
        assert stream.events("sum")[0]["slowest"] < 1.0
        assert swarm.noticed() == []
    assert machine.daemon_pid() == pid
