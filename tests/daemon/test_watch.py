# SPDX-License-Identifier: Apache-2.0
"""WATCH on the control socket of a real daemon: a snapshot, then every change, by whoever asks and however slowly."""

import contextlib
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from daemon.helpers import cpu_seconds
from lib.control_client import (
    BrokenOff, ControlClient, ControlError, ERRORS, RECORDS, REQUESTS, TAGS, put_request,
)
from lib.daemon import Daemon
from lib.epmd_client import ClosedWithoutAnswer, Refused
from lib.process import wait_for

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture
def daemon():
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def control(daemon):
    return ControlClient(daemon.control)


def names(watch):
    return sorted(name for name, _ in watch.nodes)


def n_watchers(control):
    return next(record for record in control.request("STATUS") if record.kind == "STATUS")["N_WATCHERS"]


# --- what is told ---------------------------------------------------------------------------------


def test_a_watcher_hears_of_nodes_as_they_come_and_go(daemon, control):
    with daemon.client.register("a", 4001), control.watch() as watch:
        watch.sync()
        assert [record.kind for record in watch.told] == ["EPOCH", "NODE", "SYNCED"]
        assert watch.nodes[("a", "*")]["PORT"] == 4001
        with daemon.client.register("b", 4002):
            watch.wait(lambda: names(watch) == ["a", "b"])
        watch.wait(lambda: names(watch) == ["a"])
        gone = watch.gone[("b", "*")]
        assert gone["HOW"] == "left" and gone["PORT"] == 4002 and gone["UNTIL"] >= gone["SINCE"]
        assert watch.n_epochs == 1 and watch.epoch < 2**53  # an integer for every reader of JSON


def test_a_name_that_changes_hands_is_gone_and_there_again(daemon, control):
    with control.watch(NAME="a") as watch:
        watch.sync()
        with daemon.client.register("a", 4001):
            watch.wait(lambda: watch.nodes)
        with daemon.client.register("a", 4002):
            watch.wait(lambda: ("a", "*") in watch.nodes and watch.nodes[("a", "*")]["PORT"] == 4002)
    assert [record.kind for record in watch.told if record.kind in ("NODE", "GONE")] == ["NODE", "GONE", "NODE"]


@pytest.mark.parametrize("fields, expected", [
    ({}, ["a", "ab", "b"]),
    ({"NAME": "a"}, ["a"]),
    ({"PREFIX": "a"}, ["a", "ab"]),
    ({"PREFIX": "", "SCOPE": "*"}, ["a", "ab", "b"]),
    ({"NAME": "nobody"}, []),
    ({"SCOPE": "127.0.0.2"}, []),
])
def test_what_is_asked_for_is_told(daemon, control, fields, expected):
    with contextlib.ExitStack() as stack:
        for name in ("a", "ab"):
            stack.enter_context(daemon.client.register(name))
        watch = stack.enter_context(control.watch(**fields)).sync()
        stack.enter_context(daemon.client.register("b"))
        with control.watch() as all_of_it:
            all_of_it.wait(lambda: len(all_of_it.nodes) == 3)
        if "b" in expected:
            watch.wait(lambda: "b" in names(watch))
        assert names(watch) == expected


def test_an_announcement_is_told_with_all_that_is_known(daemon, control):
    with daemon.client.register("a", 4001), control.watch(NAME="a") as watch:
        watch.sync()
        control.request("ANNOUNCE", NAME="a", HOST="mail.example.org", ANNOUNCED="ready", PAIR={"role": "web", "v": "1"})
        watch.wait(lambda: watch.nodes[("a", "*")]["STATE"] == "ready")
        node = watch.nodes[("a", "*")]
        assert node["HOST"] == "mail.example.org" and node["PAIR"] == {"role": "web", "v": "1"}
        assert node["STATE_SOURCE"] == "announcement" and node["PORT"] == 4001
        control.request("ANNOUNCE", NAME="a", ANNOUNCED="draining")
        watch.wait(lambda: watch.nodes[("a", "*")]["STATE"] == "stopping")


