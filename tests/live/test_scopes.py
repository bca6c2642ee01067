# SPDX-License-Identifier: Apache-2.0
"""One name on several addresses: unmodified nodes, and what a registration can look like that is no plain one."""

import contextlib
import itertools

import pytest

from lib.epmd_client import EpmdClient, Refused
from lib.inside import Inside
from lib.machine import Machine
from lib.netns import Namespace, join
from lib.nodes import listening_on
from lib.process import wait_for

PORT = 6789
LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
OURS_4, OURS_4_TOO, THEIRS_4 = "10.99.0.1", "10.99.0.3", "10.99.0.2"
OURS_6, OURS_6_TOO, THEIRS_6 = "fd99::1", "fd99::3", "fd99::2"
SECOND_PORT = 14369


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        yield machine.install_rollcall()


@pytest.fixture(scope="module")
def elsewhere(shared_machine):
    """Another network, joined to the machine's, which has two addresses of each family there."""
    with Namespace() as namespace:
        join(shared_machine, namespace, f"{OURS_4}/24", f"{THEIRS_4}/24", f"{OURS_6}/64", f"{THEIRS_6}/64")
        for address in (f"{OURS_4_TOO}/24", f"{OURS_6_TOO}/64"):
            shared_machine.run("ip", "addr", "add", address, "dev", "ve0", *(["nodad"] if ":" in address else []))
        yield namespace


def at(machine, address, network=None):
    return EpmdClient(4369, address, network=network or machine)


def port_at(machine, address, name="app", network=None):
    found = at(machine, address, network).port_please(name)
    return found and found.port


def rows(machine):
    return machine.sql("SELECT name, scope, port, state FROM nodes")


def wait_no_ghost(machine, name, scopes):
    """Every row of the name is up, and there are no others."""
    def as_wanted():
        return [[row[1], row[3]] for row in rows(machine) if row[0] == name] == sorted([scope, "up"] for scope in scopes)

    wait_for(as_wanted, lambda: f"{name} up at {scopes}: {rows(machine)}", 20)


# --- unmodified nodes --------------------------------------------------------------------------------


def node_at(machine, address, *flags, name="app", **kwargs):
    """Ready to be entered: NAME@ADDRESS, listening on that address and PORT."""
    unit = "n" + address.replace(".", "-").replace(":", "-")
    return machine.node(f"{name}@{address}", *listening_on(address, PORT), *flags, long=True, unit=unit, wait=False, **kwargs)


@contextlib.contextmanager
def started(*nodes):
    """They start at the same moment."""
    with contextlib.ExitStack() as stack:
        for node in nodes:
            stack.enter_context(node)
        for node in nodes:
            node.wait_started()
        yield nodes


@pytest.fixture(scope="module")
def apps(shared_machine):
    with started(*(node_at(shared_machine, address) for address in LOOPBACK)) as nodes:
        yield nodes


def assert_each_is_found(machine, nodes):
    for address in LOOPBACK:
        assert port_at(machine, address) == PORT
    assert rows(machine) == [["app", address, str(PORT), "up"] for address in LOOPBACK]
    with machine.node("other@127.0.0.1", long=True) as other:
        for node in nodes:
            assert other.ping(node) == "pong"
            assert other.eval(f"erpc:call('{node.name}', erlang, node, [])") == f"'{node.name}'"


def test_three_nodes_of_one_name_on_one_port_are_each_found_on_their_address(shared_machine, apps):
    assert_each_is_found(shared_machine, apps)
    assert sorted(shared_machine.client.names()) == [("app", PORT)] * 3


def test_a_second_one_of_an_address_is_refused(shared_machine, apps):
    second = shared_machine.node("app@127.0.0.2", *listening_on("127.0.0.2"), long=True, unit="second", wait=False)
    with second:
        assert second.process.wait(30) != 0
        assert "seems to be in use" in second.output() or "duplicate_name" in second.output()


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_wildcard_newcomer_is_refused_by_specific_holders(shared_machine, apps, address):
    with pytest.raises(Refused):
        shared_machine.client.register("app", listen=True, address=address)
    with pytest.raises(Refused):
        shared_machine.client.register("app", 1)  # nobody listens there, as far as can be seen


def test_after_a_kill_of_the_daemon_each_is_where_it_was(shared_machine, apps):
    shared_machine.kill9_daemon()
    assert [port_at(shared_machine, address) for address in LOOPBACK] == [PORT] * 3
    wait_no_ghost(shared_machine, "app", LOOPBACK)


