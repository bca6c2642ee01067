# SPDX-License-Identifier: Apache-2.0
"""What a request costs, in system calls of the loop: each is over before the next one comes."""

import contextlib
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from daemon.helpers import needs_root
from lib.control_client import ControlClient
from lib.daemon import Daemon
from lib.netns import Namespace
from lib.process import die_with_parent, wait_for

pytestmark = needs_root

N = 20
# As few as a server needs that only accepts, reads, answers and closes: it looks once more whether somebody else has come.
BARE = {"epoll_wait": 1, "accept4": 2, "recvfrom": 1, "sendto": 1, "close": 1}


def _field(pid, name):
    """Of the main thread."""
    return re.search(rf"^{name}:\t(\S+)", Path(f"/proc/{pid}/task/{pid}/status").read_text(), re.M)[1]


def _is_idle(pid):
    return _field(pid, "State") == "S"


@contextlib.contextmanager
def counted(daemon, path):
    """{call: how often} of the main thread, filled at the end."""
    counts = {}
    argv = ["strace", "-c", "-U", "name,calls", "-o", path, "-p", daemon.pid]
    process = subprocess.Popen([*map(str, argv)], stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent())
    try:
        wait_for(lambda: process.poll() is not None or _field(daemon.pid, "TracerPid") != "0", "strace")
        if process.poll() is not None:
            pytest.skip(f"no process can be traced here: {process.stderr.read().strip()}")
        wait_for(lambda: _is_idle(daemon.pid), "an idle daemon")
        yield counts
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    for line in Path(path).read_text().splitlines():
        match = re.fullmatch(r"\s*(\w+)\s+(\d+)", line)
        if match and match[1] != "total":
            counts[match[1]] = int(match[2])


def calls_of(daemon, directory, ask):
    """{call: how many each of N times ask() takes}. What is rarer is the daemon's own doing, such as a commit's end."""
    with counted(daemon, directory / "calls") as counts:
        for _ in range(N):
            ask()
            wait_for(lambda: _is_idle(daemon.pid), "an idle daemon", interval=0.001)
    counts["epoll_wait"] += 1  # strace counts what has returned
    return {call: n // N for call, n in counts.items() if n >= N}


@pytest.fixture
def daemon():
    """On a socket that was passed: a connection then comes with its request, whenever the client sends it. In a network
    of its own: the kernel tells every daemon of all listening sockets that close."""
    with Namespace() as alone:
        with alone.entered():
            sock = socket.create_server(("127.0.0.1", 4369))
        with sock, Daemon(port=4369, listen=False, sockets=[("epmd", sock)], wrapper=alone.prefix) as daemon:
            daemon.client.network = alone
            yield daemon


def test_a_lookup_costs_no_call_more_than_an_answer(daemon, directory):
    with daemon.client.register("a", listen=True):
        assert calls_of(daemon, directory, lambda: daemon.client.port_please("a")) == BARE


def test_a_lookup_in_vain_costs_no_call_more_than_an_answer(daemon, directory):
    assert calls_of(daemon, directory, lambda: daemon.client.port_please("a")) == BARE


def test_a_listing_costs_no_call_more_than_an_answer(daemon, directory):
    """With its head: two pieces, one call."""
    expected = {**BARE, "sendmsg": 1}
    del expected["sendto"]
    with daemon.client.register("a"), daemon.client.register("b"):
        assert calls_of(daemon, directory, lambda: daemon.client.names()) == expected


def test_where_the_address_matters_a_lookup_asks_for_it(daemon, directory):
    with daemon.client.register("a", listen=True, address="127.0.0.1") as one, daemon.client.register(
        "a", port=one.port, listen=True, address="127.0.0.2"
    ):
        assert calls_of(daemon, directory, lambda: daemon.client.port_please("a")) == {**BARE, "getsockname": 1}


def test_a_change_costs_a_call_for_each_watcher(daemon, directory):
    control, n = ControlClient(daemon.control), 2 * 64
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(control.watch()) for _ in range(n)]
        for watch in watches:
            watch.sync()
        with counted(daemon, directory / "calls") as counts:
            stack.enter_context(daemon.client.register("a"))
            for watch in watches:
                watch.wait(lambda: ("a", "*") in watch.nodes)
        assert counts["sendmsg"] == n + 1  # one is the answer
        assert counts["epoll_ctl"] == 1  # the node's connection
        assert counts.get("timerfd_settime", 0) <= 2
        assert counts["epoll_wait"] < n / 4
