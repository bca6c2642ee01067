# SPDX-License-Identifier: Apache-2.0
"""P1 and P2: what a client has been told is in the file, and no trouble with the file keeps a node from starting or a
lookup waiting."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from daemon.helpers import (
    HERE,
    SickDisk,
    assert_intact,
    closing_all,
    compiled,
    counter,
    database,
    end_traced,
    history,
    is_degraded,
    names_on_disk,
    needs_root,
    query,
    status,
    traced,
    unregister,
)
from lib.daemon import Daemon, NotReady
from lib.epmd_client import ClosedWithoutAnswer, Refused, alive2, frame
from lib.process import built, die_with_parent, end, wait_for

MB = 1024 * 1024


def with_suffix(path, suffix):
    return path.with_name(path.name + suffix)


def wait_healthy(daemon, timeout=15):
    wait_for(lambda: not is_degraded(daemon), lambda: f"health: {status(daemon)}\n{daemon.log()}", timeout)


def wait_degraded(daemon, timeout=15):
    wait_for(lambda: is_degraded(daemon), lambda: f"degradation: {daemon.log()}", timeout)


def assert_answers(daemon, name="probe", within=3.0):
    """A node can start and be found: the registration within a bound that lets a commit hang, the lookup at once."""
    began = time.monotonic()
    node = daemon.client.register(name, 4711)
    assert time.monotonic() - began < within
    try:
        began = time.monotonic()
        assert daemon.client.port_please(name).port == 4711
        assert name in dict(daemon.client.names())
        assert time.monotonic() - began < 0.5
    finally:
        unregister(node)


# --- acknowledged is kept -------------------------------------------------------------------------


def test_registration_is_on_disk_when_it_is_answered(daemon):
    with closing_all() as nodes:
        for i in range(200):
            nodes.append(daemon.client.register(f"n{i}", 1000 + i))
            assert names_on_disk(daemon.state)[f"n{i}"] == (1000 + i, "up")


def test_first_registration_after_a_start_is_on_disk_when_it_is_answered():
    for _ in range(30):
        with Daemon() as daemon, daemon.client.register("a", 1):
            assert names_on_disk(daemon.state) == {"a": (1, "up")}
            assert counter(daemon, "nodes.answered-unwritten") == 0


def test_everything_that_was_announced_is_on_disk(daemon):
    with daemon.client.register("\u00e4" * 255, listen=True, type=72, protocol=3, highest=77, lowest=4, extra=b"\0\1\xff") as node:
        columns = "name, port, type, protocol, highest_version, lowest_version, creation, extra, uid, state, scope, state_source"
        assert query(daemon.state, f"SELECT {columns} FROM registrations") == [
            ("\u00e4" * 255, node.port, 72, 3, 77, 4, node.creation, b"\0\1\xff", os.geteuid(), "up", "*", "connection")
        ]


def test_what_is_not_known_of_a_node_is_null(daemon):
    """Whoever builds on the views sees NULL for it, and no word or number that means nothing."""
    with daemon.client.register("a", listen=True) as node:
        assert query(daemon.state, "SELECT host, metadata, helper, state_since = since FROM nodes") == [(None, None, 0, 1)]
        unregister(node)
    wait_for(lambda: history(daemon.state), "its end")
    assert query(daemon.state, "SELECT how, state, state_source, host, by, helper FROM history") == [
        ("left", "up", "connection", None, None, 0)
    ]


def test_who_was_refused_a_name_last_is_in_the_file(daemon):
    ask = "SELECT name, reason, port, uid FROM refused"
    with daemon.client.register("a", listen=True):
        for port in (4711, 4712):
            with pytest.raises(Refused):
                daemon.client.register("a", port)
        # Of those within a second the first is written.
        wait_for(lambda: query(daemon.state, ask) == [("a", "name-taken", 4711, os.geteuid())], "the refusal")
        daemon.restart()
        assert query(daemon.state, ask) == [("a", "name-taken", 4711, os.geteuid())]


def test_last_state_of_a_node_that_was_found_dead_is_in_the_history(daemon):
    """What it was when that was last known, not what it became by our being away."""
    with daemon.client.register("a", listen=True) as node:
        daemon.kill9()
        node.listener.close()
        daemon.start()
    wait_for(lambda: history(daemon.state), "its end")
    assert query(daemon.state, "SELECT how, state FROM history") == [("found-dead", "up")]


@pytest.mark.parametrize("n_kills", [25, pytest.param(600, marks=pytest.mark.long)])
def test_kill_at_any_moment_of_many_registrations(n_kills):
    """Several clients register all the time; whatever one of them has been told is in the file."""
    chance = random.Random(1)
    with Daemon("--log-level", "warning") as daemon, closing_all() as keep:
        for round_ in range(n_kills):
            acknowledged, threads = [], []

            def register_on(which):
                with contextlib.suppress(OSError, ClosedWithoutAnswer):
                    for i in range(10000):
                        node = daemon.client.register(f"r{round_}c{which}n{i}", i)
                        keep.append(node)
                        acknowledged.append(node.name)

            for which in range(6):
                threads.append(threading.Thread(target=register_on, args=[which]))
                threads[-1].start()
            time.sleep(chance.uniform(0.005, 0.06))
            daemon.kill9()
            for thread in threads:
                thread.join()
            assert_intact(daemon.state)
            found = names_on_disk(daemon.state)
            assert set(acknowledged) <= found.keys(), sorted(set(acknowledged) - found.keys())[:5]
            while keep:
                keep.pop().close()
            daemon.start()
            assert dict(daemon.client.names()) == {name: port for name, (port, _) in found.items()}
            if round_ % 20 == 19:
                # One user may have so many at a time, and these are awaited for a while.
                daemon.stop()
                daemon.state.unlink()
                daemon.start()


# System calls of a registration, in the two threads. What is not made is not hurt by being listed.
STEPS = [
    "epoll_wait", "accept4", "recvfrom", "getsockname", "sendto", "recvmsg", "futex", "write", "read", "sendmsg",
    "epoll_ctl", "timerfd_settime", "newfstatat", "fcntl", "pwrite64", "pread64", "fdatasync", "ftruncate",
]  # fmt: skip


class Strace:
    """strace attached to all threads of a running daemon."""

    def __init__(self, daemon, *args):
        self.output = daemon.directory / "strace"
        self.process = subprocess.Popen(
            ["strace", "-f", "-o", self.output, *args, "-p", str(daemon.pid)],
            stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent(),
        )  # fmt: skip
        line = self.process.stderr.readline()
        assert "attached with 2 threads" in line, line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)
        self.process.stderr.close()

    def count(self, syscall):
        """The most calls by one thread: that is how strace counts."""
        lines = [line.split(None, 1) for line in self.output.read_text().splitlines()]
        threads = [thread for thread, call in lines if call.startswith(syscall + "(")]
        return max((threads.count(thread) for thread in threads), default=0)


def count_calls(syscall):
    with Daemon() as daemon:
        unregister(daemon.client.register("first", listen=True))
        with Strace(daemon, "-e", f"trace={syscall}") as strace, daemon.client.register("a", listen=True) as node:
            unregister(node)
            names_on_disk(daemon.state)
        return strace.count(syscall)


def register_if_possible(daemon, name, listener):
    """A Registration, or None where the daemon ended before it answered."""
    with contextlib.suppress(ClosedWithoutAnswer, ConnectionError):
        return daemon.client.register(name, listener.getsockname()[1])
    return None


@pytest.mark.parametrize("syscall", STEPS)
def test_kill_at_every_step_of_a_registration(daemon, syscall):
    """Acknowledged is kept; what is not acknowledged is there whole or not at all."""
    ports, acknowledged, n_killed = {}, set(), 0
    n_steps = count_calls(syscall)
    with closing_all() as keep:
        for step in range(1, n_steps + 1):
            name = f"n{step}"
            listener = daemon.client.listen()
            ports[name] = listener.getsockname()[1]
            keep.append(listener)
            with Strace(daemon, "-e", f"trace={syscall}", "-e", f"inject={syscall}:signal=KILL:when={step}"):
                if node := register_if_possible(daemon, name, listener):
                    acknowledged.add(name)
                    keep.append(node)
                else:
                    n_killed += 1
                daemon.kill9()

            assert_intact(daemon.state)
            found = {name: port for name, (port, _) in names_on_disk(daemon.state).items()}
            assert acknowledged <= found.keys(), step
            assert found.items() <= ports.items(), step
            daemon.start()
            assert dict(daemon.client.names()) == found
            assert daemon.client.port_please("unknown") is None
    if syscall in ("accept4", "recvfrom", "sendmsg", "pwrite64", "write", "fcntl", "newfstatat"):
        assert n_steps > 0 and n_killed > 0, f"{n_killed} of {n_steps} kills came before the answer"


@pytest.mark.parametrize("syscall", ["pwrite64", "fcntl", "futex", "newfstatat", "write", "sendmsg"])
def test_kill_at_every_step_of_the_end_of_a_registration(daemon, syscall):
    """A name whose node has gone is gone after the next start, or awaited for a while if that was not written."""
    for step in range(1, count_calls(syscall) + 1):
        node = daemon.client.register("a", listen=True)
        with Strace(daemon, "-e", f"trace={syscall}", "-e", f"inject={syscall}:signal=KILL:when={step}"):
            node.close()
            with contextlib.suppress(OSError, ClosedWithoutAnswer):
                wait_for(lambda: daemon.client.port_please("a") is None, "end")
                names_on_disk(daemon.state)
            daemon.kill9()
        assert_intact(daemon.state)
        daemon.start()
        # The listener is gone as well, so the first answer is right already.
        assert daemon.client.names() == []
        wait_for(lambda: len(history(daemon.state, "a")) == step, "history")
        assert history(daemon.state, "a")[-1][1] in ("left", "found-dead")


@pytest.mark.parametrize("syscall", ["pwrite64", "fdatasync", "openat", "ftruncate", "unlink", "write"])
@pytest.mark.parametrize("with_rows", [False, True], ids=["with_a_new_file", "with_rows_to_keep"])
def test_kill_at_every_step_of_a_start(syscall, with_rows):
    with Daemon() as daemon, closing_all() as nodes:
        if with_rows:
            nodes += [daemon.client.register(f"n{i}", listen=True) for i in range(3)]
        expected = {node.name: node.port for node in nodes}
        daemon.kill9()
        if not with_rows:
            daemon.state.unlink()
        kept = Path(tempfile.mkdtemp(dir=daemon.directory))
        for file in daemon.directory.glob("registry.db*"):
            shutil.copy(file, kept)

        for step in range(1, 100):
            for file in daemon.directory.glob("registry.db*"):
                file.unlink()
            for file in kept.iterdir():
                shutil.copy(file, daemon.directory)
            inject = f"inject={syscall}:signal=KILL:when={step}"
            daemon.wrapper = traced("-o", "/dev/null", "-e", f"trace={syscall}", "-e", inject)
            try:
                daemon.start()
                is_over = True
                end_traced(daemon)
            except NotReady:
                is_over = False
            daemon.wrapper = []
            daemon.start()
            assert dict(daemon.client.names()) == expected, step
            assert not is_degraded(daemon)
            daemon.stop()
            assert_intact(daemon.state)
            if is_over:
                break
        assert is_over
        assert step > 1 or syscall not in ("openat", "pwrite64"), "never killed"


# --- who asks the disk ----------------------------------------------------------------------------


def test_loop_never_touches_the_file(daemon):
    unregister(daemon.client.register("first", listen=True))
    with Strace(daemon, "-y") as strace, closing_all() as nodes:
        for i in range(20):
            nodes.append(daemon.client.register(f"n{i}", listen=True))
        daemon.client.names()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("Looked again")
        status(daemon)
    lines = [line for line in strace.output.read_text().splitlines() if "registry.db" in line]
    assert lines, "the writer's calls can be seen"
    assert not [line for line in lines if line.split()[0] == str(daemon.pid)]


def test_request_is_read_as_soon_as_its_connection_is_accepted(daemon):
    """Without a turn of the loop in between."""
    with Strace(daemon, "-e", "trace=accept4,recvfrom,epoll_wait") as strace:
        for _ in range(10):
            assert daemon.client.port_please("unknown") is None
    lines = [line.split(None, 1)[1] for line in strace.output.read_text().splitlines()]
    # One that was interrupted by the other thread's is told twice.
    lines = [line for line in lines if re.search(r"\) += ", line) and not ("accept4" in line and "EAGAIN" in line)]
    calls = [line.removeprefix("<... ").split("(")[0].split()[0] for line in lines]
    assert calls.count("accept4") == 10, lines
    assert all(calls[i + 1] == "recvfrom" for i, call in enumerate(calls) if call == "accept4"), lines


# --- the views ------------------------------------------------------------------------------------


def test_nodes_and_history_can_be_read_while_the_daemon_runs(daemon):
    began = time.time()
    with daemon.client.register("a", listen=True, type=72) as a, daemon.client.register("b", 2):
        unregister(daemon.client.register("c", 3, highest=5))
        wait_for(lambda: history(daemon.state), "history")
        rows = daemon.sql("SELECT name, state, port, type, scope, creation, uid FROM nodes")
        uid = str(os.geteuid())
        assert rows[0] == ["a", "up", str(a.port), "hidden", "*", str(a.creation), uid]
        assert rows[1][:5] == ["b", "up", "2", "normal", "*"]
        ((name, since, until, how, why, port),) = daemon.sql("SELECT name, since, until, how, why, port FROM history")
        assert (name, how, why, port) == ("c", "left", "its connection ended", "3")
        for text in (since, until):
            then = time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S")) - time.timezone
            assert began - 2 <= then <= time.time() + 2


def test_history_tells_who_was_when_and_why(daemon):
    unregister(daemon.client.register("left", 1))
    holder = daemon.client.register("replaced", listen=True)
    holder.close_listener()
    wait_for(lambda: ("stopping",) in query(daemon.state, "SELECT state FROM nodes"), "state")
    with daemon.client.register("replaced", 2), daemon.client.register("dead", listen=True) as dead:
        daemon.kill9()
        dead.close()
    holder.close()
    daemon.start()
    wait_for(lambda: len(history(daemon.state)) >= 3, "history")
    assert dict(history(daemon.state)[:2]) == {"left": "left", "replaced": "replaced"}
    assert ("dead", "found-dead") in history(daemon.state)


def test_history_is_bounded_per_name_and_in_rows():
    with Daemon("--history-per-name", "5", "--history-rows", "40") as daemon:
        for i in range(12):
            unregister(daemon.client.register("often", 1 + i))
        ports = "SELECT port FROM history WHERE name = 'often'"
        wait_for(lambda: query(daemon.state, ports) == [(port,) for port in range(8, 13)], "the last five of that name")
        for i in range(600):
            unregister(daemon.client.register(f"n{i}", 1))
        wait_for(lambda: len(history(daemon.state)) <= 40 + 256, "bound in rows")
        daemon.restart()
        wait_for(lambda: len(history(daemon.state)) <= 40, "bound in rows after a start", 10)
        assert history(daemon.state)[-1] == ("n599", "left"), "the oldest go first"


# --- where the file is ----------------------------------------------------------------------------


def test_files_are_for_the_group_to_read():
    for umask in (0, 0o077):
        with tempfile.TemporaryDirectory() as directory:
            old = os.umask(umask)
            try:
                state = Path(directory) / "deep" / "er" / "registry.db"
                with Daemon(state=state) as daemon, daemon.client.register("a", 1):
                    assert state.parent.stat().st_mode & 0o7777 == 0o750
                    for path in (state, with_suffix(state, "-wal"), with_suffix(state, "-shm")):
                        assert path.stat().st_mode & 0o7777 == 0o640, path
            finally:
                os.umask(old)


def test_wal_files_stay_after_a_clean_stop(daemon):
    unregister(daemon.client.register("a", 1))
    assert daemon.stop() == 0
    assert with_suffix(daemon.state, "-wal").exists() and with_suffix(daemon.state, "-shm").exists()
    assert history(daemon.state) == [("a", "left")]


@pytest.mark.parametrize(
    "env, below",
    [
        ({"STATE_DIRECTORY": "{0}/s"}, "s/registry.db"),
        ({"STATE_DIRECTORY": "{0}/s:{0}/t", "XDG_STATE_HOME": "{0}/x"}, "s/registry.db"),
    ],
)
def test_default_file(env, below):
    with tempfile.TemporaryDirectory() as directory:
        env = {key: value.format(directory) for key, value in env.items()}
        with Daemon(state=False, env=env) as daemon, daemon.client.register("a", 1):
            assert names_on_disk(Path(directory) / below) == {"a": (1, "up")}
            assert status(daemon)["registry"]["path"] == str(Path(directory) / below)


@needs_root
def test_default_places_of_root():
    script = 'mount -t tmpfs none /var/lib && mount -t tmpfs none /run && exec "$@"'
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    with Daemon(state=False, wrapper=private) as daemon, daemon.client.register("a", 1):
        name = f"registry-{daemon.port}.db"  # at 4369 it is registry.db
        assert status(daemon)["registry"]["path"] == f"/var/lib/rollcall/{name}"
        assert not is_degraded(daemon)
        root = Path(f"/proc/{daemon.pid}/root")
        assert (root / "var/lib/rollcall").stat().st_mode & 0o7777 == 0o750
        assert (root / "var/lib/rollcall" / name).stat().st_mode & 0o7777 == 0o640


@needs_root
@pytest.mark.parametrize(
    "env, below",
    [
        ({"XDG_STATE_HOME": "{0}/x", "HOME": "{0}/h"}, "x/rollcall/registry-{}.db"),
        ({"HOME": "{0}/h"}, "h/.local/state/rollcall/registry-{}.db"),
    ],
)
def test_default_file_of_other_users_than_root(env, below):
    with owned_directory(UID, GID) as directory:
        env = {key: value.format(directory) for key, value in env.items()}
        with as_user(Daemon(state=False, env=env, directory=directory)) as daemon, daemon.client.register("a", 1):
            assert names_on_disk(directory / below.format(daemon.port)) == {"a": (1, "up")}


def test_status_tells_file_and_sizes(daemon):
    with daemon.client.register("a", 1):
        # Sizes are noted with each commit.
        registry = status(daemon)["registry"]
        assert (registry["path"], registry["health"], registry["schema_version"]) == (str(daemon.state), "ok", 3)
        assert registry["revision"] == registry["committed_revision"] > 0
        assert registry["file_bytes"] == daemon.state.stat().st_size > 0
        assert registry["wal_bytes"] == with_suffix(daemon.state, "-wal").stat().st_size > 0


# --- a second daemon ------------------------------------------------------------------------------


def test_second_daemon_refuses_a_file_that_was_named(daemon):
    with daemon.client.register("a", 1), tempfile.TemporaryDirectory() as directory:
        second = Daemon(directory=directory, state=daemon.state)
        with pytest.raises(NotReady) as failure:
            second.start()
        assert failure.value.status == 1
        assert f"in use by process {daemon.pid}" in failure.value.log
        assert len(failure.value.log.splitlines()) == 1
        assert names_on_disk(daemon.state) == {"a": (1, "up")}
        assert_answers(daemon)


@pytest.mark.parametrize("how", ["by --state-if-free", "by default"])
def test_second_daemon_serves_from_memory_where_the_file_was_not_demanded(daemon, how):
    with daemon.client.register("a", listen=True) as a, tempfile.TemporaryDirectory() as directory:
        if how == "by default":
            second = Daemon(state=False, directory=directory, env={"STATE_DIRECTORY": str(daemon.directory)})
        else:
            second = Daemon("--state-if-free", daemon.state, state=False, directory=directory)
        with second:
            assert re.search(rf"in use by .*pid {daemon.pid}\b", second.log())
            assert "memory only" in second.log()
            assert is_degraded(second)
            assert_answers(second)
            assert names_on_disk(daemon.state) == {"a": (a.port, "up")}
            assert not is_degraded(daemon)


def test_file_can_be_taken_over_at_once_after_a_kill(daemon):
    with daemon.client.register("a", listen=True):
        for _ in range(5):
            daemon.kill9()
            daemon.start()
            assert [name for name, _ in daemon.client.names()] == ["a"]


def test_memory_only(daemon):
    with Daemon("--no-state", state=False) as memory:
        assert_answers(memory)
        assert status(memory)["registry"]["path"] is None
        assert not list(memory.directory.glob("*.db*"))


# --- damage ---------------------------------------------------------------------------------------


def scribble(path):
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.write(b"\xa5" * max(size, 100))


def scribble_over_a_table(path):
    """The schema stays readable, the rows do not."""
    with open(path, "r+b") as file:
        pages = path.stat().st_size // 4096
        for page in range(1, pages):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)


def cut_in_the_middle(path):
    os.truncate(path, max(path.stat().st_size // 2, 600))


def write_text(path):
    path.write_text("this is not a database, but somebody's notes\n" * 50)


@pytest.mark.parametrize("damage", [scribble, scribble_over_a_table, cut_in_the_middle, write_text], ids=lambda f: f.__name__)
def test_damaged_file_is_set_aside_at_start(daemon, damage):
    for i in range(50):
        unregister(daemon.client.register(f"n{i}", 1))
    daemon.stop()
    damage(daemon.state)
    content = daemon.state.read_bytes()
    daemon.start()
    assert_answers(daemon)
    wait_healthy(daemon)
    aside = [path for path in daemon.directory.glob("registry.db.corrupt-*") if not path.name.endswith(("-wal", "-shm"))]
    assert [path.read_bytes() for path in aside] == [content]
    assert aside[0].name in daemon.log()
    assert_intact(daemon.state)
    with daemon.client.register("a", 1):
        assert names_on_disk(daemon.state) == {"a": (1, "up")}


def test_damaged_log_harms_nothing(daemon):
    """SQLite takes of a WAL what is whole."""
    with daemon.client.register("a", listen=True):
        daemon.kill9()
        scribble(with_suffix(daemon.state, "-wal"))
        daemon.start()
        assert_answers(daemon)
        wait_healthy(daemon)
        assert_intact(daemon.state)


def scribble_over_everything(daemon):
    scribble(daemon.state)
    scribble(with_suffix(daemon.state, "-wal"))


def test_damage_of_a_running_daemons_file_keeps_nobody_from_starting(daemon):
    with closing_all() as nodes:
        nodes += [daemon.client.register(f"n{i}", listen=True) for i in range(5)]
        scribble_over_everything(daemon)
        nodes += [daemon.client.register(f"m{i}", listen=True) for i in range(20)]
        assert len(daemon.client.names()) == 25
        daemon.kill9()
        daemon.start()
        for i in range(5):
            with daemon.client.register(f"n{i}", nodes[i].port) as back:
                assert (daemon.client.port_please(f"n{i}").port, back.is_open()) == (nodes[i].port, True)
                unregister(back)
        wait_healthy(daemon)
        assert_intact(daemon.state)


def test_damage_of_a_running_daemons_file_is_noticed_when_it_is_told_to_look(daemon):
    with closing_all() as nodes:
        nodes += [daemon.client.register(f"n{i}", listen=True) for i in range(5)]
        scribble_over_everything(daemon)
        daemon.signal(signal.SIGHUP)
        expected = {node.name: (node.port, "up") for node in nodes}
        wait_for(lambda: whole_names(daemon) == expected, lambda: "a whole file\n" + daemon.log(), 5)
        assert_intact(daemon.state)
        wait_healthy(daemon)
        assert list(daemon.directory.glob("registry.db.corrupt-*"))


def test_many_damages_do_not_fill_the_disk(daemon):
    for _ in range(12):
        daemon.stop()
        write_text(daemon.state)
        daemon.start()
    aside = [path for path in daemon.directory.glob("registry.db.corrupt-*") if not path.name.endswith(("-wal", "-shm"))]
    assert 1 <= len(aside) <= 10


# --- deleted and replaced -------------------------------------------------------------------------


def delete(daemon):
    for suffix in ("", "-wal", "-shm"):
        with_suffix(daemon.state, suffix).unlink()


def delete_the_file_only(daemon):
    daemon.state.unlink()


def delete_the_log_only(daemon):
    with_suffix(daemon.state, "-wal").unlink()


def delete_the_shared_memory_only(daemon):
    with_suffix(daemon.state, "-shm").unlink()


def delete_the_directory(daemon):
    shutil.rmtree(daemon.state.parent)


def move_away(daemon):
    daemon.state.rename(with_suffix(daemon.state, ".away"))


def empty(daemon):
    os.truncate(daemon.state, 0)


def replace_by_an_empty_file(daemon):
    new = with_suffix(daemon.state, ".new")
    new.touch()
    new.rename(daemon.state)


def replace_by_an_older_copy(daemon):
    """As somebody does who restores a backup under the running daemon."""
    copy = with_suffix(daemon.state, ".copy")
    with database(daemon.state) as handle:
        handle.execute("VACUUM INTO ?", (str(copy),))
    with daemon.client.register("meanwhile", 1) as node:
        unregister(node)
    copy.rename(daemon.state)


def replace_by_garbage(daemon):
    new = with_suffix(daemon.state, ".new")
    write_text(new)
    new.rename(daemon.state)


def vacuum(daemon):
    with database(daemon.state, writable=True) as handle:
        handle.execute("VACUUM")


def delete_rows(daemon):
    with database(daemon.state, writable=True) as handle:
        handle.execute("DELETE FROM tenures")


MISHAPS = [
    delete, delete_the_file_only, delete_the_log_only, delete_the_shared_memory_only, delete_the_directory, move_away, empty,
    replace_by_an_empty_file, replace_by_an_older_copy, replace_by_garbage, vacuum, delete_rows,
]  # fmt: skip


@pytest.mark.parametrize("mishap", MISHAPS, ids=lambda function: function.__name__)
def test_file_lost_beneath_the_daemon_is_made_anew(mishap):
    with tempfile.TemporaryDirectory() as directory, Daemon(state=Path(directory) / "state" / "registry.db") as daemon:
        with closing_all() as nodes:
            nodes += [daemon.client.register(f"n{i}", listen=True) for i in range(5)]
            mishap(daemon)
            # Whoever is told "registered" from now on is in the file that is there now.
            nodes.append(daemon.client.register("after", listen=True))
            expected = {node.name: (node.port, "up") for node in nodes}
            if counter(daemon, "nodes.answered-unwritten") == 0:
                assert names_on_disk(daemon.state).items() >= {"after": expected["after"]}.items()
            wait_for(lambda: whole_names(daemon) == expected, lambda: f"a whole file; there is {whole_names(daemon)}\n{daemon.log()}")
            wait_healthy(daemon)
            assert_intact(daemon.state)
            daemon.kill9()
            daemon.start()
            assert dict(daemon.client.names()) == {name: port for name, (port, _) in expected.items()}


def whole_names(daemon):
    with contextlib.suppress(sqlite3.Error):
        return names_on_disk(daemon.state)
    return None


def test_deletion_is_noticed_without_a_request(daemon):
    with daemon.client.register("a", listen=True) as node:
        delete(daemon)
        wait_for(lambda: daemon.state.exists() and whole_names(daemon) == {"a": (node.port, "up")}, "a new file", 5)


# --- not ours to write ----------------------------------------------------------------------------


def make_newer(path):
    with database(path, writable=True) as handle:
        handle.execute("PRAGMA user_version = 99")
        handle.execute("UPDATE registry SET oldest_writer = 99")
        handle.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def make_foreign(path):
    path.unlink()
    with sqlite3.connect(path) as handle:
        handle.execute("CREATE TABLE recipes (title TEXT)")
        handle.execute("INSERT INTO recipes VALUES ('soup')")
    handle.close()


@pytest.mark.parametrize("change", [make_newer, make_foreign], ids=lambda function: function.__name__)
def test_file_that_is_not_ours_to_write_is_left_untouched_and_served_around(daemon, change):
    unregister(daemon.client.register("a", 1))
    daemon.stop()
    for suffix in ("-wal", "-shm"):
        with_suffix(daemon.state, suffix).unlink()
    change(daemon.state)
    before = daemon.state.read_bytes()
    for file in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            with_suffix(daemon.state, file).unlink()

    daemon.start()
    with closing_all() as nodes:
        for i in range(20):
            nodes.append(daemon.client.register(f"n{i}", listen=True))
        assert_answers(daemon)
        assert is_degraded(daemon)
        assert status(daemon)["registry"]["health"] == "too-new"
        assert "Degraded" in daemon.log()
        daemon.signal(signal.SIGHUP)
        assert_answers(daemon)
        assert daemon.state.read_bytes() == before

        # Out of the way, and the registry is begun anew.
        daemon.state.rename(with_suffix(daemon.state, ".old"))
        daemon.signal(signal.SIGHUP)
        wait_healthy(daemon)
        assert whole_names(daemon) == {node.name: (node.port, "up") for node in nodes}
        assert with_suffix(daemon.state, ".old").read_bytes() == before


def test_what_systemd_has_kept_is_closed_at_once_where_no_rows_will_come(daemon):
    """The nodes come back then, instead of being missing until a file has been waited for that says nothing."""
    unregister(daemon.client.register("a", 1))
    daemon.stop()
    make_newer(daemon.state)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as node:
        kept, _ = listener.accept()
        with kept:
            daemon.sockets = [("node-1-1", kept)]  # we hold it, too, as systemd does
            daemon.start()
            node.settimeout(5)
            assert node.recv(1) == b""
    assert is_degraded(daemon)


def test_newer_schema_that_only_adds_is_written(daemon):
    unregister(daemon.client.register("a", 1))
    daemon.stop()
    with database(daemon.state, writable=True) as handle:
        handle.execute("ALTER TABLE registrations ADD COLUMN mood TEXT")
        handle.execute("CREATE TABLE links (name TEXT) STRICT")
        handle.execute("PRAGMA user_version = 99")
    daemon.start()
    assert not is_degraded(daemon)
    with daemon.client.register("b", 2):
        assert names_on_disk(daemon.state) == {"b": (2, "up")}
        assert query(daemon.state, "PRAGMA user_version") == [(99,)]


# --- others at the file ---------------------------------------------------------------------------


@contextlib.contextmanager
def transaction(path, begin):
    with database(path, writable=True) as handle:
        handle.execute(begin)
        handle.execute("SELECT count(*) FROM registrations").fetchall()
        yield handle


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_somebody_elses_write_transaction(daemon, begin):
    with closing_all() as nodes:
        with transaction(daemon.state, begin):
            began = time.monotonic()
            nodes.append(daemon.client.register("a", listen=True))
            assert 0.5 < time.monotonic() - began < 3.0, "answered when the patience with the disk is over"
            wait_degraded(daemon, 1)
            assert_answers(daemon, within=3.0)
            nodes.append(daemon.client.register("b", listen=True))
            assert counter(daemon, "nodes.answered-unwritten") >= 1
        wait_healthy(daemon)
        assert names_on_disk(daemon.state) == {node.name: (node.port, "up") for node in nodes}
        assert "whole again" in daemon.log()


def test_somebody_elses_short_write_transaction_only_delays(daemon):
    with transaction(daemon.state, "BEGIN IMMEDIATE") as other:
        sock = daemon.client.connect()
        sock.sendall(frame(alive2("a", 1)))
        assert wait_for(lambda: daemon.client.port_please("a"), "a to be served from memory").port == 1
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(6)
        other.execute("ROLLBACK")
        sock.settimeout(10)
        assert len(sock.recv(6)) == 6
        assert names_on_disk(daemon.state) == {"a": (1, "up")}
        assert not is_degraded(daemon)
        sock.close()


def make_commits(daemon, n):
    argv = [compiled(HERE / "pairs.c", "-pthread"), str(daemon.port), "1", str(n)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout == "refused 0 failed 0\n"


def wal_bytes(daemon):
    return with_suffix(daemon.state, "-wal").stat().st_size


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.long)])
def test_reader_with_a_long_transaction_delays_nobody_and_the_wal_shrinks_after(daemon, seconds):
    with daemon.client.register("a", listen=True):
        with transaction(daemon.state, "BEGIN") as reader:
            began = time.monotonic()
            make_commits(daemon, 1500)
            while time.monotonic() - began < seconds:
                make_commits(daemon, 500)
            assert_answers(daemon, within=1.0)
            assert not is_degraded(daemon)
            assert wal_bytes(daemon) > 5 * MB
            assert status(daemon)["registry"]["wal_bytes"] > 5 * MB
            assert reader.execute("SELECT count(*) FROM registrations").fetchall() == [(1,)]
        wait_for(lambda: wal_bytes(daemon) <= 4 * MB, lambda: f"a shorter WAL than {wal_bytes(daemon)}")
        assert_intact(daemon.state)


def test_wal_stays_short_without_readers(daemon):
    make_commits(daemon, 3000)
    wait_for(lambda: wal_bytes(daemon) <= 6 * MB, lambda: f"a shorter WAL than {wal_bytes(daemon)}")


def test_many_readers_come_and_go(daemon):
    """People who look at the file, each of them closing it, while the daemon writes."""
    with subprocess.Popen(
        ["sh", "-c", 'while :; do sqlite3 -readonly "$0" "select count(*) from nodes, history" >&2 || exit 1; done', daemon.state],
        stderr=subprocess.DEVNULL, preexec_fn=die_with_parent(),
    ) as people:  # fmt: skip
        try:
            make_commits(daemon, 1000)
            assert people.poll() is None
        finally:
            end(people)
    assert not is_degraded(daemon)
    assert_intact(daemon.state)


# --- disks that are full, read-only or hang -------------------------------------------------------


class Disk:
    """A small file system of its own, mounted where only what runs with `prefix` sees it. Needs root."""

    def __init__(self, size="1m"):
        self.directory = Path(tempfile.mkdtemp(prefix="rollcall-disk-"))
        script = f"mount -t tmpfs -o size={size},mode=0755 none {self.directory} && echo mounted && cat"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent(),
        )  # fmt: skip
        assert self._holder.stdout.readline() == b"mounted\n"
        self.prefix = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]
        self.state = self.directory / "registry.db"

    def outside(self, path):
        """The path by which this process reaches a file there."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def run(self, *argv):
        return subprocess.run([*self.prefix, *map(str, argv)], capture_output=True, text=True, check=True, timeout=30).stdout

    def sql(self, statement):
        return self.run("sqlite3", "-readonly", "-cmd", ".timeout 5000", self.state, statement).splitlines()

    def fill(self):
        with open(self.outside(self.directory / "ballast"), "ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def empty(self):
        self.outside(self.directory / "ballast").unlink()

    def remount(self, options):
        self.run("mount", "-o", f"remount,{options}", self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()
        self.directory.rmdir()


@needs_root
def test_full_disk():
    with Disk() as disk, Daemon(state=disk.state, wrapper=disk.prefix) as daemon, closing_all() as nodes:
        nodes += [daemon.client.register(f"n{i}", listen=True) for i in range(5)]
        disk.fill()
        # What is left of the WAL takes some more.
        for i in range(200):
            nodes.append(daemon.client.register(f"full{i}", listen=True))
            if is_degraded(daemon):
                break
        wait_degraded(daemon, 5)
        assert status(daemon)["registry"]["health"] == "failing"
        for i in range(20):
            nodes.append(daemon.client.register(f"more{i}", listen=True))
            assert daemon.client.port_please(f"more{i}").port == nodes[-1].port
        assert len(daemon.client.names()) == len(nodes)
        assert "Degraded" in daemon.log() and "full" in daemon.log()
        assert disk.sql("PRAGMA integrity_check") == ["ok"]

        disk.empty()
        wait_healthy(daemon)
        expected = {node.name: node.port for node in nodes}
        assert dict(line.split("|") for line in disk.sql("SELECT name, port FROM nodes")) == {k: str(v) for k, v in expected.items()}
        daemon.kill9()
        daemon.start()
        assert dict(daemon.client.names()) == expected


@needs_root
def test_disk_that_is_full_at_start():
    with Disk() as disk:
        disk.fill()
        with Daemon(state=disk.state, wrapper=disk.prefix) as daemon, daemon.client.register("a", listen=True) as a:
            assert_answers(daemon)
            assert is_degraded(daemon)
            disk.empty()
            wait_healthy(daemon)
            assert disk.sql("SELECT name, port FROM nodes") == [f"a|{a.port}"]


@needs_root
def test_disk_that_becomes_read_only():
    with Disk() as disk, Daemon(state=disk.state, wrapper=disk.prefix) as daemon, closing_all() as nodes:
        nodes.append(daemon.client.register("a", listen=True))
        daemon.kill9()
        disk.remount("ro")
        daemon.start()
        assert [name for name, _ in daemon.client.names()] == ["a"], "what can be read is served"
        nodes.append(daemon.client.register("b", listen=True))
        assert_answers(daemon)
        assert is_degraded(daemon)
        disk.remount("rw")
        wait_healthy(daemon)
        assert sorted(disk.sql("SELECT name, state FROM nodes")) == ["a|awaited", "b|up"]


@pytest.fixture
def sick():
    """(daemon, disk)"""
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon:
        yield daemon, disk


def assert_lookups_go_on(daemon, n=50):
    for _ in range(n):
        began = time.monotonic()
        assert daemon.client.port_please("a").port == 1
        assert ("a", 1) in daemon.client.names()
        assert time.monotonic() - began < 0.5


def test_commit_that_hangs(sick):
    daemon, disk = sick
    with closing_all([daemon.client.register("a", 1)]) as nodes:
        disk.set("write hang")
        began = time.monotonic()
        waiting = daemon.client.connect()
        nodes.append(waiting)
        waiting.sendall(frame(alive2("waiting", 2)))
        assert_lookups_go_on(daemon)
        assert daemon.client.port_please("waiting").port == 2, "it is found although it still waits"
        assert len(waiting.recv(6)) == 6
        assert 1.9 < time.monotonic() - began < 3.0

        assert status(daemon)["registry"]["health"] == "hanging"
        assert "Degraded" in daemon.log()
        for i in range(100):
            began = time.monotonic()
            nodes.append(daemon.client.register(f"n{i}", 3))
            assert time.monotonic() - began < 0.5, "nobody waits for a disk that is known to hang"
        assert_lookups_go_on(daemon)
        unregister(nodes.pop())
        assert set(names_on_disk(daemon.state)) == {"a"}

        disk.heal()
        wait_healthy(daemon)
        assert set(names_on_disk(daemon.state)) == {"a", "waiting", *(f"n{i}" for i in range(99))}
        assert "whole again" in daemon.log()
        nodes.append(daemon.client.register("after", 4))
        assert "after" in names_on_disk(daemon.state)


def test_fsync_that_hangs(sick):
    """Only blocks of creations wait for it; they are asked for long before they are needed."""
    daemon, disk = sick
    with closing_all([daemon.client.register("a", 1)]) as nodes:
        disk.set("sync hang")
        given = []
        for i in range(1300):
            began = time.monotonic()
            nodes.append(daemon.client.register(f"n{i}", 2))
            given.append(nodes[-1].creation)
            assert time.monotonic() - began < 3.0
        assert is_degraded(daemon)
        assert_lookups_go_on(daemon)
        disk.heal()
        wait_healthy(daemon)
        assert len(names_on_disk(daemon.state)) == 1301
        ((reserved,),) = query(daemon.state, "SELECT creation_reserved FROM registry")
        assert max(given) < reserved
        assert len(set(given)) == len(given)


@pytest.mark.parametrize("rule", ["write fail EIO", "write fail ENOSPC", "write fail EROFS"])
def test_writes_that_fail(sick, rule):
    daemon, disk = sick
    with closing_all([daemon.client.register("a", 1)]) as nodes:
        disk.set(rule)
        for i in range(30):
            began = time.monotonic()
            nodes.append(daemon.client.register(f"n{i}", listen=True))
            assert time.monotonic() - began < 3.0
        wait_degraded(daemon, 3)
        assert_lookups_go_on(daemon)
        assert status(daemon)["registry"]["detail"]
        unregister(nodes.pop())
        disk.heal()
        wait_healthy(daemon)
        assert set(names_on_disk(daemon.state)) == {"a", *(f"n{i}" for i in range(29))}
        assert_intact(daemon.state)


def test_disk_that_hangs_at_start_and_at_the_end(sick):
    daemon, disk = sick
    with daemon.client.register("a", listen=True) as a, closing_all() as nodes:
        daemon.kill9()
        disk.set("open hang")
        began = time.monotonic()
        daemon.start()
        assert time.monotonic() - began < 8.0
        assert is_degraded(daemon)
        nodes.append(daemon.client.register("meanwhile", listen=True))
        assert daemon.client.port_please("a") is None
        disk.heal()
        wait_healthy(daemon)
        assert dict(daemon.client.names()) == {"a": a.port, "meanwhile": nodes[0].port}
        expected = {"a": (a.port, "awaited"), "meanwhile": (nodes[0].port, "up")}
        wait_for(lambda: names_on_disk(daemon.state) == expected, "rows of both")

        disk.set("write hang", "sync hang")
        nodes.append(daemon.client.register("late", 2))
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
        assert time.monotonic() - began < 8.0
        assert "not taken the last changes" in daemon.log()


UID, GID = 54321, 54322


@contextlib.contextmanager
def owned_directory(uid, gid):
    with tempfile.TemporaryDirectory(prefix="rollcall-test-") as name:
        directory = Path(name)
        os.chown(directory, uid, gid)
        directory.chmod(0o755)
        yield directory


def as_user(daemon):
    """Runs it without root's rights, from a copy that anybody may run."""
    program = daemon.directory / "rollcalld"
    shutil.copy(built("rollcalld"), program)
    program.chmod(0o755)
    daemon.program = str(program)
    daemon.wrapper = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups", "--"]
    return daemon


@needs_root
def test_directory_that_may_not_be_written():
    with owned_directory(UID, GID) as directory, owned_directory(0, 0) as closed:
        with as_user(Daemon(directory=directory, state=closed / "registry.db")) as daemon:
            with daemon.client.register("a", listen=True) as a:
                assert_answers(daemon)
                assert is_degraded(daemon)
                assert str(closed) in daemon.log()
                os.chown(closed, UID, GID)
                daemon.signal(signal.SIGHUP)
                wait_healthy(daemon)
                assert names_on_disk(closed / "registry.db") == {"a": (a.port, "up")}


def below_a_file(directory):
    (directory / "file").touch()
    return directory / "file" / "registry.db"


def a_directory(directory):
    (directory / "registry.db").mkdir()
    return directory / "registry.db"


def a_device(_):
    return Path("/dev/full")


def a_circular_link(directory):
    (directory / "registry.db").symlink_to("registry.db")
    return directory / "registry.db"


def below_proc(_):
    return Path("/proc/nowhere/registry.db")


@pytest.mark.parametrize("make", [below_a_file, a_directory, a_device, a_circular_link, below_proc], ids=lambda f: f.__name__)
def test_file_that_cannot_be_opened(make):
    with tempfile.TemporaryDirectory() as directory:
        path = make(Path(directory))
        try:
            with Daemon(state=path) as daemon:
                assert_answers(daemon)
                assert is_degraded(daemon)
                assert str(path) in daemon.log()
        finally:
            with contextlib.suppress(OSError):
                Path("/dev/full.lock").unlink()


# --- readers of the group -------------------------------------------------------------------------


def read_as(uid, gid, groups, path):
    """What a user reads with sqlite3(1); None if he may not."""
    groups = ["--groups=" + ",".join(map(str, groups))] if groups else ["--clear-groups"]
    done = subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={gid}", *groups, "--", "sqlite3", "-readonly", path,
         "SELECT name FROM nodes ORDER BY name"],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    return done.stdout.split() if done.returncode == 0 else None


@needs_root
def test_member_of_the_group_may_read_in_every_state_of_the_daemon():
    with owned_directory(UID, GID) as directory:
        state = directory / "state" / "registry.db"
        daemon = as_user(Daemon(directory=directory, state=state))
        nobody = 65534

        def assert_readable(expected):
            assert read_as(nobody, nobody, [GID], state) == expected
            assert read_as(nobody, nobody, [], state) is None

        with daemon, daemon.client.register("a", listen=True):
            assert_readable(["a"])
            with daemon.client.register("b", listen=True):
                assert_readable(["a", "b"])
                daemon.kill9()
                assert_readable(["a", "b"])
                daemon.start()
                assert_readable(["a", "b"])
            # b's listener is gone.
            wait_for(lambda: read_as(nobody, nobody, [GID], state) == ["a"], "end of b")
            assert daemon.stop() == 0
            assert_readable(["a"])
            daemon.start()
            assert_readable(["a"])
            assert_answers(daemon)
