# SPDX-License-Identifier: Apache-2.0
"""The drop-in `epmd`: what scripts see of it, side by side with the stock one, and how it starts rollcalld."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.daemon import Daemon, StockEpmd, free_port
from lib.epmd_client import EpmdClient, reset
from lib.netns import Namespace, join
from lib.nodes import ErlangNode
from lib.process import built, clean_environment, die_with_parent, wait_for

STOCK = "/usr/bin/epmd"

CALLS = [["-names"], ["-dump"], ["-started"], ["-kill"], ["-stop", "a"], ["-stop", "nobody"]]


def call_id(call):
    return " ".join(call)


def run(program, *args, env=None, timeout=20, **kwargs):
    """(exit status, stdout, stderr) as bytes."""
    done = subprocess.run(
        [program, *map(str, args)], env=clean_environment(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, **kwargs,
    )
    return done.returncode, done.stdout, done.stderr


def ours_and_stock(*args, env=None):
    return run(built("epmd"), *args, env=env), run(STOCK, *args, env=env)


# --- the client, side by side with stock epmd --------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS, ids=call_id)
def test_without_a_server_every_call_says_what_stock_epmd_says(call):
    ours, stock = ours_and_stock("-port", free_port(), *call)
    assert ours == stock
    assert ours[0] == 1


SERVERS = {
    "stock": lambda: StockEpmd(),
    "stock-relaxed": lambda: StockEpmd("-relaxed_command_check"),
    "rollcall": lambda: Daemon(),
    "rollcall-relaxed": lambda: Daemon("--relaxed-command-check"),
}


def observe(program, server, names, call):
    """What a call prints about a fresh server with these names registered, and whether the server survives it."""
    with SERVERS[server]() as daemon, contextlib.ExitStack() as stack:
        for index, name in enumerate(names):
            stack.enter_context(daemon.client.register(name, 40000 + index))
        status, out, err = run(program, "-port", daemon.port, *call)
        if out.startswith(b"Killed"):
            daemon.wait()
        out = out.replace(str(daemon.port).encode(), b"PORT")
        return status, re.sub(rb"fd = \d+", b"fd = FD", out), err


@pytest.mark.parametrize("names", [[], ["a", "b@x", "zoë"]], ids=["empty", "three"])
@pytest.mark.parametrize("call", CALLS, ids=call_id)
@pytest.mark.parametrize("server", SERVERS)
def test_about_the_same_server_every_call_says_what_stock_epmd_says(server, call, names):
    ours, stock = (observe(program, server, names, call) for program in (built("epmd"), STOCK))
    assert ours == stock


@pytest.mark.parametrize("whose", ["ours", "stock"])
@pytest.mark.parametrize("server", SERVERS)
def test_names_and_dump_are_the_same_whoever_asks_whom(server, whose):
    program = built("epmd") if whose == "ours" else STOCK
    assert observe(program, server, ["a", "b"], ["-names"]) == (
        0, b"epmd: up and running on port PORT with data:\nname b at port 40001\nname a at port 40000\n", b"")
    status, out, err = observe(program, server, ["a"], ["-dump"])
    assert (status, err) == (0, b"")
    assert re.fullmatch(rb"epmd: up and running on port PORT with data:\nactive name     <a> at port 40000, fd = FD\n\0", out)


@pytest.mark.parametrize("server", SERVERS)
def test_of_one_and_the_same_server_the_listings_are_equal_to_the_byte(server):
    with SERVERS[server]() as daemon, contextlib.ExitStack() as stack:
        for index in range(300):
            stack.enter_context(daemon.client.register(f"n{index}-" + "x" * 200, 40000 + index))
        for call in ("-names", "-dump", "-started"):
            ours, stock = ours_and_stock("-port", daemon.port, call)
            assert ours == stock
            assert ours[0] == 0


class FakeServer:
    """Answers each connection with the same pieces, a moment apart, then closes (or resets)."""

    def __init__(self, *pieces, host="127.0.0.1", port=None, resets=False):
        self.pieces, self.resets, self.requests = pieces, resets, []
        self.port = port or free_port()
        self.listener = socket.create_server((host, self.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with contextlib.suppress(OSError):
                    self._answer(connection)
                connection.close()

    def _answer(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests.append(connection.recv(4096))
        for piece in self.pieces:
            connection.sendall(piece)
            self.pause()
        if self.resets:
            reset(connection)

    @staticmethod
    def pause():
        threading.Event().wait(0.02)  # so that pieces are pieces; nothing depends on its length

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


ANSWERS = [b"", b"O", b"OK", b"NO", b"XX", b"OKOK", b"\0\0", b"\0\0\x11\x11", b"\0\0\x11\x11name a at port 1", b"STOP", b"STOPPED", b"NOEXIST",
           b"NOEXISTSTOPPED", b"XXXXXXXX", b"\xff\xff\xff\xff\xff\xff\xff\xff"]


@pytest.mark.parametrize("call", CALLS, ids=call_id)
@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_about_the_same_answer_every_call_says_what_stock_epmd_says(answer, call):
    with FakeServer(answer) as server:
        ours, stock = ours_and_stock("-port", server.port, *call)
        assert ours == stock
        assert server.requests[0] == server.requests[1]


@pytest.mark.parametrize("call", CALLS, ids=call_id)
def test_about_a_reset_every_call_says_what_stock_epmd_says(call):
    with FakeServer(resets=True) as server:
        ours, stock = ours_and_stock("-port", server.port, *call)
    assert ours == stock


def test_a_listing_in_pieces_is_read_whole():
    with FakeServer(b"\0\0", b"\x11", b"\x11name a at", b" port 1\n") as server:
        assert run(built("epmd"), "-port", server.port, "-names") == (
            0, b"epmd: up and running on port 4369 with data:\nname a at port 1\n", b"")


def on_terminal(*args):
    primary, secondary = pty.openpty()
    with os.fdopen(primary, "rb", buffering=0) as reader:
        process = subprocess.Popen([built("epmd"), *map(str, args)], stdin=secondary, stdout=secondary, env=clean_environment(), preexec_fn=die_with_parent())
        os.close(secondary)
        text = b""
        with contextlib.suppress(OSError):  # EIO is the end
            while piece := reader.read(65536):
                text += piece
        assert process.wait(20) == 0
        return text.decode()


def test_a_terminal_is_not_given_orders_by_a_listing():
    with FakeServer(b"\0\0\x11\x11name zo", "\u00eb".encode(), b"\x1b[2", b"J at port 1\nname \xc2\x9b1m", b" at port 2\nand \x07") as server:
        lines = on_terminal("-port", server.port, "-names").splitlines()
        assert lines[1:] == ["name zo\u00eb\\x1b[2J at port 1", "name \\xc2\\x9b1m at port 2", "and \\x07"]
    with FakeServer(b"\x1b[2Jabc") as server:
        assert on_terminal("-port", server.port, "-stop", "a") == "\\x1b[2Jabc\r\n"


def test_a_long_listing_is_shown_whole():
    said = b"".join(b"name n%d at port 1\n" % n for n in range(600)) + b"x" * 9000
    with FakeServer(b"\0\0\x11\x11" + said) as server:
        text = on_terminal("-port", server.port, "-names").replace("\r\n", "\n")
        assert text.partition("\n")[2] == said.decode()


def test_ipv6_loopback_is_asked_first():
    with FakeServer(b"\0\0\0\1four") as four:
        with FakeServer(b"\0\0\0\1six", host="::1", port=four.port):
            ours, stock = ours_and_stock("-port", four.port, "-names")
            assert ours == stock
            assert ours[1].endswith(b"six")
        ours, stock = ours_and_stock("-port", four.port, "-names")
        assert ours == stock
        assert ours[1].endswith(b"four")


def test_the_port_comes_from_the_environment_and_the_option_counts_more():
    with FakeServer(b"\0\0\0\1") as server:
        assert run(built("epmd"), "-started", env={"ERL_EPMD_PORT": server.port})[0] == 0
        assert run(built("epmd"), "-port", server.port, "-started", env={"ERL_EPMD_PORT": free_port()})[0] == 0
        assert run(built("epmd"), "-port", server.port, "-started", env={"ERL_EPMD_PORT": "garbage"})[0] == 0


def test_an_output_that_cannot_be_written_is_told():
    with FakeServer(b"\0\0\0\1name a at port 1\n") as server, open("/dev/full", "wb") as full:
        done = subprocess.run([built("epmd"), "-port", str(server.port), "-names"], stdout=full, stderr=subprocess.PIPE, env=clean_environment())
    assert done.returncode == 1
    assert b"No space left" in done.stderr


def test_names_of_all_lengths_that_can_be_registered_can_be_stopped():
    for length in (1, 1000, 1001, 1020):
        with FakeServer(b"STOPPED") as server:
            assert run(built("epmd"), "-port", server.port, "-stop", "a" * length) == (0, b"STOPPED\n", b"")
            assert server.requests == [struct.pack(">H", 1 + length) + b"s" + b"a" * length]
    ours, stock = ours_and_stock("-port", free_port(), "-stop", "a" * 1021)
    assert ours == stock == (1, b"epmd: Name too long!", b"")


# --- the command line --------------------------------------------------------------------------------------

WRONG = ["-help", "--help", "-version", "-x", "x", "-d -x", "-names -port 1", "-names x", "-names -names", "-kill x", "-dump -d", "-started -d",
         "-stop", "-stop a b", "-port", "-port 0", "-port x", "-port -names", "-address", "-packet_timeout", "-packet_timeout 0", "-packet_timeout x",
         "-delay_accept 0", "-delay_accept", "-delay_write x", "-delay_write 0", "-names --"]


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_gets_the_usage_on_stderr(line):
    ours, stock = ours_and_stock(*line.split(" "))
    assert ours[:2] == stock[:2] == (1, b"")
    for _, _, err in (ours, stock):
        assert err.startswith(b"usage: epmd ")
        assert len(err.splitlines()) == 57


def test_the_usage_names_every_flag_that_stock_epmds_does():
    usages = [run(program, "-help")[2].decode() for program in (built("epmd"), STOCK)]
    ours, stock = (set(re.findall(r"(?<![\w-])-[a-z_]+", usage)) for usage in usages)
    assert stock <= ours


FLAGS = ["-d", "-debug -debug", "-address 127.0.0.1", "-address nonsense", "-relaxed_command_check", "-daemon", "-systemd", "-packet_timeout 3",
         "-delay_accept 3 -delay_write 3", "-port 1 -daemon"]


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_the_server_do_not_disturb_a_client(flags):
    ours, stock = ours_and_stock(*flags.split(), "-port", free_port(), "-names")
    assert ours == stock == (1, b"", b"epmd: Cannot connect to local epmd\n")


@pytest.mark.parametrize("option", ["-port 70000", "-port 5x", "-port -5", "-packet_timeout 1.5", "-delay_accept 100000", "-delay_write -1"])
def test_a_number_that_stock_epmd_would_mistake_is_told(option):
    status, out, err = run(built("epmd"), *option.split(), "-names")
    assert (status, out) == (1, b"")
    assert re.fullmatch(rb"epmd: -\w+ \S+: not a whole number from 1 to \d+\n", err)


@pytest.mark.parametrize("value", ["garbage", "", "0", "70000", "-1", "4369x"])
@pytest.mark.parametrize("call", [[], ["-daemon"], ["-names"]], ids=["serve", "daemon", "names"])
def test_a_garbage_port_in_the_environment_is_told(call, value):
    status, out, err = run(built("epmd"), *call, env={"ERL_EPMD_PORT": value})
    assert (status, out) == (1, b"")
    assert err == f"epmd: ERL_EPMD_PORT is '{value}', which is no port\n".encode()


def test_started_is_silent_also_about_a_garbage_port():
    assert run(built("epmd"), "-started", env={"ERL_EPMD_PORT": "garbage"}) == (1, b"", b"")


# --- what rollcalld is started with ------------------------------------------------------------------------

RECORDER = """#!/usr/bin/python3
import json, os, sys
record = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "sid": os.getsid(0),
          "fds": {fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)}}
