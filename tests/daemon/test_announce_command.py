# SPDX-License-Identifier: Apache-2.0
"""`rollcall ready` and `rollcall not-ready`: what a unit's scripts tell of their node, over the control socket and, where
their user may not use that, over loopback TCP."""

import json
import os
import socket
import subprocess
import threading
import time

import pytest

from daemon.commands import NOBODY, node_keys, rollcall, rollcall_as, told
from daemon.helpers import needs_root
from lib.daemon import Daemon, free_port
from lib.fake_control import END, HEAD, FakeControl, field, refusal, request


def node(daemon, name):
    return next(row for row in json.loads(daemon.rollcall("names", "--json").stdout) if row["name"] == name)


def run(daemon, *args):
    done = daemon.rollcall(*args)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# --- what is told --------------------------------------------------------------------------------------------


def test_a_node_is_ready_and_then_not(daemon):
    with daemon.client.register("app", listen=True):
        assert run(daemon, "ready", "app") == "app is ready, by its own word\n"
        found = node(daemon, "app")
        assert (found["state"], found["state_source"], found["announced"], found["host"]) == ("ready", "announcement", "ready", None)
        assert run(daemon, "not-ready", "app") == "app is stopping, by its own word\n"
        found = node(daemon, "app")
        assert (found["state"], found["state_source"], found["announced"]) == ("stopping", "announcement", "draining")
        assert run(daemon, "ready", "app", "--quiet") == ""
        assert node(daemon, "app")["state"] == "ready"
        assert "1: 1 ready, 0 up" in daemon.rollcall("status").stdout


def test_a_full_name_tells_the_host_and_pairs_are_kept(daemon):
    with daemon.client.register("app", listen=True):
        out = run(daemon, "ready", "app@mail.example.org", "zone=b 1", "empty=", "a.b-c_D=x=y", "--json")
        assert list(json.loads(out)) == node_keys()
        found = node(daemon, "app")
        assert found["host"] == "mail.example.org"
        assert found["metadata"] == {"zone": "b 1", "empty": "", "a.b-c_D": "x=y"}
        run(daemon, "not-ready", "app", "zone=c")
        found = node(daemon, "app")
        assert (found["host"], found["metadata"]["zone"], len(found["metadata"])) == ("mail.example.org", "c", 3)


def test_what_was_told_outlives_the_daemon(daemon):
    with daemon.client.register("app", listen=True):
        run(daemon, "ready", "app@here", "zone=b")
        daemon.kill9()
        daemon.start()
        found = node(daemon, "app")
        assert (found["state"], found["announced"], found["host"], found["metadata"]) == ("awaited", "ready", "here", {"zone": "b"})


@pytest.mark.parametrize("address", ["127.0.0.2", "0.0.0.0"])
def test_a_full_name_with_an_address_means_who_listens_there_or_everywhere(daemon, address):
    with daemon.client.register("app", listen=True, address=address):
        run(daemon, "ready", "app@127.0.0.2")
        found = node(daemon, "app")
        assert (found["state"], found["host"]) == ("ready", "127.0.0.2")


def test_of_several_nodes_one_has_to_be_named(daemon):
    with daemon.client.register("app", listen=True, address="127.0.0.2"), daemon.client.register("app", listen=True, address="127.0.0.3"):
        status, line = told(daemon.rollcall("ready", "app"))
        assert status == 1 and "app@127.0.0.2" in line
        run(daemon, "ready", "app@127.0.0.3")
        nodes = json.loads(daemon.rollcall("names", "--json").stdout)
        assert [(found["scope"], found["state"]) for found in nodes] == [("127.0.0.2", "up"), ("127.0.0.3", "ready")]
        assert told(daemon.rollcall("ready", "app@127.0.0.4"))[0] == 1


# --- a node that is not there --------------------------------------------------------------------------------


def test_a_node_that_is_not_registered_is_told(daemon):
    for command in ("ready", "not-ready"):
        assert told(daemon.rollcall(command, "nobody")) == (1, "rollcall: No node named nobody is registered.")


def test_it_may_be_waited_for(daemon):
    registered = []
    timer = threading.Timer(0.5, lambda: registered.append(daemon.client.register("late", listen=True)))
    timer.start()
    try:
        run(daemon, "ready", "late", "--wait", "20")
        assert node(daemon, "late")["state"] == "ready"
    finally:
        timer.join()
        for registration in registered:
            registration.close()


def test_the_wait_has_an_end(daemon):
    began = time.monotonic()
    assert told(daemon.rollcall("ready", "nobody", "--wait", "500ms"))[0] == 4
    assert 0.2 < time.monotonic() - began < 5


# --- over TCP ------------------------------------------------------------------------------------------------


def test_a_port_may_be_given(daemon):
    with daemon.client.register("app", listen=True):
        done = rollcall("ready", "app", "--port", daemon.port)
        assert (done.returncode, done.stdout) == (0, "app is ready, by its own word\n")
        assert node(daemon, "app")["state"] == "ready"


def test_without_a_control_socket_the_port_of_the_environment_is_asked(daemon, directory):
    with daemon.client.register("app", listen=True):
        env = {"RUNTIME_DIRECTORY": directory, "XDG_RUNTIME_DIR": directory, "ERL_EPMD_PORT": daemon.port}
        if os.path.exists("/run/rollcall/control"):
            pytest.skip("a rollcalld runs on this machine")
        assert rollcall("ready", "app", env=env).returncode == 0
        assert node(daemon, "app")["state"] == "ready"


