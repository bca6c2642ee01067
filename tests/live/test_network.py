# SPDX-License-Identifier: Apache-2.0
"""Who is local, who is not, and what either is told: a machine, a second network, another machine."""

import errno
import json

import pytest

from lib.epmd_client import ClosedWithoutAnswer, EpmdClient
from lib.machine import EXAMPLES, Machine, booted, introduce
from lib.netns import Namespace, join
from lib.process import wait_for

OURS_4, THEIRS_4 = "10.99.0.1", "10.99.0.2"
OURS_6, THEIRS_6 = "fd99::1", "fd99::2"


@pytest.fixture(scope="module")
def shared_machine():
    with Machine() as machine:
        yield machine.install_rollcall()


@pytest.fixture(scope="module")
def elsewhere(shared_machine):
    """Another network, joined to the machine's."""
    with Namespace() as namespace:
        join(shared_machine, namespace, f"{OURS_4}/24", f"{THEIRS_4}/24", f"{OURS_6}/64", f"{THEIRS_6}/64")
        yield namespace


@pytest.fixture(params=[(OURS_4, THEIRS_4), (OURS_6, THEIRS_6)], ids=["ipv4", "ipv6"])
def pair(request):
    """The machine's address and the stranger's."""
    return request.param


def test_a_remote_client_looks_up_and_learns_nothing_else(machine, elsewhere, pair):
    ours, _ = pair
    remote = EpmdClient(4369, ours, network=elsewhere)
    with machine.client.register("a", listen=True) as a:
        assert remote.port_please("a").port == a.port
        assert remote.port_please("b") is None
        assert remote.names_raw() == b""
        assert remote.dump_raw() == b""
        assert remote.kill() == b""
        assert remote.stop("a") == b""
        with pytest.raises(ClosedWithoutAnswer):
            remote.register("b")
        assert machine.client.names() == [("a", a.port)]


def test_a_remote_client_with_source_port_4369_is_not_taken_for_local(machine, elsewhere, pair):
    """The kernel's answer for that pair of addresses is our own listener, which is no proof."""
    ours, theirs = pair
    with machine.client.register("a", listen=True) as a:
        # Each request from the same source port; a connection that was not reset would be in the way.
        for ask in (lambda c: c.names_raw(), lambda c: c.dump_raw(), lambda c: c.kill()):
            assert ask(Resetting(ours, theirs, elsewhere)) == b""
        with pytest.raises(ClosedWithoutAnswer):
            Resetting(ours, theirs, elsewhere).register("b")
        assert Resetting(ours, theirs, elsewhere).port_please("a").port == a.port
        assert machine.client.names() == [("a", a.port)]


class Resetting(EpmdClient):
    """From source port 4369, waiting for the pair of addresses to be free again."""

    def __init__(self, ours, theirs, network):
        super().__init__(4369, ours, network=network, source=(theirs, 4369))

    def connect(self):
        def attempt():
            try:
                return super(Resetting, self).connect()
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                    raise
                return None

        return wait_for(attempt, "source port 4369", 90, interval=0.2)


def test_denials_are_named_once_and_counted(machine, elsewhere):
    machine.run("systemctl", "restart", "rollcalld.service")
    remote = EpmdClient(4369, OURS_4, network=elsewhere)
    for _ in range(20):
        assert remote.names_raw() == b""
    assert json.loads(machine.output("rollcall", "status", "--json"))["counters"]["requests.denied"] == 20
    machine.run("journalctl", "--sync")
    invocation = machine.show("rollcalld.service", "InvocationID")
    lines = machine.journal(f"_SYSTEMD_INVOCATION_ID={invocation}", "-o", "cat").splitlines()
    assert len([line for line in lines if THEIRS_4 in line]) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.0.1.1", OURS_4, "::1", OURS_6])
def test_every_address_of_the_machine_is_local(machine, elsewhere, address):
    client = EpmdClient(4369, address, network=machine)
    with client.register("a", listen=True) as a:
        assert client.names() == [("a", a.port)]


def test_a_client_on_one_own_address_asking_another_is_local(machine, elsewhere):
    for source, target in (("127.0.0.1", OURS_4), (OURS_4, "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), (OURS_6, "::1"), ("::1", OURS_6)):
        client = EpmdClient(4369, target, network=machine, source=(source, 0))
        assert client.names() == [], (source, target)


def test_the_example_drop_in_lets_a_network_list_names(machine, elsewhere):
    text = (EXAMPLES / "rollcalld.service.d-list-from.conf").read_text()
    machine.drop_in("rollcalld.service", "list-from", text.replace("192.0.2.0/24", "10.99.0.0/24"))
    try:
        machine.run("systemctl", "restart", "rollcalld.service")
        remote = EpmdClient(4369, OURS_4, network=elsewhere)
        with machine.client.register("a", listen=True) as a:
            assert remote.names() == [("a", a.port)]
            assert machine.client.names() == [("a", a.port)]
            # Not of that network: IPv6.
            assert EpmdClient(4369, OURS_6, network=elsewhere).names_raw() == b""
            # Listing is all that it opens.
            assert remote.kill() == b""
            with pytest.raises(ClosedWithoutAnswer):
                remote.register("b")
    finally:
        machine.remove_drop_in("rollcalld.service", "list-from")
        machine.run("systemctl", "restart", "rollcalld.service")


def test_the_example_drop_in_closes_the_port_to_all_but_loopback(machine, elsewhere):
    machine.drop_in("epmd.socket", "loopback", (EXAMPLES / "epmd.socket.d-loopback.conf").read_text())
    try:
        machine.run("systemctl", "restart", "epmd.socket")
        for address in (OURS_4, OURS_6):
            with pytest.raises(ConnectionRefusedError):
                EpmdClient(4369, address, network=elsewhere).connect()
        with machine.node("a") as a, machine.node("b") as b:
            assert a.ping(b) == "pong"
            assert EpmdClient(4369, "::1", network=machine).port_please("a") is not None
    finally:
        machine.remove_drop_in("epmd.socket", "loopback")
        machine.run("systemctl", "restart", "epmd.socket")


def test_ipv6_disabled_by_sysctl_is_no_error():
    with Machine() as machine:
        with machine.entered():
            for device in ("all", "lo"):
                with open(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6", "w") as setting:
                    setting.write("1")
        machine.install_rollcall()
        with machine.node("a") as a, machine.node("b") as b:
            assert a.ping(b) == "pong"
        machine.run("systemctl", "restart", "epmd.socket", "epmd.service")
        assert machine.client.names() == []


def test_nodes_of_two_machines_find_each_other():
    with booted(Machine(), Machine()) as (here, there):
        join(here, there, f"{OURS_4}/24", f"{THEIRS_4}/24")
        introduce(here, OURS_4, there, THEIRS_4)
        for machine in (here, there):
            machine.install_rollcall()
        with here.node("a") as a, there.node("b") as b:
            assert a.ping(b) == "pong"
            here.kill9_daemon()
            there.kill9_daemon()
            assert a.eval(f"erlang:disconnect_node('{b.name}')") == "true"
            assert b.ping(a) == "pong"
            # By default a stranger is not told the names; OTP takes that for an empty list.
            assert a.eval(f"net_adm:names('{there.name}')") in ("{ok,[]}", "{error,address}")
