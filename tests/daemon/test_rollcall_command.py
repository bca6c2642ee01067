# SPDX-License-Identifier: Apache-2.0
"""`rollcall`: what the operator sees, what a program reads, and what is said where the daemon cannot be reached."""

import contextlib
import json
import os
import pty
import pwd
import re
import signal
import socket
import struct
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from daemon.commands import NOBODY, keys_of_man_page, node_keys, rollcall, rollcall_as, told
from lib.daemon import Daemon
from lib.epmd_client import C_NODE, HIDDEN, Refused, receive_all
from lib.fake_control import END, HEAD, FakeControl, decode, field, record, request
from lib.process import SOURCE, built, clean_environment, wait_for

STATUS, NAMES = request(1), request(2)


# --- the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [[], ["bogus"], ["status", "names"], ["--bogus", "status"], ["--control"], ["status", "--control="], ["status", "--json=1"]], ids=" ".join)
def test_wrong_usage_is_one_line_and_status_2(args):
    assert told(rollcall(*args))[0] == 2


def test_help_and_version_go_to_standard_output():
    for option, expected in (("--help", "rollcall [--control PATH] COMMAND"), ("--version", "rollcall ")):
        done = rollcall(option)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(expected)


def test_options_may_stand_before_and_behind_the_command(daemon):
    for args in (["--control", daemon.control, "--json", "names"], ["names", "--json", "--control", daemon.control]):
        assert json.loads(rollcall(*args).stdout) == []


def test_output_that_cannot_be_written_is_told(daemon):
    with open("/dev/full", "w") as full:
        for args in (["status"], ["status", "--json"], ["names"], ["names", "--json"], ["why", "a"], ["history"], ["--help"], ["--version"]):
            done = subprocess.run([built("rollcall"), "--control", str(daemon.control), *args], stdout=full, stderr=subprocess.PIPE, text=True,
                                  env=clean_environment())
            assert (done.returncode, done.stderr) == (4, "rollcall: cannot write to standard output: No space left on device\n")


# --- which socket ------------------------------------------------------------------------------------------


def test_the_socket_is_the_options_else_the_variables_else_the_first_that_exists(directory):
    places = {}
    with contextlib.ExitStack() as stack:
        for word in ("option", "variable", "runtime", "xdg/rollcall"):
            (directory / word).mkdir(parents=True)
            answer = HEAD + record(67, field(16, word.encode())) + END
            places[word] = stack.enter_context(FakeControl(directory / word / "control", answer)).path
        env = {"ROLLCALL_CONTROL": places["variable"], "RUNTIME_DIRECTORY": f"{directory}/runtime:/other",
               "XDG_RUNTIME_DIR": directory / "xdg"}

        def name(*args):
            return json.loads(rollcall("names", "--json", *args, env=env).stdout)[0]["name"]

        assert name("--control", places["option"]) == "option"
        assert name() == "variable"
        env["ROLLCALL_CONTROL"] = None
        assert name() == "runtime"
        env["RUNTIME_DIRECTORY"] = directory / "nowhere"
        if not Path("/run/rollcall/control").exists():
            assert name() == "xdg/rollcall"


def test_where_there_is_no_socket_all_places_are_named(directory):
    if Path("/run/rollcall/control").exists():
        pytest.skip("a rollcalld runs on this machine")
    status, line = told(rollcall("status", env={"RUNTIME_DIRECTORY": directory / "a", "XDG_RUNTIME_DIR": directory / "b"}))
    assert status == 3
    for place in (f"{directory}/a/control", "/run/rollcall/control", f"{directory}/b/rollcall/control"):
        assert place in line


# --- a daemon that cannot be reached -----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "names"])
def test_a_missing_socket_is_told(command):
    assert told(rollcall(command, "--control", "/nonexistent/control")) == (
        3, "rollcall: /nonexistent/control: there is no such socket: is rollcalld running?")


def test_a_socket_on_which_nobody_listens_is_told(directory):
    path = directory / "control"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert told(rollcall("status", "--control", path)) == (3, f"rollcall: {path}: nobody listens on this socket: rollcalld has ended")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_who_may_not_ask_is_told_of_the_group(directory):
    with FakeControl(directory / "control", HEAD + END):
        os.chmod(directory / "control", 0o660)
        status, line = told(rollcall_as(NOBODY, directory, "--control", directory / "control", "status"))
    assert status == 3
    assert "permission denied" in line and "group rollcall" in line


