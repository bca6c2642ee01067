# SPDX-License-Identifier: Apache-2.0
"""`rollcall why`: who holds a name and by which evidence, who had it, who was refused it; `rollcall release`."""

import contextlib
import json
import os
import pwd
import time

import pytest

from daemon.commands import NOBODY, keys_of_man_page, node_keys, rollcall, rollcall_as, tenure_keys, told
from daemon.helpers import history, needs_root, unregister
from lib.epmd_client import Refused, is_closed
from lib.fake_control import END, HEAD, FakeControl, field, record, refusal, request, u16, u64
from lib.process import wait_for

USER = pwd.getpwuid(os.getuid()).pw_name


def why(daemon, name):
    """(exit status, the object) of --json."""
    done = daemon.rollcall("why", name, "--json")
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def prose(daemon, name):
    """(exit status, text with single blanks)."""
    done = daemon.rollcall("why", name)
    assert done.stderr == "", done.stderr
    return done.returncode, " ".join(done.stdout.split())


# --- held ----------------------------------------------------------------------------------------------------


def test_who_holds_a_name_is_told_with_the_evidence(daemon):
    with daemon.client.register("rabbit", listen=True) as rabbit:
        status, text = prose(daemon, "rabbit")
        assert status == 0
        for expected in ("rabbit is held by", f"user {USER} (uid {os.getuid()})", f"port {rabbit.port} on every address",
                         "state up, by its connection, since 20", "its connection to rollcalld is open; its listening socket is open"):
            assert expected in text
        assert "refused" not in text
        status, found = why(daemon, "rabbit")
        assert (status, found["name"], found["last_holder"], found["last_refusal"]) == (0, "rabbit", None, None)
        [holder] = found["holders"]
        assert list(holder) == [*node_keys(), "evidence", "in_fd_store"]
        assert (holder["port"], holder["uid"], holder["evidence"], holder["in_fd_store"]) == (
            rabbit.port, os.getuid(), ["connection", "listener"], False)
        assert list(found) == keys_of_man_page("prints an object about a name:")


def test_a_node_without_a_listener_lives_by_its_connection(daemon):
    with daemon.client.register("deaf", 40000):
        assert why(daemon, "deaf")[1]["holders"][0]["evidence"] == ["connection"]


def test_a_node_that_is_not_back_yet_lives_by_its_listener(daemon):
    with daemon.client.register("away", listen=True):
        daemon.kill9()
        daemon.start()
        status, found = why(daemon, "away")
        assert (status, found["holders"][0]["state"], found["holders"][0]["awaited"]) == (0, "awaited", True)
        assert found["holders"][0]["evidence"] == ["listener"]
        assert "awaited: rollcalld was restarted, and it is not back yet" in prose(daemon, "away")[1]


def test_a_node_whose_listener_has_closed_is_stopping_by_that(daemon):
    with daemon.client.register("half", listen=True) as half:
        half.close_listener()
        wait_for(lambda: why(daemon, "half")[1]["holders"][0]["state"] == "stopping", "the end of the listener")
        assert "stopping, by its listening socket" in prose(daemon, "half")[1]
        assert why(daemon, "half")[1]["holders"][0]["evidence"] == ["connection"]


def test_who_was_refused_last_and_why(daemon):
    with daemon.client.register("rabbit", listen=True):
        for _ in range(2):
            with pytest.raises(Refused):
                daemon.client.register("rabbit", 40001)
        status, text = prose(daemon, "rabbit")
        assert status == 0
        assert "last refused 20" in text and "with port 40001 because the name was taken" in text
        refused = why(daemon, "rabbit")[1]["last_refusal"]
        assert (refused["reason"], refused["port"], refused["uid"], refused["user"]) == ("name-taken", 40001, os.getuid(), USER)
        assert abs(refused["at_usec"] / 1e6 - time.time()) < 60


def test_several_holders_each_on_an_address_are_told_in_turn(daemon):
    with contextlib.ExitStack() as stack:
        for last in (2, 3):
            stack.enter_context(daemon.client.register("app", listen=True, address=f"127.0.0.{last}"))
        status, found = why(daemon, "app")
        assert (status, [holder["scope"] for holder in found["holders"]]) == (0, ["127.0.0.2", "127.0.0.3"])
        text = prose(daemon, "app")[1]
        assert text.index("on 127.0.0.2") < text.index("on 127.0.0.3")
        status, found = why(daemon, "app@127.0.0.3")
        assert (status, [holder["scope"] for holder in found["holders"]]) == (0, ["127.0.0.3"])
        status, found = why(daemon, "app@127.0.0.4")
        assert (status, found["holders"]) == (1, [])
        status, text = prose(daemon, "app@127.0.0.4")
        assert status == 1 and "app@127.0.0.4 is not registered, but" in text and "on 127.0.0.2" in text


