# SPDX-License-Identifier: Apache-2.0
"""`rollcall find`: nodes of a pattern on this machine and on others, asked at the same time; and what is said of machines
that do not answer."""

import contextlib
import json
import os
import pty
import re
import resource
import socket
import subprocess
import time

import pytest

from daemon.commands import NOBODY, found_keys, rollcall, rollcall_as, told
from daemon.helpers import needs_root
from lib.daemon import Daemon, StockEpmd, free_port
from lib.epmd_client import HIDDEN
from lib.fake_control import END, HEAD, FakeControl, field, record, refusal, request, u16, u64
from lib.netns import Namespace, join
from lib.process import built, clean_environment

HEADINGS = ["NODE", "HOST", "STATE", "PORT", "ADDRESS", "UNIT", "MACHINE"]
OWN = os.uname().nodename.split(".")[0]

EPOCH = record(71, field(48, u64(1)), field(76, u64(1)))


def node(name=b"app", scope=b"*", state=b"up", *more):
    return record(67, field(16, name), field(17, state), field(25, scope), field(18, u16(40000)), *more)


def answer(*records):
    return HEAD + EPOCH + b"".join(records) + END


def lines(done):
    """The table's lines as words, without the headings."""
    first, *rest = [line.split() for line in done.stdout.splitlines()]
    assert first == HEADINGS
    return rest


def nodes(done):
    return [line[0] for line in lines(done)]


# --- what is asked ------------------------------------------------------------------------------------------


REQUESTS = {
    "": [],
    "web": [field(16, b"web")],
    "web_*": [field(49, b"web_")],
    "web_?": [field(50, b"web_?")],
    "*": [],
    "a web_* *_x": [field(16, b"a"), field(49, b"web_"), field(50, b"*_x")],
    "a *": [],
    "mynode@*": [field(16, b"mynode")],
    "web_*@db?": [field(49, b"web_")],
    "@db1": [],
    "--exclude a* --exclude b": [field(51, b"a*"), field(51, b"b")],
    "--exclude *@db1 --exclude *_1": [field(51, b"*_1")],
    "--state up,ready": [field(17, b"up"), field(17, b"ready")],
    "--state any": [field(17, b"any")],
    "--hidden": [field(52, b"\1")],
    "-- -web": [field(16, b"-web")],
}


@pytest.mark.parametrize("args", REQUESTS)
def test_what_the_daemon_can_select_is_left_to_it(directory, args):
    with FakeControl(directory / "control", answer()) as server:
        assert rollcall("--control", server.path, "find", *args.split()).returncode == 1
    assert server.requests == [request(9, *REQUESTS[args])]


@pytest.mark.parametrize("args", [["["], ["a@["], ["--exclude", "["], ["--state", "melting"], ["--state", "up,"], ["--at", ""], ["--at", "a b"],
                                  ["--at", "db:0"], ["--port", "0"], ["--port", "http"], ["--timeout", "soon"], ["--limit", "1"],
                                  ["x" * 4000], ["*" + "x?" * 500]], ids=lambda args: " ".join(args)[:40])
def test_wrong_usage_is_one_line_and_status_2(args):
    assert told(rollcall("find", *args))[0] == 2


def test_a_port_in_the_environment_that_is_none_is_told():
    assert told(rollcall("find", env={"ERL_EPMD_PORT": "epmd"})) == (2, "rollcall: 'epmd' (ERL_EPMD_PORT) is no port")


# --- the host part ------------------------------------------------------------------------------------------


# what a node has told, and where it listens: {pattern: its full name as it is shown, or None}
HOSTS = {
    (None, b"*"): {"app": f"app@{OWN}", "app@*": f"app@{OWN}", f"app@{OWN}": f"app@{OWN}", "app@localhost": "app@localhost",
                   "app@127.0.0.1": "app@127.0.0.1", "*@::1": "app@::1", "app@elsewhere": None, "app@127.0.0.2": None},
    (None, b"127.0.0.2"): {"app": f"app@{OWN}", "app@127.0.0.*": "app@127.0.0.2", "app@localhost": None, "app@127.0.0.1": None},
    (b"here.example.org", b"*"): {"app": "app@here.example.org", "app@*.example.org": "app@here.example.org", "app@localhost": None,
                                  f"app@{OWN}": None, "app@here": None},
}
ELSEWHERE = {"app": "app@192.0.2.7", "app@192.0.2.*": "app@192.0.2.7", f"app@{OWN}": None, "app@localhost": None, "app@127.0.0.1": None}


