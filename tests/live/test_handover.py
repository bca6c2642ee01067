# SPDX-License-Identifier: Apache-2.0
"""Who comes while the holder of his name is going is registered; who comes while it is there is refused."""

import contextlib
import json
import os
import time

import pytest

from lib.epmd_client import Alive2Reply, alive2, frame, is_closed
from lib.inside import LightNode
from lib.machine import Machine
from lib.process import wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"
ROUNDS = 200 if LONG else 20
# Pairs of real nodes hand over side by side: most of a round is waiting.
SIDE_BY_SIDE = 4
IN_USE = "seems to be in use"


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        yield machine.install_rollcall()


@contextlib.contextmanager
def units(machine, *nodes):
    """LightNodes that are started and stopped at will."""
    try:
        machine.run("systemctl", "daemon-reload")
        yield nodes
    finally:
        for node in nodes:
            node.remove()
        machine.run("systemctl", "daemon-reload")


def n_said_in_use(machine, *names):
    machine.run("journalctl", "--sync")
    names = [name if name.endswith(".service") else name + ".service" for name in names]
    return machine.journal("-o", "cat", *(f"--unit={name}" for name in names)).count(IN_USE)


def assert_refused(node):
    """A start now fails, and at once: the holder is not going."""
    began = time.monotonic()
    assert node.start(check=False).returncode != 0
    assert time.monotonic() - began < 3
    node.machine.run("systemctl", "reset-failed", node.unit)


# --- light nodes -------------------------------------------------------------------------------------


def test_blue_and_green_hand_over_while_the_old_one_stops(shared_machine):
    """The new unit starts while the old one, which takes its time, is stopping."""
    machine = shared_machine
    colours = [LightNode(machine, colour, "bg", "--going", "0.2") for colour in ("blue", "green")]
    with units(machine, *colours) as (old, new):
        old.start()
        assert_refused(new)
        n_before = n_said_in_use(machine, "blue", "green")
        for _ in range(ROUNDS):
            port = machine.client.port_please("bg").port
            old.begin_stop()
            new.start()
            assert machine.client.port_please("bg").port != port
            old.wait_active("inactive")
            old, new = new, old
        assert n_said_in_use(machine, "blue", "green") == n_before
        assert_refused(new)


def test_what_the_new_unit_says_is_not_taken_for_the_old_ones_word(shared_machine):
    """A Type=simple unit says that it is ready before its node has registered, while the old one has the name."""
    machine = shared_machine
    properties = ("Type=simple", "ExecStartPost=/usr/local/bin/rollcall ready told unit=%p --wait 10", "ExecStop=-/usr/local/bin/rollcall not-ready told")
    colours = [LightNode(machine, colour, "told", "--going", "0.4", properties=properties) for colour in ("cyan", "amber")]
    with units(machine, *colours) as (old, new):
        old.start()
        for _ in range(3):
            old.begin_stop()
            wait_for(lambda: old.active == "deactivating", "the old one to be stopped")
            new.start()
            (node,) = json.loads(machine.output("rollcall", "names", "--json"))
            assert (node["unit"], node["state"], node["metadata"]) == (new.unit, "ready", {"unit": new.unit.removesuffix(".service")})
            old, new = new, old


def test_a_wrapper_that_leaves_its_node_behind_can_be_restarted(shared_machine):
    """KillMode=process: systemd kills the wrapper only, which tells its node to stop and does not wait for it."""
    machine = shared_machine
    machine.write(
        "/opt/wrapper",
        "#!/bin/bash\n"
        'setsid /usr/bin/python3 -B -m lib.light_node wrapped --going "$GOING" &\nnode=$!\n'
        "trap 'kill -TERM $node; exit 0' TERM\nwait $node\nexit 1\n",
    )
    machine.run("chmod", "+x", "/opt/wrapper")
    node = LightNode(machine, "wrapped", "wrapped", properties=("KillMode=process", "NotifyAccess=all", "Environment=GOING=0.2"))
    unit = machine.root / "etc/systemd/system/wrapped.service"
    unit.write_text("".join(line for line in unit.read_text().splitlines(True) if not line.startswith("ExecStart")) + "ExecStart=/opt/wrapper\n")
    with units(machine, node):
        node.start()
        for _ in range(ROUNDS):
            port = machine.client.port_please("wrapped").port
            machine.run("systemctl", "restart", node.unit)
            assert machine.client.port_please("wrapped").port != port
        assert n_said_in_use(machine, "wrapped") == 0
        wait_for(lambda: len(machine.client.names()) == 1, "one node")