@pytest.mark.parametrize("name", ["app@127.0.0.1", "app@*", "app@::1", "app@[::1]", "app@host.example", "app@"])
def test_one_that_listens_on_every_address_is_meant_by_any(daemon, name):
    with daemon.client.register("app", listen=True):
        assert len(why(daemon, name)[1]["holders"]) == 1


def test_a_host_name_counts_where_the_node_has_told_its_own(daemon):
    with daemon.client.register("app", listen=True):
        daemon.rollcall("ready", "app@here.example")
        assert why(daemon, "app@here.example")[0] == 0
        assert why(daemon, "app")[0] == 0
        status, text = prose(daemon, "app@there.example")
        assert status == 1
        assert "app@there.example is not registered, but: app@here.example is held by" in text


def test_a_name_with_an_at_in_it_is_written_with_another(daemon):
    with daemon.client.register("a@b", 40000):
        assert why(daemon, "a@b")[0] == 1
        assert why(daemon, "a@b@")[1]["holders"][0]["name"] == "a@b"


# --- free ----------------------------------------------------------------------------------------------------


def test_a_name_that_nobody_ever_had(daemon):
    assert prose(daemon, "nobody") == (1, "nobody is free, and nobody is known to have had the name before")
    assert why(daemon, "nobody") == (1, {"name": "nobody", "holders": [], "last_holder": None, "last_refusal": None, "entries": []})


def test_who_had_a_free_name_last_and_how_it_ended(daemon):
    with daemon.client.register("gone", listen=True) as gone:
        port = gone.port
        unregister(gone)
    status, text = prose(daemon, "gone")
    assert status == 1
    for expected in ("gone is free last held", f"user {USER}", f"port {port}", "ended its connection ended"):
        assert expected in text
    former = why(daemon, "gone")[1]["last_holder"]
    assert list(former) == tenure_keys()
    assert (former["port"], former["how"], former["by"]) == (port, "left", None)
    assert former["since_usec"] < former["until_usec"]


def test_after_a_restart_of_the_daemon_the_last_holder_is_known_still(daemon):
    with daemon.client.register("gone", listen=True):
        daemon.kill9()
    daemon.start()
    assert why(daemon, "gone")[1]["last_holder"]["how"] == "found-dead"
    assert "its listening socket was gone" in prose(daemon, "gone")[1]


# --- release -------------------------------------------------------------------------------------------------


def test_a_name_is_released_and_it_is_told_whose_it_was(daemon):
    with daemon.client.register("stuck", listen=True) as stuck:
        done = daemon.rollcall("release", "stuck")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("stuck is released; it was held by") and f"port {stuck.port}" in done.stdout
        assert "registers again by itself" in done.stdout
        wait_for(lambda: is_closed(stuck.sock), "the end of its connection")
        assert daemon.client.port_please("stuck") is None
        with daemon.client.register("stuck", listen=True):
            pass
    wait_for(lambda: ("stuck", "released") in history(daemon.state), "the history")
    [(by,)] = [row for row in daemon.sql("SELECT by FROM history WHERE how = 'released'")]
    assert by == f"uid {os.getuid()}"