@pytest.mark.parametrize("host, scope, pattern, expected", [(*key, *case) for key, cases in HOSTS.items() for case in cases.items()])
def test_the_host_part_is_told_or_assumed_and_selects(directory, host, scope, pattern, expected):
    told_host = [field(32, host), field(54, b"announced")] if host else []
    with FakeControl(directory / "control", answer(node(b"app", scope, b"up", *told_host))) as server:
        done = rollcall("--control", server.path, "find", pattern)
        json_done = rollcall("--control", server.path, "find", pattern, "--json")
    assert (done.returncode, done.stderr) == (0 if expected else 1, "")
    assert lines(done) == ([[expected, "announced" if host else "assumed", "up", "40000", scope.decode(), "-", "local"]] if expected else [])
    assert [(n["node"], n["host_assumed"], n["host"]) for n in json.loads(json_done.stdout)] == (
        [(expected, not host, host and host.decode())] if expected else [])


@pytest.mark.parametrize("pattern, expected", ELSEWHERE.items())
def test_a_node_of_another_machine_is_not_taken_for_one_of_the_machine_that_told_of_it(directory, machine, pattern, expected):
    said = answer(node(b"app", b"192.0.2.7", b"up", field(56, b"static"), field(58, b"\1")))
    other = machine(said)
    with FakeControl(directory / "control", said) as server:
        for args in (["--control", server.path], ["--at", other]):
            done = rollcall("find", pattern, *args)
            assert (done.returncode, done.stderr) == (0 if expected else 1, "")
            assert nodes(done) == ([expected] if expected else [])


def test_exclusions_see_the_host_part_too(directory):
    with FakeControl(directory / "control", answer(node(), node(b"web", b"*", b"up", field(32, b"db1")))) as server:
        for exclude, expected in {"*@db1": [f"app@{OWN}"], f"*@{OWN}": ["web@db1"], "web@other": [f"app@{OWN}", "web@db1"], "*": []}.items():
            assert nodes(rollcall("--control", server.path, "find", "--exclude", exclude)) == expected


# --- machines -----------------------------------------------------------------------------------------------


