# SPDX-License-Identifier: Apache-2.0
"""An operator takes a name from a node: who may, what becomes of it, and that it is known afterwards."""

import contextlib
import os
import shutil
import time

import pytest

from daemon.helpers import SickDisk, ask_as, closing_all, needs_root, query, unregister
from lib.control_client import ControlClient, ControlError, put_request
from lib.daemon import Daemon
from lib.epmd_client import alive2, frame, receive_all
from lib.process import wait_for

STRANGER = 54321


def release(daemon, **fields):
    return ControlClient(daemon.control).request("RELEASE", **fields)


def refusal(action):
    with pytest.raises(ControlError) as refused:
        action()
    return refused.value


def test_a_released_name_is_free_at_once(daemon):
    with closing_all() as nodes:
        nodes.append(daemon.client.register("a", listen=True))
        (record,) = release(daemon, NAME="a")
        assert (record.kind, record["NAME"], record["PORT"], record["STATE"]) == ("NODE", "a", nodes[0].port, "up")
        assert receive_all(nodes[0].sock) == b""
        assert daemon.client.port_please("a") is None
        nodes.append(daemon.client.register("a", 1))
        assert nodes[1].creation != nodes[0].creation


def test_it_is_known_who_did_it(daemon):
    with daemon.client.register("a", 1):
        release(daemon, NAME="a")
        by = f"uid {os.getuid()}"
        (tenure,) = ControlClient(daemon.control).request("WHY", NAME="a")
        assert (tenure.kind, tenure["HOW"], tenure["BY"]) == ("TENURE", "released", by)
        daemon.kill9()
    assert query(daemon.state, "SELECT name, how, by FROM history") == [("a", "released", by)]
    daemon.start()
    (tenure,) = ControlClient(daemon.control).request("WHY", NAME="a")
    assert (tenure["HOW"], tenure["BY"]) == ("released", by)
    assert f"was released by {by}" in daemon.log()


def test_what_is_not_there_cannot_be_released(daemon):
    with daemon.client.register("a", 1) as a:
        assert refusal(lambda: release(daemon, NAME="b")).word == "not-found"
        assert refusal(lambda: release(daemon, NAME="a", SCOPE="127.0.0.1")).word == "not-found"
        assert refusal(lambda: release(daemon)).word == "malformed"
        assert refusal(lambda: release(daemon, NAME="")).word == "malformed"
        assert refusal(lambda: release(daemon, NAME="a", SCOPE="x")).word == "malformed"
        assert a.is_open()
    wait_for(lambda: not daemon.client.names(), "its end")
    assert refusal(lambda: release(daemon, NAME="a")).word == "not-found"


def test_of_several_one_must_be_named(daemon):
    with closing_all() as nodes:
        for address in ("127.0.0.2", "127.0.0.3"):
            nodes.append(daemon.client.register("a", listen=True, address=address))
        told = refusal(lambda: release(daemon, NAME="a"))
        assert told.word == "ambiguous"
        assert "a@127.0.0.2" in told.text and "a@127.0.0.3" in told.text
        (record,) = release(daemon, NAME="a", SCOPE="127.0.0.3")
        assert record["SCOPE"] == "127.0.0.3"
        assert receive_all(nodes[1].sock) == b""
        assert nodes[0].is_open()
        assert release(daemon, NAME="a")[0]["SCOPE"] == "127.0.0.2"


def test_an_awaited_node_can_be_released(daemon):
    with daemon.client.register("a", listen=True):
        daemon.restart()
        assert release(daemon, NAME="a")[0]["STATE"] == "awaited"
        assert daemon.client.names() == []
        unregister(daemon.client.register("a", 1))


def test_over_tcp_nothing_is_released(daemon):
    with daemon.client.register("a", 1) as a:
        tcp = ControlClient(("127.0.0.1", daemon.port))
        assert refusal(lambda: tcp.request("RELEASE", NAME="a")).word == "denied"
        assert a.is_open()


@needs_root
def test_another_user_is_turned_away(daemon):
    daemon.control.chmod(0o777)
    daemon.directory.chmod(0o755)
    with daemon.client.register("a", 1) as a:
        answer = ask_as(STRANGER, daemon.control, put_request("RELEASE", NAME="a"))
        assert b"Only root and the daemon's own user may release a name." in answer
        assert a.is_open()
        assert f"by uid {STRANGER} was not carried out" in daemon.log()


@needs_root
def test_the_daemons_own_user_may_release():
    """Also root, where the daemon is another user."""
    with contextlib.ExitStack() as stack:
        daemon = Daemon(wrapper=["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups", "--"])
        stack.callback(shutil.rmtree, daemon.directory, ignore_errors=True)
        os.chown(daemon.directory, STRANGER, STRANGER)
        daemon.directory.chmod(0o755)
        stack.enter_context(daemon)
        daemon.control.chmod(0o777)
        with daemon.client.register("a", 1):
            assert b"a" in ask_as(STRANGER, daemon.control, put_request("RELEASE", NAME="a"))
            assert daemon.client.names() == []
        with daemon.client.register("b", 1):
            assert b"Only root" in ask_as(STRANGER + 1, daemon.control, put_request("RELEASE", NAME="b"))
            release(daemon, NAME="b")
        wait_for(lambda: query(daemon.state, "SELECT name, by FROM history")
                 == [("a", f"uid {STRANGER}"), ("b", "uid 0")], "both ends in the file")  # fmt: skip


def test_a_disk_that_hangs_delays_it_for_two_seconds():
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon, daemon.client.register("a", 1) as a:
        disk.set("write hang", "sync hang")
        began = time.monotonic()
        assert release(daemon, NAME="a")[0]["NAME"] == "a"
        assert time.monotonic() - began < 5
        assert receive_all(a.sock) == b""
        assert daemon.client.names() == []
        disk.heal()
        wait_for(lambda: query(daemon.state, "SELECT how FROM history") == [("released",)], "it to be written")


def test_one_whose_answer_waits_for_the_disk_is_told_of_his_registration_first():
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon:
        disk.set("write hang", "sync hang")
        with daemon.client.connect() as sock:
            sock.sendall(frame(alive2("a", 1)))
            wait_for(lambda: daemon.client.port_please("a"), "it to be found")
            release(daemon, NAME="a")
            assert receive_all(sock)[:2] == b"v\0"
        disk.heal()
