# SPDX-License-Identifier: Apache-2.0
"""The Erlang application in real nodes, under the real daemon, under stock epmd, and under none."""

import contextlib
import re
import select
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from daemon.helpers import closing_all, needs_root
from lib.control_client import ControlClient
from lib.daemon import Daemon, StockEpmd, free_port
from lib.erlang_app import BINDING, AppNode, app_node, ebin
from lib.fake_control import END, HEAD, field, u16
from lib.fake_control import record as fake_record
from lib.netns import Namespace, join
from lib.nodes import ErlangNode, NodeFailed, listening_on
from lib.process import clean_environment, die_with_parent, end, wait_for

WATCHER = r"""
fun Loop(Known) ->
    receive
        {told, From} -> From ! {told, lists:reverse(Known)}, Loop(Known);
        {rollcall, _, Event} ->
            Word = case Event of
                {down, #{name := N}, Why} -> {down, N, Why};
                {Kind, #{name := N, state := S, source := From}} -> {Kind, N, S, From};
                Else -> Else
            end,
            Loop([Word | Known])
    end
end
"""


class Watched:
    """A watch in a node; `events()` is what it was told so far, as Erlang prints it, one text each."""

    def __init__(self, node, selection):
        self.node = node
        node.eval(f"""
            Self = self(), Loop = {WATCHER},
            register(watched, spawn(fun() -> Self ! {{watching, rollcall:watch({selection})}}, Loop([]) end)),
            receive {{watching, {{ok, _}}}} -> ok end
        """)

    def events(self):
        """Integers in the texts are bytes of names, as ~p prints binaries readably."""
        text = self.node.eval("watched ! {told, self()}, receive {told, T} -> T end")
        return re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}|synced", text[1:-1])

    def wait(self, *events, timeout=15.0):
        """Until these were told, each; whatever else was."""
        wait_for(lambda: set(events) <= set(self.events()), lambda: f"{events} in {self.events()}", timeout, 0.05)
        return self.events()

    def exactly(self, *events):
        """These were told and nothing else, in this order."""
        self.wait(*events)
        assert self.events() == list(events)


def up(name, state="up", source="rollcall"):
    return f'{{up,<<"{name}">>,{state},{source}}}'


def changed(name, state="up", source="rollcall"):
    return f'{{changed,<<"{name}">>,{state},{source}}}'


def down(name, why):
    return f'{{down,<<"{name}">>,<<"{why}">>}}'


def names(node, selection, *keys):
    """The names that are selected, sorted; with keys: tuples of name and these."""
    fields = ", ".join(f"maps:get({key}, I, undefined)" for key in ("name", *keys))
    text = node.eval(f"{{ok, Is}} = rollcall:nodes({selection}), [{{{fields}}} || I <- Is]")
    found = re.findall(r"\{(.*?)\}", text)
    rows = [tuple(part.removeprefix('<<"').removesuffix('">>') for part in row.split(",")) for row in found]
    return sorted(row[0] if not keys else row for row in rows)


def record(daemon, name):
    """What the daemon knows of a node, by its control socket."""
    found = ControlClient(daemon.control).find(NAME=name, HIDDEN=1, STATE="any")
    return next(iter(found.values()), None)


def wait_announced(daemon, name, **fields):
    def is_so():
        node = record(daemon, name)
        return node and all(node.get(field) == value for field, value in fields.items())

    wait_for(is_so, lambda: f"{fields} of {name}: {record(daemon, name)}", 15)


# --- announcing -----------------------------------------------------------------------------------


def test_a_node_announces_itself(daemon):
    with app_node("a", daemon) as a, app_node("b", daemon, long=True) as b:
        wait_announced(daemon, "a", HOST="localhost", NAME_KIND="short", STATE="up", HOST_SOURCE="announced")
        wait_announced(daemon, "b", HOST="127.0.0.1", NAME_KIND="long")
        assert a.eval("rollcall:is_ready()") == "false"
        assert a.eval("rollcall:ready()") == "ok"
        assert record(daemon, "a")["STATE"] == "ready" and record(daemon, "a")["ANNOUNCED"] == "ready"
        assert a.eval("rollcall:is_ready()") == "true"
        assert a.eval('rollcall:set_meta(#{zone => eu, "n" => 4})') == "ok"
        assert a.eval("rollcall:set_meta(#{n => 5})") == "ok"
        assert record(daemon, "a")["PAIR"] == {"zone": "eu", "n": "5"}
        assert a.eval("rollcall:not_ready()") == "ok"
        assert record(daemon, "a")["STATE"] == "stopping"
        assert a.eval("rollcall:is_ready()") == "false"
        assert names(b, '""', "node") == [("b", "b@127.0.0.1")]
        assert names(b, "#{states => any}", "node", "announced") == [
            ("a", "a@localhost", "draining"), ("b", "b@127.0.0.1", "undefined")]


def test_much_metadata_takes_several_requests(daemon):
    with app_node("a", daemon) as a:
        a.eval('M = maps:from_list([{integer_to_list(I), binary:copy(<<"v">>, 256)} || I <- lists:seq(1, 32)]),'
               "ok = rollcall:set_meta(M), ok = rollcall:ready()")
        assert record(daemon, "a")["PAIR"] == {str(i): "v" * 256 for i in range(1, 33)}
        assert a.eval("rollcall:set_meta(#{more => 1})") == "{error,{bad_meta,too_many}}"


