# SPDX-License-Identifier: Apache-2.0
"""Each call on the registry's files fails once, or is done by half, at each point where SQLite or we make it
(preload_disk.c); and each kind of call fails for a while. FAULTS.md tells the outcomes."""

import contextlib
import fcntl
import os
import random
import subprocess
import tempfile
import time

import pytest

from daemon.fault_scenario import Story, Template
from daemon.helpers import SickDisk, assert_intact, closing_all, is_degraded, names_on_disk, status
from lib.daemon import Daemon
from lib.process import die_with_parent, end, wait_for

LONG = os.environ.get("ROLLCALL_LONG") == "1"

ACTIONS = {
    "open": ["fail EMFILE", "fail EIO"],
    "read": ["fail EIO", "fail EINTR", "short"],
    "write": ["fail ENOSPC", "fail EIO", "fail EINTR", "short"],
    "sync": ["fail EIO", "fail ENOSPC"],
    "truncate": ["fail EIO", "fail ENOSPC"],
    "map": ["fail ENOMEM"],
    "lock": ["fail ENOLCK", "fail EIO"],
    "stat": ["fail EIO", "fail ENOMEM"],
}
# How many points of each call are tried where time is short.
SAMPLE = {"open": 3, "read": 3, "write": 5, "sync": 6, "truncate": 4, "lock": 2, "stat": 4}


@pytest.fixture(scope="module")
def template():
    with tempfile.TemporaryDirectory() as directory, contextlib.closing(Template(directory)) as template:
        yield template


@contextlib.contextmanager
def story_on(template, *rules):
    with Story(template) as story:
        disk = SickDisk(story.daemon)
        disk.set(*rules)
        yield story, disk


@pytest.fixture(scope="module")
def counts(template):
    with story_on(template) as (story, disk):
        story.play()
        return disk.counts()


def play(template, rule):
    print(rule)
    with story_on(template, rule) as (story, disk):
        story.play()
        disk.set()
        story.conclude()
        assert story.ended == [], story.daemon.log()
        assert not list(story.daemon.directory.glob("*.corrupt*")), "a good file was set aside"


@pytest.mark.parametrize("call, action", [(call, action) for call, actions in ACTIONS.items() for action in actions])
def test_a_call_on_the_files_that_fails_once(template, counts, call, action):
    assert counts[call] > 0
    numbers = range(1, counts[call] + 1)
    if not LONG:
        numbers = random.Random(call + action).sample(numbers, min(SAMPLE.get(call, 1), len(numbers)))
    for number in numbers:
        play(template, f"{call} {action} at {number}")


@pytest.mark.parametrize("call, action", [
    ("open", "fail EMFILE"), ("read", "fail EIO"), ("write", "short"), ("sync", "fail EIO"), ("truncate", "fail EIO"),
    ("map", "fail ENOMEM"), ("lock", "fail ENOLCK"), ("stat", "fail EIO"),
])  # fmt: skip
def test_calls_that_fail_until_the_disk_is_mended(call, action):
    """From a start on: the nodes are served, loudly where they cannot be written."""
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon, closing_all() as nodes:
        nodes.append(daemon.client.register("before", listen=True))
        daemon.kill9()
        disk.set(f"{call} {action}")
        began = time.monotonic()
        daemon.start()
        for i in range(3):
            nodes.append(daemon.client.register(f"n{i}", listen=True))
            assert daemon.client.port_please(f"n{i}").port == nodes[-1].port
        assert time.monotonic() - began < 12
        is_bad = is_degraded(daemon)
        disk.set()
        wait_for(lambda: not is_degraded(daemon), lambda: f"health: {status(daemon)}\n{daemon.log()}", 15)
        assert ("Degraded" in daemon.log()) == is_bad or call in ("sync", "truncate"), daemon.log()
        expected = {node.name: node.port for node in nodes}
        wait_for(lambda: dict(daemon.client.names()) == expected, lambda: f"all names: {daemon.client.names()}\n{daemon.log()}")
        wait_for(lambda: {name: port for name, (port, _) in names_on_disk(daemon.state).items()} == expected, "all rows")
        assert_intact(daemon.state)
        daemon.kill9()
        daemon.start()
        assert dict(daemon.client.names()) == expected


@pytest.mark.long
def test_a_file_that_stays_unreadable_in_places_is_set_aside():
    """As a damaged one: a disk that is bad in one place must not keep everything from being written."""
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon, closing_all() as nodes:
        nodes.append(daemon.client.register("before", listen=True))
        daemon.stop()
        disk.set("read fail EIO beyond 8192")
        daemon.start()
        nodes.append(daemon.client.register("after", listen=True))
        assert is_degraded(daemon)
        assert "cannot be read (Input/output error)" in daemon.log()
        daemon.wait_for_log("it is set aside as", 30)
        disk.set()
        wait_for(lambda: not is_degraded(daemon), lambda: f"health: {status(daemon)}\n{daemon.log()}", 15)
        assert "after" in names_on_disk(daemon.state)


def test_a_lock_that_somebody_else_had_for_a_while_is_taken_again():
    """The lock file was deleted, and another daemon was quicker to make it anew."""
    with Daemon() as daemon, daemon.client.register("a", listen=True) as a:
        path = daemon.state.with_name("registry.db.lock")
        taken = path.with_name("taken")
        with open(taken, "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            taken.rename(path)
            wait_for(lambda: is_degraded(daemon), "notice", 5)
            assert "in use by another daemon" in str(status(daemon)["registry"])
            with daemon.client.register("b", listen=True) as b:
                assert daemon.client.port_please("b").port == b.port
                assert "b" not in names_on_disk(daemon.state), "what is another daemon's by now was written"
        wait_for(lambda: not is_degraded(daemon), lambda: f"health: {status(daemon)}\n{daemon.log()}", 10)
        assert names_on_disk(daemon.state)["a"] == (a.port, "up")


@pytest.mark.parametrize("seconds", [0.3, None], ids=["for_a_moment", "until_it_is_told"])
def test_a_file_that_somebody_has_locked_at_the_start(seconds):
    """As a tool does that copies files: what comes in a moment is waited for, what does not is read later."""
    with Daemon() as daemon, daemon.client.register("a", listen=True) as a:
        daemon.kill9()
        locker = subprocess.Popen(
            ["/usr/bin/python3", "-c", LOCK, daemon.state, str(seconds or 60)],
            stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent(),
        )  # fmt: skip
        try:
            assert locker.stdout.readline() == "locked\n"
            daemon.start()
            if seconds:
                assert dict(daemon.client.names()) == {"a": a.port}
                assert not is_degraded(daemon)
            else:
                with daemon.client.register("b", listen=True):
                    assert daemon.client.port_please("b")
                wait_for(lambda: is_degraded(daemon), "degradation", 5)
                end(locker)
                wait_for(lambda: dict(daemon.client.names()) == {"a": a.port}, "the node of the file", 10)
                wait_for(lambda: not is_degraded(daemon), lambda: f"health: {status(daemon)}\n{daemon.log()}", 10)
        finally:
            end(locker)
            locker.stdout.close()


LOCK = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""