def test_a_path_that_is_too_long_for_a_socket_is_told():
    assert told(rollcall("status", "--control", "/" + "a" * 200))[0] == 3


def test_a_daemon_that_does_not_answer_is_told_after_5_seconds(directory):
    with FakeControl(directory / "control", None) as server:
        assert told(rollcall("status", "--control", server.path)) == (3, f"rollcall: {server.path}: rollcalld has not answered within 5 s")


BROKEN = {
    "nothing": (b"", "closed without an answer"),
    "half a head": (b"LR", "the answer breaks off"),
    "a head alone": (HEAD, "the answer breaks off"),
    "no end": (HEAD + record(67, field(16, b"a")), "the answer breaks off"),
    "half a record": (HEAD + record(67, field(16, b"a"))[:-1], "the answer breaks off"),
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n", "not of the control protocol"),
    "a record without a kind": (HEAD + b"\0\0\0\0" + END, "not of the control protocol"),
    "a record that is too long": (HEAD + b"\xff\xff\xff\xff" + END, "not of the control protocol"),
    "a field beyond its record": (HEAD + record(67, b"\0\x10\0\x09a") + END, "not of the control protocol"),
    "denied": (HEAD + record(65, field(1, b"\0\x04"), field(2, b"Not you.")), "rollcalld refuses (denied): Not you."),
    "an error after records": (HEAD + record(67, field(16, b"a")) + record(65, field(1, b"\0\x06")), "rollcalld refuses (internal)"),
    "an unknown error": (HEAD + record(65, field(1, b"\xff\xff"), field(2, b"\x1b[31mOh.")), "rollcalld refuses (unknown): \\x1b[31mOh."),
    "another version": (b"LRC\x02" + record(65, field(1, b"\0\x02"), field(2, b"No."), field(3, b"\x02")),
                        "rollcalld refuses (bad-version): No.; it speaks version 2, this rollcall 1"),
}


@pytest.mark.parametrize("command", ["status", "names"])
@pytest.mark.parametrize("what", BROKEN)
def test_an_answer_that_is_none_is_told_and_never_shown(directory, what, command):
    answer, sentence = BROKEN[what]
    with FakeControl(directory / "control", answer) as server:
        status, line = told(rollcall(command, "--control", server.path))
    assert status == 3
    assert line.startswith(f"rollcall: {server.path}: ") and sentence in line


def test_a_status_without_a_status_in_it_is_told(directory):
    with FakeControl(directory / "control", HEAD + END) as server:
        assert told(rollcall("status", "--control", server.path))[0] == 3


# --- status ------------------------------------------------------------------------------------------------


def test_status_of_a_healthy_daemon(daemon):
    with daemon.client.register("a", listen=True), daemon.client.register("b"):
        daemon.client.names()
        done = daemon.rollcall("status")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(rf"rollcalld \S+ is healthy: pid {daemon.pid}, since \S+ \(.+\)", lines[0])
    for expected in (f"127.0.0.1:{daemon.port}", str(daemon.control), str(daemon.state), "WAL", "2: 2 up", "2 alive2, 1 names"):
        assert expected in done.stdout
    assert all(len(line) <= 100 or str(daemon.directory) in line for line in lines)
    assert len(lines) < 24


def test_status_of_a_degraded_daemon_says_why_and_has_status_1():
    with Daemon("--no-state", state=False) as daemon:
        done = daemon.rollcall("status")
        assert (done.returncode, done.stderr) == (1, "")
        assert "is degraded" in done.stdout.splitlines()[0]
        assert "  degraded     " in done.stdout
        done = daemon.rollcall("status", "--json")
        assert done.returncode == 1
        status = json.loads(done.stdout)
        assert status["healthy"] is False and status["degraded"]
        assert status["registry"]["path"] is None


