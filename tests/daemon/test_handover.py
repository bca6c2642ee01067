# SPDX-License-Identifier: Apache-2.0
"""P4: whoever comes while the holder of his name is going waits, and has the name the moment that one is gone.

Without a systemd a holder is going by what the registry file says of its unit: that is believed for some seconds after
the start. What real units do is in tests/live/test_handover.py."""

import contextlib
import select
import signal
import time

import pytest

from daemon.helpers import closing_all, counter, database, end_orderly, status
from lib.control_client import ControlClient
from lib.daemon import Daemon
from lib.epmd_client import Alive2Reply, Refused, alive2, frame, is_closed, receive_all, receive_exactly, reset
from lib.process import wait_for

# As the daemon has it (P6).
PER_NAME_MAX = 16
# For so long after the start it believes the file.
BELIEVED = 5


class Newcomer:
    """One who has asked for a name. `port` is what he announces; nobody listens there."""

    def __init__(self, daemon, name, port):
        self.name, self.port = name, port
        self.sock = daemon.client.connect()
        self.sock.sendall(frame(alive2(name, port)))
        self.began = time.monotonic()

    def is_answered(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def result(self):
        """0: registered; 1: refused; waits for it."""
        return Alive2Reply.decode(receive_exactly(self.sock, 6)).result

    def close(self):
        self.sock.close()


def n_waiting(daemon):
    return ControlClient(daemon.control).request("STATUS")[-1].get("N_HELD", 0) if daemon.is_running() else None


def waiting(daemon, name, port, n=1):
    """A Newcomer who waits; `n` do so then."""
    newcomer = Newcomer(daemon, name, port)
    wait_for(lambda: n_waiting(daemon) == n, f"{n} who wait")
    assert not newcomer.is_answered()
    return newcomer


@contextlib.contextmanager
def going(*args, names=("a",), **options):
    """(daemon, {name: listener}): the nodes' connections were lost by our restart, they listen, and their units are
    being stopped."""
    with Daemon(*args, **options) as daemon, closing_all() as listeners:
        holders = {name: daemon.client.register(name, listen=True) for name in names}
        listeners += [holder.listener for holder in holders.values()]
        daemon.stop()
        for holder in holders.values():
            holder.close_connection()
        with database(daemon.state, writable=True) as handle:
            handle.execute("UPDATE registrations SET unit = 'old.service', state = 'stopping', state_source = 'unit'")
        daemon.start()
        for name in names:
            assert node(daemon, name)["STATE"] == "stopping"
        yield daemon, {name: holder.listener for name, holder in holders.items()}


def node(daemon, name):
    found = [record for record in ControlClient(daemon.control).request("NAMES") if record["NAME"] == name]
    return found[0] if found else None


# --- waiting --------------------------------------------------------------------------------------


def test_a_newcomer_has_the_name_when_the_holder_is_gone():
    with going() as (daemon, listeners), closing_all() as newcomers:
        old_port = listeners["a"].getsockname()[1]
        newcomer = waiting(daemon, "a", 1)
        newcomers.append(newcomer)
        # meanwhile the holder is who is found
        assert daemon.client.port_please("a").port == old_port
        assert daemon.client.names() == [("a", old_port)]
        listeners["a"].close()
        assert newcomer.result() == 0
        assert daemon.client.port_please("a").port == 1
        assert n_waiting(daemon) == 0
        assert counter(daemon, "nodes.held") == 1
        assert counter(daemon, "refused.name-taken") == 0
        assert "a at port 1 waits: the name's holder" in daemon.log()


def test_twenty_times_in_a_row():
    names = [f"n{i}" for i in range(20)]
    with going(names=names) as (daemon, listeners), closing_all() as newcomers:
        for i, name in enumerate(names):
            newcomers.append(Newcomer(daemon, name, i + 1))
            if i % 2:
                assert daemon.client.port_please(name)  # it has looked at what came before
            listeners[name].close()
            assert newcomers[-1].result() == 0, name
        assert sorted(daemon.client.names()) == sorted((name, i + 1) for i, name in enumerate(names))


def test_a_holder_that_has_no_unit_is_not_waited_for(daemon):
    with daemon.client.register("a", listen=True):
        began = time.monotonic()
        with pytest.raises(Refused):
            daemon.client.register("a", 1)
        assert time.monotonic() - began < 2
    assert counter(daemon, "nodes.held") == 0


@pytest.mark.parametrize("how", ["release", "stop", "return and leave", "return and reset"])
def test_however_the_holder_goes_the_newcomer_has_the_name(how):
    with going("--relaxed-command-check") as (daemon, listeners), closing_all() as newcomers:
        newcomers.append(waiting(daemon, "a", 1))
        if how == "release":
            assert ControlClient(daemon.control).request("RELEASE", NAME="a")[0]["NAME"] == "a"
        elif how == "stop":
            assert daemon.client.stop("a") == b"STOPPED"
        else:
            back = daemon.client.register("a", listeners["a"].getsockname()[1])
            assert not newcomers[0].is_answered(), "it is back, and its unit is still being stopped"
            end_orderly(back.sock) if how == "return and leave" else reset(back.sock)
        assert newcomers[0].result() == 0


# --- several wait ---------------------------------------------------------------------------------


def test_they_have_the_name_in_the_order_in_which_they_came():
    with going() as (daemon, listeners), closing_all() as newcomers:
        for i in range(5):
            newcomers.append(waiting(daemon, "a", i + 1, i + 1))
        listeners["a"].close()
        assert [newcomer.result() for newcomer in newcomers] == [0, 1, 1, 1, 1]
        assert daemon.client.names() == [("a", 1)]
        assert not is_closed(newcomers[0].sock)
        wait_for(lambda: all(is_closed(newcomer.sock) for newcomer in newcomers[1:]), "the others to be closed")


@pytest.mark.parametrize("how", ["close", "reset", "speak"])
def test_one_who_leaves_frees_his_place(how):
    with going() as (daemon, listeners), closing_all() as newcomers:
        for i in range(3):
            newcomers.append(waiting(daemon, "a", i + 1, i + 1))
        if how == "close":
            newcomers[0].close()
        elif how == "reset":
            reset(newcomers[0].sock)
        else:
            newcomers[0].sock.sendall(b"x")
            assert receive_all(newcomers[0].sock) == b""
        wait_for(lambda: n_waiting(daemon) == 2, "two who wait")
        listeners["a"].close()
        assert [newcomer.result() for newcomer in newcomers[1:]] == [0, 1]
        assert daemon.client.names() == [("a", 2)]


def test_one_who_leaves_as_the_holder_goes_does_not_keep_the_next_from_it():
    with going() as (daemon, listeners), closing_all() as newcomers:
        for i in range(3):
            newcomers.append(waiting(daemon, "a", i + 1, i + 1))
        daemon.signal(signal.SIGSTOP)
        listeners["a"].close()
        newcomers[0].close()
        newcomers[1].close()
        daemon.signal(signal.SIGCONT)
        assert newcomers[2].result() == 0
        wait_for(lambda: daemon.client.names() == [("a", 3)], "the third to be alone")


def test_so_many_wait_for_one_name_and_no_more():
    with going(names=("a", "b")) as (daemon, listeners), closing_all() as newcomers:
        for i in range(PER_NAME_MAX):
            newcomers.append(Newcomer(daemon, "a", i + 1))
        wait_for(lambda: n_waiting(daemon) == PER_NAME_MAX, "all to wait")
        one_more = Newcomer(daemon, "a", 99)
        newcomers.append(one_more)
        assert one_more.result() == 1
        assert receive_all(one_more.sock) == b""
        newcomers.append(waiting(daemon, "b", 100, PER_NAME_MAX + 1))
        newcomers[3].close()
        wait_for(lambda: n_waiting(daemon) == PER_NAME_MAX, "one to leave")
        newcomers.append(waiting(daemon, "a", 101, PER_NAME_MAX + 1))
        listeners["b"].close()
        assert newcomers[-2].result() == 0


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["0.5", "1"])
def test_at_the_end_of_the_time_he_is_told_no(hold):
    with going("--hold", hold) as (daemon, listeners), closing_all() as newcomers:
        newcomers.append(waiting(daemon, "a", 1))
        assert newcomers[0].result() == 1
        took = time.monotonic() - newcomers[0].began
        assert float(hold) - 0.05 <= took < float(hold) + 2, took
        assert receive_all(newcomers[0].sock) == b""
        assert n_waiting(daemon) == 0
        assert counter(daemon, "refused.name-taken") == 1
        assert daemon.client.port_please("a").port == listeners["a"].getsockname()[1]


