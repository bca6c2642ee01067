# SPDX-License-Identifier: Apache-2.0
"""A soak: thousands of nodes come, go, crash and restart while the daemon is restarted, killed and reloaded. In the end
the registry is what the kernel says, and nothing has leaked. A minute in all; with ROLLCALL_LONG=1 an hour."""

import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from lib.inside import Lookups, Swarm
from lib.machine import Machine, has_sanitizers
from lib.process import wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"
SECONDS = 3600 if LONG else 45
# Of them without a restart of the daemon, so that what it leaks is its own.
SECONDS_IN_PEACE = 1200 if LONG else 15
N_SWARMS, N_NODES = 4, 1000 if LONG else 500
N_STEADY = 50
N_STORED_MAX = 512
MB = 1024 * 1024
SEED = 1


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        machine.drop_in("rollcalld.service", "soak", "[Service]\nEnvironment=ROLLCALLD_OPTIONS=--max-nodes-per-uid=15000\n")
        yield machine.install_rollcall()


class Crowd:
    """Swarms that are told to come and go; a crashed one is replaced by a new one of its name."""

    def __init__(self, machine):
        self.machine, self.swarms, self.former, self.left = machine, {}, [], {}

    def start(self, name):
        swarm = self.swarms[name] = Swarm(self.machine, N_NODES, prefix=name, unit=name)
        self.left[swarm] = set()
        swarm.start()

    def close(self):
        for swarm in self.everyone():
            swarm.close()

    def everyone(self):
        return [*self.swarms.values(), *self.former]

    def crash(self, name):
        """kill -9: a thousand sockets close at once."""
        swarm = self.swarms.pop(name)
        self.former.append(swarm)
        self.machine.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", f"{swarm.unit}.service")
        swarm.process.wait(20)
        wait_for(lambda: self.machine.show(f"{swarm.unit}.service", "ActiveState") == "inactive", "the end of its unit")
        self.start(name)

    def leave(self, swarm, names):
        self.left[swarm] |= set(names)
        for name in names:
            swarm.say(f"leave {name}")

    def present(self, swarm):
        """{name: port} of those who have registered and were not told to leave, also if they are on their way back."""
        events = swarm.events("registered")
        return {event["name"]: event["port"] for event in events if event["name"] not in self.left[swarm]}

    def dismiss_failed(self):
        """Whose first registration was cut off by a kill has ended: OTP's node would have. Its socket goes, too."""
        for swarm in self.swarms.values():
            failed = {event["name"] for event in swarm.events("failed")} - set(swarm.ports) - self.left[swarm]
            self.leave(swarm, failed)

    def expected(self):
        return {name: port for swarm in self.swarms.values() for name, port in self.present(swarm).items()}


# --- what happens -------------------------------------------------------------------------------------


def restart(machine, crowd, chance):
    machine.run("systemctl", "restart", "rollcalld.service")


def kill9(machine, crowd, chance):
    machine.kill9_daemon()


def reload(machine, crowd, chance):
    machine.run("systemctl", "reload", "rollcalld.service")


def stop_and_start(machine, crowd, chance):
    machine.stop_and_start_daemon()


def crash(machine, crowd, chance):
    crowd.crash(chance.choice(list(crowd.swarms)))


def come_and_go(machine, crowd, chance):
    swarm = chance.choice(list(crowd.swarms.values()))
    crowd.leave(swarm, chance.sample(sorted(crowd.present(swarm)), 50))
    swarm.say("more 50")


def churn(machine, crowd, chance):
    chance.choice(list(crowd.swarms.values())).say("churn 200")


IN_PEACE = [crash, come_and_go, come_and_go, churn, churn, reload]
IN_WAR = [*IN_PEACE, restart, restart, kill9, kill9, stop_and_start]


def soak(machine, crowd, chance, seconds, happenings):
    deadline = time.monotonic() + seconds
    counts = dict.fromkeys((happening.__name__ for happening in happenings), 0)
    deck = []
    while time.monotonic() < deadline:
        deck = deck or chance.sample(happenings, len(happenings))
        happening = deck.pop()
        counts[happening.__name__] += 1
        happening(machine, crowd, chance)
        # The pace of it, and no wait for anything.
        time.sleep(chance.uniform(0.3, 1.7))
    print(f"seed {SEED}: {counts}")
    return counts


# --- what is left ---------------------------------------------------------------------------------------


def daemon_path(machine, path):
    """A file of /proc of the daemon, seen from outside of the machine."""
    pid = machine.daemon_pid()
    return Path(f"/proc/{machine.leader}/root/proc/{pid}/{path}")


