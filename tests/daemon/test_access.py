# SPDX-License-Identifier: Apache-2.0
"""P7: who is on this machine may ask everything; others may look up names that they know, and no more, unless told
otherwise. With real networks, hence as root."""

import contextlib
import signal
import struct

import pytest

from daemon.helpers import counter, needs_root, unregister
from lib.daemon import Daemon, StockEpmd
from lib.control_client import BrokenOff, ControlClient, ControlError
from lib.epmd_client import ClosedWithoutAnswer, EpmdClient, Refused, alive2, frame, receive_all
from lib.netns import Namespace, join
from lib.process import wait_for

pytestmark = needs_root

HERE4, HERE4_TOO, THERE4, THERE4_TOO = "10.99.0.1", "10.99.1.1", "10.99.0.2", "10.99.1.2"
HERE6, THERE6 = "fd99::1", "fd99::2"


class Network:
    """`here`, where daemons run, and `there`, another machine."""

    def __init__(self, here, there):
        self.here, self.there = here, there

    def client_here(self, daemon, host=HERE4, **options):
        return EpmdClient(daemon.port, host, network=self.here, **options)

    def client_there(self, daemon, host=HERE4, **options):
        return EpmdClient(daemon.port, host, network=self.there, **options)


@pytest.fixture(scope="module")
def network():
    with Namespace() as here, Namespace() as there:
        join(here, there, f"{HERE4}/24", f"{THERE4}/24", f"{HERE4_TOO}/24", f"{THERE4_TOO}/24", f"{HERE6}/64", f"{THERE6}/64")
        yield Network(here, there)


@contextlib.contextmanager
def running(network, *args, listen=None, **options):
    """A daemon on every address of `here`, with the node `a` at port 4711."""
    daemon = Daemon(*args, wrapper=network.here.prefix, host="127.0.0.1", **options)
    daemon.client.network = network.here
    daemon.listen = [f"*:{daemon.port}"] if listen is None else [f"{host}:{daemon.port}" for host in listen]
    with daemon, daemon.client.register("a", 4711):
        yield daemon


def may_look_up(client):
    data = client.request(b"za")
    assert data[:2] in (b"", b"w\0"), data
    return data != b""


def may_list(client):
    data = client.request(b"n")
    assert data in (b"", struct.pack(">I", client.port) + b"name a at port 4711\n"), data
    return data != b""


def may_dump(client):
    data = client.request(b"d")
    assert data[:8] in (b"", struct.pack(">I", client.port) + b"acti"), data
    return data != b""


def may_register(client):
    try:
        unregister(client.register("another", 1))
    except (ClosedWithoutAnswer, ConnectionResetError):
        return False
    return True


def may_ask_to_kill(client):
    data = client.request(b"k")
    assert data in (b"", b"NO"), data
    return data != b""


def is_denied(ask):
    """By the extension in words, by stock epmd by closing."""
    try:
        ask()
    except ControlError as error:
        assert error.word in ("denied", "not-found"), error
        return error.word == "denied"
    except BrokenOff:
        return True
    return False


def may_find(client):
    return not is_denied(lambda: ControlClient(client.connect).find())


def may_watch(client):
    def watch():
        with ControlClient(client.connect).watch() as stream:
            stream.sync()
            assert ("a", "*") in stream.nodes
    return not is_denied(watch)


def may_announce(client):
    return not is_denied(lambda: ControlClient(client.connect).request("ANNOUNCE", NAME="nobody"))


NOTHING = set()
LOOK_UP = {may_look_up}
LIST = {may_list, may_find, may_watch}
EVERYTHING = {may_look_up, may_list, may_find, may_watch, may_announce, may_dump, may_register, may_ask_to_kill}


def rights(client):
    return {right for right in EVERYTHING if right(client)}


@pytest.mark.parametrize("host, source", [(HERE4, THERE4), (HERE6, THERE6)])
def test_others_may_look_up_and_nothing_else(network, host, source):
    with running(network) as daemon:
        there = network.client_there(daemon, host)
        assert rights(there) == LOOK_UP
        found = there.port_please("a")
        assert (found.port, found.name) == (4711, b"a")
        assert there.port_please("unknown") is None
        assert daemon.client.names() == [("a", 4711)]
        assert there.connect().getsockname()[0] == source


def test_others_may_not_stop_and_kill_even_where_that_is_relaxed(network):
    with running(network, "--relaxed-command-check") as daemon:
        there = network.client_there(daemon)
        assert there.request(b"k") == b""
        assert there.request(b"sa") == b""
        assert daemon.is_running()
        assert daemon.client.names() == [("a", 4711)]
        assert network.client_here(daemon).request(b"sunknown") == b"NOEXIST"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", HERE4, HERE4_TOO, HERE6])
