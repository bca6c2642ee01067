# SPDX-License-Identifier: Apache-2.0
"""Every kind of node that Debian's packages make, and the stock commands, against Rollcall."""

import os
import re
import subprocess

import pytest

from lib.epmd_client import C_NODE, NORMAL, EpmdClient
from lib.nodes import COOKIE
from lib.process import wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
OTHER_PORT = 14369


def test_two_nodes_find_each_other(machine):
    with machine.node("a") as a, machine.node("b") as b:
        assert a.ping(b) == "pong"
        assert a.eval("nodes()") == f"[{b.name}]"


def test_long_names(machine):
    with machine.node("a@127.0.0.1", long=True) as a, machine.node("b@127.0.0.1", long=True) as b:
        assert a.ping(b) == "pong"
        assert {name for name, _ in machine.client.names()} == {"a", "b"}


def test_a_hidden_node_registers_and_is_found(machine):
    """erl says 'M' in its ALIVE2 whether it is hidden or not, so nothing tells the two apart here."""
    with machine.node("a") as a, machine.node("h", "-hidden") as h:
        assert machine.client.port_please("h").type == machine.client.port_please("a").type == NORMAL
        assert a.ping(h) == "pong"
        assert a.eval("{nodes(), nodes(hidden)}") == f"{{[],[{h.name}]}}"


def test_distribution_over_ipv6(machine):
    flags = ["-proto_dist", "inet6_tcp"]
    with machine.node("a@localhost", *flags) as a, machine.node("b@localhost", *flags) as b:
        assert a.ping(b) == "pong"
        over_6 = EpmdClient(4369, "::1", network=machine)
        assert over_6.port_please("a") == machine.client.port_please("a")


def test_a_node_that_asks_the_16_bit_way_gets_a_creation_of_1_to_3(machine):
    seen = []
    for _ in range(4):
        with machine.node("old", env={"ERL_EPMD_DIST_HIGH": "5"}) as old:
            seen.append(int(old.eval("erlang:system_info(creation)")))
            assert machine.client.port_please("old").highest == 5
        wait_for(lambda: machine.client.names() == [], "the name to go")
    assert set(seen) <= {1, 2, 3}
    assert all(one != next_one for one, next_one in zip(seen, seen[1:])), seen


def test_creations_of_one_name_differ_from_start_to_start(machine):
    seen = set()
    for _ in range(3):
        with machine.node("a") as a:
            seen.add(int(a.eval("erlang:system_info(creation)")))
        wait_for(lambda: machine.client.names() == [], "the name to go")
    assert len(seen) == 3
    assert min(seen) > 3


def test_a_second_node_of_a_live_name_is_refused(machine):
    with machine.node("a") as a:
        port = machine.client.port_please("a").port
        second = machine.node("a", unit="second", wait=False)
        with second:
            assert second.process.wait(30) != 0
            assert "in use by another Erlang node" in second.output() or "duplicate_name" in second.output()
        assert machine.client.port_please("a").port == port
        assert a.eval("1 + 1") == "2"


@pytest.fixture(scope="module")
def cnode(shared_machine):
    """The C node, compiled with Debian's libei, as a path inside of the machine."""
    flags = ["-I/usr/lib/erlang/usr/include", "-L/usr/lib/erlang/usr/lib"]
    target = shared_machine.root / "opt/cnode"
    subprocess.run(["gcc", "-Wall", "-o", target, f"{HERE}/cnode.c", *flags, "-lei", "-lpthread"], check=True, timeout=120)
    return "/opt/cnode"


def test_a_c_node_registers_and_talks(machine, cnode):
    argv = [*machine.service("cnode"), cnode, "c", machine.name, COOKIE]
    with machine.node("a") as a, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        word, port = process.stdout.readline().split()
        assert word == "published"
        found = machine.client.port_please("c")
        assert (found.port, found.type, found.highest) == (int(port), C_NODE, 6)
        ask = "{{any, 'c@{0}'}} ! {{self(), {1}}}, receive {{cnode, Word}} -> Word after 9000 -> nothing end"
        assert a.eval(ask.format(machine.name, "hello")) == "hello"
        assert a.eval(ask.format(machine.name, "stop")) == "stop"
        assert process.wait(20) == 0
        # ei leaves two bytes unread, so the close is a reset.
        wait_for(lambda: machine.client.port_please("c") is None, "the C node's name to go")


def test_erl_call_finds_a_node(machine):
    with machine.node("a") as a:
        assert machine.output("erl_call", "-c", COOKIE, "-sname", f"a@{machine.name}", "-a", "erlang node []") == a.name