def test_who_does_not_announce_by_himself_does_when_told(daemon):
    with app_node("a", daemon, config={"announce": "false"}) as a:
        assert names(a, '""') == ["a"]
        assert a.eval("rollcall:info(a)").count("host => unknown") == 1
        assert record(daemon, "a").get("HOST") is None
        assert a.eval("rollcall:ready()") == "ok"
        assert record(daemon, "a")["HOST"] == "localhost"


DISTRIBUTION = r"""
    {ok, _} = application:ensure_all_started(rollcall),
    Wait = fun Wait(Name, Key, Value) ->
        case rollcall:info(Name) of
            {ok, #{Key := Value}} -> ok;
            _ -> timer:sleep(20), Wait(Name, Key, Value)
        end
    end,
    {error, not_distributed} = rollcall:ready(),
    {error, not_distributed} = rollcall:set_meta(#{k => v}),
    {ok, _} = net_kernel:start(['first@localhost', shortnames]),
    ok = Wait("first", host, <<"localhost">>),
    ok = Wait("first", state, ready),
    ok = net_kernel:stop(),
    {ok, _} = net_kernel:start(['second@127.0.0.1', longnames]),
    ok = Wait("second", host, <<"127.0.0.1">>),
    ok = Wait("second", meta, #{<<"k">> => <<"v">>}),
    ok = Wait("second", state, ready),
    io:format("done~n"), halt(0).
"""


def test_announced_once_distribution_is_up_and_when_it_is_started_anew(daemon):
    argv = ["erl", "-noinput", "-pa", ebin(), "-start_epmd", "false", "-eval", " ".join(DISTRIBUTION.split())]
    done = subprocess.run(argv, env=clean_environment({"ERL_EPMD_PORT": daemon.port}), capture_output=True, text=True, timeout=30)
    assert done.stdout == "done\n", done.stdout + done.stderr


def test_what_is_announced_survives_the_announcer(daemon):
    with app_node("a", daemon) as a:
        assert a.eval("rollcall:ready()") == "ok"
        a.eval("""Pid = whereis(rollcall_announcer), M = monitor(process, Pid), exit(Pid, kill),
                  receive {'DOWN', M, _, _, _} -> ok end""")
        wait_for(lambda: a.eval("rollcall:is_ready()") == "true", "the next announcer")


def test_an_operators_word_counts(daemon):
    with app_node("a", daemon) as a:
        assert a.eval("rollcall:ready()") == "ok"
        assert daemon.rollcall("not-ready", "a").returncode == 0
        wait_for(lambda: a.eval("rollcall:is_ready()") == "false", "the node to hear of it")
        assert a.eval("rollcall:set_meta(#{k => v}), timer:sleep(100)") == "ok"
        daemon.kill9()
        daemon.start()
        wait_announced(daemon, "a", STATE="stopping")


def test_where_there_is_ipv6_alone():
    with Daemon(host="::1") as daemon:
        with app_node("a@::1", daemon, "-proto_dist", "inet6_tcp", long=True) as a, daemon.client.register("b", 1):
            wait_announced(daemon, "a", HOST="::1", NAME_KIND="long")
            assert names(a, '""', "node") == [("a", "a@::1"), ("b", "b@::1")]
            assert names(a, '#{machine => "::1"}') == ["a", "b"]
        # whose distribution is of IPv4 asks 127.0.0.1 first
        argv = ["erl", "-noinput", "-pa", ebin(), "-eval", '{ok, []} = rollcall:nodes("c"), halt(0).']
        assert subprocess.run(argv, env=clean_environment({"ERL_EPMD_PORT": daemon.port}), timeout=30).returncode == 0


# --- asking ---------------------------------------------------------------------------------------


def test_nodes_are_selected(daemon):
    registered = ["web_1", "web_2", "db", "rabbitmqcli-1-rabbit", "a*b"]
    with app_node("a", daemon) as a, closing_all() as connections:
        connections += [daemon.client.register(name, 1) for name in registered]
        connections.append(daemon.client.register("ghost", 1, type=72))
        assert names(a, '""') == sorted(["a", "web_1", "web_2", "db", "a*b"])
        assert names(a, '"web_*"') == ["web_1", "web_2"]
        assert names(a, '["web_[2-9]", <<"db">>, "nobody"]') == ["db", "web_2"]
        assert names(a, '#{patterns => "*", exclude => ["web_*", "a"]}') == ["a*b", "db"]
        assert names(a, "#{hidden => true}", "type")[3:] == [
            ("ghost", "hidden"), ("rabbitmqcli-1-rabbit", "normal"), ("web_1", "normal"), ("web_2", "normal")]
        assert names(a, '#{states => [ready]}') == []
        assert names(a, '#{address => "127.0.0.1"}') == []
        assert names(a, '#{address => "*", patterns => "db"}') == ["db"]
        assert 'name => <<"a*b">>' in a.eval('rollcall:info("a*b")')
        assert a.eval('rollcall:info("nobody")') == "{error,not_found}"
        assert 'node => <<"web_1@localhost">>' in a.eval("rollcall:info('web_1@localhost')")
        assert a.eval('{ok, I} = rollcall:info("web_1"), rollcall:node_atom(I)') == "web_1@localhost"
        too_long = '[[$a + I rem 26 || _ <- lists:seq(1, 200)] || I <- lists:seq(1, 20)]'
        assert a.eval(f"rollcall:nodes({too_long})") == a.eval(f"rollcall:watch({too_long})") == "{error,too_long}"