def test_whoever_is_on_this_machine_may_everything_on_every_address(network, host):
    with running(network) as daemon:
        assert rights(network.client_here(daemon, host)) == EVERYTHING


@pytest.mark.parametrize(
    "source, host",
    [
        ("127.0.0.1", "127.0.0.2"),
        ("127.9.9.9", "127.0.0.1"),
        (HERE4, HERE4_TOO),
        (HERE4_TOO, HERE4),
        (HERE4, "127.0.0.1"),
        ("127.0.0.1", HERE4),
        (HERE6, "::1"),
        ("::1", HERE6),
    ],
)
def test_whoever_is_on_this_machine_may_everything_from_every_address(network, source, host):
    with running(network) as daemon:
        assert rights(network.client_here(daemon, host, source=(source, 0))) == EVERYTHING


@pytest.mark.parametrize("listen", [["0.0.0.0"], ["0.0.0.0", "[::]"], [HERE4], ["127.0.0.1", HERE4, f"[{HERE6}]"]])
def test_it_is_the_same_on_sockets_of_one_family(network, listen):
    if "127.0.0.1" not in listen and "0.0.0.0" not in listen:
        # Nothing on loopback: the node registers at the machine's own address.
        daemon = Daemon(wrapper=network.here.prefix)
        daemon.listen = [f"{HERE4}:{daemon.port}"]
        with daemon, network.client_here(daemon).register("a", 4711):
            assert rights(network.client_there(daemon)) == LOOK_UP
            assert rights(network.client_here(daemon)) == EVERYTHING
            assert "No loopback address is listened on" in daemon.log()
        return
    with running(network, listen=listen) as daemon:
        assert rights(network.client_there(daemon)) == LOOK_UP
        assert rights(network.client_here(daemon)) == EVERYTHING
        if len(listen) > 1:
            assert rights(network.client_there(daemon, HERE6)) == LOOK_UP


@pytest.mark.parametrize("host, source", [(HERE4, THERE4), (HERE6, THERE6)])
def test_source_port_of_epmd_makes_nobody_local(network, host, source):
    """The kernel answers a lookup of such a peer with the daemon's own listener."""
    with running(network) as daemon:
        for port in (daemon.port, 4711):
            for right in (may_list, may_register, may_dump, may_ask_to_kill):
                assert not right(network.client_there(daemon, host, source=(source, port)))
            assert may_look_up(network.client_there(daemon, host, source=(source, port)))
        assert daemon.client.names() == [("a", 4711)]


def test_source_port_of_a_local_listener_makes_nobody_local(network):
    with running(network) as daemon, daemon.client.listen() as listener:
        source = (THERE4, listener.getsockname()[1])
        assert not may_list(network.client_there(daemon, source=source))


def test_source_that_equals_a_local_connection_makes_nobody_local(network):
    """A connection of this machine has the same port and another address."""
    with running(network) as daemon, network.client_here(daemon, HERE4_TOO, source=(HERE4, 0)).connect() as local:
        port = local.getsockname()[1]
        assert not may_list(network.client_there(daemon, HERE4_TOO, source=(THERE4, port)))
        local.sendall(frame(b"n"))
        assert receive_all(local) != b""


# --- opened and closed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, from_there, from_there_too",
    [
        ([], LOOK_UP, LOOK_UP),
        (["--list-from", "any"], LOOK_UP | LIST, LOOK_UP | LIST),
        (["--list-from", "local"], LOOK_UP, LOOK_UP),
        (["--list-from", "10.99.0.0/24"], LOOK_UP | LIST, LOOK_UP),
        (["--list-from", "10.99.0.2"], LOOK_UP | LIST, LOOK_UP),
        (["--list-from", "10.99.0.3"], LOOK_UP, LOOK_UP),
        (["--list-from", "10.99.0.0/24", "--list-from", "10.99.1.0/24"], LOOK_UP | LIST, LOOK_UP | LIST),
        (["--list-from", "local", "--list-from", "10.0.0.0/8"], LOOK_UP | LIST, LOOK_UP | LIST),
        (["--list-from", "::/0"], LOOK_UP, LOOK_UP),
        (["--lookup-from", "local"], NOTHING, NOTHING),
        (["--lookup-from", "10.99.1.0/24"], NOTHING, LOOK_UP),
        (["--lookup-from", "local", "--list-from", "10.99.0.0/24"], LIST, NOTHING),
        (["--lookup-from", "192.168.0.0/16", "--lookup-from", "any"], LOOK_UP, LOOK_UP),
    ],
    ids=lambda value: " ".join(value) or "default" if isinstance(value, list) else "",
)
def test_settings(network, args, from_there, from_there_too):
    with running(network, *args) as daemon:
        assert rights(network.client_there(daemon, source=(THERE4, 0))) == from_there
        assert rights(network.client_there(daemon, HERE4_TOO, source=(THERE4_TOO, 0))) == from_there_too
        assert rights(network.client_here(daemon)) == EVERYTHING