def flattened(value, prefix=""):
    """Keys as the man page writes them; what is within `counters` is open."""
    for key, inner in value.items():
        if isinstance(inner, dict) and key != "counters":
            yield from flattened(inner, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_the_json_of_status_has_the_documented_keys_in_their_order(daemon):
    status = json.loads(daemon.rollcall("status", "--json").stdout)
    assert list(flattened(status)) == keys_of_man_page("prints one object:")


def test_the_json_of_status_tells_the_truth(daemon):
    with daemon.client.register("a", listen=True):
        assert daemon.client.port_please("nobody") is None
        wait_for(lambda: json.loads(daemon.rollcall("status", "--json").stdout)["registry"]["committed_revision"] > 0, "a commit")
        done = daemon.rollcall("status", "--json")
        file_bytes, wal_bytes = (Path(f"{daemon.state}{suffix}").stat().st_size for suffix in ("", "-wal"))
    assert (done.returncode, done.stderr) == (0, "")
    status = json.loads(done.stdout)
    assert status["pid"] == daemon.pid
    assert status["healthy"] is True and status["degraded"] == []
    started = datetime.strptime(status["started"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert round(started.timestamp() * 1e6) == status["started_usec"]
    assert abs(datetime.now(timezone.utc).timestamp() - started.timestamp()) < 60
    assert {entry["address"] for entry in status["sockets"]} == {f"127.0.0.1:{daemon.port}", str(daemon.control)}
    assert {entry["origin"] for entry in status["sockets"]} == {"own"}
    registry = status["registry"]
    assert registry["path"] == str(daemon.state) and registry["health"] == "ok" and registry["detail"] is None
    assert (registry["file_bytes"], registry["wal_bytes"]) == (file_bytes, wal_bytes)
    assert registry["schema_version"] == int(daemon.sql("pragma user_version")[0][0])
    assert {key: status["nodes"][key] for key in ("total", "up", "awaited", "stopping")} == {"total": 1, "up": 1, "awaited": 0, "stopping": 0}
    assert 2 <= status["connections"]["open"] <= status["connections"]["max"]
    counters = status["counters"]
    assert (counters["requests.alive2"], counters["requests.port2"], counters["lookups.missed"]) == (1, 1, 1)
    assert counters["registry.commits"] >= 1


def test_the_evidence_at_hand_is_told_in_words_that_programs_know(daemon):
    status = json.loads(daemon.rollcall("status", "--json").stdout)
    assert set(status["evidence"]) - {"units"} == {"connections", "listeners"}
    assert status["blind"] is None


def test_every_counter_is_in_the_protocols_document(daemon):
    table = (SOURCE / "PROTOCOL.md").read_text().partition("| counter | what |")[2].partition("\n\n")[0]
    documented = set()
    for row in table.splitlines()[2:]:
        first, *others = row.split("|")[1].strip().split(", ")
        documented |= {first} | {first.partition(".")[0] + other for other in others}
    assert set(json.loads(daemon.rollcall("status", "--json").stdout)["counters"]) == documented


def test_refusals_are_counted_by_reason(daemon):
    with daemon.client.register("a", listen=True):
        for name in ("a", b"\xff", "a\nb"):
            with pytest.raises(Refused):
                daemon.client.register(name)
        counters = json.loads(daemon.rollcall("status", "--json").stdout)["counters"]
    assert {key: counters[f"refused.{key}"] for key in ("name-taken", "name-not-utf8", "name-control-character", "uid-limit")} == {
        "name-taken": 1, "name-not-utf8": 1, "name-control-character": 1, "uid-limit": 0}
    assert "1 name-taken" in daemon.rollcall("status").stdout


def test_what_a_newer_daemon_tells_is_passed_over_and_what_an_older_one_does_not_is_null(directory):
    answer = HEAD + record(200, b"\0\x01\0\0") + record(66, field(61, b"\x07"), field(999, b"x"), field(78, b"short")) + END
    with FakeControl(directory / "control", answer) as server:
        status = json.loads(rollcall("status", "--json", "--control", server.path).stdout)
        assert rollcall("status", "--control", server.path).returncode == 0
        assert server.requests == [STATUS, STATUS]
    assert status["pid"] == 7
    assert status["version"] is None and status["started"] is None and status["nodes"]["total"] is None
    assert status["counters"] == {} and status["sockets"] == []
    assert list(flattened(status)) == keys_of_man_page("prints one object:")


# --- names -------------------------------------------------------------------------------------------------


HEADINGS = ["NAME", "PORT", "STATE", "SOURCE", "TYPE", "SCOPE", "SINCE", "USER", "PID", "HOST", "UNIT"]


def test_names_as_a_table_in_the_order_of_names(daemon):
    with contextlib.ExitStack() as stack:
        for name, port, type_ in (("web_2", 40002, 77), ("c", 40003, C_NODE), ("zoë", 40004, HIDDEN), ("a b", 40005, 200)):
            stack.enter_context(daemon.client.register(name, port, type=type_))
        done = daemon.rollcall("names")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == HEADINGS
    assert [row[:6] for row in rows[1:]] == [
        ["a\\x20b", "40005", "up", "connection", "200", "*"], ["c", "40003", "up", "connection", "c-node", "*"],
        ["web_2", "40002", "up", "connection", "normal", "*"], ["zoë", "40004", "up", "connection", "hidden", "*"]]
    assert {len(row) for row in rows} == {len(HEADINGS)}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", row[6]) for row in rows[1:])
    assert {row[7] for row in rows[1:]} == {pwd.getpwuid(os.getuid()).pw_name}


def test_times_in_the_table_are_the_readers(daemon):
    with daemon.client.register("a"):
        for zone, offset in (("UTC", "+00:00"), ("XXX-05:30", "+05:30"), ("XXX+03", "-03:00")):
            out = rollcall("names", "--control", daemon.control, env={"TZ": zone}).stdout
            assert out.splitlines()[1].split()[6].endswith(offset)


def test_no_names_are_a_heading_or_an_empty_array(daemon):
    assert daemon.rollcall("names").stdout == " ".join(HEADINGS) + "\n"
    assert json.loads(daemon.rollcall("names", "--json").stdout) == []


def test_the_json_of_names_has_the_documented_keys_and_tells_the_truth(daemon):
    with daemon.client.register("zoë", listen=True, type=HIDDEN, highest=6, lowest=5) as zoe, daemon.client.register("a", 1, highest=5):
        a, node = json.loads(daemon.rollcall("names", "--json").stdout)
        cookie = struct.unpack("Q", zoe.listener.getsockopt(socket.SOL_SOCKET, 57, 8))[0]  # SO_COOKIE
    assert list(node) == list(a) == node_keys()
    assert (a["name"], a["port"], a["highest_version"], a["listener_cookie"]) == ("a", 1, 5, None)
    expected = {"name": "zoë", "state": "up", "port": zoe.port, "type": "hidden", "type_number": 72, "protocol": 0, "highest_version": 6,
                "lowest_version": 5, "creation": zoe.creation, "scope": "*", "uid": os.getuid(), "user": pwd.getpwuid(os.getuid()).pw_name,
                "unit_pid": None, "host": None, "state_source": "connection", "state_since": node["since"], "awaited": False,
                "announced": None, "metadata": {}, "helper": False, "listener_address": "*"}
    assert {key: node[key] for key in expected} == expected
    since = datetime.strptime(node["since"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert round(since.timestamp() * 1e6) == node["since_usec"]
    assert node["listener_cookie"] == cookie


def test_states_are_shown(daemon):
    def states():
        return {node["name"]: node["state"] for node in json.loads(daemon.rollcall("names", "--json").stdout)}

    with daemon.client.register("stopping", listen=True) as stopping, daemon.client.register("up", listen=True):
        stopping.close_listener()
        wait_for(lambda: states() == {"stopping": "stopping", "up": "up"}, "the listener's end to be noticed")
        assert "1 up, 0 awaited, 1 stopping" in daemon.rollcall("status").stdout
        daemon.kill9()
        daemon.start()
        assert states() == {"up": "awaited"}
        assert "1: 0 up, 1 awaited" in daemon.rollcall("status").stdout


def test_many_names_are_shown_whole(daemon):
    names = sorted(f"n{index:04}-" + "x" * 200 for index in range(2000))
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(daemon.client.register(name))
        assert [node["name"] for node in json.loads(daemon.rollcall("names", "--json").stdout)] == names
        assert [line.split()[0] for line in daemon.rollcall("names").stdout.splitlines()[1:]] == names


HOSTILE = {
    b"esc\x1b[31m": ("esc\\x1b[31m", "esc\\x1b[31m"),
    b"not\xffutf8": ("not\\xffutf8", "not\\xffutf8"),
    b"line\nfeed": ("line\\x0afeed", "line\\x0afeed"),
    "c1\u009b31m".encode(): ("c1\\xc2\\x9b31m", "c1\\xc2\\x9b31m"),
    "turn\u202eabc".encode(): ("turn\\xe2\\x80\\xaeabc", "turn\u202eabc"),
    b"over\xc0\xaflong": ("over\\xc0\\xaflong", "over\\xc0\\xaflong"),
    b"sur\xed\xa0\x80rogate": ("sur\\xed\\xa0\\x80rogate", "sur\\xed\\xa0\\x80rogate"),
    b"cut\xe2\x82": ("cut\\xe2\\x82", "cut\\xe2\\x82"),
    b"": ("-", ""),
    "\U0001f600".encode(): ("\U0001f600", "\U0001f600"),
}


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_what_a_terminal_would_obey_is_shown_and_not_done(directory, name):
    in_table, in_json = HOSTILE[name]
    with FakeControl(directory / "control", HEAD + record(67, field(16, name), field(27, name)) + END) as server:
        assert json.loads(rollcall("names", "--json", "--control", server.path).stdout)[0]["name"] == in_json
        row = rollcall("names", "--control", server.path).stdout.splitlines()[1].split()
        assert server.requests == [NAMES, NAMES]
    assert (row[0], row[10]) == (in_table, in_table)


def test_on_a_terminal_the_table_fits_its_width(daemon):
    with daemon.client.register("a"):
        primary, secondary = pty.openpty()
        with os.fdopen(primary, "rb", buffering=0) as reader:
            subprocess.run(["sh", "-c", 'stty cols 80; exec "$0" "$@"', built("rollcall"), "--control", str(daemon.control), "names"],
                           stdin=secondary, stdout=secondary, stderr=secondary, env=clean_environment({"TERM": "dumb"}), timeout=20, check=True)
            os.close(secondary)
            text = reader.read(65536).decode()
    lines = text.splitlines()
    assert lines[0].split()[0] == "NAME" and lines[1].split()[0] == "a"
    assert all(len(line) <= 80 for line in lines)


# --- the control protocol, from the other side -------------------------------------------------------------


def ask(daemon, data, half_close=False):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.control))
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        return receive_all(sock)


def test_the_daemon_answers_in_the_documented_form(daemon):
    with daemon.client.register("a", 4369):
        kinds = [kind for kind, _ in decode(ask(daemon, STATUS))]
        assert sorted(kinds) == [64, 66, 68, 68] and kinds[-1] == 64
        (kind, node), end = decode(ask(daemon, NAMES))
        assert (kind, end) == (67, (64, {}))
        assert node[16] == b"a" and node[18] == b"\x11\x11"


ERRORS = {
    "another version": (b"\0\x05LRC\x09\x01", 2),
    "another version without a kind": (b"\0\x04LRC\x09", 2),
    "an unknown request": (b"\0\x05LRC\x01\x3f", 3),
    "another opcode": (b"\0\x01n", 1),
    "the opcode alone": (b"\0\x01L", 1),
    "a field that runs over the end": (b"\0\x09LRC\x01\x01\0\x10\0\x05", 1),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_the_daemon_cannot_answer_it_refuses_in_words(daemon, what):
    request, error = ERRORS[what]
    [(kind, fields)] = decode(ask(daemon, request))
    assert (kind, fields[1]) == (65, struct.pack(">H", error))
    assert fields[2].decode().strip()
    assert fields.get(3) == (b"\x01" if error == 2 else None)


def test_fields_that_a_request_has_and_nobody_knows_are_passed_over(daemon):
    fields = field(999, b"whatever")
    assert decode(ask(daemon, struct.pack(">H", 5 + len(fields)) + NAMES[2:] + fields)) == [(64, {})]


def test_a_client_that_says_half_and_leaves_disturbs_nobody(daemon):
    for n in range(len(STATUS)):
        assert ask(daemon, STATUS[:n], half_close=True) == b""
    assert daemon.rollcall("status").returncode == 0


def test_on_tcp_the_operator_is_not_heard(daemon):
    for data in (STATUS, NAMES, request(8, field(16, b"a"))):
        [(kind, fields)] = decode(daemon.client.raw(data))
        assert (kind, fields[1]) == (65, b"\0\x04")  # denied
    assert json.loads(daemon.rollcall("status", "--json").stdout)["counters"]["requests.denied"] == 3
    assert daemon.client.raw(b"\0\x01L") == b""


def test_the_daemon_can_be_told_to_end_while_a_client_waits(daemon):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.control))
        sock.sendall(STATUS[:3])
        daemon.signal(signal.SIGTERM)
        assert receive_all(sock) == b""
    assert daemon.wait() == 0