def test_a_killed_node_whose_child_keeps_its_connection_is_no_obstacle(shared_machine):
    """The child has inherited the connection, and not the listener: by that the node is gone."""
    machine = shared_machine
    node = LightNode(machine, "kept", "kept", "--keep", "connection", properties=("KillMode=process",))
    other = LightNode(machine, "other", "kept", "--keep", "connection", properties=("KillMode=process",))
    with units(machine, node, other) as (old, new):
        old.start()
        assert_refused(new)
        n_before = n_said_in_use(machine, "kept", "other")
        for _ in range(ROUNDS):
            old.kill9("main")
            new.start()
            machine.run("systemctl", "reset-failed", old.unit, check=False)
            old, new = new, old
        assert n_said_in_use(machine, "kept", "other") == n_before
        machine.write("/opt/kept.end", "")


def test_a_killed_node_whose_child_keeps_all_of_it_ends_with_its_unit(shared_machine):
    """Connection and listener live on in the child, until systemd has killed the rest of the unit."""
    machine = shared_machine
    pair = [LightNode(machine, unit, "both", "--keep", "both") for unit in ("both1", "both2")]
    with units(machine, *pair) as (old, new):
        old.start()
        for _ in range(5):
            old.kill9("main")
            new.start()
            machine.run("systemctl", "reset-failed", old.unit, check=False)
            old, new = new, old
        assert n_said_in_use(machine, "both1", "both2") == 0


def leaver(machine):
    """A unit whose main process starts a node, and leaves it behind; it starts none while /opt/leaver.empty is there."""
    machine.write(
        "/opt/leaver",
        "#!/bin/bash\n"
        "[ -e /opt/leaver.empty ] || setsid /usr/bin/python3 -B -m lib.light_node left --going -1 &\n"
        "[ ! -e /opt/leaver.empty ] || systemd-notify --ready\nexec sleep infinity\n",
    )
    machine.run("chmod", "+x", "/opt/leaver")
    node = LightNode(machine, "leaver", "left", properties=("KillMode=process", "NotifyAccess=all"))
    unit = machine.root / "etc/systemd/system/leaver.service"
    lines = [line for line in unit.read_text().splitlines(True) if not line.startswith("ExecStart")]
    unit.write_text("".join(lines) + "ExecStart=/opt/leaver\n")
    return node


def test_a_node_that_was_left_over_is_known_as_that_after_a_restart_of_the_daemon(shared_machine):
    """Its unit was started anew without it: by which start of its unit it is stands in the registry file."""
    machine = shared_machine
    for end_daemon in (lambda: None, machine.kill9_daemon, machine.stop_and_start_daemon):
        (machine.root / "opt/leaver.empty").unlink(missing_ok=True)
        with units(machine, leaver(machine)) as (node,):
            node.start()
            starts = "SELECT unit_invocation IS NOT NULL FROM registrations WHERE name = 'left'"
            wait_for(lambda: machine.sql(starts) == [["1"]], "the start of its unit")
            machine.write("/opt/leaver.empty", "")
            machine.run("systemctl", "restart", node.unit)
            assert node.active == "active" and machine.client.port_please("left") is not None
            end_daemon()
            # A daemon that has just started is not on the bus yet, and cannot ask systemd.
            wait_for(lambda: daemon_status(machine)["units_unseen"] is None, "the bus")
            with Waiter(machine, "left") as waiter:
                wait_held(machine, 1)
                # A holder that is not known to be going would be a reason to refuse, after a quarter of a second.
                time.sleep(1)
                assert not waiter.has_answer()
                machine.run("pkill", "-KILL", "-f", "lib.light_node left")
                assert waiter.result() == 0


