# SPDX-License-Identifier: Apache-2.0
"""The configuration files of a real daemon: what they open and close, what a bad one does not do, reload."""

import contextlib
import os
import pwd
import signal
import subprocess
import time

import pytest

from daemon.helpers import counter, is_degraded, needs_root, status
from lib.daemon import Daemon, NotReady, free_port, run_rollcalld
from lib.epmd_client import Refused, alive2, frame
from lib.process import wait_for

# Says what the daemon answered, then holds the name until its standard input ends.
REGISTER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10) as s:
    s.sendall(bytes.fromhex(sys.argv[2]))
    print(s.recv(100).hex(), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def registered_by(uid, daemon, name):
    """Another user tries to register; the result byte (0: registered, and held within the block)."""
    argv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-c", REGISTER,
            str(daemon.port), frame(alive2(name, 4711)).hex()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield bytes.fromhex(child.stdout.readline())[1]
        finally:
            child.stdin.close()


class Files:
    """rollcall.conf and rollcall.conf.d of one test."""

    def __init__(self, directory):
        self.main = directory / "rollcall.conf"
        self.options = ["--config", str(self.main)]
        self.main.write_text("")

    def write(self, text):
        self.main.write_text(text)

    def drop_in(self, name, text):
        path = self.main.with_name("rollcall.conf.d") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def reload(daemon):
    """SIGHUP, and until the files have been read."""
    said = "The configuration "
    before = daemon.log().count(said)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.log().count(said) > before, lambda: f"a word on the configuration:\n{daemon.log()}")


def check(*options, **kwargs):
    return run_rollcalld("--check-config", *options, **kwargs)


# --- who may register what --------------------------------------------------------------------------


@needs_root
def test_a_name_reserved_for_a_uid_is_for_that_uid(files):
    files.write("[reserve mail]\nnames = mail* post\nfor = uid:4001\n")
    with Daemon(*files.options) as daemon:
        with registered_by(4001, daemon, "mail1") as result:
            assert result == 0
            assert daemon.client.port_please("mail1").port == 4711
        for name in ("mail2", "post"):
            with registered_by(4002, daemon, name) as result:
                assert result == 1
                assert daemon.client.port_please(name) is None
        with registered_by(4002, daemon, "postman") as result:
            assert result == 0
        assert counter(daemon, "refused.name-reserved") == 2
        daemon.wait_for_log("mail2 at port 4711 is refused to uid 4002")
        assert "[reserve mail] keeps it for uid:4001" in daemon.log()


@needs_root
def test_a_name_reserved_for_a_user_is_for_that_user(files):
    user = pwd.getpwnam("nobody")
    files.write("[reserve n]\nnames = n\nfor = user:nobody\n")
    with Daemon(*files.options) as daemon:
        with registered_by(user.pw_uid, daemon, "n") as result:
            assert result == 0
        with pytest.raises(Refused):
            daemon.client.register("n")


def test_root_has_no_right_to_a_name_reserved_for_another(files):
    files.write("[reserve a]\nnames = a\nfor = uid:4001\n[reserve b]\nnames = b\nfor =\n")
    with Daemon(*files.options) as daemon:
        for name in "ab":
            with pytest.raises(Refused):
                daemon.client.register(name)


def test_a_user_that_does_not_exist_is_told_and_has_nothing(files):
    files.write("[reserve a]\nnames = a\nfor = user:no-user-of-that-name\n")
    with Daemon(*files.options) as daemon:
        daemon.wait_for_log("'user:no-user-of-that-name' does not exist")
        assert not is_degraded(daemon)
        with pytest.raises(Refused):
            daemon.client.register("a")


def test_a_name_that_is_held_when_it_is_reserved_stays_until_its_node_leaves(files):
    with Daemon(*files.options) as daemon:
        with daemon.client.register("a"):
            files.write("[reserve a]\nnames = a\nfor = uid:4001\n")
            reload(daemon)
            assert daemon.client.port_please("a") is not None
        wait_for(lambda: daemon.client.port_please("a") is None, "end of the node")
        with pytest.raises(Refused):
            daemon.client.register("a")