def test_a_release_as_json_and_in_silence(daemon):
    with daemon.client.register("a", listen=True) as a, daemon.client.register("b", listen=True):
        done = daemon.rollcall("release", "a", "--json")
        node = json.loads(done.stdout)
        assert (done.returncode, list(node), node["port"]) == (0, node_keys(), a.port)
        done = daemon.rollcall("release", "b", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    former = why(daemon, "a")[1]["last_holder"]
    assert (former["how"], former["by"]) == ("released", f"uid {os.getuid()}")
    assert f"an operator took the name from it: {USER} (uid {os.getuid()})" in prose(daemon, "a")[1]


def test_a_name_that_nobody_has_is_not_released(daemon):
    assert told(daemon.rollcall("release", "nobody")) == (1, "rollcall: no node named nobody is registered")


def test_of_several_nodes_one_has_to_be_named(daemon):
    with daemon.client.register("app", listen=True, address="127.0.0.2"), daemon.client.register("app", listen=True, address="127.0.0.3"):
        status, line = told(daemon.rollcall("release", "app"))
        assert status == 1 and "app@127.0.0.2" in line and "app@127.0.0.3" in line
        assert daemon.rollcall("release", "app@127.0.0.3").returncode == 0
        assert [holder["scope"] for holder in why(daemon, "app")[1]["holders"]] == ["127.0.0.2"]
        assert told(daemon.rollcall("release", "app@127.0.0.3"))[0] == 1


@needs_root
def test_another_user_releases_nothing(daemon, directory):
    with daemon.client.register("mine", listen=True):
        os.chmod(daemon.directory, 0o755)
        os.chmod(daemon.control, 0o666)
        status, line = told(rollcall_as(NOBODY, directory, "release", "mine", "--control", daemon.control))
        assert status == 1 and "(denied)" in line
        assert daemon.client.port_please("mine") is not None


# --- what a daemon may say -----------------------------------------------------------------------------------


def answer_of(*records):
    return HEAD + b"".join(records) + END


def test_the_request_names_the_node_only(directory):
    with FakeControl(directory / "control", answer_of()) as server:
        assert rollcall("why", "app@127.0.0.2", "--control", server.path).returncode == 1
        assert server.requests == [request(3, field(16, b"app"))]


def test_the_unit_and_its_process_and_what_it_told_are_shown(directory):
    node = record(67, field(16, b"rabbit"), field(17, b"ready"), field(18, u16(25672)), field(24, u64(1795266605000000)), field(25, b"10.0.0.1"),
                  field(26, b"\0\0\0\0"), field(27, b"rabbit.service"), field(29, b"unit"), field(30, u64(1795266606000000)),
                  field(31, b"\0\0\x03\x2c"), field(32, b"mail"), field(34, b"zone\0b 1"), field(34, b"bad"), field(37, b"connection"),
                  field(37, b"moonlight"), field(39, b"\x01"))
    with FakeControl(directory / "control", answer_of(node)) as server:
        done = rollcall("why", "rabbit", "--control", server.path, env={"TZ": "UTC"})
        [holder] = json.loads(rollcall("why", "rabbit", "--control", server.path, "--json").stdout)["holders"]
    text = " ".join(done.stdout.split())
    assert done.returncode == 0
    for expected in ("rabbit@mail is held by rabbit.service (main process 812), user root (uid 0)", "port 25672 on 10.0.0.1",
                     "since 2026-11-21 13:10:05 (", "state ready, by its unit, since 2026-11-21 13:10:06 (", "told zone=b 1",
                     "its connection to rollcalld is open; moonlight", "also in systemd's fd store"):
        assert expected in text
    assert (holder["metadata"], holder["unit_pid"], holder["in_fd_store"]) == ({"zone": "b 1"}, 812, True)


def test_words_of_a_newer_daemon_and_what_a_terminal_would_obey(directory):
    answer = answer_of(record(69, field(16, b"a"), field(43, b"vanished\x1b[31m"), field(44, b"the moon")),
                       record(70, field(16, b"a"), field(46, b"too-late"), field(45, u64(0))), record(99))
    with FakeControl(directory / "control", answer) as server:
        text = " ".join(rollcall("why", "a", "--control", server.path).stdout.split())
    assert "ended vanished\\x1b[31m: the moon" in text and "because too-late" in text


@pytest.mark.parametrize("error, status", [(4, 3), (5, 3), (6, 3), (9, 3), (7, 1), (8, 1), (77, 3)])
def test_a_refusal_is_told(directory, error, status):
    with FakeControl(directory / "control", refusal(error, b"Thus.")) as server:
        found, line = told(rollcall("why", "a", "--control", server.path))
    assert (found, "Thus." in line) == (status, True)


@pytest.mark.parametrize("name", ["", "@", "@host", "a\nb", "x" * 256, "a@b c", b"a\xff", "a@" + "h" * 256], ids=repr)
def test_what_cannot_be_a_name_is_wrong_usage(name):
    name = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
    for command in ("why", "release", "wait", "ready", "history", "watch"):
        assert told(rollcall("--control", "/nonexistent", command, "--", name))[0] == 2
        assert told(rollcall("--control", "/nonexistent", command, name))[0] == 2


def test_a_name_is_told_as_it_was_written():
    assert told(rollcall("why", "a\udcff")) == (2, "rollcall: 'a\\xff' is not UTF-8")
    assert told(rollcall("why", "a\nb")) == (2, "rollcall: 'a\\x0ab' has a control character in it, which no node's name has")
