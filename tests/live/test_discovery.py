# SPDX-License-Identifier: Apache-2.0
"""Real nodes of Erlang and Elixir on two machines, in units of a real systemd, find each other by a prefix; and what README.md
says of it, done as it says.

Nobody is brought along by the mesh (-connect_all false): who is connected was dialled, or has dialled. What each has found is
asked of it beside that.
"""

import contextlib
import json
import re

import pytest

from lib.elixir import MachineElixirNode, elixir_binds, needs_elixir
from lib.erlang_app import ebin
from lib.machine import Machine, MachineNode, booted, introduce
from lib.netns import join
from lib.process import SOURCE, wait_for
from lib.watching import watching

pytestmark = needs_elixir

HERE, THERE = "10.0.0.1", "10.0.0.2"
CONF = "/etc/rollcall/rollcall.conf"
WEB = ["web_1", "web_2", "web_3", "web_4", "web_5"]


# --- nodes that discover others ---------------------------------------------------------------------------


class Member:
    """What nodes of both languages have. A join() is undone by the end of the test."""

    has_joined = False

    def names(self, expression):
        """Of an expression that has full names in it, but for its own."""
        return {name for name in re.findall(r"([\w-]+)@\w+", self.eval(expression)) if name != self.name.split("@")[0]}

    def is_denied(self):
        """It has said in its log that a machine does not let it ask."""
        return re.search("does not tell its nodes.*denied", self.output()) is not None

    def end(self):
        """At once: an orderly end takes a second."""
        self.process.stdin.close()


class ErlangMember(MachineNode, Member):
    def __init__(self, machine, name, *args, **options):
        super().__init__(machine, name, "-pa", "/opt/rollcall-ebin", "-connect_all", "false", *args, wait=False, **options)

    def begin(self):
        self.eval("{ok, _} = application:ensure_all_started(rollcall)")
        self.eval('os:cmd("systemd-notify --ready")')

    def join(self, *patterns, at=(), states="any", prune=False):
        """Connects to whoever fits on its own machine and the machines `at`."""
        machines = ", ".join(["local", *(f'"{machine.name}"' for machine in at)])
        self.eval(f"""
            {{ok, Pid}} = rollcall_cluster:start_link(#{{patterns => {json.dumps(patterns)}, states => {states}, machines => [{machines}],
                                                       prune => {json.dumps(prune)}, jitter => 0, retry => {{100, 500}}}}),
            put(cluster, Pid)
        """)
        self.has_joined = True

    def stop_cluster(self):
        self.eval("gen_server:stop(erase(cluster))")
        self.has_joined = False

    def disconnect(self):
        self.eval("[erlang:disconnect_node(N) || N <- nodes(connected)]")

    def connected(self):
        return self.names("nodes(connected)")

    def found(self):
        return self.names("maps:keys(rollcall_cluster:status(get(cluster)))")

    def watch(self, pattern, *machines):
        """Messages for downs(); returns when all has been told that there is."""
        for machine in machines:
            self.eval(f"""
                {{ok, Ref}} = rollcall:watch(#{{patterns => "{pattern}", machine => {machine}}}),
                (fun F() -> receive {{rollcall, Ref, synced}} -> ok; {{rollcall, Ref, _}} -> F() after 20000 -> exit(late) end end)()
            """)

    def wait_told(self, kind, name):
        self.eval(f"""receive {{rollcall, _, Told}} when element(1, Told) =:= {kind}, map_get(name, element(2, Told)) =:= <<"{name}">> -> ok
                      after 20000 -> exit(late) end""")

    def downs(self):
        """Of whom it was told that they are down, but for wait_told()."""
        return self.names("[Told || {rollcall, _, {down, _, _} = Told} <- element(2, process_info(self(), messages))]")

    def watch_connections(self):
        self.eval("ok = net_kernel:monitor_nodes(true)")

    def lost_connections(self):
        return self.names("[N || {nodedown, N} <- element(2, process_info(self(), messages))]")