def test_where_nobody_is_to_wait_nobody_does():
    with going("--hold", "0") as (daemon, listeners), closing_all() as newcomers:
        newcomers.append(Newcomer(daemon, "a", 1))
        assert newcomers[0].result() == 1
        assert time.monotonic() - newcomers[0].began < 1
        assert counter(daemon, "nodes.held") == 0
        listeners["a"].close()
        wait_for(lambda: not daemon.client.names(), "its end")


def test_what_the_file_said_of_a_unit_is_believed_for_some_seconds():
    """There is no systemd to ask: then the holder is one that stays, and who waits is told so."""
    with going("--hold", "9", env={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}) as (daemon, _):
        with closing_all() as newcomers:
            newcomers.append(waiting(daemon, "a", 1))
            assert newcomers[0].result() == 1
            assert time.monotonic() - newcomers[0].began < BELIEVED + 2
            assert node(daemon, "a")["STATE"] == "awaited"


def test_who_waits_is_not_closed_for_being_silent():
    with going("--packet-timeout", "1") as (daemon, listeners), closing_all() as newcomers:
        newcomers.append(waiting(daemon, "a", 1))
        time.sleep(2.5)  # what is tested is that nothing happens
        assert not newcomers[0].is_answered()
        listeners["a"].close()
        assert newcomers[0].result() == 0


# --- the daemon ends ------------------------------------------------------------------------------


def test_who_waits_when_the_daemon_is_told_to_end_is_closed_without_a_byte():
    with going() as (daemon, _), closing_all() as newcomers:
        newcomers += [waiting(daemon, "a", 1), waiting(daemon, "a", 2, 2)]
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 3
        assert [receive_all(newcomer.sock) for newcomer in newcomers] == [b"", b""]
        daemon.start()
        assert [name for name, _ in daemon.client.names()] == ["a"]


def test_a_kill_request_does_not_wait_for_them():
    with going("--relaxed-command-check") as (daemon, _), closing_all() as newcomers:
        newcomers.append(waiting(daemon, "a", 1))
        assert daemon.client.kill() == b"OK"
        assert daemon.wait() == 0
        assert receive_all(newcomers[0].sock) == b""


def test_after_a_kill_9_they_come_again():
    with going() as (daemon, listeners), closing_all() as newcomers:
        newcomers.append(waiting(daemon, "a", 1))
        daemon.kill9()
        assert receive_all(newcomers[0].sock) == b""
        daemon.start()
        assert status(daemon)["counters"]["nodes.held"] == 0
        # what was known of the holder's unit is still known
        newcomers.append(waiting(daemon, "a", 2))
        listeners["a"].close()
        assert newcomers[1].result() == 0