def test_several_of_one_name_are_told_apart(daemon):
    with app_node("a", daemon) as a, closing_all() as connections:
        for address in ("127.0.0.2", "127.0.0.3"):
            connections.append(daemon.client.register("app", listen=True, address=address))
        assert names(a, '"app"', "address") == [("app", "127.0.0.2"), ("app", "127.0.0.3")]
        assert names(a, '#{patterns => "app", address => {127,0,0,3}}', "address") == [("app", "127.0.0.3")]
        assert 'address => <<"127.0.0.2">>' in a.eval('rollcall:info("app")')
        assert 'address => <<"127.0.0.3">>' in a.eval('rollcall:info("app", #{address => "127.0.0.3"})')


def test_waiting(daemon):
    with app_node("a", daemon) as a, closing_all() as connections:
        assert a.eval('rollcall:wait("web_*", 1, 50)') == "{error,timeout}"
        a.eval("""Self = self(), spawn(fun() -> Self ! {waited, rollcall:wait("web_*", 2, 10000)} end)""")
        connections += [daemon.client.register(name, 1) for name in ("web_1", "web_2")]
        told = a.eval("receive {waited, {ok, Is}} -> [N || #{name := N} <- Is] end")
        assert told == '[<<"web_1">>,<<"web_2">>]'
        assert a.eval('rollcall:wait("web_*", #{count => 2, states => [ready]}, 50)') == "{error,timeout}"
        assert daemon.rollcall("ready", "web_1").returncode == 0
        assert "web_1" in a.eval('rollcall:wait("web_*", #{states => [ready]}, 5000)')
        assert a.eval("receive M -> M after 0 -> none end") == "none"


def test_a_watch(daemon):
    with app_node("a", daemon) as a:
        watched = Watched(a, '"web_*"')
        watched.exactly("synced")
        one = daemon.client.register("web_1", 1)
        daemon.client.register("db", 1).close()
        watched.wait(up("web_1"))
        assert daemon.rollcall("ready", "web_1", "k=v").returncode == 0
        watched.wait(changed("web_1", "ready"))
        assert daemon.rollcall("not-ready", "web_1").returncode == 0
        watched.wait(down("web_1", "stopping"))
        one.close()
        with daemon.client.register("web_2", 1):
            watched.wait(up("web_2"))
        watched.exactly("synced", up("web_1"), changed("web_1", "ready"), down("web_1", "stopping"), up("web_2"),
                        down("web_2", "left"))


def test_a_watch_ends_with_its_owner_or_when_told(daemon):
    with app_node("a", daemon) as a:
        n_watches = "proplists:get_value(active, supervisor:count_children(rollcall_watcher_sup))"
        a.eval('register(ref, spawn(fun() -> {ok, _} = rollcall:watch(""), receive stop -> ok end end))')
        wait_for(lambda: a.eval(n_watches) == "1", "the watch")
        a.eval("ref ! stop")
        wait_for(lambda: a.eval(n_watches) == "0", "its end")
        a.eval('{ok, Ref} = rollcall:watch(""), receive {rollcall, Ref, synced} -> ok end, put(ref, Ref)')
        with daemon.client.register("b", 1):
            a.eval('rollcall:wait("b", 1, 5000)')
            assert a.eval("rollcall:unwatch(get(ref)), receive {rollcall, _, _} = M -> M after 0 -> none end") == "none"
        assert a.eval(n_watches) == "0"
        a.eval('{ok, Ref2} = rollcall:watch(""), ok = application:stop(rollcall), put(ref, Ref2)')
        assert a.eval("""(fun F() -> receive {rollcall, _, {unavailable, {stopped, shutdown}}} -> last;
                                              {rollcall, _, _} -> F() after 5000 -> none end end)()""") == "last"
        assert a.eval('rollcall:watch("")') == "{error,not_started}"
        assert names(a, '""') == ["a"]


# --- a port mapper in between ---------------------------------------------------------------------

WATCH, FIND, PINS = 6, 9, 14


class Relay:
    """A port mapper in front of another: requests of the control protocol whose kind is in `answers` are answered by it (bytes;
    None: never), all else is passed on."""

    def __init__(self, daemon, answers):
        self.port, self.target, self.answers = free_port(), daemon.port, answers
        self.asked = []  # what was answered by us
        self.passed = []  # requests of the control protocol that were passed on, and their sockets
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.sockets = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                self.sockets.append(client)
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client):
        with contextlib.suppress(OSError):
            data = client.recv(4096)
            if data[2:6] == b"LRC\x01" and data[6] in self.answers:
                self.asked.append(data)
                if self.answers[data[6]] is not None:
                    client.sendall(self.answers[data[6]])
                    client.close()
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            self.sockets.append(server)
            if data[2:6] == b"LRC\x01":
                self.passed.append((data, client))
            server.sendall(data)
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
            self._pass(server, client)

    def _pass(self, one, other):
        with contextlib.suppress(OSError):
            while piece := one.recv(65536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)

    def cut(self, kind):
        """Ends what was asked with such a request."""
        for data, client in self.passed:
            if data[6] == kind:
                client.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def answer(*records):
    return HEAD + b"".join(records) + END