def test_a_release_is_told_with_who_did_it(daemon, control):
    with daemon.client.register("a"), control.watch() as watch:
        watch.sync()
        control.request("RELEASE", NAME="a")
        watch.wait(lambda: not watch.nodes)
        assert watch.gone[("a", "*")]["HOW"] == "released" and watch.gone[("a", "*")]["BY"].startswith("uid ")


# --- coming back ----------------------------------------------------------------------------------


def test_who_comes_back_hears_what_he_has_missed_and_nothing_else(daemon, control):
    with daemon.client.register("a"):
        with control.watch() as first:
            first.sync()
        with daemon.client.register("b"), control.watch(after=first) as second:
            second.sync()
            assert second.n_epochs == 0 and names(second) == ["a", "b"]
            assert [record.kind for record in second.told] == ["NODE", "SYNCED"]
        with control.watch(after=second) as third:
            third.wait(lambda: names(third) == ["a"])
            assert third.n_epochs == 0
        with control.watch(after=third) as fourth:
            fourth.sync()
            assert [record.kind for record in fourth.told] == ["SYNCED"]


def test_after_a_restart_of_the_daemon_all_is_told_anew(daemon, control):
    with daemon.client.register("a", listen=True), control.watch() as first:
        first.sync()
        daemon.restart()
        with pytest.raises(BrokenOff):
            while True:
                first.sync()
        with control.watch(after=first) as second:
            second.sync()
            assert second.n_epochs == 1 and second.epoch != first.epoch
            assert second.nodes[("a", second.told[1]["SCOPE"])]["STATE"] == "awaited"


def test_other_settings_for_helpers_are_told_anew(daemon):
    path = daemon.directory / "rollcall.conf"
    path.write_text("")
    daemon.stop()
    daemon.start("--config", path)
    with daemon.client.register("a"), ControlClient(daemon.control).watch() as watch:
        watch.sync()
        assert "HELPER" not in watch.nodes[("a", "*")].fields
        path.write_text("[listings]\nhelpers = a\n")
        daemon.signal(signal.SIGHUP)
        watch.wait(lambda: "HELPER" in watch.nodes[("a", "*")].fields)
        assert watch.n_epochs == 2


# --- ends and bounds ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "half", "byte"])
def test_a_watch_ends_when_the_client_says_anything(daemon, control, end):
    with control.watch() as watch:
        watch.sync()
        assert n_watchers(control) == 1
        if end == "close":
            watch.close()
        elif end == "half":
            watch.sock.shutdown(socket.SHUT_WR)
        else:
            watch.sock.send(b"x")
        wait_for(lambda: n_watchers(control) == 0, "the end of the watch")
        if end != "close":
            assert watch.step() is None


@pytest.mark.parametrize("fields", [{"NAME": ""}, {"STATE": "here"}, {"SCOPE": "here"}, {"PREFIX": "\n"}, {"PATTERN": "["}])
def test_a_request_without_sense_is_answered_in_words(control, fields):
    with pytest.raises(ControlError) as failure, control.watch(**fields) as watch:
        watch.sync()
    assert failure.value.word == "malformed" and failure.value.text.endswith(".")


def test_a_watcher_who_does_not_read_delays_nobody_and_knows_all_in_the_end(daemon, control):
    """He is so far behind that what he has missed is forgotten."""
    with control.watch() as slow, control.watch(PREFIX="n") as quick:
        quick.sync()
        for i in range(3000):
            daemon.client.register(f"n{i}").close()
            if i % 100 == 0:
                quick.wait(lambda: ("n%d" % i, "*") in quick.gone)
        with daemon.client.register("last"), daemon.client.register("n-last"):
            quick.wait(lambda: ("n-last", "*") in quick.nodes)
            assert quick.n_epochs == 1 and len(quick.gone) == 3000
            slow.wait(lambda: set(slow.nodes) == {("last", "*"), ("n-last", "*")})
            assert slow.n_epochs == 2


