# SPDX-License-Identifier: Apache-2.0
"""`rollcall check`: why can I not connect? Each step with what goes wrong there; against programs that say what a test wants, and
against real nodes, which must not notice."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from daemon.commands import keys_of_man_page, rollcall, told
from daemon.helpers import needs_root
from lib.daemon import Daemon, StockEpmd, free_port
from lib.epmd_client import EpmdClient
from lib.fake_control import FakeControl
from lib.netns import Namespace, join
from lib.nodes import ErlangNode, listening_on
from lib.process import built

STEPS = ["name", "resolve", "epmd", "lookup", "connect", "handshake"]
OWN = os.uname().nodename.split(".")[0]

OK = b"\0\x03sok"


def challenge(name, flags=0xD07DF7FBD):
    body = b"N" + flags.to_bytes(8, "big") + b"\1\2\3\4" + b"\0\0\0\7" + len(name).to_bytes(2, "big") + name
    return len(body).to_bytes(2, "big") + body


def check(node, *args, port, **options):
    """The exit status and the steps by name, of which all before the last one tried are good."""
    done = rollcall("check", node, "--port", port, "--json", *args, **options)
    assert done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    assert list(found) == keys_of_man_page(".Cm check\nprints an object:")
    assert [step["step"] for step in found["steps"]] == STEPS
    outcomes = [step["ok"] for step in found["steps"]]
    n_good = outcomes.index(False) if False in outcomes else len(STEPS)
    assert outcomes == [True] * n_good + [False] * (n_good < len(STEPS)) + [None] * (len(STEPS) - n_good - 1)
    assert found["ok"] == (n_good == len(STEPS)) and done.returncode == (0 if found["ok"] else 1)
    found["failed"] = None if found["ok"] else STEPS[n_good]
    found["by_name"] = {step["step"]: step for step in found["steps"]}
    return found


def failed_step(found, step):
    """The detail, the cause and the cure of the step that has failed."""
    assert found["failed"] == step, found
    return tuple(found["by_name"][step][key] for key in ("detail", "cause", "cure"))


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as daemon:
        yield daemon


class FakeNode:
    """Registered with `daemon`, and says that to whoever connects."""

    def __init__(self, daemon, name, said, **fields):
        self.heard, self.said = [], said
        self.registration = daemon.client.register(name, listen=True, address="127.0.0.1", **fields)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.registration.listener.accept()
                with connection, contextlib.suppress(OSError):
                    self.heard.append(connection.recv(4096))
                    said = self.said(self.heard[-1]) if callable(self.said) else self.said
                    if said is not None:
                        connection.sendall(said)
                        connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.registration.listener.shutdown(socket.SHUT_RDWR)
        self.registration.close()
        self.thread.join(10)


# --- each step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [[], ["a", "b"], ["@host"], ["a@b c"], ["a", "--timeout", "x"], ["a", "--port", "0"], ["a", "--at", "b"], ["a\n"]], ids=repr)
def test_wrong_usage_is_one_line_and_status_2(args):
    assert told(rollcall("check", *args))[0] == 2


KINDS = {"app@mail": "short", "app@mail.example.org": "long", "app@127.0.0.1": "long", "app@::1": "long", "app": "short", "app@localhost": "short"}


@pytest.mark.parametrize("node", KINDS)
def test_the_kind_of_a_name_is_that_of_its_host_part(node):
    found = check(node, "--timeout", "0.2", port=free_port())
    assert found["kind"] == KINDS[node]
    assert found["node"] == (node if "@" in node else f"app@{OWN}")
    assert f"is a {KINDS[node]} name" in found["by_name"]["name"]["detail"]


def test_a_host_without_an_address():
    detail, cause, cure = failed_step(check("app@nowhere.invalid", port=free_port()), "resolve")
    assert "nowhere.invalid has no address" in detail and "DNS" in cause and "/etc/hosts" in cure


def test_nobody_at_the_port_of_the_port_mapper():
    port = free_port()
    detail, cause, cure = failed_step(check("app@127.0.0.1", port=port), "epmd")
    assert detail == f"nobody listens on port {port} of 127.0.0.1"
    assert "no port mapper runs there" in cause and "epmd.socket" in cure and "ERL_EPMD_PORT" in cure


@pytest.mark.parametrize("said, expected", [(None, "says nothing"), (b"HTTP/1.1 400 Bad Request\r\n", "no port mapper's")])
def test_another_program_at_the_port_of_the_port_mapper(said, expected):
    with FakeControl(("127.0.0.1", free_port()), said) as server:
        detail, cause, _ = failed_step(check("app@127.0.0.1", "--timeout", "0.5", port=server.path[1]), "epmd")
    assert expected in detail and "another program has" in cause


def test_whoever_closes_all_that_is_asked_is_no_port_mapper():
    with FakeControl(("127.0.0.1", free_port()), b"") as server:
        detail, cause, cure = failed_step(check("app@127.0.0.1", port=server.path[1]), "lookup")
    assert detail == "the port mapper closes without an answer"
    assert "another program has the port" in cause and f"sport = :{server.path[1]}" in cure


def test_a_node_of_which_only_an_entry_tells(daemon):
    daemon.rollcall("add", "far", "--port", "9100", "--address", "192.0.2.7", "--host-part", "far.example.org")
    detail, cause, cure = failed_step(check("far@127.0.0.1", "--control", daemon.control, port=daemon.port), "lookup")
    assert detail == "no node far is registered there; far has a static entry there, for a node at port 9100 of 192.0.2.7"
    assert "rollcall_epmd" in cause and "far@far.example.org" in cure


def test_a_machine_without_a_port_mapper_may_have_an_entry_here(daemon):
    nobody = free_port()
    done = daemon.rollcall("add", "way", "--port", "9100", "--address", "192.0.2.7", "--host-part", "localhost")
    assert done.returncode == 0, done
    cause = failed_step(check("way@localhost", "--control", daemon.control, port=nobody), "epmd")[1]
    assert "this machine's rollcalld has a static entry for way, at port 9100 of 192.0.2.7" in cause and "rollcall_epmd" in cause
    for node in ("way@127.0.0.1", "near@localhost"):
        assert "entry" not in failed_step(check(node, "--control", daemon.control, port=nobody), "epmd")[1]
    assert "entry" not in failed_step(check("way@localhost", "--control", daemon.directory / "none", port=nobody), "epmd")[1]


def test_which_port_mapper_answers_is_told(daemon):
    with StockEpmd() as epmd:
        for mapper, expected in ((daemon, "rollcalld answers"), (epmd, "a stock epmd answers")):
            found = check("nobody@127.0.0.1", "--control", daemon.control, port=mapper.port)
            assert expected in found["by_name"]["epmd"]["detail"] and found["failed"] == "lookup"


def test_a_name_that_is_not_registered(daemon):
    with daemon.client.register("former", listen=True):
        pass
    with daemon.client.register("rabbit", listen=True), daemon.client.register("mail", listen=True):
        detail, cause, cure = failed_step(check("rabit@127.0.0.1", "--control", daemon.control, port=daemon.port), "lookup")
        assert detail == "no node rabit is registered there"
        assert "there is a node rabbit: was that one meant?" in cause and "mail" not in cause and "rollcall find --at 127.0.0.1" in cure
    detail = failed_step(check("former@127.0.0.1", "--control", daemon.control, port=daemon.port), "lookup")[0]
    assert re.search(r"until 20\d\d-.* it was a process of no known unit, user .*; its connection ended", detail)
    # Nobody may be asked of the past where there is no control socket.
    detail = failed_step(check("former@127.0.0.1", "--control", daemon.directory / "none", port=daemon.port), "lookup")[0]
    assert detail == "no node former is registered there"


def test_a_node_that_is_about_to_leave_is_told_to_be(daemon):
    with daemon.client.register("leaving", listen=True, address="127.0.0.1"):
        daemon.rollcall("not-ready", "leaving")
        found = check("leaving@127.0.0.1", "--timeout", "0.3", port=daemon.port)
    assert "it is stopping, by its own word" in found["by_name"]["lookup"]["detail"] and "about to leave" in found["by_name"]["lookup"]["cause"]
    assert found["failed"] == "handshake"


def test_nobody_at_the_port_of_the_node(daemon):
    with daemon.client.register("dead", port := free_port()):
        detail, cause, cure = failed_step(check("dead@127.0.0.1", port=daemon.port), "connect")
    assert detail == f"127.0.0.1 port {port}; nobody listens there" and "inet_dist_use_interface" in cause and f"sport = :{port}" in cure


ANSWERS = {
    "silence": (None, "it accepts the connection and says nothing", "hangs"),
    "an end": (b"", "closes it without a word", "no Erlang node"),
    "half": (OK + challenge(b"node@127.0.0.1")[:-3], "breaks off in the middle", "the node ends"),
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n", "not Erlang's distribution protocol", "another program has the node's port"),
    "a terminal's orders": (b"\0\x05s\x1b[2J", "not Erlang's distribution protocol", "another program has the node's port"),
    "a refusal": (b"\0\x0csnot_allowed", "it refuses: not_allowed", "net_kernel:allow/1"),
    "an unknown status": (b"\0\x04snew", "it refuses: new", None),
    "another name": (OK + challenge(b"node@localhost"), "it calls itself node@localhost", "by its own full name only"),
    "another kind": (OK + challenge(b"node@localhost"), "it calls itself node@localhost", "its name is a short one"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_node_that_does_not_shake_hands(daemon, answer):
    said, expected_detail, expected_cause = ANSWERS[answer]
    with FakeNode(daemon, "node", said):
        detail, cause, _ = failed_step(check("node@127.0.0.1", "--timeout", "0.5", port=daemon.port), "handshake")
    assert expected_detail in detail
    assert expected_cause in cause if expected_cause else cause is None


def test_a_handshake_says_who_is_there(daemon):
    with FakeNode(daemon, "node", OK + challenge(b"node@127.0.0.1")) as node:
        found = check("node@127.0.0.1", port=daemon.port)
    assert found["peer"] == {"node": "node@127.0.0.1", "otp": 24, "flags": 0xD07DF7FBD, "creation": 7, "tls": False}
    # A long name wants a long one.
    assert re.search(rb"rollcall-check-\d{1,3}@[^@]*\.[^@]*$", node.heard[0]) and node.heard[0][2:3] == b"N"


def test_a_node_of_older_times_is_talked_to_in_its_own_way(daemon):
    body = b"n\0\5\0\7\x49\x9c\1\2\3\4node@localhost"
    with FakeNode(daemon, "node", OK + len(body).to_bytes(2, "big") + body, highest=5) as node:
        found = check("node@localhost", port=daemon.port)
    assert (found["ok"], found["peer"]["otp"], found["peer"]["creation"]) == (True, None, None)
    assert node.heard[0][2:5] == b"n\0\5" and re.search(rb"rollcall-check-\d{1,3}@[^.@]*$", node.heard[0])


@pytest.mark.parametrize("busy", [b"\0\x04snok", b"\0\x06salive"])
def test_a_name_of_ours_that_is_in_use_is_changed(daemon, busy):
    with FakeNode(daemon, "node", lambda heard: busy if len(node.heard) == 1 else OK + challenge(b"node@localhost")) as node:
        assert check("node@localhost", port=daemon.port)["ok"]
    assert len(set(node.heard)) == 2


def test_tls_behind_an_early_end_is_found(daemon):
    hello = b"\x16\3\3\0\x52\2"
    with FakeNode(daemon, "node", lambda heard: hello if heard[:2] == b"\x16\3" else b""):
        found = check("node@localhost", port=daemon.port)
    assert found["ok"] and found["peer"]["tls"] and "it speaks TLS" in found["by_name"]["handshake"]["detail"]


def test_without_a_host_the_node_may_have_any(daemon):
    with FakeNode(daemon, "node", OK + challenge(b"node@elsewhere")):
        found = check("node", port=daemon.port)
    assert found["ok"] and found["peer"]["node"] == "node@elsewhere"


def test_the_time_is_bounded(daemon):
    with FakeNode(daemon, "node", None):
        began = time.monotonic()
        assert check("node@127.0.0.1", "--timeout", "0.3", port=daemon.port)["failed"] == "handshake"
        assert time.monotonic() - began < 3


def test_in_words(daemon):
    with FakeNode(daemon, "node", OK + challenge(b"node@localhost")):
        done = rollcall("check", "node@127.0.0.1", "--port", daemon.port)
        good = rollcall("check", "node@localhost", "--port", daemon.port)
        assert rollcall("check", "node@localhost", "--port", daemon.port, "--quiet").stdout == ""
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "node@127.0.0.1"
    assert [line.split()[0] for line in lines[1:7]] == ["ok"] * 5 + ["FAILED"]
    assert "likely cause:" in lines[7] and "cure: connect to 'node@localhost', or start it with -name node@127.0.0.1" in lines[8]
    assert good.returncode == 0 and good.stdout.splitlines()[-1].startswith("Nothing is in the way of a connection")


# --- networks -----------------------------------------------------------------------------------------------


@needs_root
def test_a_firewall_on_the_way():
    """Packets that nobody answers, and those that a router sends back."""
    with Namespace() as here, Namespace() as there:
        join(here, there, "10.97.0.1/24", "10.97.0.2/24")
        # Nobody has this address, and it is said to be behind a link on which nobody asks for it.
        here.run("ip", "neigh", "add", "10.97.0.9", "lladdr", "02:00:00:00:00:09", "dev", "ve0")
        here.run("ip", "route", "add", "unreachable", "10.96.0.0/24")
        for address, expected in (("10.97.0.9", "drops packets"), ("10.96.0.1", "no way from here")):
            done = here.run(built("rollcall"), "check", f"app@{address}", "--timeout", "0.5", "--json", check=False)
            step = json.loads(done.stdout)["steps"][2]
            assert (done.returncode, step["ok"]) == (1, False) and expected in step["cause"]


@needs_root
def test_the_way_to_another_machine():
    with Namespace() as here, Namespace() as there:
        join(here, there, "10.97.0.1/24", "10.97.0.2/24")
        daemon = Daemon(wrapper=there.prefix, port=4369)
        daemon.listen = ["*:4369"]
        daemon.client = EpmdClient(4369, network=there)
        with daemon, ErlangNode("app@10.97.0.2", epmd_port=4369, long=True, prefix=there.prefix) as node, \
             ErlangNode("inner@10.97.0.2", *listening_on("127.0.0.1"), epmd_port=4369, long=True, prefix=there.prefix):
            done = here.run(built("rollcall"), "check", "app@10.97.0.2", "--json", check=False)
            found = json.loads(done.stdout)
            assert found["ok"], found
            # list-from lets nobody list from afar; that is no reason not to look up.
            assert "rollcalld answers" in found["steps"][2]["detail"]
            assert found["peer"]["node"] == node.name
            done = here.run(built("rollcall"), "check", "inner@10.97.0.2", "--json", check=False)
            step = json.loads(done.stdout)["steps"][4]
            assert step["ok"] is False and "inet_dist_use_interface" in step["cause"]


# --- real nodes ---------------------------------------------------------------------------------------------


def test_real_nodes_are_understood_and_do_not_notice(daemon):
    with ErlangNode("app", epmd_port=daemon.port) as app, ErlangNode("long", epmd_port=daemon.port, long=True) as long, \
         ErlangNode("hidden", "-hidden", epmd_port=daemon.port) as hidden:
        app.eval("net_kernel:monitor_nodes(true, [{node_type, all}])")
        for node in (app, long, hidden):
            found = check(node.name, port=daemon.port)
            assert found["ok"] and found["peer"]["node"] == node.name and found["peer"]["otp"] >= 23
        assert failed_step(check("app@127.0.0.1", port=daemon.port), "handshake")[1].endswith(
            "its name is a short one, and nodes with long names do not connect to it")
        # Twenty at a time, which may take each other's names.
        argv = [built("rollcall"), "check", app.name, "--quiet", "--port", str(daemon.port)]
        crowd = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(20)]
        assert [process.communicate(timeout=20)[1] + bytes([process.returncode]) for process in crowd] == [b"\0"] * 20
        for node in (app, long, hidden):
            assert node.eval("{nodes(connected), process_info(self(), messages)}") == "{[],{messages,[]}}"
            assert node.output() == ""
        # And a connection of their own is made as ever.
        assert app.ping(hidden) == "pong"


def test_a_real_node_that_speaks_tls(daemon, directory):
    if not shutil.which("openssl") or subprocess.run(["erl", "-noshell", "-eval", "halt(case code:which(ssl) of non_existing -> 1; _ -> 0 end)"], timeout=30).returncode:
        pytest.skip("openssl or erlang-ssl is not installed")
    key, certificate, options = directory / "key.pem", directory / "certificate.pem", directory / "ssl.conf"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
    options.write_text(f'[{{server, [{{certfile, "{certificate}"}}, {{keyfile, "{key}"}}]}}, {{client, []}}].\n')
    with ErlangNode("secret", "-proto_dist", "inet_tls", "-ssl_dist_optfile", str(options), epmd_port=daemon.port):
        found = check("secret@localhost", port=daemon.port)
        assert found["ok"] and found["peer"] == {"node": None, "otp": None, "flags": None, "creation": None, "tls": True}
        assert "it speaks TLS" in found["by_name"]["handshake"]["detail"]
        # What it has told rollcalld of itself is all that can be known.
        daemon.rollcall("ready", "secret@elsewhere")
        assert "to rollcalld it said secret@elsewhere" in failed_step(check("secret@localhost", port=daemon.port), "handshake")[0]