# --- real nodes, side by side ------------------------------------------------------------------------


ERL = """[Service]
Type={type}
Environment=HOME=/root ERL_CRASH_DUMP_BYTES=0
ExecStart=/usr/bin/erl -noinput -sname {name}@{host} -setcookie x -eval 'os:cmd("systemd-notify --ready")' {more}
{lines}
"""


def erl_unit(machine, unit, name, type="notify", lines="NotifyAccess=all", more=""):
    machine.write(f"/etc/systemd/system/{unit}.service", ERL.format(type=type, name=name, host=machine.name, lines=lines, more=more))
    return unit + ".service"


def test_blue_and_green_of_real_nodes(shared_machine):
    """erl takes a second to stop."""
    machine = shared_machine
    names = [f"erl{i}" for i in range(SIDE_BY_SIDE)]
    blue = [erl_unit(machine, f"blue-{name}", name) for name in names]
    green = [erl_unit(machine, f"green-{name}", name) for name in names]
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "start", *blue)
        result = machine.run("systemctl", "start", *green, check=False)
        assert result.returncode != 0
        machine.run("systemctl", "reset-failed")
        n_before = n_said_in_use(machine, *blue, *green)
        assert n_before >= SIDE_BY_SIDE
        for _ in range(ROUNDS // SIDE_BY_SIDE):
            machine.run("systemctl", "stop", "--no-block", *blue)
            machine.run("systemctl", "start", *green)
            assert sorted(name for name, _ in machine.client.names()) == names
            wait_for(lambda: "active" not in machine.output("systemctl", "is-active", *blue, check=False).split(), "the old ones' end")
            wait_for(lambda: "deactivating" not in machine.output("systemctl", "is-active", *blue, check=False), "the old ones' end")
            blue, green = green, blue
        assert n_said_in_use(machine, *blue, *green) == n_before
    finally:
        machine.run("systemctl", "stop", *blue, *green, check=False)
        machine.run("systemctl", "reset-failed", check=False)


def test_detached_nodes_that_heart_restarts(shared_machine):
    """Killed again and again: heart starts the next one at once, from its own unit's left-overs."""
    machine = shared_machine
    names = [f"heart{i}" for i in range(SIDE_BY_SIDE)]
    for name in names:
        command = f"/usr/bin/erl -detached -heart -sname {name}@{machine.name} -setcookie x -kernel logger_level none"
        machine.write(f"/opt/{name}", f"#!/bin/sh\nexec {command} >>/run/{name}.log 2>&1\n")
        machine.run("chmod", "+x", f"/opt/{name}")
        machine.run(
            "systemd-run", "-q", "--collect", f"--unit={name}", "--property=Type=forking", "--property=GuessMainPID=no",
            "--setenv=HOME=/root", f"--setenv=HEART_COMMAND=/opt/{name}", "--setenv=ERL_CRASH_DUMP_BYTES=0", f"/opt/{name}",
        )
    try:
        def port_of(name):
            found = machine.client.port_please(name)
            return found and found.port

        wait_for(lambda: all(port_of(name) for name in names), "all to be registered", 20)
        for _ in range(ROUNDS // SIDE_BY_SIDE):
            creations = dict(machine.sql("SELECT name, creation FROM nodes"))
            for name in names:
                kill_beams_of(machine, name)
            wait_for(
                lambda c=creations: {name for name, creation in machine.sql("SELECT name, creation FROM nodes") if creation != c[name]} == set(names),
                lambda: f"all to be there again: {machine.sql('SELECT name, creation FROM nodes')}", 20,
            )
        # A refused name would have ended one of them, and heart would have started another.
        assert n_refused_of(machine, names) == 0
    finally:
        machine.run("systemctl", "stop", *(name + ".service" for name in names), check=False)


def kill_beams_of(machine, unit):
    """The virtual machine only: heart lives on."""
    pids = machine.output("cat", f"/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs").split()
    for line in machine.output("ps", "-o", "pid=,comm=", "-p", ",".join(pids)).splitlines():
        pid, program = line.split(None, 1)
        if program == "beam.smp":
            machine.run("kill", "-KILL", pid)


def n_refused_of(machine, names):
    lines = machine.journal("-u", "rollcalld.service", "-o", "cat").splitlines()
    return len([line for line in lines if "is refused" in line and line.split()[0] in names])


# --- who waits ---------------------------------------------------------------------------------------


@pytest.fixture
def going(shared_machine):
    """A node that is going and does not end: its unit is being stopped."""
    node = LightNode(shared_machine, "going", "w", "--going", "-1", properties=("TimeoutStopSec=60",))
    with units(shared_machine, node):
        node.start()
        node.begin_stop()
        node.wait_active("deactivating")
        yield node


class Waiter:
    """A newcomer whose answer is not read."""

    def __init__(self, machine, name="w"):
        self.listener = machine.client.listen()
        self.sock = machine.client.connect()
        self.sock.sendall(frame(alive2(name, self.listener.getsockname()[1])))

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def has_answer(self):
        self.sock.settimeout(0.001)
        try:
            return bool(self.sock.recv(1, 2))  # MSG_PEEK
        except TimeoutError:
            return False

    def result(self, timeout=10.0):
        self.sock.settimeout(timeout)
        return Alive2Reply.decode(self.sock.recv(64)).result

    def close(self):
        self.sock.close()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def daemon_status(machine):
    return json.loads(machine.run("rollcall", "status", "--json", check=False).stdout)


def wait_held(machine, n):
    """The daemon has read their requests: its own count."""
    wait_for(lambda: daemon_status(machine)["held"] == n, f"{n} held", 5)


def test_the_first_who_waits_gets_the_name_the_moment_it_is_free(shared_machine, going):
    machine = shared_machine
    with contextlib.ExitStack() as stack:
        waiters = []
        for n in range(3):
            waiters.append(stack.enter_context(Waiter(machine)))
            wait_held(machine, n + 1)
        assert not any(waiter.has_answer() for waiter in waiters)
        # The first leaves: his place is free, and nothing else changes.
        waiters.pop(0).close()
        wait_held(machine, 2)
        began = time.monotonic()
        going.kill9("all")
        assert waiters[0].result() == 0
        assert time.monotonic() - began < 1.5
        assert machine.client.port_please("w").port == waiters[0].port
        # The next has one before him now who stays.
        assert waiters[1].result() == 1
        wait_for(lambda: is_closed(waiters[1].sock), "its close")


def test_at_the_end_of_the_time_a_waiter_is_told_no(shared_machine, going):
    machine = shared_machine
    machine.write("/etc/rollcall/rollcall.conf", "[limits]\nhold = 1\n")
    machine.run("systemctl", "reload", "rollcalld.service")
    try:
        began = time.monotonic()
        with Waiter(machine) as waiter:
            assert waiter.result() == 1
            assert 0.8 < time.monotonic() - began < 3
        # The name is still its holder's.
        assert machine.client.port_please("w") is not None
    finally:
        (machine.root / "etc/rollcall/rollcall.conf").unlink()
        machine.run("systemctl", "reload", "rollcalld.service")


def test_who_waits_is_not_listed_and_lookups_mean_the_holder(shared_machine, going):
    machine = shared_machine
    port = machine.client.port_please("w").port
    with Waiter(machine) as waiter:
        wait_held(machine, 1)
        assert machine.client.port_please("w").port == port != waiter.port
        assert [row for row in machine.sql("SELECT name, port, state FROM nodes") if row[0] == "w"] == [["w", str(port), "stopping"]]