class ElixirMember(MachineElixirNode, Member):
    def __init__(self, machine, name, **options):
        super().__init__(machine, name, "--erl", "-connect_all false", wait=False, **options)

    def begin(self):
        self.eval("{:ok, _} = Application.ensure_all_started(:libcluster_rollcall)")

    def join(self, *patterns, at=(), states="any", prune=False, mode="watch"):
        machines = ", ".join([":local", *(f'"{machine.name}"' for machine in at)])
        states = re.sub(r"([a-z]+)", r":\1", states)
        self.start_libcluster(f"""[
            web: [strategy: Cluster.Strategy.Rollcall,
                  config: [patterns: {json.dumps(patterns)}, states: {states}, machines: [{machines}], prune: {json.dumps(prune)},
                           mode: :{mode}, jitter: 0, retry: {{100, 500}}, polling_interval: 200]]
        ]""")

    def start_libcluster(self, topologies):
        self.eval(f"{{:ok, cluster}} = Cluster.Supervisor.start_link([{topologies}, []])")
        self.eval("[{:web, strategy, _, _}] = Supervisor.which_children(cluster)")
        self.has_joined = True

    def stop_cluster(self):
        self.eval("Supervisor.stop(cluster)")
        self.has_joined = False

    def disconnect(self):
        self.eval("for node <- Node.list(:connected), do: Node.disconnect(node)")

    def connected(self):
        return self.names("Node.list(:connected)")

    def watch_connections(self):
        self.eval(":ok = :net_kernel.monitor_nodes(true)")

    def lost_connections(self):
        return self.names("for {:nodedown, node} <- elem(Process.info(self(), :messages), 1), do: node")

    def found(self):
        return self.names("Cluster.Strategy.Rollcall.Roster.nodes(:sys.get_state(strategy).roster)")


@contextlib.contextmanager
def started(*members):
    """All at the same time."""
    with contextlib.ExitStack() as stack:
        for member in members:
            stack.enter_context(member)
        for member in members:
            member.wait_started()
            member.begin()
        yield members
        for member in members:
            member.end()


def wait_connected(member, *names):
    wait_for(lambda: member.connected() == set(names), lambda: f"{member.name} and {names}: {member.connected()}\n{member.output()}", 20, 0.05)


def wait_found(member, *names):
    wait_for(lambda: member.found() == set(names), lambda: f"{names} by {member.name}: {member.found()}\n{member.output()}", 20, 0.05)


def others(member):
    return [name for name in WEB if name != member.name.split("@")[0]]


# --- two machines -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machines():
    binds = [f"{ebin()}:/opt/rollcall-ebin", *elixir_binds()]
    with booted(Machine(binds=binds), Machine(binds=binds)) as (here, there):
        join(here, there, f"{HERE}/24", f"{THERE}/24")
        introduce(here, HERE, there, THERE)
        yield here.install_rollcall(), there.install_rollcall()


@pytest.fixture
def here(machines):
    return machines[0]


@pytest.fixture
def there(machines):
    return machines[1]


@pytest.fixture(scope="module")
def module_web(machines):
    here, there = machines
    notify, exec_ = ["Type=notify", "NotifyAccess=all"], ["Type=exec"]
    of_here = ErlangMember(here, "web_1", properties=notify), ElixirMember(here, "web_2", properties=exec_), ErlangMember(here, "web_3", properties=exec_)
    of_there = ErlangMember(there, "web_4", properties=notify), ElixirMember(there, "web_5", properties=exec_)
    with started(*of_here, *of_there) as members:
        yield members


@pytest.fixture
def web(module_web):
    """web_1 of Erlang, web_2 of Elixir and web_3 of Erlang here, web_4 of Erlang and web_5 of Elixir there; none is connected."""
    yield module_web
    leave(*module_web)


def leave(*members):
    """Nobody looks for others any more, or is connected."""
    for member in members:
        if member.has_joined:
            member.stop_cluster()

    def are_alone():
        for member in members:
            member.disconnect()
        return not any(member.connected() for member in members)

    wait_for(are_alone, "all to be alone", 20)


