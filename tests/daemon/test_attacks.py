# SPDX-License-Identifier: Apache-2.0
"""P6 under attack: tests/abuse/attack.py does its worst, tests/abuse/witness.py beside it is answered every time, and soon;
whoever it was is named.

How soon is reported (-rP shows it): a machine with two cores that runs other tests, too, is no place to measure. With
ROLLCALL_LONG=1, as root, daemon, attack and witness have their places (tests/abuse/layout.py), and what is promised is
asked for: five times, nothing more.
"""

import contextlib
import os
import pwd
import re
import time

import pytest

from abuse import layout, measure
from abuse.attack import ATTACKS
from abuse.measure import NOBODY, attack
from daemon.helpers import closing_all, counter, cpu_seconds, descriptor_limit, is_sanitized, needs_root, status
from lib.control_client import ControlClient, ControlError
from lib.daemon import Daemon
from lib.epmd_client import EpmdClient, Refused, is_closed
from lib.netns import Namespace, join
from lib.process import wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"
SECONDS = 5.0 if LONG else 0.8
# Of the thirteen, those which the short run has time for.
USUAL = ["idle", "deaf", "reset", "names", "watch"]
# All have their places.
IS_SEATED = LONG and layout.is_allowed() and not is_sanitized()
# An answer may take so many times as long as without an attack.
TIMES = 5
# Whatever else the machine does may be in the way: so often it is measured at most.
ATTEMPTS = 3


def culprits(daemon):
    """{uid or address: the record}"""
    return {it["address"] or it["uid"]: it for it in status(daemon)["culprits"]}


def n_closed(daemon, culprit):
    """How many connections of his made room for others so far."""
    return culprits(daemon).get(culprit, {"closed": 0})["closed"]


@pytest.fixture(scope="module")
def town():
    """A daemon that may have 1024 descriptors and knows 300 nodes, whose names fill more than a socket of one who does not
    read."""
    with measure.town() as daemon, layout.favoured() if IS_SEATED else contextlib.nullcontext():
        if IS_SEATED:
            layout.seat_victim(daemon.pid)
        yield daemon


@pytest.fixture(scope="module")
def peace(town):
    """How soon it answers when nobody attacks it."""
    return witness(town)


def witness(daemon, uid=None):
    return measure.witness(daemon, SECONDS, seat=layout.seat_witness if IS_SEATED else None, uid=uid)


def describe(name, base, seen):
    lines = [f"{name}: {ATTACKS[name].what}", f"{'':10}{'in peace':>24}{'attacked':>24}   ms (median, p99, most)"]
    for kind, now in seen["times"].items():
        was = base["times"][kind]
        numbers = "".join(f"{one['p50']:9.2f}{one['p99']:8.2f}{one['most']:7.1f}" for one in (was, now))
        lines.append(f"{kind:10}{numbers}   x {now['p99'] / was['p99']:.1f}")
    return "\n".join(lines)


def play(daemon, name):
    """What the witness has seen, the daemon's status meanwhile, and what became of the attack."""
    cpu = cpu_seconds(daemon.pid)
    with attack(name, daemon, seat=layout.seat_attack if IS_SEATED else None) as finish:
        seen = witness(daemon)
        during = status(daemon)
        counts = finish()
    print(f"attack: {counts}, CPU {cpu_seconds(daemon.pid) - cpu:.2f} s")
    return seen, during, counts


@pytest.mark.parametrize("name", ATTACKS if LONG else USUAL)
def test_who_behaves_is_answered_whatever_others_do(town, peace, name):
    daemon, base = town, peace
    for attempt in range(ATTEMPTS):
        n_log, n_before, began = len(daemon.log()), n_closed(daemon, NOBODY), time.monotonic()
        seen, during, counts = play(daemon, name)
        print(describe(name, base, seen))
        assert base["wrong"] == []
        assert seen["wrong"] == [], "an answer was wrong, or there was none"
        assert counts["begun"] >= ATTACKS[name].width
        assert during["connections"]["open"] <= during["connections"]["max"]
        # A burst of each kind, and four a second.
        assert daemon.log().count("\n", n_log) < 400 + 40 * (time.monotonic() - began), "the log is flooded"
        assert daemon.is_running()
        wait_for(lambda: status(daemon)["connections"]["open"] <= 302, "end of the attacker's connections")
        if not IS_SEATED or seen["times"]["all"]["p99"] <= TIMES * base["times"]["all"]["p99"]:
            break
        base = witness(daemon) if attempt + 1 < ATTEMPTS else base
    else:
        pytest.fail("answers came late")
    assert len(daemon.client.names()) >= 301, "a node was lost"
    if NOBODY != os.geteuid():
        # Of one who has hung up the kernel does not know any more who it was.
        assert set(culprits(daemon)) <= {NOBODY, None}, "somebody else was blamed"
        if name in ("idle", "deaf"):
            assert n_closed(daemon, NOBODY) - n_before > 100
        if name == "watch":
            assert culprits(daemon)[NOBODY]["turned_away"] > 100