def test_nodes_that_return_in_another_order_leave_no_ghost(shared_machine, apps):
    creations = shared_machine.sql("SELECT scope, creation FROM nodes")
    with contextlib.ExitStack() as frozen:
        order = [frozen.enter_context(node.frozen()) for node in apps]
        shared_machine.stop_and_start_daemon()
        assert [port_at(shared_machine, address) for address in LOOPBACK] == [PORT] * 3
        for node in (order[2], order[0], order[1]):
            shared_machine.run("systemctl", "kill", "--kill-whom=all", "--signal=CONT", node.unit)
            address = node.name.split("@")[1]
            wait_for(lambda a=address: ["app", a, str(PORT), "up"] in rows(shared_machine), lambda: rows(shared_machine), 20)
    wait_no_ghost(shared_machine, "app", LOOPBACK)
    assert shared_machine.sql("SELECT scope, creation FROM nodes") == creations
    assert_each_is_found(shared_machine, apps)


def test_one_that_leaves_takes_nothing_along(shared_machine, apps):
    """The last test of these nodes: the second goes and comes again."""
    machine = shared_machine
    apps[1].kill9()
    wait_no_ghost(machine, "app", ["127.0.0.1", "127.0.0.3"])
    assert (port_at(machine, "127.0.0.1"), port_at(machine, "127.0.0.3")) == (PORT, PORT)
    with started(node_at(machine, "127.0.0.2")):
        wait_no_ghost(machine, "app", LOOPBACK)
        assert port_at(machine, "127.0.0.2") == PORT


# --- the same, elsewhere -----------------------------------------------------------------------------


def test_addresses_of_a_real_interface(shared_machine, elsewhere):
    machine = shared_machine
    with started(node_at(machine, OURS_4, name="web"), node_at(machine, OURS_4_TOO, name="web")) as (one, two):
        for address in (OURS_4, OURS_4_TOO):
            assert port_at(machine, address, "web") == port_at(machine, address, "web", elsewhere) == PORT
        wait_no_ghost(machine, "web", [OURS_4, OURS_4_TOO])
        assert one.ping(two) == two.ping(one) == "pong"


def test_addresses_of_ipv6(shared_machine, elsewhere):
    machine = shared_machine
    flags = ["-proto_dist", "inet6_tcp"]
    with started(*(node_at(machine, address, *flags, name="six") for address in (OURS_6, OURS_6_TOO))) as (one, two):
        for address in (OURS_6, OURS_6_TOO):
            assert port_at(machine, address, "six") == port_at(machine, address, "six", elsewhere) == PORT
        wait_no_ghost(machine, "six", [OURS_6, OURS_6_TOO])
        assert one.ping(two) == two.ping(one) == "pong"


def test_without_the_setting_the_second_is_refused_as_by_stock_epmd(shared_machine):
    with shared_machine.node("plain@127.0.0.1", long=True):
        second = shared_machine.node("plain@127.0.0.2", long=True, unit="plain2", wait=False)
        with second:
            assert second.process.wait(30) != 0
            assert "seems to be in use" in second.output() or "duplicate_name" in second.output()
        assert [row[:2] for row in rows(shared_machine) if row[0] == "plain"] == [["plain", "*"]]


def test_a_wildcard_holder_refuses_a_specific_newcomer_and_keeps_all_lookups(shared_machine):
    client = shared_machine.client
    with client.register("wide", listen=True) as wide:
        for address in LOOPBACK:
            with pytest.raises(Refused):
                client.register("wide", listen=True, address=address)
            assert port_at(shared_machine, address, "wide") == wide.port
    with client.register("wide", listen=True, address="127.0.0.2") as narrow:
        with pytest.raises(Refused):
            client.register("wide", listen=True)
        assert port_at(shared_machine, "127.0.0.2", "wide") == narrow.port


# --- two of one name in one unit ---------------------------------------------------------------------

# Both open their listener before either registers: nothing but the order tells which connection is whose.
PAIR = """
import socket, sys, time
from lib.epmd_client import *
name, port = sys.argv[1], int(sys.argv[2])
nodes = {}
def listen(address):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    return listener
def register(address, listener):
    sock = socket.create_connection(("127.0.0.1", 4369))
    sock.sendall(frame(alive2(name, port)))
    nodes[address] = sock, listener
    print('{"event": "answer", "address": "%s", "result": %d}' % (address, receive_exactly(sock, 6)[1]), flush=True)
for line in sys.stdin:
    word, *addresses = line.split()
    if word == "start":
        for address, listener in [(a, listen(a)) for a in addresses]:
            register(address, listener)
    else:
        for address in addresses:
            for sock in nodes.pop(address):
                sock.close()
"""


@pytest.fixture
def pair(shared_machine):
    """A process that is several nodes: say("start ADDRESS..."), say("end ADDRESS...")."""
    shared_machine.write("/opt/pair.py", PAIR)
    program = Inside(shared_machine, "pair", "light_node", properties=("Environment=PYTHONPATH=/opt/tests",))
    program._argv[-2:] = ["/opt/pair.py", "twin", str(PORT + 1)]
    with program:
        yield program