@pytest.mark.parametrize("which, allowed", [("fd99::/64", True), ("fd99::2", True), ("fd98::/64", False)])
def test_networks_of_ipv6(network, which, allowed):
    with running(network, "--list-from", which) as daemon:
        assert may_list(network.client_there(daemon, HERE6)) == allowed
        assert not may_list(network.client_there(daemon, HERE4))


# --- what is told ---------------------------------------------------------------------------------


def test_denied_requests_are_counted_and_named_in_the_log(network):
    with running(network) as daemon:
        there = network.client_there(daemon, source=(THERE4, 0))
        assert may_look_up(there)
        assert counter(daemon, "requests.denied") == 0
        for body in (b"n", b"d", b"k", b"sa", alive2("x", 1)):
            assert there.request(body) == b""
        assert counter(daemon, "requests.denied") == 5
        assert any(THERE4 in line and "NAMES_REQ" in line for line in daemon.log().splitlines())


def test_whoever_may_not_find_is_told_so_in_words(network):
    with running(network) as daemon:
        there = ControlClient(network.client_there(daemon, source=(THERE4, 0)).connect)
        for ask in (there.find, lambda: there.watch().sync()):
            with pytest.raises(ControlError) as refused:
                ask()
            assert refused.value.word == "denied" and "list-from" in refused.value.text
        with pytest.raises(ControlError) as refused:
            there.request("ANNOUNCE", NAME="a", ANNOUNCED="draining")
        assert refused.value.word == "denied"
        assert daemon.client.names() == [("a", 4711)]
        assert counter(daemon, "requests.denied") == 3
        assert sum(THERE4 in line and "FIND" in line for line in daemon.log().splitlines()) == 1


def test_denied_requests_do_not_flood_the_log(network):
    with running(network) as daemon:
        there = network.client_there(daemon)
        for _ in range(500):
            assert there.request(b"n") == b""
        assert counter(daemon, "requests.denied") == 500
        assert daemon.log().count(THERE4) <= 100


def test_one_that_is_denied_repeatedly_is_named_once(network):
    with running(network) as daemon:
        there = network.client_there(daemon)
        for _ in range(10):
            assert there.request(b"n") == b""
        assert daemon.log().count(THERE4) == 1


def test_others_cannot_hold_names_by_any_trick(network):
    """Neither a half request finished later, nor one of many."""
    with running(network) as daemon:
        request = frame(alive2("a", 1))
        with network.client_there(daemon).connect() as sock:
            for byte in request[:-1]:
                sock.sendall(bytes([byte]))
            assert may_look_up(network.client_there(daemon))
            sock.sendall(request[-1:])
            assert receive_all(sock) == b""
        with pytest.raises(Refused):
            daemon.client.register("a", 1)


def test_who_may_not_watch_any_more_is_told_so(network):
    with running(network, "--config", "none") as daemon:
        path = daemon.directory / "rollcall.conf"
        path.write_text("[access]\nlist-from = 10.99.0.0/24\n")
        daemon.stop()
        daemon.start("--config", path)
        here, there = network.client_here(daemon), network.client_there(daemon, source=(THERE4, 0))
        with ControlClient(there.connect).watch() as stranger, ControlClient(here.connect).watch() as local:
            stranger.sync(), local.sync()
            path.write_text("[access]\nlist-from = local\n")
            daemon.signal(signal.SIGHUP)
            with pytest.raises(ControlError) as cut:
                while True:
                    stranger.sync()
            assert cut.value.word == "denied"
            with network.client_here(daemon).register("b", 1):
                local.wait(lambda: ("b", "*") in local.nodes)


def test_stock_epmd_lists_to_everyone(network):
    """So what is refused above can be seen at all."""
    stock = StockEpmd(env={"ERL_EPMD_ADDRESS": HERE4})
    stock.program = network.here.prefix[0]
    stock.args = [*network.here.prefix[1:], "/usr/bin/epmd"]
    stock.client.network = network.here
    with stock, stock.client.register("a", 4711):
        assert rights(network.client_there(stock)) == LOOK_UP | {may_list}
        wait_for(lambda: may_list(network.client_here(stock)), "listing")