# --- who makes room ------------------------------------------------------------------------------------------


@needs_root
def test_a_flood_closes_nothing_of_others_and_is_named(town):
    daemon = town
    control = ControlClient(daemon.control)
    with closing_all([daemon.client.connect() for _ in range(20)]) as silent, control.watch() as watch:
        watch.sync()
        n_log = len(daemon.log())
        before = n_closed(daemon, NOBODY)
        # Loopback has sixteen million addresses; they are one user's.
        with attack("idle", daemon, "--source", "127.8.0.0/16"):
            wait_for(lambda: n_closed(daemon, NOBODY) >= before + 300, "a flood")
            assert not any(is_closed(sock) for sock in silent)
            with daemon.client.register("newcomer", 1):
                watch.wait(lambda: any(name == "newcomer" for name, _ in watch.nodes))
        name = pwd.getpwuid(NOBODY).pw_name
        assert re.search(rf"^  too many of    uid {NOBODY} \({name}\).*: \d+ closed", daemon.rollcall("status").stdout, re.M)
        one = culprits(daemon)[NOBODY]
        assert one["user"] == name and one["address"] is None and one["since"] <= one["last"]
        # One line for each ten seconds.
        said = re.findall(rf"Too many connections: closed \d+ of uid {NOBODY}\b", daemon.log()[n_log:])
        assert len(said) <= 2