# --- reload -----------------------------------------------------------------------------------------


def test_a_reload_puts_into_force_what_may_change(files):
    with Daemon(*files.options) as daemon:
        with daemon.client.register("a"), daemon.client.register("b"):
            files.write("[limits]\nnodes-per-uid = 3\n[history]\ndays = 7\n[log]\nlevel = debug\n")
            reload(daemon)
            assert status(daemon)["nodes"]["max_per_uid"] == 3
            daemon.client.names()
            daemon.wait_for_log("** got NAMES_REQ")
            with daemon.client.register("c"), pytest.raises(Refused):
                daemon.client.register("d")
            assert counter(daemon, "refused.uid-limit") == 1
            files.write("")
            reload(daemon)
            with daemon.client.register("c"), daemon.client.register("d"):
                pass


def test_a_reload_changes_how_long_silence_is_borne(files):
    with Daemon(*files.options) as daemon:
        files.write("[limits]\npacket-timeout = 1\n")
        reload(daemon)
        with daemon.client.connect() as sock:
            sock.settimeout(20)
            started = time.monotonic()
            assert sock.recv(1) == b""
            assert time.monotonic() - started < 10


def test_a_bad_file_leaves_what_was_in_force(files):
    files.write("[reserve a]\nnames = a\nfor = uid:4001\n")
    with Daemon(*files.options) as daemon:
        files.write("[limits]\nnodes-per-uid = 1\n[reserve a]\nnames = b\nfor = uid:4001\n[acess]\nx = y\n")
        reload(daemon)
        daemon.wait_for_log(f"{files.main}:6: there is no section [acess]")
        found = status(daemon)
        assert [reason for reason in found["degraded"] if "configuration: " in reason and ":6: " in reason], found
        assert found["nodes"]["max_per_uid"] > 1
        with pytest.raises(Refused):
            daemon.client.register("a")
        with daemon.client.register("b"):
            pass
        files.write("[reserve a]\nnames = b\nfor = uid:4001\n")
        reload(daemon)
        assert not is_degraded(daemon)
        with pytest.raises(Refused):
            daemon.client.register("b")
        with daemon.client.register("a"):
            pass


def test_a_bad_line_at_the_start_is_left_out_and_all_else_counts(files):
    files.write("[access]\nlist-from = lcoal\n[limits]\nnodes-per-uid = 1\nbogus\n")
    with Daemon(*files.options) as daemon:
        daemon.wait_for_log("2 errors: what is bad is left out")
        assert is_degraded(daemon)
        with daemon.client.register("a"), pytest.raises(Refused):
            daemon.client.register("b")
        files.write("")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: not is_degraded(daemon), "health")


def test_files_that_go_away_leave_nothing_behind(files):
    path = files.drop_in("a.conf", "[limits]\nnodes-per-uid = 1\n")
    with Daemon(*files.options) as daemon:
        assert status(daemon)["nodes"]["max_per_uid"] == 1
        path.unlink()
        reload(daemon)
        assert status(daemon)["nodes"]["max_per_uid"] > 1


def test_options_count_more_than_files_also_after_a_reload(files):
    files.write("[limits]\nnodes-per-uid = 1\n")
    with Daemon(*files.options, "--max-nodes-per-uid", "2") as daemon:
        assert status(daemon)["nodes"]["max_per_uid"] == 2
        reload(daemon)
        assert status(daemon)["nodes"]["max_per_uid"] == 2


def test_a_file_that_cannot_be_read_now_keeps_nobody_waiting(files):
    """A pipe without a writer in place of a file; an endless stream of reloads meanwhile."""
    with Daemon(*files.options) as daemon:
        files.main.unlink()
        os.mkfifo(files.main)
        for _ in range(50):
            daemon.signal(signal.SIGHUP)
            assert daemon.client.names() == []
        daemon.wait_for_log("cannot be read: it is no file")
        assert daemon.stop() == 0