# The kernel's order of two listeners is that of their birth: with the second first the match is crosswise.
@pytest.mark.parametrize("first, gone", itertools.product(LOOPBACK[:2], repeat=2))
def test_two_nodes_of_one_name_in_one_unit(shared_machine, pair, first, gone):
    machine = shared_machine
    second = next(address for address in LOOPBACK[:2] if address != first)
    stays = next(address for address in LOOPBACK[:2] if address != gone)
    pair.say(f"start {first} {second}")
    assert [event["result"] for event in pair.wait_events("answer", 2)] == [0, 0]
    wait_no_ghost(machine, "twin", LOOPBACK[:2])
    # One of them ends. What is left is found where it is, and its place is what the registry says.
    pair.say(f"end {gone}")
    wait_no_ghost(machine, "twin", [stays])
    assert port_at(machine, stays, "twin") == PORT + 1
    # Nobody is in the way of its next start; and again, for the match can now be the other way round.
    for n_answers in (3, 4):
        pair.say(f"start {gone}")
        assert pair.wait_events("answer", n_answers)[-1]["result"] == 0
        wait_no_ghost(machine, "twin", LOOPBACK[:2])
        pair.say(f"end {gone}")
        wait_no_ghost(machine, "twin", [stays])


@pytest.mark.parametrize("order", itertools.permutations(LOOPBACK[:2]))
def test_twins_in_one_unit_after_a_kill_of_the_daemon(shared_machine, pair, order):
    """They never come back, as a C node does not: what was registered lives by the listeners."""
    machine = shared_machine
    pair.say("start " + " ".join(LOOPBACK[:2]))
    pair.wait_events("answer", 2)
    machine.kill9_daemon()
    for address in LOOPBACK[:2]:
        assert port_at(machine, address, "twin") == PORT + 1
    for n, address in enumerate(order):
        pair.say(f"end {address}")
        left = order[n + 1 :]
        wait_for(lambda l=left: [row[1] for row in rows(machine) if row[0] == "twin"] == list(l), lambda: rows(machine))


# --- registrations that are no plain ones ------------------------------------------------------------


def test_a_listener_in_another_network_lives_by_its_connection(shared_machine):
    """The mapper cannot see it: `*`, as by stock epmd, and gone with the connection."""
    with Namespace() as hidden:
        with EpmdClient(4369, network=hidden).listen() as listener:
            port = listener.getsockname()[1]
            with shared_machine.client.register("far", port) as far:
                assert [row for row in rows(shared_machine) if row[0] == "far"] == [["far", "*", str(port), "up"]]
                n_stored = shared_machine.n_stored()
                wait_for(lambda: shared_machine.n_stored() > n_stored, "it to be stored")
                shared_machine.kill9_daemon()
                assert port_at(shared_machine, "127.0.0.3", "far") == port
                far.close_connection()
                wait_for(lambda: port_at(shared_machine, "127.0.0.1", "far") is None, "its end", 2)


def test_a_port_that_nobody_listens_on_lives_by_its_connection(shared_machine):
    with shared_machine.client.register("mute", 4242) as mute:
        assert [row for row in rows(shared_machine) if row[0] == "mute"] == [["mute", "*", "4242", "up"]]
        with pytest.raises(Refused):
            shared_machine.client.register("mute", listen=True)
        mute.close_connection()
        wait_for(lambda: port_at(shared_machine, "127.0.0.1", "mute") is None, "its end", 2)


def test_a_listener_shared_with_a_child_does_not_keep_the_name(shared_machine):
    """The registering connection says that the node has ended, whoever else holds its listener."""
    with shared_machine.client.register("parent", listen=True) as parent, parent.listener.dup():
        parent.close()
        wait_for(lambda: port_at(shared_machine, "127.0.0.1", "parent") is None, "its end", 2)
        with shared_machine.client.register("parent", listen=True) as again:
            assert port_at(shared_machine, "127.0.0.1", "parent") == again.port


def test_two_ports_of_one_daemon_are_one_registry(shared_machine):
    machine = shared_machine
    machine.drop_in("epmd.socket", "second", f"[Socket]\nListenStream={SECOND_PORT}\n")
    machine.run("systemctl", "stop", "rollcalld.service", "epmd.service")
    machine.run("systemctl", "restart", "epmd.socket")
    machine.run("systemctl", "start", "epmd.service")
    try:
        second = EpmdClient(SECOND_PORT, network=machine)
        with machine.client.register("one", listen=True) as one, second.register("two", listen=True) as two:
            def assert_both_tell_both():
                # Each answer names the port that was asked.
                for client in (machine.client, second):
                    assert {("one", one.port), ("two", two.port)} <= set(client.names())

            assert_both_tell_both()
            for client in (machine.client, second):
                with pytest.raises(Refused):
                    client.register("one", listen=True)
                with pytest.raises(Refused):
                    client.register("two", listen=True)
            machine.kill9_daemon()
            assert_both_tell_both()
    finally:
        machine.remove_drop_in("epmd.socket", "second")
        machine.run("systemctl", "stop", "rollcalld.service", "epmd.service")
        machine.run("systemctl", "restart", "epmd.socket")
        machine.run("systemctl", "start", "epmd.service")
