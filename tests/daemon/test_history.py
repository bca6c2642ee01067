# SPDX-License-Identifier: Apache-2.0
"""Why a name is taken or free, who had it, who was there at a time: by the control protocol, with a real registry
file."""

import contextlib
import os
import signal
import time

import pytest

from daemon.helpers import SickDisk, closing_all, counter, database, query, unregister
from lib.control_client import BrokenOff, ControlClient, ControlError
from lib.daemon import Daemon
from lib.epmd_client import Refused, alive2, frame
from lib.process import wait_for

# As the daemon has it.
ANSWER_MAX = 500
QUERIES_MAX = 64
PATIENCE = 5


def ask(daemon, kind, **fields):
    return ControlClient(daemon.control, timeout=30).request(kind, **fields)


def kinds(records):
    return [record.kind for record in records]


def refusal(daemon, kind, **fields):
    with pytest.raises(ControlError) as refused:
        ask(daemon, kind, **fields)
    return refused.value


def everything(daemon, kind, **fields):
    """(nodes, tenures) of as many answers as it takes."""
    nodes, tenures, cursor = [], [], None
    while True:
        records = ask(daemon, kind, CURSOR=cursor, **fields)
        nodes += [record for record in records if record.kind == "NODE"]
        tenures += [record for record in records if record.kind == "TENURE"]
        more = [record for record in records if record.kind == "MORE"]
        assert len(more) <= 1
        if not more:
            return nodes, tenures
        assert cursor is None or more[0]["CURSOR"] < cursor
        cursor = more[0]["CURSOR"]


def pass_by(daemon, name, port=1, **fields):
    unregister(daemon.client.register(name, port, **fields))


def now_usec():
    return time.time_ns() // 1000


# --- why ------------------------------------------------------------------------------------------


def test_why_a_name_is_taken(daemon):
    before = now_usec()
    with daemon.client.register("a", listen=True, address="127.0.0.2") as a:
        (record,) = ask(daemon, "WHY", NAME="a")
        assert record.kind == "NODE"
        assert (record["STATE"], record["STATE_SOURCE"], record["PORT"]) == ("up", "connection", a.port)
        assert (record["UID"], record["SCOPE"], record["LISTENER_ADDRESS"]) == (os.getuid(), "127.0.0.2", "127.0.0.2")
        assert record["EVIDENCE_OF_LIFE"] == ["connection", "listener"]
        assert record["CREATION"] == a.creation
        assert before <= record["SINCE"] <= record["STATE_SINCE"] <= now_usec()
        assert record.get("IN_FD_STORE") is None


def test_by_which_evidence(daemon):
    with daemon.client.register("bare", 1), daemon.client.register("going", listen=True) as going:
        assert ask(daemon, "WHY", NAME="bare")[0]["EVIDENCE_OF_LIFE"] == ["connection"]
        going.close_listener()
        wait_for(lambda: ask(daemon, "WHY", NAME="going")[0]["STATE"] == "stopping", "its listener's end to be seen")
        assert ask(daemon, "WHY", NAME="going")[0]["EVIDENCE_OF_LIFE"] == ["connection"]
        with daemon.client.register("listens", listen=True):
            daemon.restart()
            assert ask(daemon, "WHY", NAME="listens")[0]["EVIDENCE_OF_LIFE"] == ["listener"]
            assert ask(daemon, "WHY", NAME="bare")[0]["EVIDENCE_OF_LIFE"] == ["grace"]
            assert ask(daemon, "WHY", NAME="bare")[0]["AWAITED"] == 1


def test_one_whose_close_has_not_been_read_does_not_live_by_its_connection(daemon):
    a = daemon.client.register("a", 1)
    daemon.signal(signal.SIGSTOP)
    with ControlClient(daemon.control).open("WHY", NAME="a") as question:
        a.close()
        daemon.signal(signal.SIGCONT)
        for record in question.records():
            assert record.kind == "TENURE" or "connection" not in record.get("EVIDENCE_OF_LIFE", [])


def test_why_a_newcomer_was_refused(daemon):
    with daemon.client.register("a", 1):
        before = now_usec()
        for port in (2, 3):
            with pytest.raises(Refused):
                daemon.client.register("a", port)
        node, refused = ask(daemon, "WHY", NAME="a")
        assert (node.kind, refused.kind) == ("NODE", "REFUSAL")
        assert (refused["NAME"], refused["PORT"], refused["REASON"], refused["UID"]) == ("a", 3, "name-taken", os.getuid())
        assert before <= refused["AT"] <= now_usec()


@pytest.mark.parametrize("name", ["a" * 256, "a\nb", b"\xff"])
def test_what_is_no_name_is_not_remembered(daemon, name):
    with pytest.raises(Refused):
        daemon.client.register(name, 1)
    assert refusal(daemon, "WHY", NAME=name).word == "malformed"