def test_the_service_manager_is_told_when_the_reload_is_over(files):
    with Daemon(*files.options, notify=True) as daemon:
        files.write("[limits]\nbogus = 1\n")
        reload(daemon)

        def is_over():
            lines = daemon.notify.lines()
            return "RELOADING=1" in lines and "READY=1" in lines[lines.index("RELOADING=1"):]

        wait_for(is_over, "READY=1 after RELOADING=1")
        assert "configuration: " in daemon.notify.value("STATUS")


# --- for those who ask --------------------------------------------------------------------------------


def test_check_config_says_what_is_wrong_and_where(files):
    done = check(*files.options)
    assert (done.returncode, done.stderr) == (0, "")
    files.write("[access]\nlist-from = lcoal\nlookup-form = any\n")
    path = files.drop_in("a.conf", "[reserve a]\nnames = a\nfor = user:no-user-of-that-name\n")
    done = check(*files.options)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{files.main}:2: list-from 'lcoal' is not")
    assert lines[1].startswith(f"{files.main}:3: there is no setting 'lookup-form'")
    assert lines[2].startswith(f"warning: {path}:3: 'user:no-user-of-that-name' does not exist")
    files.write("")
    assert check(*files.options).returncode == 0  # a warning is no error


def test_check_config_of_a_missing_file_that_was_asked_for_fails(files):
    files.main.unlink()
    assert check(*files.options).returncode == 1
    assert check("--config", "none").returncode == 0


def test_what_dump_config_prints_can_be_read_again(files):
    files.write("[access]\nlookup-from =\nlist-from = 10.0.0.0/8, fd00::/8\n"
                "[reserve a]\nnames = a* [bc]?\nfor = uid:1, unit:x@*.service\n")
    first = run_rollcalld("--dump-config", *files.options, "--hold", "0.5")
    assert first.returncode == 0, first.stderr
    assert "# --hold\nhold = 0.5\n" in first.stdout
    assert f"# {files.main}:2\nlookup-from =\n" in first.stdout
    files.write(first.stdout)
    assert check(*files.options).returncode == 0
    second = run_rollcalld("--dump-config", *files.options)

    def settings(text):
        return [line for line in text.splitlines() if not line.startswith("#")]

    assert settings(second.stdout) == settings(first.stdout)


# --- a service with a bad option ---------------------------------------------------------------------------


def test_a_bad_option_ends_a_daemon_that_was_started_by_hand():
    with pytest.raises(NotReady) as failure:
        Daemon("--bogus").__enter__()
    assert failure.value.status == 2


@pytest.mark.parametrize("options, word", [
    (["--bogus"], "--bogus"),
    (["--packet-timeout", "x"], "--packet-timeout 'x'"),
    (["start"], "'start'"),
    (["-x"], "-x"),
])
def test_a_service_with_a_bad_option_serves_without_it_and_says_so(options, word):
    with Daemon(*options, "--max-nodes-per-uid", "7", notify=True) as daemon:
        found = status(daemon)
        assert [reason for reason in found["degraded"] if word in reason], found
        assert word in daemon.log()
        assert found["nodes"]["max_per_uid"] == 7
        with daemon.client.register("a"):
            assert [name for name, _ in daemon.client.names()] == ["a"]
        assert daemon.stop() == 0


def test_a_service_whose_addresses_are_all_bad_answers_this_machine_only():
    port = free_port()
    with Daemon("--port", port, port=port, notify=True, listen=["nonsense", "127.0.0.1:0"]) as daemon:
        found = status(daemon)
        addresses = " ".join(entry["address"] for entry in found["sockets"])
        assert f"127.0.0.1:{port}" in addresses and "*" not in addresses and "0.0.0.0" not in addresses, found
        assert any("2 errors" in reason and "'nonsense'" in reason for reason in found["degraded"]), found