def test_idle_watchers_cost_nothing(daemon, control):
    with contextlib.ExitStack() as stack:
        for i in range(200):
            stack.enter_context(control.watch(NAME=f"x{i}")).sync()
        before = cpu_seconds(daemon.pid)
        time.sleep(2)  # nothing is waited for: it is the time in which nothing is to happen
        assert cpu_seconds(daemon.pid) - before < 0.2


# --- what may be told -----------------------------------------------------------------------------


def test_what_is_told_is_in_the_file(daemon, control):
    """P1: whatever a watcher has heard of is there after kill -9 at any moment."""
    def register(prefix, held):
        with contextlib.suppress(OSError, ClosedWithoutAnswer, Refused):
            while True:
                held.append(daemon.client.register(f"{prefix}{len(held)}", 4000))

    for prefix in ("a", "b", "c"):
        held = []
        thread = threading.Thread(target=register, args=(prefix, held))
        with control.watch(PREFIX=prefix) as watch:
            watch.sync()
            thread.start()
            try:
                watch.wait(lambda: len(watch.nodes) > 100)
            finally:
                daemon.kill9()
                thread.join()
            with contextlib.suppress(BrokenOff):
                while True:
                    watch.sync()
        in_file = {row[0] for row in daemon.sql("SELECT name FROM registrations")}
        assert len(watch.nodes) > 100
        assert {name for name, _ in watch.nodes} <= in_file
        for node in held:
            node.close()
        daemon.start()


# --- the document ---------------------------------------------------------------------------------


def code_numbers(enum, prefix):
    text = (SOURCE / "daemon/core/control.h").read_text()
    body = re.search(rf"typedef enum {enum} {{(.*?)}} {enum};", text, re.S).group(1)
    return {name.removeprefix(prefix): int(number) for name, number in re.findall(r"(CONTROL_\w+) = (\d+)", body)}


def document_section():
    return (SOURCE / "PROTOCOL.md").read_text().split("\n## The control protocol\n")[1]


def test_the_client_of_these_tests_has_the_numbers_of_the_code():
    assert code_numbers("ControlTag", "CONTROL_TAG_") == {name: tag[0] for name, tag in TAGS.items()}
    kinds = code_numbers("ControlKind", "CONTROL_")
    for names_, suffix in ((REQUESTS, ""), (RECORDS, "_RECORD")):
        for name, number in names_.items():
            assert kinds.get(name + suffix, kinds.get(name)) == number
    errors = code_numbers("ControlError", "CONTROL_E_")
    assert {number: name.lower().replace("_", "-") for name, number in errors.items()} == ERRORS


def test_the_document_lists_every_number():
    text = document_section()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    kinds = {int(row[0]): row[1] for row in rows if row[0].isdigit() and row[1] in ("request", "record")}
    assert kinds == {**{n: "request" for n in REQUESTS.values()}, **{n: "record" for n in RECORDS.values()}}
    for number, word in ERRORS.items():
        assert [str(number), word] in [row[:2] for row in rows]
    values = ("u8", "u16", "u32", "u64", "text", "time", "counter", "flag", "pair")
    tags = {int(number) for row in rows for number, value in zip(row, row[1:])
            if number.isdigit() and value.split(",")[0] in values}
    assert {tag[0] for tag in TAGS.values()} <= tags


def test_a_request_is_as_the_document_draws_it(daemon):
    """Byte by byte, from its examples: a request, and what a node's record begins with."""
    assert put_request("STATUS") == bytes.fromhex("0005 4c5243 01 01")
    assert put_request("NAMES") == bytes.fromhex("0005 4c5243 01 02")
    with ControlClient(daemon.control).watch() as watch:
        watch.sync()
    assert [record.kind for record in watch.told] == ["EPOCH", "SYNCED"]