def test_why_a_name_is_free(daemon):
    before = now_usec()
    pass_by(daemon, "a", 4711)
    (record,) = ask(daemon, "WHY", NAME="a")
    assert record.kind == "TENURE"
    assert (record["NAME"], record["PORT"], record["HOW"]) == ("a", 4711, "left")
    assert before <= record["SINCE"] <= record["UNTIL"] <= now_usec()
    assert ask(daemon, "WHY", NAME="b") == []


def test_refusals_and_former_holders_survive_restarts(daemon):
    with daemon.client.register("a", 1):
        with pytest.raises(Refused):
            daemon.client.register("a", 2)
    wait_for(lambda: not daemon.client.names(), "its end")
    pass_by(daemon, "b", 3)

    def told():
        """The file does not keep since when a state was so that is no more: it is not told then."""
        answers = [ask(daemon, "WHY", NAME=name) for name in "ab"]
        return [[{**record.fields, "STATE_SINCE": None} for record in answer] for answer in answers]

    before = told()
    assert [kinds(ask(daemon, "WHY", NAME=name)) for name in "ab"] == [["REFUSAL", "TENURE"], ["TENURE"]]
    daemon.restart()
    assert told() == before
    assert "STATE_SINCE" not in ask(daemon, "WHY", NAME="b")[0].fields
    wait_for(lambda: query(daemon.state, "SELECT count(*) FROM refusals") == [(1,)], "the refusal to be on disk")
    daemon.kill9()
    daemon.start()
    assert told() == before


def test_why_at_an_address(daemon):
    with closing_all() as nodes:
        for address in ("127.0.0.2", "127.0.0.3"):
            nodes.append(daemon.client.register("a", listen=True, address=address))
        assert sorted(record["SCOPE"] for record in ask(daemon, "WHY", NAME="a")) == ["127.0.0.2", "127.0.0.3"]
        assert [record["SCOPE"] for record in ask(daemon, "WHY", NAME="a", SCOPE="127.0.0.3")] == ["127.0.0.3"]
        assert ask(daemon, "WHY", NAME="a", SCOPE="127.0.0.4") == []


# --- history --------------------------------------------------------------------------------------


def test_history_tells_who_is_there_then_who_was_newest_first(daemon):
    pass_by(daemon, "a", 1)
    pass_by(daemon, "b", 2)
    with daemon.client.register("c", 3), daemon.client.register("a", 4):
        records = ask(daemon, "HISTORY")
        assert [(record.kind, record["NAME"], record["PORT"]) for record in records] == [
            ("NODE", "a", 4), ("NODE", "c", 3), ("TENURE", "b", 2), ("TENURE", "a", 1)]  # fmt: skip
        assert [(record.kind, record["PORT"]) for record in ask(daemon, "HISTORY", NAME="a")] == [("NODE", 4), ("TENURE", 1)]
        assert ask(daemon, "HISTORY", NAME="x") == []


def test_history_between_times_and_at_a_time(daemon):
    t0 = now_usec()
    pass_by(daemon, "a", 1)
    t1 = now_usec()
    pass_by(daemon, "b", 2)
    t2 = now_usec()
    with daemon.client.register("c", 3):

        def names(kind, **fields):
            return sorted(record["NAME"] for record in ask(daemon, kind, **fields))

        assert names("HISTORY", SINCE=t1) == ["b", "c"]
        assert names("HISTORY", UNTIL=t1) == ["a"]
        assert names("HISTORY", SINCE=t1, UNTIL=t2) == ["b"]
        assert names("HISTORY", SINCE=t2) == ["c"]
        assert names("HISTORY", UNTIL=t0 - 1) == []
        assert names("HISTORY", SINCE=0, UNTIL=2**64 - 1) == ["a", "b", "c"]
        assert names("HISTORY", NAME="b", UNTIL=t1) == []
        tenures = {record["NAME"]: record for record in ask(daemon, "HISTORY") if record.kind == "TENURE"}
        for name in "ab":
            middle = (tenures[name]["SINCE"] + tenures[name]["UNTIL"]) // 2
            assert names("AT", AT=middle) == [name]
        assert names("AT", AT=now_usec()) == ["c"]
        assert names("AT", AT=0) == []
        assert names("AT", AT=2**64 - 1) == ["c"]
        assert refusal(daemon, "AT", NAME="a").word == "malformed"


@pytest.mark.parametrize("field", ["SINCE", "UNTIL", "CURSOR"])
@pytest.mark.parametrize("value", [b"", b"\1\2\3", b"\xff" * 8, b"\xff" * 9, b"x" * 100])
def test_times_that_are_none_are_answered(daemon, field, value):
    pass_by(daemon, "a")
    assert {record.kind for record in ask(daemon, "HISTORY", **{field: value})} <= {"TENURE"}
    assert ask(daemon, "AT", AT=value) == []