def pin_answer(name, port):
    return answer(fake_record(75, field(16, name), field(18, u16(port))))


def test_a_watch_that_is_cut_goes_on_from_where_it_was(daemon):
    with Relay(daemon, {}) as relay, app_node("a", relay, config={"announce": "false"}) as a, daemon.client.register("web_1", 1):
        watched = Watched(a, '"web_*"')
        watched.exactly(up("web_1"), "synced")
        # our own record is watched as well
        relay.cut(WATCH)
        with daemon.client.register("web_2", 1):
            watched.wait(up("web_2"))
        watched.wait(down("web_2", "left"))
        assert watched.events() == [up("web_1"), "synced", up("web_2"), down("web_2", "left")]
        mine = [data for data, _ in relay.passed if data[6] == WATCH and b"web_" in data]
        assert len(mine) == 2
        assert b"\0\x30\0\x08" not in mine[0] and b"\0\x30\0\x08" in mine[1] and b"\0\x4c\0\x08" in mine[1]


def test_a_port_mapper_that_says_nothing_is_taken_for_lost(daemon):
    with Relay(daemon, {WATCH: None}) as relay, app_node("a", relay) as a:
        watched = Watched(a, "#{heartbeat => 1000}")
        watched.exactly("{unavailable,timeout}")
        relay.answers.clear()
        watched.wait(up("a"), "synced")


# --- restarts -------------------------------------------------------------------------------------


def test_nobody_is_down_when_the_daemon_is_killed(daemon):
    with app_node("a", daemon) as a, app_node("b", daemon) as b:
        for node in (a, b):
            assert node.eval("rollcall:ready()") == "ok"
        watched = Watched(a, '#{heartbeat => 1000}')
        begun = watched.wait("synced", up("a", "ready"), up("b", "ready"))
        daemon.kill9()
        daemon.start()
        wait_announced(daemon, "a", STATE="ready", ANNOUNCED="ready")
        wait_announced(daemon, "b", STATE="ready", ANNOUNCED="ready")
        with daemon.client.register("c", 1):
            watched.wait(up("c"))
        watched.wait(down("c", "left"))
        later = watched.events()[len(begun):]
        assert [event for event in later if event.startswith(("{down", "{up"))] == [up("c"), down("c", "left")]
        assert not [event for event in later if "unavailable" in event], later


def test_nobody_is_down_when_the_registry_is_lost_and_all_is_announced_again(daemon):
    with app_node("a", daemon) as a, app_node("b", daemon) as b:
        assert b.eval("rollcall:ready(), rollcall:set_meta(#{k => v})") == "ok"
        watched = Watched(a, '#{patterns => "*"}')
        begun = watched.wait("synced", up("b", "ready"), up("a"))
        daemon.kill9()
        for path in daemon.directory.glob("registry.db*"):
            path.unlink()
        daemon.start()
        assert record(daemon, "b") is None
        wait_announced(daemon, "b", HOST="localhost", STATE="ready", PAIR={"k": "v"})
        wait_announced(daemon, "a", HOST="localhost")
        with daemon.client.register("c", 1):
            later = watched.wait(up("c"))[len(begun):]
        assert [event for event in later if event.startswith(("{down", "{up"))] == [up("c")], later
        assert changed("b", "ready") in later


def test_who_died_while_the_daemon_was_away_is_down(daemon):
    with app_node("a", daemon) as a, app_node("b", daemon) as b:
        wait_announced(daemon, "b", HOST="localhost")
        watched = Watched(a, '#{patterns => "b", settle => 200}')
        watched.exactly(up("b"), "synced")
        daemon.kill9()
        b.kill9()
        daemon.start()
        watched.wait(down("b", "gone"))


def test_a_daemon_that_is_away_is_waited_for():
    daemon = Daemon()
    with contextlib.closing(daemon):
        daemon.start()
        with app_node("a", daemon) as a:
            daemon.stop()
            assert a.eval('rollcall:nodes("")') == "{error,econnrefused}"
            assert a.eval("rollcall:info(a)") == "{error,econnrefused}"
            assert a.eval("rollcall:ready(500)") in ("{error,econnrefused}", "{error,timeout}")
            assert a.eval('rollcall:wait("", 1, 100)') == "{error,econnrefused}"
            a.eval('Self = self(), spawn(fun() -> Self ! {waited, rollcall:wait("b", 1, 15000)} end)')
            watched = Watched(a, '"a"')
            watched.exactly("{unavailable,econnrefused}")
            daemon.start()
            with daemon.client.register("b", 1):
                assert '<<"b">>' in a.eval("receive {waited, {ok, [#{name := N}]}} -> N end")
            watched.wait("synced")
            # what was said while it was away
            wait_announced(daemon, "a", STATE="ready")


def test_a_daemon_that_hangs_keeps_nobody(daemon):
    with app_node("a", daemon) as a:
        watched = Watched(a, "#{heartbeat => 1000}")
        watched.wait("synced")
        daemon.signal(signal.SIGSTOP)
        assert a.eval("rollcall:nodes(#{timeout => 200})") == "{error,timeout}"
        assert a.eval("rollcall:ready(200)") == "{error,timeout}"
        daemon.signal(signal.SIGCONT)
        assert names(a, '""') == ["a"]
        wait_announced(daemon, "a", STATE="ready")