def let_ask(machine, networks):
    machine.write(CONF, f"[access]\nlist-from = {networks}\n")
    machine.run("systemctl", "reload", "rollcalld.service")


@pytest.fixture
def open_machines(machines):
    """Both let each other ask."""
    for machine in machines:
        let_ask(machine, "10.0.0.0/8")
    return machines


def found_by_command(machine, *args):
    """Names of `rollcall find`."""
    return [node["name"] for node in json.loads(machine.output("rollcall", "find", "--json", *args))]


# --- the tests --------------------------------------------------------------------------------------------


def test_three_nodes_of_one_machine_find_each_other_by_prefix(here, web):
    one, two, three, *_ = web
    with here.client.register("db", listen=True) as db:
        for member in (one, two, three):
            member.join("web_*")
        for member in (one, two, three):
            found = set(others(member)) - {"web_4", "web_5"}
            wait_found(member, *found)
            wait_connected(member, *found)
        with pytest.raises(BlockingIOError):
            db.listener.setblocking(False)
            db.listener.accept()
    assert found_by_command(here, "web_*") == ["web_1", "web_2", "web_3"]
    assert len(here.output("rollcall", "wait", "--count", "3", "web_*").splitlines()) == 3
    assert here.run("rollcall", "wait", "--count", "4", "web_*", "--timeout", "0", check=False).returncode == 4


def test_two_machines_find_each_other_where_list_from_lets_them(here, there, web):
    """Asked again and again meanwhile, by those that watch and those that poll."""
    one, two, three, four, five = web
    for machine in (here, there):
        let_ask(machine, "local")
    for member, at in ((one, there), (four, here), (three, there)):
        member.join("web_*", at=[at])
    two.join("web_*", at=[there], mode="poll")
    five.join("web_*", at=[here], mode="watch")
    for member in web:
        wait_for(member.is_denied, lambda: f"a word of {member.name} on who denies: {member.output()}")
    for member, neighbours in ((one, ["web_2", "web_3"]), (two, ["web_1", "web_3"]), (four, ["web_5"]), (five, ["web_4"])):
        wait_connected(member, *neighbours)
        assert member.found() == set(neighbours)
    refused = here.run("rollcall", "find", "web_*", "--at", there.name, check=False)
    assert (refused.returncode, refused.stdout) == (3, "") and "denied" in refused.stderr

    for machine in (here, there):
        let_ask(machine, "10.0.0.0/8")
    assert found_by_command(here, "web_*", "--at", "local", "--at", there.name) == WEB
    with watching(here, "web_*", "--at", there.name) as watch:
        watch.until("synced")
        assert sorted(watch.names("node")) == ["web_4", "web_5"]
        for member in web:
            wait_found(member, *others(member))
            wait_connected(member, *others(member))

        # Closed again: nobody hears of anything any more, and that ends no node.
        let_ask(there, "local")
        assert (watch.until("unavailable")["final"], watch.names("gone")) == (True, [])
    with there.client.register("web_9", listen=True):
        wait_found(four, *others(four), "web_9")
        for member in (one, two):
            assert (member.found(), member.connected()) == (set(others(member)), set(others(member)))