def test_more_than_an_answer_holds(daemon):
    n = 2 * ANSWER_MAX + 7
    for i in range(n):
        daemon.client.register(f"n{i}", 1 + i).close()
    wait_for(lambda: not daemon.client.names(), "the end of all")
    with daemon.client.register("there", 1):
        first = ask(daemon, "HISTORY")
        assert len([record for record in first if record.kind == "TENURE"]) <= ANSWER_MAX
        assert kinds(first)[-1] == "MORE"
        nodes, tenures = everything(daemon, "HISTORY")
        assert [node["NAME"] for node in nodes] == ["there"]
        assert sorted(tenure["NAME"] for tenure in tenures) == sorted(f"n{i}" for i in range(n))
        # what ends meanwhile comes before the cursor
        pass_by(daemon, "late")
        rest = ask(daemon, "HISTORY", CURSOR=first[-1]["CURSOR"])
        assert "late" not in [record.get("NAME") for record in rest]
        assert [record.kind for record in rest].count("NODE") == 0
        t = tenures[n // 2]["SINCE"]
        assert tenures[n // 2]["NAME"] in [tenure["NAME"] for tenure in everything(daemon, "AT", AT=t)[1]]


def test_how_each_ended(daemon):
    pass_by(daemon, "left")
    with daemon.client.register("released", 1):
        ask(daemon, "RELEASE", NAME="released")
    with daemon.client.register("replaced", listen=True) as replaced:
        replaced.close_listener()
        unregister(daemon.client.register("replaced", 2))
    with daemon.client.register("found-dead", listen=True), daemon.client.register("listener-gone", listen=True) as other:
        dead = daemon.client.register("dead", listen=True)
        daemon.stop()
        dead.close()
        daemon.start()
        other.close_listener()
        wait_for(lambda: ask(daemon, "WHY", NAME="listener-gone")[0].kind == "TENURE", "its end")
    how = {(record["NAME"], record["HOW"]) for record in ask(daemon, "HISTORY") if record.kind == "TENURE"}
    assert {("left", "left"), ("released", "released"), ("replaced", "replaced"), ("replaced", "left"),
            ("dead", "found-dead"), ("listener-gone", "listener-gone")} <= how  # fmt: skip


def test_what_a_later_daemon_wrote_is_told_as_it_is(daemon):
    pass_by(daemon, "a")
    wait_for(lambda: query(daemon.state, "SELECT count(*) FROM history") == [(1,)], "it to be written")
    with database(daemon.state, writable=True) as handle:
        handle.execute("UPDATE tenures SET how = 'abducted', by = 'nobody knows'")
    (record,) = ask(daemon, "HISTORY")
    assert (record["HOW"], record["BY"]) == ("abducted", "nobody knows")


def test_history_goes_as_far_as_its_bounds():
    with Daemon("--history-per-name", "3") as daemon:
        for port in range(1, 7):
            pass_by(daemon, "a", port)
        assert [record["PORT"] for record in ask(daemon, "HISTORY", NAME="a")] == [6, 5, 4]


def test_many_ask_while_many_come_and_go(daemon):
    with contextlib.ExitStack() as stack:
        pass_by(daemon, "a")
        for i in range(300):
            question = stack.enter_context(ControlClient(daemon.control).open("HISTORY", NAME="a"))
            daemon.client.register(f"n{i}", 1).close()
            if i % 3 == 0:
                question.close()
            elif i % 3 == 1:
                assert [record["NAME"] for record in question.records()] == ["a"]
        assert daemon.client.port_please("a") is None


# --- a file that is not there, or does not answer -------------------------------------------------


def test_where_nothing_is_kept_the_past_cannot_be_had():
    with Daemon("--no-state", state=False) as daemon, daemon.client.register("a", 1):
        for kind, fields in (("HISTORY", {}), ("HISTORY", {"NAME": "a"}), ("AT", {"AT": 1})):
            began = time.monotonic()
            assert refusal(daemon, kind, **fields).word == "unavailable"
            assert time.monotonic() - began < 1
        with pytest.raises(Refused):
            daemon.client.register("a", 2)
        assert kinds(ask(daemon, "WHY", NAME="a")) == ["NODE", "REFUSAL"]
        ask(daemon, "RELEASE", NAME="a")
        assert kinds(ask(daemon, "WHY", NAME="a")) == ["REFUSAL", "TENURE"]


@pytest.fixture
def sick():
    """(daemon, disk)"""
    daemon = Daemon()
    disk = SickDisk(daemon)
    with daemon:
        yield daemon, disk


def test_a_disk_that_hangs_is_waited_for_for_some_seconds(sick):
    daemon, disk = sick
    pass_by(daemon, "a")
    with daemon.client.register("b", 1), contextlib.ExitStack() as stack:
        disk.set("write hang", "sync hang")
        stack.callback(disk.heal)
        with daemon.client.register("c", 2):  # which hangs the writer
            began = time.monotonic()
            questions = [stack.enter_context(ControlClient(daemon.control).open(kind, **fields)) for kind, fields in
                         (("HISTORY", {}), ("HISTORY", {"NAME": "a"}), ("AT", {"AT": now_usec()}))]  # fmt: skip
            # the others are not kept waiting
            for _ in range(20):
                assert daemon.client.port_please("b").port == 1
            assert kinds(ask(daemon, "WHY", NAME="b")) == ["NODE"]
            assert kinds(ask(daemon, "WHY", NAME="a")) == ["TENURE"]
            for question in questions:
                with pytest.raises(ControlError) as refused:
                    question.records()
                assert refused.value.word == "unavailable"
            assert time.monotonic() - began < PATIENCE + 3


def test_a_disk_that_answers_in_time_is_waited_for(sick):
    daemon, disk = sick
    pass_by(daemon, "a")
    wait_for(lambda: query(daemon.state, "SELECT count(*) FROM history") == [(1,)], "it to be written")
    with daemon.client.connect() as sock:
        disk.set("write hang", "sync hang")
        with ControlClient(daemon.control).open("HISTORY", NAME="a") as before:
            assert [record["NAME"] for record in before.records()] == ["a"], "what can be read is told"
        sock.sendall(frame(alive2("b", 1)))
        wait_for(lambda: daemon.client.port_please("b"), "it to be found")
        with ControlClient(daemon.control).open("HISTORY", NAME="a") as question:
            time.sleep(0.5)
            disk.heal()
            assert [record["NAME"] for record in question.records()] == ["a"]


def test_so_many_may_wait_for_it(sick):
    daemon, disk = sick
    with contextlib.ExitStack() as stack:
        disk.set("write hang", "sync hang")
        stack.callback(disk.heal)
        stack.enter_context(daemon.client.register("a", 1))
        questions = [stack.enter_context(ControlClient(daemon.control).open("HISTORY")) for _ in range(QUERIES_MAX)]
        # Whose turn it is first is not for who came first to say: who is not turned away has another one's place, and keeps it.
        told = wait_for(lambda: busy(daemon, stack), "one too many")
        assert told.text == "Too many wait for the registry file already."
        for question in questions[:10]:
            question.close()
        # their places are free again: what is left are the node, the others, and who asks for the status
        wait_for(lambda: ask(daemon, "STATUS")[-1]["N_CONNECTIONS"] <= 1 + QUERIES_MAX - 8 + 1, "those ten to be gone")
        again = [stack.enter_context(ControlClient(daemon.control).open("HISTORY")) for _ in range(5)]
        for question in again:
            with pytest.raises(ControlError) as refused:
                question.records()
            assert refused.value.word == "unavailable"


def busy(daemon, stack):
    question = stack.enter_context(ControlClient(daemon.control).open("HISTORY"))
    try:
        question.next(0.2)
    except ControlError as error:
        return error if error.word == "busy" else None
    except TimeoutError:
        return None
    return None


def test_who_waits_when_the_daemon_ends_is_closed(sick):
    daemon, disk = sick
    with contextlib.ExitStack() as stack:
        disk.set("write hang", "sync hang")
        stack.enter_context(daemon.client.register("a", 1))
        question = stack.enter_context(ControlClient(daemon.control).open("HISTORY"))
        wait_for(lambda: counter(daemon, "requests.control") >= 2, "it to be asked")
        disk.heal()
        daemon.stop()
        with contextlib.suppress(BrokenOff):
            assert question.records() is not None


def test_a_file_that_is_lost_is_an_answer(daemon):
    pass_by(daemon, "a")
    wait_for(lambda: kinds(ask(daemon, "HISTORY")) == ["TENURE"], "its end to be on disk")
    daemon.state.unlink()
    daemon.signal(signal.SIGHUP)
    wait_for(daemon.state.exists, "a new file")
    wait_for(lambda: ask(daemon, "HISTORY") == [], "an empty past")
    assert kinds(ask(daemon, "WHY", NAME="a")) == ["TENURE"], "what is in memory is known all the same"


def test_a_client_that_leaves_while_it_is_asked_leaves_nothing_behind(daemon):
    pass_by(daemon, "a")
    for i in range(200):
        question = ControlClient(daemon.control).open("HISTORY")
        if i % 2:
            with contextlib.suppress(BrokenPipeError):  # it may have been answered already
                question.sock.send(b"x")
        question.close()
    wait_for(lambda: ask(daemon, "STATUS")[-1]["N_CONNECTIONS"] == 1, "all to be closed")
    assert [record["NAME"] for record in ask(daemon, "HISTORY")] == ["a"]