def test_net_adm_lists_names(machine):
    """net_adm:names() dials the machine's own name: 127.0.1.1 as on every Debian."""
    with machine.node("a") as a, machine.node("b"):
        port_of = {name: machine.client.port_please(name).port for name in "ab"}
        names = "lists:sort(element(2, net_adm:names()))"
        assert a.eval(names) == f'[{{"a",{port_of["a"]}}},{{"b",{port_of["b"]}}}]'
        assert a.eval("element(1, net_adm:names('127.0.0.1'))") == "ok"


def test_erl_epmd_addresses_and_versions(machine):
    with machine.node("a") as a, machine.node("b"):
        port = machine.client.port_please("b").port
        assert a.eval("erl_epmd:port_please(\"b\", {127,0,0,1})") == f"{{port,{port},6}}"
        assert a.eval("erl_epmd:port_please(\"nobody\", {127,0,0,1})") == "noport"


# --- the commands, ours and the stock ones, on both daemons ------------------------------------------

STOCK = "/usr/bin/epmd"
OURS = "/usr/local/bin/epmd"


def answer(machine, program, port, *args):
    """Exit status, stdout, stderr; what differs by nature (port, descriptors, names of the past) is made alike."""
    result = machine.run(program, *args, env={"ERL_EPMD_PORT": str(port)}, check=False)
    out = re.sub(r"fd = \d+", "fd = N", result.stdout.replace(str(port), "PORT"))
    lines = [line for line in out.splitlines() if "old/unused" not in line]
    return result.returncode, [line for line in lines if line != "\0"], result.stderr


@pytest.fixture
def both(machine):
    """Rollcall on 4369 and a stock epmd on another port, with the same names registered at each."""
    machine.run("systemd-run", "-q", "--collect", "--unit=stock", f"--setenv=ERL_EPMD_PORT={OTHER_PORT}", STOCK)
    stock = EpmdClient(OTHER_PORT, network=machine)

    def answers():
        try:
            return stock.names() == []
        except OSError:
            return False

    try:
        wait_for(answers, "stock epmd")
        yield machine, stock
    finally:
        machine.run("systemctl", "stop", "stock.service")


# -kill without names would end the daemons; test_restart does that.
@pytest.mark.parametrize("program", [STOCK, OURS])
@pytest.mark.parametrize(
    "n_names, args",
    [(n, args) for n in (0, 3) for args in ("-names", "-dump", "-started", "-kill", "-stop n1", "-stop nobody") if (n, args) != (0, "-kill")],
)
def test_commands_answer_alike_from_both_daemons(both, program, n_names, args):
    machine, stock = both
    answers = []
    for client in (machine.client, stock):
        held = [client.register(f"n{i}", 1000 + i) for i in range(n_names)]
        answers.append(answer(machine, program, client.port, *args.split()))
        for one in held:
            one.close()
        wait_for(lambda c=client: c.names() == [], "the names to go")
    assert answers[0] == answers[1]


@pytest.mark.parametrize("args", ["-names", "-dump", "-started", "-kill", "-stop x"])
def test_our_command_without_a_daemon_says_what_the_stock_one_says(machine, args):
    ours, stock = (answer(machine, program, 14999, *args.split()) for program in (OURS, STOCK))
    assert ours == stock


@pytest.mark.parametrize("args", ["-bogus", "-port", "-port 0", "-port x", "-names -port 4", "-packet_timeout 0", "-help", "--version"])
def test_our_command_ends_as_the_stock_one_on_wrong_usage(machine, args):
    """The texts differ; the exit status and the stream do not."""
    ours, stock = (answer(machine, program, 14999, *args.split()) for program in (OURS, STOCK))
    assert (ours[0], ours[1], ours[2] != "") == (stock[0], stock[1], stock[2] != "")


def test_our_names_command_is_the_stock_one_byte_for_byte(both):
    machine, stock = both
    names = ["a", "rabbit", "x" * 200, "ärger"]
    for client in (machine.client, stock):
        held = [client.register(name, 2000 + i) for i, name in enumerate(names)]
        assert answer(machine, OURS, client.port, "-names") == answer(machine, STOCK, client.port, "-names")
        for one in held:
            one.close()
        wait_for(lambda c=client: c.names() == [], "the names to go")


def test_an_own_port_mapper_without_ipv6_is_no_error(shared_machine):
    """Its own sockets, in a service for which socket(AF_INET6) fails as it does where the kernel has no IPv6."""
    machine = shared_machine
    machine.run(
        "systemd-run", "-q", "--collect", "--unit=four", "--property=Type=notify",
        "--property=RestrictAddressFamilies=AF_UNIX AF_INET AF_NETLINK",
        "/usr/local/sbin/rollcalld", "--port", str(OTHER_PORT + 1), "--state", "/tmp/four.db", "--control", "/tmp/four.control",
    )
    try:
        four = EpmdClient(OTHER_PORT + 1, network=machine)
        with four.register("a", listen=True):
            assert [name for name, _ in four.names()] == ["a"]
    finally:
        machine.run("systemctl", "stop", "four.service")