def test_who_is_not_ready_and_who_is_being_stopped_is_left_alone(open_machines, web):
    """`app` is unmodified, and its unit says how it fares; web_5 says itself that it is ready. That the others have looked is
    told by their connections to web_3."""
    here, there = open_machines
    one, two, three, four, five = web
    lookers = {one: there, two: there, four: here}
    with here.node("app", "-connect_all", "false", properties=["Type=notify", "NotifyAccess=all", "ExecStop=sleep 60", "TimeoutStopSec=90"]) as app, \
         contextlib.ExitStack() as stack:
        stack.callback(here.run, "systemctl", "kill", "--signal=KILL", app.unit)

        def join(states):
            for looker, other in lookers.items():
                looker.join("app", "web_3", "web_5", at=[other], states=states)

        def assert_left_alone(app_has=(), five_has=()):
            assert set(re.findall(r"\w+(?=@)", app.eval("nodes(connected)"))) == set(app_has)
            assert five.connected() == set(five_has)

        three.eval("ok = rollcall:ready()")
        join("[ready]")
        for looker in lookers:
            wait_connected(looker, "web_3")
        assert_left_alone()
        app.eval('os:cmd("systemd-notify --ready")')
        for looker in lookers:
            wait_connected(looker, "web_3", "app")
        assert_left_alone(app_has=["web_1", "web_2", "web_4"])
        five.eval(":ok = Rollcall.ready()")
        for looker in lookers:
            wait_connected(looker, "web_3", "app", "web_5")

        here.run("systemctl", "stop", "--no-block", app.unit)
        for looker in lookers:
            wait_found(looker, "web_3", "web_5")
        assert_left_alone(app_has=["web_1", "web_2", "web_4"], five_has=["web_1", "web_2", "web_4"])  # nobody is disconnected
        for node in (app, three):
            node.eval("[erlang:disconnect_node(N) || N <- nodes(connected)]")
        for looker in lookers:
            wait_connected(looker, "web_3", "web_5")
        leave(*lookers)
        join("any")
        for looker in lookers:
            wait_found(looker, "web_3", "web_5", "app")
            wait_connected(looker, "web_3", "web_5")
        assert_left_alone(five_has=["web_1", "web_2", "web_4"])


def test_names_that_tools_take_for_a_moment_do_not_show_up(open_machines, web):
    """RabbitMQ's and a release's, by nodes of such names: they talk to a node, and are gone."""
    here, there = open_machines
    one, two, three, _, five = web
    for member, other in ((one, there), (two, there), (five, here)):
        member.join("*", at=[other])
    helpers = ["rabbitmqcli-4711-rabbit", "rem-1a2b-web_1"]
    with watching(here, "*") as watch, watching(here, "*", "--hidden") as watch_all:
        for it in (watch, watch_all):
            it.until("synced")
        with contextlib.ExitStack() as stack:
            tools = [stack.enter_context(here.node(name, "-hidden", unit=name, wait=False)) for name in helpers]
            for tool in tools:
                tool.wait_started()
                assert tool.ping(three) == "pong"
            assert found_by_command(here, "*") == ["web_1", "web_2", "web_3"]
            assert found_by_command(there, "*", "--at", here.name, "--hidden") == helpers + ["web_1", "web_2", "web_3"]
            assert one.names('rollcall:nodes("*")') == {"web_2", "web_3"}
            assert two.names('Rollcall.nodes(patterns: ["*"], hidden: true)') == {"web_1", "web_3", *helpers}
            for tool in tools:
                tool.process.stdin.close()
        with here.client.register("later", listen=True):
            for member in (one, two, five):
                wait_found(member, *others(member), "later")
        for it in (watch, watch_all):
            it.until("gone", "later")
    assert set(watch.names("node")) == {"web_1", "web_2", "web_3", "later"} and watch.names("gone") == ["later"]
    assert set(helpers) < set(watch_all.names("node")) and set(helpers) < set(watch_all.names("gone"))


