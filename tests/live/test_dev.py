# SPDX-License-Identifier: Apache-2.0
"""./dev run: what it prints works as printed. In a network of its own, on a copy of the script with a var/ of its own."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lib.epmd_client import EpmdClient
from lib.netns import Namespace
from lib.process import SOURCE, build_directory, clean_environment, die_with_parent, end, wait_for


@pytest.fixture
def network():
    with Namespace() as namespace:
        yield namespace


@pytest.fixture(params=["", "a-deep-directory/" * 8], ids=["short-path", "long-path"])
def checkout(request):
    with tempfile.TemporaryDirectory(prefix="rollcall-dev-") as directory:
        top = Path(directory) / request.param
        top.mkdir(exist_ok=True, parents=True)
        shutil.copy(SOURCE / "dev", top / "dev")
        (top / "build").symlink_to(build_directory())
        yield top


class DevRun:
    """./dev run in a namespace; `text` is what it has printed, `commands` what it says to try."""

    def __init__(self, checkout, network, *args):
        self.network, self.text = network, ""
        # Where the control socket goes if the checkout's path is too long for one.
        self._runtime = tempfile.TemporaryDirectory(prefix="rollcall-run-")
        self.env = clean_environment({"HOME": checkout, "XDG_RUNTIME_DIR": self._runtime.name})
        self.process = subprocess.Popen(
            [*network.prefix, checkout / "dev", "run", *args], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, preexec_fn=die_with_parent(), cwd="/",
        )
        self.read_until(r"Listening on \S+control ")
        self.commands = re.findall(r"^  (\S.*)$", self.text.split("in another terminal:")[1], re.M)

    def read_until(self, pattern, timeout=120):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.process.stdout], [], [], left)[0], f"no {pattern!r} in {self.text!r}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"it ended: {self.text}"
            self.text += piece.decode()

    def try_command(self, command):
        argv = [*self.network.prefix, "bash", "-c", command]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30, cwd="/", check=True).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        self.process.stdout.close()
        self._runtime.cleanup()


@contextlib.contextmanager
def running_node(run, command):
    """The printed erl, with a terminal's patience: its shell reads from a pipe that says nothing."""
    argv = [*run.network.prefix, "bash", "-c", "exec " + command if command.startswith("erl") else command]
    node = subprocess.Popen(argv, env=run.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd="/")
    try:
        yield node
    finally:
        node.stdin.close()
        end(node)


def follow_what_is_printed(run, port):
    """Starts the node, lists it, finds it in the registry."""
    erl, names, sql = run.commands
    client = EpmdClient(port, network=run.network)
    with running_node(run, erl):
        wait_for(lambda: client.port_please("a"), lambda: f"the node: {run.text}", 30)
        assert re.search(r"^name a at port \d+$", run.try_command(names), re.M)
        assert run.try_command(sql).startswith("a|up|")
        return client.port_please("a").port


def test_run_on_4369(checkout, network):
    with DevRun(checkout, network) as run:
        assert len(run.commands) == 3
        assert "ERL_EPMD_PORT" not in run.text
        follow_what_is_printed(run, 4369)
        # Ctrl-C at a terminal.
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(20) == 0


def test_run_says_who_holds_4369_and_takes_the_next_port(checkout, network):
    stock = subprocess.Popen([*network.prefix, "/usr/bin/epmd"], env=clean_environment(), preexec_fn=die_with_parent())
    try:
        client = EpmdClient(4369, network=network)
        wait_for(lambda: _answers(client), "stock epmd")
        with DevRun(checkout, network) as run:
            assert f"epmd (pid {stock.pid}" in run.text
            assert run.commands[0] == "ERL_EPMD_PORT=4370 erl -sname a"
            follow_what_is_printed(run, 4370)
            assert client.names() == []
    finally:
        end(stock)


def test_run_again_after_kill_9_answers_for_the_live_node_at_once(checkout, network):
    client = EpmdClient(4369, network=network)
    with DevRun(checkout, network) as run:
        node = running_node(run, run.commands[0])
        with node:
            port = wait_for(lambda: client.port_please("a"), "the node", 30).port
            # It is found when it is known; what it is promised is promised when its row is in the file.
            wait_for(lambda: run.try_command(run.commands[2]).startswith("a|"), "its row", 30)
            run.process.kill()
            run.process.wait()
            with DevRun(checkout, network) as again:
                assert client.port_please("a").port == port
                assert again.try_command(again.commands[2]).startswith("a|")


def _answers(client):
    with contextlib.suppress(OSError):
        return client.names() == []
    return False


@pytest.mark.parametrize("args", [["frob"], ["run", "x"], ["test", "--frob"], ["build", "x"]], ids=" ".join)
def test_an_unknown_command_or_option_is_one_clear_line(args):
    result = subprocess.run([SOURCE / "dev", *args], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("dev: ") and result.stderr.count("\n") == 1


def test_help_lists_every_command():
    result = subprocess.run([SOURCE / "dev", "help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    for command in ("run", "test", "build", "help"):
        assert re.search(rf"^  {command}\b", result.stdout, re.M)