# --- stock epmd -----------------------------------------------------------------------------------


def test_stock_epmd_tells_names(stock_epmd):
    with app_node("a", stock_epmd) as a, app_node("web_1", stock_epmd) as web:
        assert names(a, '"web_*"', "node", "state", "source") == [("web_1", "web_1@localhost", "unknown", "names")]
        assert names(a, "#{states => [ready]}") == []
        assert "source => names" in a.eval("rollcall:info(web_1)")
        assert a.eval("rollcall:ready()") == "{error,no_extension}"
        assert '<<"web_1">>' in a.eval('rollcall:wait("web_*", 1, 5000)')
        watched = Watched(a, '#{patterns => "web_*", poll => 50, settle => 100}')
        watched.wait(up("web_1", "unknown", "names"), "synced")
        web.stop()
        watched.wait(down("web_1", "gone"))
        with stock_epmd.client.register("rem-1a2b-app", 1), stock_epmd.client.register("web_2", 1):
            watched.wait(up("web_2", "unknown", "names"))
            assert names(a, '""') == ["a", "web_2"]


def test_from_stock_epmd_to_rollcall():
    """As in an installation under living nodes: nobody is down, and what was said is announced to the newcomer, to whom the
    nodes' creations mean nothing."""
    port = free_port()
    stock = StockEpmd(port=port)
    with contextlib.closing(stock):
        stock.start()
        polling = {"config": {"poll": "100"}}
        with app_node("a", stock, **polling) as a, app_node("b", stock, **polling) as b:
            assert b.eval("rollcall:ready()") == "{error,no_extension}"
            watched = Watched(a, '#{poll => 100, patterns => ["a", "b"]}')
            watched.wait(up("a", "unknown", "names"), up("b", "unknown", "names"))
            stock.kill9()
            with Daemon(port=port) as daemon:
                wait_announced(daemon, "b", HOST="localhost", STATE="ready")
                wait_announced(daemon, "a", HOST="localhost")
                watched.wait(changed("b", "ready"), timeout=20)
                assert not [event for event in watched.events() if event.startswith("{down")]


# --- other machines -------------------------------------------------------------------------------


@contextlib.contextmanager
def two_machines(*daemon_options):
    """A daemon at 10.99.0.1 in a namespace, one at 10.99.0.2 in another, on one port."""
    with Namespace() as here, Namespace() as there, contextlib.ExitStack() as stack:
        join(here, there, "10.99.0.1/24", "10.99.0.2/24")
        daemons = []
        for namespace in (here, there):
            daemon = Daemon(*daemon_options, wrapper=namespace.prefix, port=daemons[0].port if daemons else None)
            daemon.client.network = namespace
            daemon.listen = [f"*:{daemon.port}"]
            daemons.append(stack.enter_context(daemon))
        yield here, there, *daemons


@needs_root
def test_another_machine_that_does_not_let_us_ask():
    with two_machines() as (_, there, here_daemon, daemon), here_daemon.client.register("web_1", 1):
        with app_node("a@10.99.0.2", daemon, long=True, prefix=there.prefix) as a:
            for call in ("rollcall:nodes(S)", 'rollcall:info("web_1", S)', "rollcall:wait(S, 1, 10000)"):
                assert a.eval(f'S = #{{machine => "10.99.0.1"}}, {call}') == "{error,denied}"
            watched = Watched(a, "#{machine => {10,99,0,1}}")
            watched.exactly("{unavailable,denied}")
            assert names(a, '#{machine => "10.99.0.2"}') == ["a"]


@needs_root
def test_nodes_of_other_machines():
    with two_machines("--list-from", "10.99.0.0/24") as (here, there, here_daemon, daemon):
        with app_node("web_2@10.99.0.2", daemon, long=True, prefix=there.prefix) as two, closing_all() as connections:
            connections.append(here_daemon.client.register("plain", 1))
            # an unknown host part is what was dialled, and ours on this machine
            asked = '#{patterns => "plain", machine => "10.99.0.1"}'
            assert names(two, asked, "node", "host") == [("plain", "plain@10.99.0.1", "unknown")]
            connections.append(daemon.client.register("plain", 1))
            for machine in ("local", '"10.99.0.2"', "{127,0,0,1}"):
                assert names(two, f'#{{patterns => "plain", machine => {machine}}}', "node") == [("plain", "plain@10.99.0.2")]
            watched = Watched(two, '#{patterns => "web_*", machine => "10.99.0.1"}')
            cluster = """{ok, _} = rollcall_cluster:start_link(#{patterns => "web_*", machines => [local, "10.99.0.1", "10.99.0.2"],
                                                             jitter => 0})"""
            two.eval(cluster)
            with app_node("web_1@10.99.0.1", here_daemon, long=True, prefix=here.prefix) as one:
                watched.wait(up("web_1"))
                wait_for(lambda: one.eval("nodes()") == "['web_2@10.99.0.2']", "the connection")
            watched.wait(down("web_1", "left"))


# --- clusters -------------------------------------------------------------------------------------


def clustered(name, daemon, options, **more):
    return app_node(name, daemon, config={"cluster": f"[{options}]"}, **more)


def nodes(node):
    return sorted(re.findall(r"[\w-]+(?=@)", node.eval("nodes(connected)")))


def wait_connected(node, *others):
    wait_for(lambda: nodes(node) == sorted(others), lambda: f"{node.name} and {others}: {nodes(node)}", 15, 0.05)