json.dump(record, open(os.path.join(os.path.dirname(__file__), "record"), "w"))
for arg in sys.argv:
    if arg.startswith("--ready-fd="):
        os.write(int(arg.partition("=")[2]), b"READY\\n")
"""


class Place:
    """Directories of this test's own in the place of those that epmd uses; what it starts is ended at the end.

    Root's are fixed, so its commands run in a mount namespace where others are mounted over them.
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        self.state, self.run_directory = self.directory / "state", self.directory / "run"
        self.prefix = []
        for path in (self.state, self.run_directory):
            path.mkdir()
        self.env = {"HOME": self.directory / "home", "XDG_STATE_HOME": self.state, "XDG_RUNTIME_DIR": self.run_directory,
                    "ROLLCALLD": built("rollcalld")}
        if os.geteuid() == 0:
            mounts = f"mount --bind {self.state} /var/lib && mount --bind {self.run_directory} /run"
            self.prefix = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", f'{mounts} && exec "$@"', "sh"]

    def epmd(self, *args, env=None, timeout=30):
        """(exit status, stdout, stderr) of a command that is to end."""
        done = subprocess.run([*self.prefix, built("epmd"), *map(str, args)], env=clean_environment({**self.env, **(env or {})}),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    @contextlib.contextmanager
    def epmd_running(self, *args, env=None):
        """A Popen of one that stays in the foreground, once it answers."""
        port = args[args.index("-port") + 1]
        process = subprocess.Popen([*self.prefix, built("epmd"), *map(str, args)], env=clean_environment({**self.env, **(env or {})}),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent())
        try:
            wait_for(lambda: process.poll() is not None or self.answers(port), "an answer of epmd")
            yield process
        finally:
            process.kill()
            process.communicate()

    @staticmethod
    def answers(port):
        with contextlib.suppress(OSError):
            EpmdClient(port).connect().close()
            return True
        return False

    def state_file(self, port):
        return self.state / "rollcall" / f"epmd-{port}.db"

    def control(self, port):
        return self.run_directory / "rollcall" / f"epmd-{port}.control"

    def pid(self, port):
        """Of the rollcalld that listens on the control socket of that port."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.control(port)))
            return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def record(self):
        """What the recorder was started with, by `epmd` with the environment recording()."""
        return json.loads((self.directory / "record").read_text())

    def recording(self):
        recorder = self.directory / "rollcalld"
        recorder.write_text(RECORDER)
        recorder.chmod(0o755)
        return {"ROLLCALLD": recorder}

    def close(self):
        for path in self.run_directory.glob("rollcall/*.control"):
            with contextlib.suppress(OSError):
                pid = self.pid(path.stem.removeprefix("epmd-"))
                end = os.pidfd_open(pid)
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not_running(end), f"the end of process {pid}")
                os.close(end)


def not_running(pidfd):
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    # A zombie whose new parent has not come round to it yet can still be sent signals.
    info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    pid = re.search(r"^Pid:\s*(-?\d+)", info, re.MULTILINE)[1]
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.fixture
def place(tmp_path):
    it = Place(tmp_path)
    yield it
    it.close()


OPTIONS = [
    ("", ["--port=PORT", "--log-format=epmd", "--list-from=any"], ["--relaxed-command-check", "-d", "--ready-fd=3", "--no-state"]),
    ("-relaxed_command_check", ["--relaxed-command-check"], []),
    ("-address 10.1.2.3,fd00::1", ["--epmd-address=10.1.2.3,fd00::1"], []),
    ("-d", ["-d"], []),
    ("-debug -d -d", ["-d", "-d"], []),
    ("-packet_timeout 7", ["--packet-timeout=7"], []),
    ("-delay_accept 8 -delay_write 9", ["--delay-accept=8", "--delay-write=9"], []),
    ("-daemon", ["--log-format=syslog", "--ready-fd=3"], ["--log-format=epmd"]),
    ("-- --list-from local --history-days 3", ["--list-from", "local", "--history-days", "3"], ["--list-from=any"]),
    ("-- --control /x --state=/y", ["--control", "/x", "--state=/y"], ["--control=RUN/epmd-PORT.control", "--state-if-free=STATE/epmd-PORT.db"]),
    ("-- --no-state", ["--no-state"], ["--state-if-free=STATE/epmd-PORT.db"]),
]


@pytest.mark.parametrize("line, present, absent", OPTIONS, ids=[line or "nothing" for line, _, _ in OPTIONS])
def test_flags_become_options_of_rollcalld(place, line, present, absent):
    port = free_port()
    assert place.epmd("-port", port, *line.split(), env=place.recording()) == (0, "", "")
    argv = place.record()["argv"]
    for option in present:
        argv.remove(option.replace("PORT", str(port)))
    state, control = ("/var/lib", "/run") if os.geteuid() == 0 else (place.state, place.run_directory)
    for option in absent:
        option = option.replace("STATE", f"{state}/rollcall").replace("RUN", f"{control}/rollcall").replace("PORT", str(port))
        assert option not in argv


def test_each_port_has_files_of_its_own(place):
    port = free_port()
    assert place.epmd("-port", port, env=place.recording())[0] == 0
    state, control = ("/var/lib", "/run") if os.geteuid() == 0 else (place.state, place.run_directory)
    argv = place.record()["argv"]
    assert f"--state-if-free={state}/rollcall/epmd-{port}.db" in argv
    assert f"--control={control}/rollcall/epmd-{port}.control" in argv


def test_the_environment_counts_as_the_flags(place):
    env = {**place.recording(), "ERL_EPMD_PORT": free_port(), "ERL_EPMD_ADDRESS": "127.0.0.2", "ERL_EPMD_RELAXED_COMMAND_CHECK": ""}
    assert place.epmd(env=env)[0] == 0
    argv = place.record()["argv"]
    assert f"--port={env['ERL_EPMD_PORT']}" in argv
    assert "--epmd-address=127.0.0.2" in argv
    assert "--relaxed-command-check" in argv
    assert place.epmd("-address", "127.0.0.3", env=env)[0] == 0
    assert "--epmd-address=127.0.0.3" in place.record()["argv"]


@pytest.mark.parametrize("line", ["-daemon", ""], ids=["daemon", "foreground"])
def test_what_belongs_to_the_caller_is_not_taken_along(place, line):
    """erl starts epmd within whatever service it runs in; that service is not ours to speak for."""
    theirs = {"NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1",
              "STATE_DIRECTORY": "/x", "RUNTIME_DIRECTORY": "/x"}
    assert place.epmd("-port", free_port(), *line.split(), env={**theirs, **place.recording()})[0] == 0
    assert not theirs.keys() & place.record()["env"].keys()


def test_a_detached_one_leads_no_session_and_holds_nothing_of_the_callers(place):
    with open(place.directory / "mine", "w") as mine:
        os.set_inheritable(mine.fileno(), True)
        done = subprocess.run([*place.prefix, built("epmd"), "-port", str(free_port()), "-daemon"], close_fds=False,
                              env=clean_environment({**place.env, **place.recording()}), stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    record = place.record()
    assert record["cwd"] == "/"
    assert record["sid"] not in (record["pid"], os.getsid(0))
    assert record["fds"]["0"] == record["fds"]["1"] == "/dev/null"
    assert record["fds"]["2"].startswith("pipe:") and record["fds"]["3"].startswith("pipe:")
    assert not [path for path in record["fds"].values() if path.endswith("/mine")]


@pytest.mark.parametrize("script, said", [
    ("echo cannot do that >&2; exit 1", "cannot do that\n"),
    ("exit 1", "epmd: rollcalld ended before it answered; the system log may say why\n"),
    ("kill -9 $$", "epmd: rollcalld ended before it answered; the system log may say why\n"),
])
def test_a_detached_one_that_cannot_start_is_told(place, script, said):
    failing = place.directory / "failing"
    failing.write_text(f"#!/bin/sh\n{script}\n")
    failing.chmod(0o755)
    assert place.epmd("-port", free_port(), "-daemon", env={"ROLLCALLD": failing}) == (1, "", said)


def test_a_detached_one_that_takes_long_goes_on_starting_and_that_is_said(place):
    slow = place.directory / "slow"
    slow.write_text("#!/bin/sh\necho $$ >$0.pid\nexec sleep 60\n")
    slow.chmod(0o755)
    status, out, err = place.epmd("-port", free_port(), "-daemon", env={"ROLLCALLD": slow})
    os.kill(int((place.directory / "slow.pid").read_text()), signal.SIGKILL)
    assert (status, out, err) == (0, "", "epmd: rollcalld does not answer after 5 s; it goes on starting\n")


def test_what_a_detached_one_says_before_it_is_ready_is_printed(place):
    talking = place.directory / "talking"
    talking.write_text("#!/bin/sh\necho memory only >&2\necho READY >&3\n")
    talking.chmod(0o755)
    assert place.epmd("-port", free_port(), "-daemon", env={"ROLLCALLD": talking}) == (0, "", "memory only\n")


@pytest.mark.parametrize("line", ["-daemon", ""], ids=["daemon", "foreground"])
def test_a_missing_rollcalld_is_told(place, line):
    status, out, err = place.epmd("-port", free_port(), *line.split(), env={"ROLLCALLD": "/nonexistent/rollcalld"})
    assert (status, out, err) == (1, "", "epmd: cannot run /nonexistent/rollcalld: No such file or directory\n")


def test_rollcalld_is_found_beside_epmd_and_in_the_sbin_beside_its_bin(place):
    for there in ("bin", "sbin"):
        root = place.directory / there
        (root / "bin").mkdir(parents=True)
        (root / there).mkdir(exist_ok=True)
        shutil.copy(built("epmd"), root / "bin" / "epmd")
        recorder = root / there / "rollcalld"
        recorder.write_text(RECORDER)
        recorder.chmod(0o755)
        link = place.directory / f"link-{there}"
        link.symlink_to(root / "bin" / "epmd")
        assert run(link, "-port", free_port(), "--", "--no-state", "--control=x", env={"HOME": place.directory})[0] == 0
        assert (root / there / "record").exists()


@pytest.fixture
def public_directory():
    """Where an unprivileged user finds the programs, wherever they were built."""
    with tempfile.TemporaryDirectory(prefix="rollcall-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "rollcalld").write_text(RECORDER.replace("os.path.dirname(__file__)", "'%s/w'" % name))
        shutil.copy(built("epmd"), directory / "epmd")
        for program in ("rollcalld", "epmd"):
            (directory / program).chmod(0o755)
        (directory / "w").mkdir()
        (directory / "w").chmod(0o777)
        yield directory


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@needs_root
@pytest.mark.parametrize("variables, option", [
    ({"XDG_STATE_HOME": "W/state", "HOME": "W/home"}, "--state-if-free=W/state/rollcall/epmd-PORT.db"),
    ({"XDG_STATE_HOME": "relative", "HOME": "W/home"}, "--state-if-free=W/home/.local/state/rollcall/epmd-PORT.db"),
    ({"XDG_RUNTIME_DIR": "W", "HOME": "W"}, "--control=W/rollcall/epmd-PORT.control"),
])
def test_another_user_has_files_at_home(public_directory, variables, option):
    home, port = str(public_directory / "w"), str(free_port())
    env = {"HOME": None, **{key: value.replace("W", home) for key, value in variables.items()}}
    status = run(public_directory / "epmd", "-port", port, env=env, user=65534, group=65534, extra_groups=[])
    assert status == (0, b"", b"")
    argv = json.loads((public_directory / "w" / "record").read_text())["argv"]
    assert option.replace("W", home).replace("PORT", port) in argv
    if "XDG_RUNTIME_DIR" in variables:
        assert stat.S_IMODE((public_directory / "w" / "rollcall").stat().st_mode) == 0o700
    else:
        assert not [arg for arg in argv if arg.startswith("--control")]


@needs_root
def test_without_a_home_the_names_are_kept_in_memory_and_that_is_said(public_directory):
    status, out, err = run(public_directory / "epmd", "-port", free_port(), env={"HOME": None}, user=65534, group=65534, extra_groups=[])
    assert (status, out) == (0, b"")
    assert b"memory only" in err
    assert "--no-state" in json.loads((public_directory / "w" / "record").read_text())["argv"]


@pytest.mark.parametrize("line", ["-daemon", ""], ids=["daemon", "foreground"])
@pytest.mark.parametrize("address", ["nonsense", "300.1.1.1", "127.0.0.1,x"])
def test_an_address_that_is_none_is_told_with_stock_epmds_status(place, line, address):
    status, out, err = place.epmd("-port", free_port(), "-address", address, *line.split())
    assert (status, out) == (1, "")
    assert re.fullmatch(r'epmd: cannot parse IP address "\w[\w.]*"\n', err)


# --- with the real rollcalld -------------------------------------------------------------------------------


def test_in_the_foreground_it_answers_until_it_is_killed(place):
    port = free_port()
    with place.epmd_running("-port", port) as process:
        assert run(STOCK, "-port", port, "-names") == (0, f"epmd: up and running on port {port} with data:\n".encode(), b"")
        with EpmdClient(port).register("a"):
            assert run(STOCK, "-port", port, "-kill")[0] == 1
        wait_for(lambda: EpmdClient(port).names() == [], "an empty registry")
        assert place.epmd("-port", port, "-kill") == (0, "Killed\n", "")
        assert process.wait(10) == 0
        lines = process.stderr.read()
    assert re.search(r"^epmd: \w{3} \w{3} [ \d]\d [\d:]{8} \d{4}: ", lines, re.MULTILINE)


def test_detached_it_answers_when_the_command_returns(place):
    port = free_port()
    assert place.epmd("-port", port, "-daemon") == (0, "", "")
    assert EpmdClient(port).names() == []
    pid = place.pid(port)
    assert os.getsid(pid) != os.getsid(0) and os.getsid(pid) != pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert place.epmd("-port", port, "-kill") == (0, "Killed\n", "")


@needs_root
@pytest.mark.parametrize("options, is_told", [([], True), (["--", "--list-from", "local"], False), (["--", "--list-from=10.99.0.0/24"], True)],
                         ids=["by-default", "local", "network"])
def test_all_names_are_told_to_other_machines_unless_it_is_told_otherwise(place, options, is_told):
    with Namespace() as here, Namespace() as there:
        join(here, there, "10.99.0.1/24", "10.99.0.2/24")
        place.prefix = here.prefix + place.prefix
        assert place.epmd("-port", 4369, "-daemon", *options) == (0, "", "")
        with EpmdClient(4369, network=here).register("a", 40000):
            other = EpmdClient(4369, "10.99.0.1", network=there)
            assert other.port_please("a").port == 40000
            assert other.names_raw() == (struct.pack(">I", 4369) + b"name a at port 40000\n" if is_told else b"")
            assert other.dump_raw() == b""


@pytest.mark.parametrize("line", ["-daemon", ""], ids=["daemon", "foreground"])
@pytest.mark.parametrize("holder", ["stock", "rollcall"])
def test_a_port_that_an_epmd_holds_is_left_to_it(place, holder, line):
    with SERVERS[holder]() as server:
        assert place.epmd("-port", server.port, *line.split()) == (0, "", "")
        status, out, err = place.epmd("-d", "-port", server.port, *line.split())
        assert (status, out) == (0, "")
        assert f"there is already a epmd running at port {server.port}" in err
        assert server.is_running()
    assert not place.control(server.port).exists()


@pytest.mark.parametrize("line", ["-daemon", ""], ids=["daemon", "foreground"])
def test_a_port_that_something_else_holds_is_told_with_its_name(place, line):
    with FakeServer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        status, out, err = place.epmd("-port", server.port, *line.split())
        assert (status, out) == (1, "")
        assert f"pid {os.getpid()}" in err


def test_many_that_start_at_once_are_one_in_the_end(place):
    port = free_port()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: place.epmd("-port", port, "-daemon"), range(8)))
    assert results == [(0, "", "")] * 8
    assert EpmdClient(port).names() == []


def test_names_are_known_to_the_next_one_after_a_kill(place):
    port = free_port()
    assert place.epmd("-port", port, "-daemon")[0] == 0
    with EpmdClient(port).register("a", listen=True) as a:
        pid = place.pid(port)
        end = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not_running(end), "the end of rollcalld")
        os.close(end)
        assert place.epmd("-port", port, "-daemon") == (0, "", "")
        assert EpmdClient(port).port_please("a").port == a.port
        assert place.epmd("-port", port, "-names")[1].endswith(f"name a at port {a.port}\n")


def test_a_registry_that_is_in_use_is_left_alone_and_that_is_said(place):
    port = free_port()
    place.state_file(port).parent.mkdir(parents=True)
    with Daemon(state=place.state_file(port)) as other:
        with place.epmd_running("-port", port) as process:
            with EpmdClient(port).register("a"):
                assert EpmdClient(port).names() == [("a", 0)]
            place.epmd("-port", port, "-kill")
            assert process.wait(10) == 0
            said = process.stderr.read()
        assert str(other.pid) in said and "memory only" in said
        assert other.client.names() == []


def test_the_addresses_of_a_list_and_loopback_are_listened_on(place):
    port = free_port()
    assert place.epmd("-port", port, "-address", "127.0.0.2,127.0.0.3", "-daemon") == (0, "", "")
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"):
        assert EpmdClient(port, host).names() == []
    with pytest.raises(ConnectionRefusedError):
        EpmdClient(port, "127.0.0.4").names()


def test_every_address_as_a_list_works(place):
    port = free_port()
    assert place.epmd("-port", port, "-address", "0.0.0.0", "-daemon") == (0, "", "")
    for host in ("127.0.0.1", "127.0.0.4"):
        assert EpmdClient(port, host).names() == []


def test_debugging_shows_requests_and_answers(place):
    port = free_port()
    with place.epmd_running("-d", "-port", port) as process:
        EpmdClient(port).port_please("somebody")
        place.epmd("-port", port, "-kill")
        assert process.wait(10) == 0
        assert "somebody" in process.stderr.read()


# --- systemd -----------------------------------------------------------------------------------------------


def activated(place, sockets, *args, env=None):
    """argv and descriptors of an epmd that has these sockets from systemd."""
    moves = " ".join(f"{3 + i}<&{sock.fileno()}" for i, sock in enumerate(sockets))
    script = f'exec {moves}; LISTEN_FDS={len(sockets)} LISTEN_PID=$$ exec "$0" "$@"'
    return [*place.prefix, "bash", "-c", script, built("epmd"), *map(str, args)]


def test_systemd_without_sockets_is_an_error_as_in_stock_epmd(place):
    assert place.epmd("-port", free_port(), "-systemd") == (1, "", "epmd: systemd provides no sockets\n")
    assert place.epmd("-port", free_port(), "-systemd", env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})[0] == 1


def test_systemd_and_daemon_exclude_each_other(place):
    status, out, err = place.epmd("-systemd", "-daemon")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1


def test_with_systemd_the_sockets_and_the_directories_of_the_unit_are_used(place):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        env = clean_environment({**place.env, "STATE_DIRECTORY": f"{place.directory}/a:/b", "RUNTIME_DIRECTORY": f"{place.directory}/r"})
        argv = activated(place, [listener], "-systemd", "-relaxed_command_check")
        process = subprocess.Popen(argv, env=env, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   preexec_fn=die_with_parent())
        try:
            assert EpmdClient(port).names() == []
            assert (place.directory / "a" / "epmd-4369.db").exists()
            assert (place.directory / "r" / "epmd-4369.control").exists()
            assert EpmdClient(port).kill() == b"OK"
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.communicate()


# --- erl ---------------------------------------------------------------------------------------------------


def test_erl_starts_it_and_registers(place):
    port = free_port()
    command = ("-epmd", f"{built('epmd')} -daemon")
    with ErlangNode("a", *command, epmd_port=port, env=place.env, start_epmd=True, prefix=place.prefix) as a:
        listed = EpmdClient(port).names()
        assert [name for name, _ in listed] == ["a"]
        pid = place.pid(port)
        with ErlangNode("b", *command, epmd_port=port, env=place.env, start_epmd=True, prefix=place.prefix) as b:
            assert place.pid(port) == pid
            assert a.ping(b) == "pong"
            assert a.eval("lists:sort([N || {N, _} <- element(2, net_adm:names(localhost))])") == '["a","b"]'
        wait_for(lambda: EpmdClient(port).names() == listed, "b to be gone")