@pytest.fixture
def machine():
    """machine(answer): a machine on a loopback address of its own that says that."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        addresses = (f"127.0.0.{n}" for n in range(2, 250))
        yield lambda said: stack.enter_context(FakeControl((next(addresses), port), said)).machine


def test_several_machines_are_asked_and_told_apart(machine, directory):
    one, two = machine(answer(node(b"b"), node(b"a"))), machine(answer(node(b"a")))
    with FakeControl(directory / "control", answer(node(b"c"))) as here:
        done = rollcall("--control", here.path, "find", "--at", two, "--at", "local", "--at", one, "--at", two)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(line[0], line[6]) for line in lines(done)] == [(f"a@{two[:-6]}", two), (f"a@{one[:-6]}", one), (f"b@{one[:-6]}", one), (f"c@{OWN}", "local")]


def closes(_connection, _request):
    pass


FAILURES = {
    "denied": (refusal(4, b"It lists to its own machine only."), "rollcalld refuses (denied): It lists to its own machine only."),
    "busy": (refusal(5), "rollcalld refuses (busy): No."),
    "half an answer": (HEAD + EPOCH + node(b"half"), "the answer breaks off"),
    "another program": (b"HTTP/1.1 400 Bad Request\r\n", "the answer is not of the control protocol: this is no rollcalld"),
    "silence": (None, "it has not answered within 0.3 s"),
    "nothing": (closes, "is closed without a word, whatever is asked"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_machine_that_cannot_be_asked_is_named_with_the_reason(machine, failure):
    said, expected = FAILURES[failure]
    bad, good, empty = machine(said), machine(answer(node())), machine(answer())
    for others, status in (([], 3), ([good], 5), ([empty], 5)):
        done = rollcall("find", "--timeout", "0.3", *(arg for name in [bad, *others] for arg in ("--at", name)))
        assert done.returncode == status
        assert done.stderr.startswith(f"rollcall: {bad}: ") and expected in done.stderr and done.stderr.count("\n") == 1
        assert "half" not in done.stdout
        assert (done.stdout == "") == (status == 3)


def test_who_refuses_the_connection_or_has_no_address_is_named():
    port = free_port()
    done = rollcall("find", "--at", f"127.0.0.1:{port}", "--at", "rollcall.invalid")
    assert (done.returncode, done.stdout) == (3, "")
    refused, unresolved = done.stderr.splitlines()
    assert refused == f"rollcall: 127.0.0.1:{port}: nobody listens on port {port}: does a port mapper run there?"
    assert unresolved.startswith("rollcall: rollcall.invalid: it has no address: ")


def test_one_deadline_for_all(machine):
    """As many machines as may be, all silent but one, and more descriptors than a shell gives."""
    good = machine(answer(node()))
    with FakeControl(("0.0.0.0", free_port()), None) as silent:
        at = [arg for n in range(999) for arg in ("--at", f"127.1.{n // 250}.{n % 250 + 1}:{silent.path[1]}")]
        limited = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))}
        began = time.monotonic()
        done = rollcall("find", "--timeout", "0.5", "--at", good, *at, **limited)
        assert 0.5 <= time.monotonic() - began < 5
        assert (done.returncode, len(lines(done))) == (5, 1)
        assert len(re.findall("within 0.5 s", done.stderr)) == 999
        assert told(rollcall("find", "--at", "local", "--at", good, *at))[0] == 2  # one too many


def test_an_answer_of_any_size_and_in_any_pieces(machine):
    data = answer(*(node(b"web_%05d" % n) for n in range(5000)))

    def dribble(connection, _):
        for begin in range(0, len(data), 7919):
            connection.sendall(data[begin : begin + 7919])

    assert nodes(rollcall("find", "--at", machine(dribble))) == [f"web_{n:05}@127.0.0.2" for n in range(5000)]


@needs_root
def test_a_resolver_that_is_silent_is_not_waited_for(directory, machine):
    """Its thread goes on; we do not."""
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30\n")
    with Namespace() as network, network.entered():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
            resolver.bind(("127.0.0.1", 53))
            began = time.monotonic()
            command = 'mount --bind "$0" /etc/resolv.conf && shift 0 && exec "$@"'
            done = subprocess.run(["unshare", "--mount", "sh", "-c", command, directory / "resolv.conf", built("rollcall"), "find", "--timeout", "0.5",
                                   "--at", "db1.rollcall.test", "--at", "[::1]:9"], env=clean_environment(), capture_output=True, text=True, timeout=20)
            elapsed = time.monotonic() - began
    assert done.returncode == 3
    assert "rollcall: db1.rollcall.test: its addresses could not be found within 0.5 s\n" in done.stderr
    assert elapsed < 5


# --- stock epmd ---------------------------------------------------------------------------------------------


def test_a_stock_epmd_is_asked_for_names(machine):
    with StockEpmd() as epmd, epmd.client.register("web_1", 4711), epmd.client.register("db", 4712):
        at = f"localhost:{epmd.port}"
        done = rollcall("find", "web_*", "--at", at)
        assert done.returncode == 0
        assert lines(done) == [["web_1@localhost", "assumed", "-", "4711", "-", "-", at]]
        assert done.stderr == f"rollcall: {at}: not a rollcalld, but another epmd: only names and ports are known of its nodes\n"
        (found,) = json.loads(rollcall("find", "web_*", "--at", at, "--json").stdout)
        assert (found["node"], found["told_by"], found["state"], found["creation"]) == ("web_1@localhost", "names", None, None)
        assert nodes(rollcall("find", "--at", at, "--exclude", "web*", "--state", "any")) == ["db@localhost"]
        done = rollcall("find", "--at", at, "--state", "ready,up")
        assert done.returncode == 1 and "2 nodes are not shown, since no state is known" in done.stderr
        assert nodes(rollcall("find", "@localhost", env={"ERL_EPMD_PORT": epmd.port})) == ["db@localhost", "web_1@localhost"]


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\x11\x11name a at", b"HTTP/1.1 400\r\n"], ids=repr)
def test_what_is_no_answer_to_names_is_none(machine, said):
    def script(connection, data):
        if data == b"\0\1n":
            connection.sendall(said)

    done = rollcall("find", "--at", machine(script))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)


# --- a real daemon ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as daemon, daemon.client.register("web_1", listen=True), daemon.client.register("web_2", listen=True, type=HIDDEN), \
         daemon.client.register("db", listen=True), daemon.client.register("old", listen=True), daemon.client.register("rem-1a2b-db", listen=True):
        assert daemon.rollcall("ready", "web_1@here.example.org", "role=front").returncode == 0
        assert daemon.rollcall("not-ready", "old").returncode == 0
        yield daemon


SELECTIONS = {
    "": ["db", "web_1"],
    "web_*": ["web_1"],
    "web_* --hidden": ["web_1", "web_2"],
    "--hidden": ["db", "rem-1a2b-db", "web_1", "web_2"],
    "--state any": ["db", "old", "web_1"],
    "--state stopping": ["old"],
    "--state ready": ["web_1"],
    "--exclude w*": ["db"],
    "db *_1": ["db", "web_1"],
    "*@here.*": ["web_1"],
    "nobody": [],
}


@pytest.mark.parametrize("args", SELECTIONS)
def test_over_the_control_socket_and_over_tcp_the_same_is_found(daemon, args):
    for way in (["--control", daemon.control], ["--port", daemon.port], ["--at", f"127.0.0.1:{daemon.port}"]):
        done = rollcall("find", *args.split(), *way)
        assert (done.returncode, done.stderr) == (0 if SELECTIONS[args] else 1, "")
        assert [name.partition("@")[0] for name in nodes(done)] == SELECTIONS[args]


def test_the_json_of_find_has_the_documented_keys(daemon):
    (found,) = json.loads(daemon.rollcall("find", "web_1", "--json").stdout)
    assert list(found) == found_keys()
    expected = {"node": "web_1@here.example.org", "host_assumed": False, "machine": "local", "told_by": "rollcall", "name": "web_1", "state": "ready",
                "host": "here.example.org", "host_source": "announced", "name_kind": "long", "metadata": {"role": "front"}, "static": False, "elsewhere": False}
    assert {key: found[key] for key in expected} == expected


@needs_root
def test_who_may_not_use_the_control_socket_asks_over_loopback(daemon, directory):
    os.chmod(daemon.control, 0o600)
    try:
        env = {"ERL_EPMD_PORT": daemon.port, "RUNTIME_DIRECTORY": daemon.directory}
        os.chmod(daemon.directory, 0o755)
        assert nodes(rollcall_as(NOBODY, directory, "find", "web_*", env=env)) == ["web_1@here.example.org"]
        # A socket that was asked for is the only one that is tried.
        assert told(rollcall_as(NOBODY, directory, "find", "--control", daemon.control, env=env))[0] == 3
    finally:
        os.chmod(daemon.control, 0o660)


def test_with_nobody_on_loopback_it_is_the_control_socket_that_is_told_of(directory):
    env = {"ERL_EPMD_PORT": free_port(), "RUNTIME_DIRECTORY": directory, "XDG_RUNTIME_DIR": directory}
    status, line = told(rollcall("find", env=env))
    assert status == 3 and str(directory / "control") in line and "is rollcalld running?" in line


@needs_root
def test_another_machine_answers_whom_list_from_opens_it_to():
    with Namespace() as here, Namespace() as there:
        join(here, there, "10.98.0.1/24", "10.98.0.2/24", "fd98::1/64", "fd98::2/64")
        for args, status in (([], 3), (["--list-from", "10.98.0.0/24", "--list-from", "fd98::/64"], 0)):
            daemon = Daemon(*args, wrapper=here.prefix)
            daemon.client.network = here
            daemon.listen = [f"*:{daemon.port}"]
            with daemon, daemon.client.register("web_1", listen=True):
                for at in (f"10.98.0.1:{daemon.port}", f"[fd98::1]:{daemon.port}"):
                    done = there.run(built("rollcall"), "find", "web_*", "--at", at, "--json", check=False)
                    assert done.returncode == status, done
                    if status == 3:
                        assert done.stderr.startswith(f"rollcall: {at}: rollcalld refuses (denied): ")
                        continue
                    (found,) = json.loads(done.stdout)
                    assert found["node"] == "web_1@" + at.rpartition(":")[0].strip("[]")
                    assert (found["uid"], found["listener_cookie"], found["unit_pid"]) == (None, None, None)


# --- on a terminal ------------------------------------------------------------------------------------------


def on_terminal(*args, **env):
    primary, secondary = pty.openpty()
    with os.fdopen(primary, "rb", buffering=0) as reader:
        subprocess.run(["sh", "-c", 'stty cols 80; exec "$0" "$@"', built("rollcall"), *map(str, args)], stdin=secondary, stdout=secondary,
                       stderr=subprocess.DEVNULL, env=clean_environment({"TERM": "xterm", "NO_COLOR": None, **env}), timeout=20, check=True)
        os.close(secondary)
        return reader.read(65536).decode()


def test_colour_is_for_terminals_that_want_it(daemon):
    args = ["--control", daemon.control, "find", "--state", "any"]
    text = on_terminal(*args)
    assert "\x1b[32mready" in text and "\x1b[32mup" in text and "\x1b[31mstopping" in text
    assert on_terminal(*args, NO_COLOR="") == text
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": None}, {"TERM": ""}):
        assert "\x1b" not in on_terminal(*args, **env), env
    assert "\x1b" not in rollcall(*args, env={"TERM": "xterm"}).stdout
    assert "\x1b" not in on_terminal(*args, "--json")


def test_a_name_that_a_terminal_would_obey_is_made_harmless(machine):
    at = machine(answer(node(b"web\x1b[2J\xff", b"*", b"up\n", field(32, b"a\x07b"))))
    done = rollcall("find", "--at", at)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["web\\x1b[2J\\xff@a\\x07b"] and "\x1b" not in done.stdout
    assert json.loads(rollcall("find", "--at", at, "--json").stdout)[0]["node"] == "web\\x1b[2J\\xff@a\\x07b"