def test_restarts_of_both_daemons_end_nobody(open_machines, web):
    """Not for those that prune, either. Whoever leaves afterwards is the only one of whom it is told."""
    here, there = open_machines
    both = ["--at", "local", "--at", there.name]
    for member in web:
        member.join("web_[1-5]", at=[there if member.machine is here else here], prune=True)
    for member in web:
        wait_found(member, *others(member))
        wait_connected(member, *others(member))
        member.watch_connections()
    one, registrations = web[0], {}
    one.watch("web_*", "local", f'"{there.name}"')
    with watching(here, "web_*", *both) as watch, here.begun("timeout", "60", "rollcall", "wait", "--count", "7", "web_*", *both) as waiter, \
         contextlib.ExitStack() as stack:
        for _ in (here, there):
            watch.until("synced")
        wait_for(lambda: (here.n_stored(), there.n_stored()) == (3, 2), "all to be stored")
        here.run("systemctl", "restart", "rollcalld.service")
        for machine in (here, there):
            machine.kill9_daemon()
        there.run("systemctl", "restart", "rollcalld.service")
        assert waiter.poll() is None
        for machine, name in ((here, "web_8"), (there, "web_9")):
            registrations[name] = stack.enter_context(machine.client.register(name, listen=True))
            watch.until("node", name)
            one.wait_told("up", name)
        assert waiter.wait(20) == 0
        assert (watch.names("gone"), one.downs()) == ([], set())
        for name in ("web_8", "web_9"):
            registrations.pop(name).close()
            watch.until("gone", name)
            one.wait_told("down", name)
    assert (watch.names("gone"), one.downs()) == (["web_8", "web_9"], set())
    for member in web:
        assert (member.lost_connections(), member.connected(), member.found()) == (set(), set(others(member)), set(others(member)))


# --- README.md --------------------------------------------------------------------------------------------

PAGE = re.search(r"^## Discover your nodes\n(.*?)^## ", (SOURCE / "README.md").read_text(), re.M | re.S)[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_page_of_the_readme(machines, web):
    """Every block of it, in its order, where web_1 and web_2 are on alpha."""
    alpha, beta = machines
    alpha.shell(f"echo {THERE} beta >>/etc/hosts")
    beta.shell(f"echo {HERE} alpha >>/etc/hosts")
    one, two, three, four, five = web
    of_alpha = ["web_1", "web_2", "web_3"]
    for machine in machines:
        machine.run("rm", "-f", CONF)
        machine.run("systemctl", "reload", "rollcalld.service")

    def names_told_by(command):
        with alpha.begun("timeout", "60", "bash", "-c", command) as process:
            if "watch" in command:  # which goes on
                text = "".join(process.stdout.readline() for _ in of_alpha)
            else:
                text = process.communicate()[0]
                assert process.returncode == 0, command
        return sorted(re.findall(r"\b(web_\d)@", text))

    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == ["sh", "erlang", "elixir", "ini", "sh", "erlang", "elixir"]
    asking, erlang, elixir, setting, several, erlang_cluster, elixir_cluster = (text for _, text in BLOCKS)

    assert {command: names_told_by(command) for command in asking.splitlines()} == {
        "rollcall find 'web_*'": of_alpha, "rollcall wait --count 3 'web_*' --timeout 60": of_alpha, "rollcall watch 'web_*'": of_alpha}
    one.eval(f"{erlang.strip().rstrip('.')}, ok = rollcall:unwatch(Watch), [_, _, _] = Nodes")
    two.eval(elixir)
    assert two.names("nodes") == {"web_1", "web_3"}

    assert alpha.run("rollcall", "find", "--at", "beta", check=False).returncode == 3
    for machine in machines:
        machine.write(CONF, setting)
    reload, *several = several.splitlines()
    assert reload.startswith("systemctl reload ")
    for machine in machines:
        machine.shell(reload)
    assert {command: names_told_by(command) for command in several} == {
        "rollcall find 'web_*' --at local --at beta": WEB, "rollcall wait --count 4 'web_*' --at local --at beta --timeout 60": WEB}

    two.eval(f"File.write!(\"/tmp/config.exs\", ~S|import Config\n{elixir_cluster}|)")
    two.start_libcluster('Config.Reader.read!("/tmp/config.exs")[:libcluster][:topologies]')
    one.eval(f"[{{rollcall, Environment}}] = {erlang_cluster.strip().rstrip('.')}, ok = application:stop(rollcall), "
             "ok = application:set_env([{rollcall, Environment}]), ok = application:start(rollcall)")
    for member in (one, two):
        wait_connected(member, *others(member))
    one.eval("ok = application:stop(rollcall), ok = application:unset_env(rollcall, cluster), ok = application:start(rollcall)")