@needs_root
def test_whoever_takes_the_places_of_watchers_leaves_some_for_others(town):
    daemon = town
    with attack("watch", daemon):
        # A quarter of all may be streams, and of these one user has half.
        most = status(daemon)["connections"]["max"] // 4 // 2
        wait_for(lambda: status(daemon)["watchers"] == most, lambda: f"{most} watchers: {status(daemon)['watchers']}")
        with closing_all() as ours:
            for _ in range(most // 2):
                ours.append(ControlClient(daemon.control).watch().sync())
            with pytest.raises(ControlError) as refused:
                ControlClient(daemon.control).watch().sync()
            assert refused.value.word == "busy"


@pytest.fixture
def remote():
    """Two networks: a daemon's, with 1024 descriptors, and one of others."""
    with Namespace() as near, Namespace() as far:
        join(near, far, "10.99.0.1/24", "10.99.0.2/24", "fd99::1/48", "fd99::2/48")
        far.run("sh", "-c", "ip addr add 10.99.0.3/24 dev ve0; for i in 1 2 3 4 5 6 7 8; do ip addr add fd99:0:0:7::$i/48 dev ve0 nodad; done; ip addr add fd99:0:0:8::1/48 dev ve0 nodad")
        # All of these networks are its own, each address of them.
        far.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind; ip route add local 10.98.0.0/16 dev lo; ip route add local fd98::/16 dev lo")
        near.run("sh", "-c", "ip route add 10.98.0.0/16 via 10.99.0.2; ip route add fd98::/16 via fd99::2")
        yield near, far


@needs_root
@pytest.mark.parametrize(
    ("host", "sources", "culprit", "other"),
    [
        ("10.99.0.1", ["10.99.0.2"], "10.99.0.2", "10.99.0.3"),
        ("fd99::1", [f"fd99:0:0:7::{i}" for i in range(1, 9)], "fd99:0:0:7::/64", "fd99:0:0:8::1"),
    ],
)
def test_of_other_machines_an_address_counts_and_of_ipv6_a_network(remote, host, sources, culprit, other):
    near, far = remote
    with Daemon(host=host, wrapper=[*descriptor_limit(1024), *near.prefix]) as daemon:
        flags = [word for source in sources for word in ("--source", source)]
        daemon.client.network = near
        quiet = EpmdClient(daemon.port, host, network=far, source=(other, 0))
        with closing_all([quiet.connect() for _ in range(5)]) as silent, attack("idle", daemon, "--own-network", *flags, network=far):
            wait_for(lambda: n_closed(daemon, culprit) > 200, lambda: f"{culprit}: {culprits(daemon)}")
            for _ in range(20):
                assert quiet.port_please("unknown") is None
                assert daemon.client.port_please("unknown") is None
            assert not any(is_closed(sock) for sock in silent)
        assert set(culprits(daemon)) == {culprit}
        assert f"closed 1 of {culprit} to make room" in daemon.log()


@needs_root
@pytest.mark.parametrize(
    ("host", "network", "other"),
    [
        ("10.99.0.1", "10.98.1.0/25", "10.99.0.3"),  # some eight for each
        ("fd99::1", "fd98:2::/48", "fd99:0:0:8::1"),  # one for each: no share is smaller
        *([("10.99.0.1", "10.98.0.0/16", "10.99.0.3"), ("fd99::1", "fd98:1::/57", "fd99:0:0:8::1")] if LONG else []),
    ],
)
def test_from_however_many_addresses_others_are_answered(remote, host, network, other):
    near, far = remote
    with Daemon(host=host, wrapper=[*descriptor_limit(1024), *near.prefix]) as daemon:
        daemon.client.network = near
        quiet = EpmdClient(daemon.port, host, network=far, source=(other, 0))
        with closing_all([quiet.connect() for _ in range(3)]) as silent, daemon.client.register("here", 1):
            with attack("idle", daemon, "--own-network", "--source", network, network=far):
                wait_for(lambda: counter(daemon, "connections.shed") > 1000, "a flood")
                for i in range(20):
                    assert quiet.port_please("here").port == daemon.client.port_please("here").port == 1
                    with daemon.client.register(f"newcomer{i}", 1):
                        pass
            # Where each has one he with three has most.
            assert any(is_closed(sock) for sock in silent) == network.endswith(("/16", "/48"))
        assert len(culprits(daemon)) == 16, "as many as are remembered"
        assert daemon.log().count("to make room for others") < 100


@needs_root
def test_two_who_attack_together_leave_room_for_a_third(town):
    """One of them is whose the nodes are, and goes to the control socket, too."""
    daemon = town
    third = 4711
    os.chmod(daemon.directory, 0o711)
    os.chmod(daemon.control, 0o666)
    with attack("idle", daemon), attack("idle", daemon, "--control", daemon.control, uid=0):
        before = {uid: n_closed(daemon, uid) for uid in (0, NOBODY)}
        seen = witness(daemon, uid=third)
        assert seen["wrong"] == []
        wait_for(lambda: all(n_closed(daemon, uid) > before[uid] for uid in before), "room that both make")
        assert third not in culprits(daemon)
    assert len(daemon.client.names()) >= 301, "a node was lost"


# --- those that stay -----------------------------------------------------------------------------------------


def test_however_many_nodes_there_are_lookups_have_room():
    """Nodes that register until nothing is left are refused, in words."""
    with Daemon("--max-nodes-per-uid", "10000", wrapper=descriptor_limit(256)) as daemon, closing_all() as nodes:
        most = status(daemon)["connections"]["max"]
        with pytest.raises(Refused):
            for i in range(most + 1):
                nodes.append(daemon.client.register(f"n{i}", i))
        assert most * 15 // 16 <= len(nodes) + 1 <= most
        for i in range(100):
            assert daemon.client.port_please(f"n{i}").port == i
        assert len(daemon.client.names()) == len(nodes)
        assert counter(daemon, "refused.nodes-limit") == 1
        with pytest.raises(Refused):
            daemon.client.register("n0", 0)
        assert counter(daemon, "refused.nodes-limit") == 1, "he was told that the name is taken"
        nodes.pop().close()
        wait_for(lambda: _registers(daemon.client), "registration in the room that has become free")


def test_who_comes_back_has_room_whoever_came_meanwhile():
    """The connections of these nodes are lost, and as many newcomers take them as they can get: not their places."""
    with Daemon("--max-nodes-per-uid", "10000", wrapper=descriptor_limit(128)) as daemon, closing_all() as nodes:
        most = status(daemon)["connections"]["max"]
        with closing_all([daemon.client.register(f"n{i}", i) for i in range(most * 15 // 16 - 1)]) as lost:
            daemon.kill9()
            daemon.start()
            with contextlib.suppress(Refused):
                for i in range(most):
                    nodes.append(daemon.client.register(f"newcomer{i}", i))
            assert nodes
            nodes += [daemon.client.register(f"n{i}", i) for i in range(len(lost))]
        assert daemon.client.port_please("n7").port == 7
        assert len(daemon.client.names()) == len(nodes)


def _registers(client):
    with contextlib.suppress(Refused), client.register("after", 1):
        return True
    return False