def status(node):
    """{name: status} of the node's cluster."""
    text = node.eval("""[{_, Pid, _, _}] = [C || {{rollcall_cluster, _}, _, _, _} = C <- supervisor:which_children(rollcall_sup)],
                        maps:to_list(rollcall_cluster:status(Pid))""")
    return dict(re.findall(r'\{<<"([^@]*)@[^"]*">>,(\w+)\}', text))


class Bait:
    """A registration on whose port somebody may be seen to knock."""

    def __init__(self, daemon, name, **fields):
        self.registration = daemon.client.register(name, listen=True, address="127.0.0.1", **fields)

    def is_dialled(self):
        return bool(select.select([self.registration.listener], [], [], 0)[0])

    def close(self):
        self.registration.close()


def test_three_nodes_find_each_other_by_prefix(daemon):
    options = '#{patterns => "web_*", jitter => 50, retry => {50, 500}}'
    with contextlib.ExitStack() as stack:
        for name in ("db", "rabbitmqcli-1-web_1"):
            stack.enter_context(AppNode(name, epmd_port=daemon.port))
        web = [stack.enter_context(clustered(f"web_{i}", daemon, options)) for i in (1, 2, 3)]
        wait_connected(web[0], "web_2", "web_3")
        wait_connected(web[1], "web_1", "web_3")
        wait_connected(web[2], "web_1", "web_2")
        assert status(web[0]) == {"web_1": "own", "web_2": "connected", "web_3": "connected"}
        # one that comes back is dialled again, by whoever is first
        web[2].kill9()
        wait_connected(web[0], "web_2")
        stack.enter_context(clustered("web_3", daemon, options))
        wait_connected(web[0], "web_2", "web_3")
        # a connection that is cut is made again while the node is listed
        web[0].eval("erlang:disconnect_node('web_2@localhost')")
        wait_connected(web[0], "web_2", "web_3")


def test_whoever_is_stopping_is_left_alone(daemon):
    with closing_all() as baits:
        stopping, other = (Bait(daemon, name) for name in ("web_1", "web_2"))
        baits += [stopping, other]
        assert daemon.rollcall("not-ready", "web_1").returncode == 0
        with clustered("a", daemon, '#{patterns => "web_*", states => any, jitter => 0}') as a:
            wait_for(other.is_dialled, "the dial to who is not stopping")
            assert status(a)["web_1"] == "stopping" and not stopping.is_dialled()
            assert daemon.rollcall("ready", "web_1").returncode == 0
            wait_for(stopping.is_dialled, "the dial to who is back")


def test_who_is_not_ready_is_not_dialled(daemon):
    with closing_all() as baits:
        up_only, ready = (Bait(daemon, name) for name in ("web_1", "web_2"))
        baits += [up_only, ready]
        assert daemon.rollcall("ready", "web_2").returncode == 0
        with clustered("a", daemon, '#{patterns => "web_*", states => [ready], jitter => 0}') as a:
            wait_for(ready.is_dialled, "the dial to who is ready")
            assert status(a).keys() == {"web_2"} and not up_only.is_dialled()
            assert daemon.rollcall("ready", "web_1").returncode == 0
            wait_for(up_only.is_dialled, "the dial to who has become ready")


def test_a_node_that_waits_until_it_is_ready_dials_nobody_before(daemon):
    with closing_all() as baits, clustered("a", daemon, '#{patterns => "web_*", wait_until_ready => true, jitter => 0}') as a:
        baits.append(Bait(daemon, "web_1"))
        wait_for(lambda: status(a) == {"web_1": "not_ready"}, "it to be found")
        assert not baits[0].is_dialled()
        assert a.eval("rollcall:ready()") == "ok"
        wait_for(baits[0].is_dialled, "the dial")


def test_two_real_nodes_that_want_ready_ones(daemon):
    options = '#{patterns => "*", states => [ready], wait_until_ready => true, jitter => 0}'
    with clustered("a", daemon, options) as a, clustered("b", daemon, options) as b:
        assert a.eval("rollcall:ready()") == "ok"
        wait_for(lambda: status(b) == {"a": "not_ready"}, "b to find a")
        assert nodes(a) == [] and status(a) == {"a": "own"}
        assert b.eval("rollcall:ready()") == "ok"
        wait_connected(a, "b")


def test_nobody_is_disconnected_unless_it_was_asked_for(daemon):
    plain, pruning = '#{patterns => "web", jitter => 0}', '#{patterns => "web", jitter => 0, prune => true}'
    # Not of one mesh, else they would connect each other.
    with AppNode("web", epmd_port=daemon.port) as web, clustered("a", daemon, plain, env={"ERL_FLAGS": "-connect_all false"}) as a, \
         clustered("b", daemon, pruning, env={"ERL_FLAGS": "-connect_all false"}) as b:
        wait_connected(a, "web")
        wait_connected(b, "web")
        b.eval("net_kernel:monitor_nodes(true)")
        assert daemon.rollcall("not-ready", "web").returncode == 0
        wait_for(lambda: "web" not in status(a) and "web" not in status(b), "both to hear of it")
        assert nodes(a) == nodes(b) == ["web"]
        assert daemon.rollcall("ready", "web").returncode == 0
        wait_for(lambda: status(b).get("web") == "connected", "b to hear of it")
        assert daemon.rollcall("release", "web").returncode == 0
        assert b.eval("receive {nodedown, N} -> N after 10000 -> none end") == "web@localhost"
        assert nodes(a) == ["web"]
        assert web.eval("node()") == "web@localhost"