def resident(machine):
    return int(daemon_path(machine, "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def n_descriptors(machine):
    return len(os.listdir(daemon_path(machine, "fd")))


def listening_ports(machine):
    lines = machine.output("ss", "-Htln").splitlines()
    return sorted(int(line.split()[3].rsplit(":", 1)[1]) for line in lines)


def n_connections(machine):
    """Established ones, of the daemon's side."""
    return len(machine.output("ss", "-Htn", "state", "established", "( sport = :4369 )").splitlines())


def difference(machine, expected):
    names = dict(machine.client.names())
    return f"too many {sorted(names.items() - expected.items())[:9]}, missing {sorted(expected.items() - names.items())[:9]}"


def settle(machine, crowd, steady, others):
    """When everybody is back: {name: port} of the registry, which is what nodes, kernel, file and systemd say. `others`:
    ports on which the machine listens without them."""
    crowd.dismiss_failed()
    wait_for(lambda: dict(machine.client.names()) == crowd.expected() | steady.ports,
             lambda: difference(machine, crowd.expected() | steady.ports), 40, interval=0.2)  # fmt: skip
    expected = crowd.expected() | steady.ports
    ask = "SELECT count(*), count(*) FILTER (WHERE state <> 'up') FROM nodes"
    wait_for(lambda: machine.sql(ask) == [[str(len(expected)), "0"]], lambda: f"all rows up: {machine.sql(ask)}", 20, interval=0.2)
    assert listening_ports(machine) == sorted([*expected.values(), *others]), "as the kernel says"
    wait_for(lambda: n_connections(machine) == len(expected), lambda: f"{len(expected)} connections: {n_connections(machine)}")
    wait_for(lambda: machine.n_stored() == min(len(expected), N_STORED_MAX), lambda: f"a full store: {machine.n_stored()}", 30)
    return expected


def check_creations(crowd, steady):
    """P5: never given twice; whoever comes back has his own."""
    given = {}
    for swarm in [*crowd.everyone(), steady]:
        own = {}
        for event in swarm.events("registered", "returned"):
            owner = (swarm, event["name"])
            assert given.setdefault(event["creation"], owner) == owner, event
            assert own.setdefault(event["name"], event["creation"]) == event["creation"], event


def test_soak(shared_machine):
    machine, chance = shared_machine, random.Random(SEED)
    others = listening_ports(machine)
    with contextlib.closing(Crowd(machine)) as crowd, Swarm(machine, N_STEADY, prefix="steady", unit="steady") as steady:
        for i in range(N_SWARMS):
            crowd.start(f"crowd{i}-")
        with Lookups(machine, steady.ports, rate=50) as lookups:
            names = settle(machine, crowd, steady, others)
            n_spare = n_descriptors(machine) - len(names)
            counts = soak(machine, crowd, chance, SECONDS - SECONDS_IN_PEACE, IN_WAR)
            # What is remembered of the past is bounded: it is full before anything is measured.
            for swarm in crowd.swarms.values():
                swarm.say("churn 300")
            settle(machine, crowd, steady, others)
            before = resident(machine)
            soak(machine, crowd, chance, SECONDS_IN_PEACE, IN_PEACE)
            names = settle(machine, crowd, steady, others)
        lookups.check(cut=counts["kill9"])

        assert n_descriptors(machine) - len(names) <= n_spare + 2
        if not has_sanitizers():
            assert resident(machine) < 1.25 * before + 2 * MB, f"{before} bytes before, {resident(machine)} now"
        files = {suffix: (machine.root / f"var/lib/rollcall/registry.db{suffix}").stat().st_size for suffix in ("", "-wal")}
        assert files["-wal"] <= 6 * MB, files
        (n_tenures,) = machine.sql("SELECT count(*) FROM tenures")[0]
        assert machine.sql("SELECT count(*) FROM metadata") == [["0"]]
        assert int(n_tenures) <= 50000 + 256
        assert machine.sql("PRAGMA quick_check") == [["ok"]]
        check_creations(crowd, steady)
        refused = [event for swarm in crowd.everyone() for event in swarm.events("failed") if event["why"] == "refused"]
        assert refused == [], refused[:5]
        assert machine.run("rollcall", "status", check=False).returncode == 0
        assert machine.journal("-u", "rollcalld.service", "-p", "err", "-o", "cat") == ""
    wait_for(lambda: machine.client.names() == [], "end of all", 20)
    wait_for(lambda: machine.n_stored() == 0, lambda: f"an empty store: {machine.n_stored()}", 20)