def test_on_ipv6_alone_too(directory):
    with Daemon(host="::1") as daemon, daemon.client.register("app", listen=True):
        assert rollcall("ready", "app", "--port", daemon.port).returncode == 0


@needs_root
def test_a_user_who_may_not_use_the_control_socket_tells_of_his_own_node_and_no_other(daemon, directory):
    os.chmod(daemon.directory, 0o755)
    env = {"RUNTIME_DIRECTORY": daemon.directory, "ERL_EPMD_PORT": daemon.port}
    script = ("import socket, struct, sys; listener = socket.create_server(('0.0.0.0', 0)); s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
              "body = struct.pack('>cHBBHHH', b'x', listener.getsockname()[1], 77, 0, 6, 5, 3) + b'his' + b'\\0\\0';"
              "s.sendall(struct.pack('>H', len(body)) + body); print(s.recv(6)[1], flush=True); sys.stdin.read()")
    with subprocess.Popen(["/usr/bin/python3", "-c", script, str(daemon.port)], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as theirs, daemon.client.register("ours", listen=True):
        assert theirs.stdout.readline() == b"0\n"
        assert rollcall_as(NOBODY, directory, "names", env=env).returncode == 3
        done = rollcall_as(NOBODY, directory, "ready", "his@there", "a=b", env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "his@there is ready, by its own word\n", "")
        assert (node(daemon, "his")["uid"], node(daemon, "his")["metadata"]) == (NOBODY, {"a": "b"})
        status, line = told(rollcall_as(NOBODY, directory, "ready", "ours", env=env))
        assert status == 1 and "(denied)" in line and str(daemon.port) in line
        assert node(daemon, "ours")["state"] == "up"
        # A socket that was asked for is the only one that is tried.
        status, line = told(rollcall_as(NOBODY, directory, "ready", "his", "--control", daemon.control, env=env))
        assert status == 3 and "permission denied" in line
        theirs.stdin.close()


def test_stock_epmd_is_told_from_a_daemon(stock_epmd):
    status, line = told(rollcall("ready", "app", "--port", stock_epmd.port))
    assert status == 1
    assert line == f"rollcall: 127.0.0.1:{stock_epmd.port}: closed without a word: another epmd than rollcalld, which takes no announcements"


def test_a_port_on_which_nobody_listens_is_told():
    port = free_port()
    assert told(rollcall("ready", "app", "--port", port)) == (3, f"rollcall: 127.0.0.1:{port}: nobody listens on this port: is rollcalld running?")


def test_a_stranger_on_the_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        status, line = told(rollcall("ready", "app", "--port", listener.getsockname()[1]))
        thread.join(10)
    assert status == 3 and "not of the control protocol" in line


# --- bytes and usage -----------------------------------------------------------------------------------------


def test_the_request_in_bytes(directory):
    with FakeControl(directory / "control", HEAD + END) as server:
        assert rollcall("ready", "app@127.0.0.2", "a=b", "--control", server.path).returncode == 0
        assert rollcall("not-ready", "app@host", "--control", server.path).returncode == 0
        assert server.requests == [
            request(7, field(16, b"app"), field(25, b"127.0.0.2"), field(32, b"127.0.0.2"), field(33, b"ready"), field(34, b"a\0b")),
            request(7, field(16, b"app"), field(32, b"host"), field(33, b"draining"))]


@pytest.mark.parametrize("error, status", [(1, 1), (3, 3), (4, 1), (5, 3), (6, 3), (7, 1), (8, 1)])
def test_a_refusal_is_told(directory, error, status):
    with FakeControl(directory / "control", refusal(error, b"Thus.")) as server:
        found, line = told(rollcall("ready", "a", "--control", server.path))
    assert (found, "Thus." in line) == (status, True)


@pytest.mark.parametrize("args", [
    ["app", "pair"], ["app", "=x"], ["app", "a b=x"], ["app", "ä=x"], ["app", f"{'k' * 65}=x"], ["app", f"k={'v' * 257}"], ["app", "k=a\nb"],
    ["app", *(f"k{i}=x" for i in range(33))], ["app", *(f"k{i}={'v' * 256}" for i in range(12))],
    ["app", "--port", "0"], ["app", "--port", "65536"], ["app", "--port", "x"], ["app", "--port", "-1"], ["app", "--wait", "soon"], [],
    ["app", "--free"],
], ids=lambda args: " ".join(args)[:30])
def test_wrong_usage_is_one_line_and_status_2(args):
    for command in ("ready", "not-ready"):
        assert told(rollcall(command, *args, "--control", "/nonexistent"))[0] == 2


def test_a_port_of_the_environment_that_is_none_is_told():
    status, line = told(rollcall("ready", "app", env={"ERL_EPMD_PORT": "http"}))
    assert status == 2 and "ERL_EPMD_PORT" in line


def test_pairs_up_to_their_bounds_are_taken(daemon):
    with daemon.client.register("app", listen=True):
        run(daemon, "ready", "app", f"{'k' * 64}={'v' * 256}", *(f"k{i}={i}" for i in range(31)))
        assert len(node(daemon, "app")["metadata"]) == 32
        status, line = told(daemon.rollcall("ready", "app", "more=1"))
        assert status == 1 and "32" in line