def test_atoms_are_made_of_few_names(daemon):
    with closing_all() as baits, clustered("a", daemon, "#{patterns => \"x_*\", limit => 2, jitter => 0}") as a:
        baits += [Bait(daemon, f"x_{i}") for i in range(5)]
        wait_for(lambda: sorted(status(a).values()).count("too_many") == 3, lambda: str(status(a)))
        wait_for(lambda: sum(bait.is_dialled() for bait in baits) == 2, "two to be dialled")
        wait_for(lambda: "its limit" in a.output(), "the warning")
        exist = "[try binary_to_existing_atom(<<\"x_\", (I + $0), \"@localhost\">>, utf8), 1 catch _:_ -> 0 end || I <- [0,1,2,3,4]]"
        assert a.eval(f"lists:sum({exist})") == "2"


def test_names_that_no_node_can_have_do_no_harm(daemon):
    with closing_all() as baits, clustered("a", daemon, '#{patterns => ["x*", "web"], jitter => 0}') as a:
        baits += [Bait(daemon, name) for name in ("x" * 255, "x@y", "x" + "\u00e9" * 254, "x.y", "x y", "web")]
        wait_for(baits[-1].is_dialled, "the dial to one that is a node's")
        told = a.eval("""[{_, Pid, _, _}] = [C || {{rollcall_cluster, _}, _, _, _} = C <- supervisor:which_children(rollcall_sup)],
                         lists:sort([S || {N, S} <- maps:to_list(rollcall_cluster:status(Pid)), N =/= <<"web@localhost">>])""")
        assert told == f"[{','.join(['bad_name'] * 5)}]"
        assert "ERROR REPORT" not in a.output()


def test_who_has_the_other_kind_of_name_is_left_alone(daemon):
    with closing_all() as baits, clustered("a", daemon, '#{patterns => "web_*", jitter => 0}') as a:
        baits += [Bait(daemon, "web_1"), Bait(daemon, "web_2")]
        ControlClient(daemon.control).request("ANNOUNCE", NAME="web_2", HOST="h.example")
        wait_for(lambda: status(a).get("web_2") == "other_kind", "its kind to be known")
        # known as web_2@localhost at first, perhaps
        assert status(a).keys() == {"web_1", "web_2"}


def test_the_child_that_says_ready(daemon):
    with app_node("a", daemon) as a:
        a.eval("""{ok, Pid} = rollcall_ready:start_link(#{meta => #{vsn => "1.2"}}), unlink(Pid), put(child, Pid)""")
        assert record(daemon, "a")["STATE"] == "ready" and record(daemon, "a")["PAIR"] == {"vsn": "1.2"}
        a.eval("ok = gen_server:stop(get(child))")
        assert record(daemon, "a")["STATE"] == "stopping"
        assert "shutdown => 3000" in a.eval("rollcall_ready:child_spec()")
        daemon.stop()
        a.eval("{ok, Other} = rollcall_ready:start_link(#{timeout => 100}), ok = gen_server:stop(Other)")


# --- the epmd module ------------------------------------------------------------------------------

EPMD = ("-epmd_module", "rollcall_epmd")


@pytest.mark.parametrize("mapper", ["daemon", "stock_epmd"])
def test_the_epmd_module_does_what_stock_does(mapper, request):
    mapper = request.getfixturevalue(mapper)
    with app_node("a", mapper, *EPMD, started=False) as a, app_node("b", mapper, *EPMD) as b:
        assert a.ping(b) == "pong"
        assert b.ping("nobody@localhost") == "pang"
        assert b.ping("a@no-such-host") == "pang"
        listed = a.eval("erlang:apply(net_kernel:epmd_module(), names, [localhost])")
        assert sorted(re.findall(r'\{"(\w)",', listed)) == ["a", "b"]
        assert re.fullmatch(r"\{ok,\{127,0,0,1\},\d+,6\}", a.eval('rollcall_epmd:address_please("b", "localhost", inet)'))
        assert re.fullmatch(r"\{port,\d+,6\}", a.eval('rollcall_epmd:port_please("b", "localhost")'))


def test_a_pinned_port_is_listened_on(daemon):
    port = free_port()
    assert daemon.rollcall("pin", "a", str(port)).returncode == 0
    with app_node("a", daemon, *EPMD, started=False) as a:
        assert daemon.client.port_please("a").port == port
        assert a.eval("erlang:system_info(creation) > 0") == "true"


def test_the_port_of_a_pin_is_listened_on(daemon):
    port = free_port()
    with Relay(daemon, {PINS: pin_answer(b"a", port)}) as relay, app_node("a", relay, *EPMD, started=False):
        assert daemon.client.port_please("a").port == port
        assert relay.asked == [b"\0\x0a" + b"LRC\x01\x0e" + b"\0\x10\0\x01a"]


@pytest.mark.parametrize("pins", [None, b"", b"LRC\x01\0\0", pin_answer(b"other", 1)])
def test_without_a_pin_the_node_listens_as_ever(daemon, pins):
    """None: the port mapper never answers that."""
    with Relay(daemon, {PINS: pins}) as relay, app_node("a", relay, *EPMD, started=False) as a:
        assert len(relay.asked) == 1
        assert daemon.client.port_please("a").port not in (0, 1)
        assert a.eval("node()") == "a@localhost"


def test_a_node_of_a_machine_without_a_port_mapper_is_found_by_our_entries(daemon):
    port = free_port()
    entry = fake_record(67, field(16, b"far"), field(17, b"up"), field(18, u16(port)), field(19, b"M"), field(25, b"127.0.0.9"),
                        field(32, b"127.0.0.9"), field(56, b"static"), field(58, b"\x01"))  # fmt: skip
    nowhere = Daemon()  # not started
    far = app_node("far@127.0.0.9", nowhere, "-erl_epmd_port", str(port), *listening_on("127.0.0.9"), started=False, long=True)
    with contextlib.closing(nowhere), Relay(daemon, {FIND: answer(entry), PINS: answer()}) as relay, far:
        with app_node("near", relay, *EPMD, long=True) as near, app_node("stock", relay, long=True) as stock:
            assert near.ping(far) == "pong"
            assert near.ping("far@127.0.0.8") == "pang"
            assert stock.ping(far) == "pang"
            assert near.eval("nodes()") == "['far@127.0.0.9']"


@needs_root
def test_a_node_of_another_machine_is_connected_to_by_an_entry():
    """It registers nowhere; `rollcall add` says where it is, the daemon tells it, the cluster dials it."""
    port = free_port()
    with Namespace() as ours, Namespace() as theirs:
        join(ours, theirs, "10.99.0.1/24", "10.99.0.2/24")
        far = app_node("far@10.99.0.2", Daemon(), "-erl_epmd_port", str(port), started=False, long=True, prefix=theirs.prefix)
        with Daemon(wrapper=ours.prefix) as daemon, far, app_node("near", daemon, *EPMD, long=True, prefix=ours.prefix) as near:
            near.eval('{ok, C} = rollcall_cluster:start_link(#{patterns => "f*", jitter => 0}), {ok, W} = rollcall:watch("far"), put(c, C), put(w, W)')
            event = "W = get(w), receive {rollcall, W, E} -> E after 5000 -> late end"
            assert near.eval(event) == "synced"
            order = ["add", "far", "--port", str(port), "--address", "10.99.0.2", "--host-part", "10.99.0.2"]
            assert daemon.rollcall(*order).returncode == 0
            told = near.eval(f"{{up, I}} = begin {event} end, maps:with([node, static, elsewhere, state_source], I)")
            assert told == '#{elsewhere => true,node => <<"far@10.99.0.2">>,state_source => entry,static => true}'
            wait_for(lambda: near.eval("nodes()") == "['far@10.99.0.2']", "the connection")
            assert near.eval("rollcall_cluster:status(get(c))") == '#{<<"far@10.99.0.2">> => connected}'
            daemon.rollcall("remove", "far")
            assert near.eval(f"{{down, _, Why}} = begin {event} end, Why") == '<<"removed">>'
            assert near.eval("nodes()") == "['far@10.99.0.2']"


def test_a_node_whose_epmd_module_is_not_in_the_code_path_does_not_boot(daemon):
    node = ErlangNode("a", *EPMD, epmd_port=daemon.port)
    with pytest.raises(NodeFailed), node:
        pass
    assert daemon.client.names() == []


# --- as others build it ---------------------------------------------------------------------------


def test_mix_builds_it(tmp_path):
    if not shutil.which("mix"):
        pytest.skip("mix is not installed")
    source = tmp_path / "rollcall"
    shutil.copytree(BINDING, source, ignore=shutil.ignore_patterns("_build", "ebin"))
    env = clean_environment({"MIX_ENV": "prod", "HOME": tmp_path, "MIX_HOME": tmp_path / "mix"})
    done = subprocess.run(["mix", "compile"], cwd=source, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    made = (source / "_build/prod/lib/rollcall/ebin/rollcall.app").read_text()
    assert "{mod,{rollcall_app,[]}}" in made and "elixir" not in made


def test_it_boots_in_a_release(daemon, tmp_path):
    """The boot script of a release, in embedded mode: modules are loaded before kernel starts, and -pa is not needed."""
    make = r"""
        V = fun(A) -> _ = application:load(A), {ok, X} = application:get_key(A, vsn), X end,
        Rel = {release, {"r", "1"}, {erts, erlang:system_info(version)}, [{A, V(A)} || A <- [kernel, stdlib, rollcall]]},
        ok = file:write_file("r.rel", io_lib:format("~p.~n", [Rel])),
        ok = systools:make_script("r", [{path, [filename:dirname(code:which(rollcall))]}, no_warn_sasl, local]), halt(0).
    """
    env = clean_environment({"ERL_EPMD_PORT": daemon.port})
    argv = ["erl", "-noinput", "-pa", ebin(), "-eval", " ".join(make.split())]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    argv = ["erl", "-noinput", "-boot", str(tmp_path / "r"), "-mode", "embedded", "-sname", "a@localhost", "-start_epmd", "false", *EPMD]
    process = subprocess.Popen(argv, env={**env, "HOME": str(tmp_path)}, cwd=tmp_path, preexec_fn=die_with_parent(),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        wait_announced(daemon, "a", HOST="localhost")
    finally:
        end(process)
        process.stdout.close()
