# SPDX-License-Identifier: Apache-2.0
"""bindings/elixir with a real daemon and real Elixir nodes: libcluster's strategy (on a stand-in of libcluster), the children
for a supervision tree, and the examples of its README. What needs no daemon is in bindings/elixir/test."""

import contextlib
import re
import subprocess

import pytest

from daemon.helpers import closing_all
from lib.elixir import PROJECT, ElixirNode, code_paths, needs_elixir
from lib.process import clean_environment, wait_for

pytestmark = needs_elixir

# So that who is connected was dialled, or has dialled, and was not brought along by the mesh.
NO_MESH = ["--erl", "-connect_all false"]

# A full name of more than 255 characters.
NO_ATOM = "web_".ljust(250, "x")

both_modes = pytest.mark.parametrize("mode", [":watch", ":poll"], ids=["watch", "poll"])


@contextlib.contextmanager
def nodes(port_mapper, *names):
    """Elixir nodes with the applications started. They boot at the same time, and end at once: an orderly end takes
    a second each."""
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(ElixirNode(name, *NO_MESH, epmd_port=port_mapper.port, long="." in name, wait=False)) for name in names
        ]
        for node in started:
            node.wait_started()
            node.eval("{:ok, _} = Application.ensure_all_started(:libcluster_rollcall)")
        try:
            yield started
        finally:
            for node in started:
                node.process.stdin.close()
            for node in started:
                node.process.wait(10)


# The connect function of a topology: it notes whom it dials.
DIALLED = """
defmodule Dialled do
  def connect(node), do: note(node) && :net_kernel.connect_node(node)
  def note(what), do: :ets.insert(:dialled, {System.unique_integer([:monotonic]), what})
end

:ets.new(:dialled, [:ordered_set, :public, :named_table])
"""


def join(node, config=""):
    """Starts a topology on a node as libcluster does."""
    node.eval(DIALLED)
    usual = 'patterns: ["web_*"], jitter: 0, retry: {100, 500}, polling_interval: 100'
    topology = f"[strategy: Cluster.Strategy.Rollcall, connect: {{Dialled, :connect, []}}, config: [{usual}, {config}]]"
    node.eval(f"{{:ok, cluster}} = Cluster.Supervisor.start_link([[web: {topology}], []])")
    node.eval("[{:web, strategy, _, _}] = Supervisor.which_children(cluster)")


def dialled(node):
    """Whom the topology has dialled, and what was noted, in order."""
    return node.eval("for {_, what} <- :ets.tab2list(:dialled), do: what")


def selected(node):
    """Whom the topology believes to be in its selection."""
    text = node.eval("Cluster.Strategy.Rollcall.Roster.nodes(:sys.get_state(strategy).roster)")
    return set(re.findall(r'"(\w+)@localhost"', text))


def connected(node):
    return set(re.findall(r":(\w+)@localhost", node.eval("Node.list(:connected)")))


def wait_for_set(function, node, *names):
    def what():
        return f"{function.__name__} {names} at {node.name}, not {function(node)}; it printed:\n{node.output()}"

    wait_for(lambda: function(node) == set(names), what, 15)


def wait_for_state(asked, name, state):
    wait_for(lambda: asked.eval(f'with {{:ok, info}} <- Rollcall.info("{name}"), do: info.state') == state, f"{name} is {state}")


def watch_connections(*watchers):
    for node in watchers:
        node.eval(":ok = :net_kernel.monitor_nodes(true)")


def lost_connections(node):
    """Since watch_connections()."""
    return node.eval("Process.info(self(), :messages) |> elem(1) |> Enum.filter(&match?({:nodedown, _}, &1))")


# --- the strategy ---------------------------------------------------------------------------------


@both_modes
def test_nodes_find_each_other_by_prefix(daemon, mode):
    fakes = [daemon.client.register(name, listen=True) for name in ("other", NO_ATOM)]
    with closing_all(fakes), nodes(daemon, "web_1", "web_2") as (one, two):
        for node in (one, two):
            join(node, f"mode: {mode}")
        wait_for_set(connected, one, "web_2")
        with nodes(daemon, "web_3") as (three,):
            join(three, f'mode: {mode}, machines: [{{"127.0.0.1", {daemon.port}}}]')
            for node, others in ((one, ["web_2", "web_3"]), (two, ["web_1", "web_3"]), (three, ["web_1", "web_2"])):
                wait_for_set(connected, node, *others)
                assert "other" not in dialled(node)
            assert selected(one) == {"web_2", "web_3"}
        wait_for_set(selected, one, "web_2")
        assert "[libcluster:web]" in one.output() + two.output()


@both_modes
def test_draining_node_is_left_alone(daemon, mode):
    with nodes(daemon, "web_1", "web_2") as (one, two):
        assert two.eval("Rollcall.not_ready()") == ":ok"
        wait_for_state(one, "web_2", ":stopping")
        join(one, f"mode: {mode}, states: :any")
        wait_for_set(selected, one, "web_2")
        one.eval("Dialled.note(:it_is_in_the_selection)")
        assert two.eval("Rollcall.ready()") == ":ok"
        wait_for_set(connected, one, "web_2")
        assert dialled(one) == "[:it_is_in_the_selection, :web_2@localhost]"


def test_node_that_is_not_ready_is_not_dialled(daemon):
    with nodes(daemon, "web_1", "web_2") as (one, two):
        join(one, "states: [:ready]")
        join(two, "states: [:ready], wait_until_ready: true")
        one.eval(":ok = Rollcall.ready()")
        wait_for_set(selected, two, "web_1")
        assert (dialled(one), dialled(two), connected(one)) == ("[]", "[]", set())
        two.eval(":ok = Rollcall.ready()")
        wait_for_set(connected, two, "web_1")


@both_modes
def test_who_leaves_the_selection_is_disconnected_by_prune_alone(daemon, mode):
    with nodes(daemon, "web_1", "web_2", "web_3") as (pruning, keeping, leaving):
        join(pruning, f"mode: {mode}, prune: true")
        join(keeping, f"mode: {mode}")
        wait_for_set(connected, pruning, "web_2", "web_3")
        wait_for_set(connected, keeping, "web_1", "web_3")
        assert leaving.eval("Rollcall.not_ready()") == ":ok"
        wait_for_set(connected, pruning, "web_2")
        wait_for_set(selected, keeping, "web_1")
        assert connected(keeping) == {"web_1", "web_3"}


def test_nobody_is_disconnected_when_the_daemon_is_killed(daemon):
    with nodes(daemon, "web_1", "web_2") as (watching, polling):
        join(watching, "mode: :watch, prune: true")
        join(polling, "mode: :poll, prune: true")
        wait_for_set(connected, watching, "web_2")
        wait_for_set(selected, polling, "web_1")
        watch_connections(watching, polling)
        daemon.kill9()
        wait_for(lambda: "does not tell its nodes" in polling.output(), "a word on the daemon in the log")
        daemon.start()
        # Until both have registered again; and the watch goes on.
        for name in ("web_1", "web_2"):
            wait_for_state(watching, name, ":up")
        with daemon.client.register("web_3", listen=True):
            for node, others in ((watching, ["web_2", "web_3"]), (polling, ["web_1", "web_3"])):
                wait_for_set(selected, node, *others)
        assert lost_connections(watching) == lost_connections(polling) == "[]"


@both_modes
def test_stock_epmd_is_asked_for_its_names(stock_epmd, mode):
    with nodes(stock_epmd, "web_1", "web_2", "other") as (one, two, other):
        for node in (one, two):
            join(node, f"mode: {mode}, prune: true")
        wait_for_set(connected, one, "web_2")
        wait_for_set(selected, two, "web_1")
        assert connected(other) == set()
        # After a restart it knows no names for two seconds.
        watch_connections(one, two)
        stock_epmd.kill9()
        stock_epmd.start()
        wait_for(lambda: one.eval('match?({:ok, [_, _]}, Rollcall.nodes("web_*"))') == "true", "both are listed again", 15)
        wait_for_set(selected, one, "web_2")
        assert lost_connections(one) == lost_connections(two) == "[]"


def test_names_of_the_other_kind_are_not_dialled(daemon):
    with nodes(daemon, "web_1", "web_2@127.0.0.1") as (short, _):
        wait_for(lambda: short.eval('elem(Rollcall.info("web_2"), 1).host') == '"127.0.0.1"', "its host part is known")
        join(short)
        wait_for(lambda: "unable to connect to web_2@127.0.0.1: of its name and ours" in short.output(), "a word on it in the log")
        assert dialled(short) == "[]"


# --- without libcluster ---------------------------------------------------------------------------


def test_children_of_a_supervision_tree(daemon):
    with nodes(daemon, "web_1", "web_2") as (one, two):
        tree = '[{Rollcall.Cluster, patterns: "web_*", jitter: 0}, {Rollcall.Ready, meta: [version: "1.2"]}]'
        one.eval(f"{{:ok, tree}} = Supervisor.start_link({tree}, strategy: :one_for_one)")
        wait_for_set(connected, one, "web_2")
        wait_for_state(two, "web_1", ":ready")
        assert two.eval('elem(Rollcall.info("web_1"), 1).meta') == '%{"version" => "1.2"}'
        one.eval("[cluster] = for {{Rollcall.Cluster, :default}, pid, _, _} <- Supervisor.which_children(tree), do: pid")
        assert '"web_2@localhost" => :connected' in one.eval("Rollcall.Cluster.status(cluster)")
        one.eval("Supervisor.stop(tree)")
        wait_for_state(two, "web_1", ":stopping")
        bad = "Supervisor.start_link([{Rollcall.Cluster, states: [:redy]}], strategy: :one_for_one)"
        assert "bad_selection" in one.eval(f"Process.flag(:trap_exit, true); {bad}")


def test_compiles_without_libcluster(directory):
    sources = sorted(map(str, PROJECT.glob("lib/**/*.ex")))
    argv = ["elixirc", "--warnings-as-errors", "-pa", code_paths()[0], "-o", str(directory), *sources]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    modules = {path.name for path in directory.iterdir()}
    assert {"Elixir.Rollcall.beam", "Elixir.Rollcall.Cluster.beam", "Elixir.Rollcall.Ready.beam"} <= modules
    assert "Elixir.Cluster.Strategy.Rollcall.beam" not in modules


# --- the README -----------------------------------------------------------------------------------


def test_examples_of_the_readme(daemon):
    examples = re.findall(r"^```elixir\n(.*?)^```$", (PROJECT / "README.md").read_text(), re.M | re.S)
    dependencies, configuration, with_libcluster, without, ask, wait, meta, watch = examples
    with nodes(daemon, "web_1", "web_2", "web_3") as (node, two, three):
        node.eval(f"defmodule MyApp.MixProject do\n{dependencies}\ndef all, do: deps()\nend")
        assert "libcluster_rollcall: [path: " in node.eval("MyApp.MixProject.all()")

        node.eval(f'File.write!("config.exs", ~S|import Config\n{configuration}|)')
        node.eval('Application.put_all_env(Config.Reader.read!("config.exs"))')
        node.eval(f"{{:ok, tree}} = ({with_libcluster})")
        wait_for_set(connected, node, "web_2", "web_3")
        wait_for_state(two, "web_1", ":ready")
        node.eval("Supervisor.stop(tree)")
        wait_for_state(two, "web_1", ":stopping")

        node.eval("for other <- Node.list(), do: Node.disconnect(other)")
        node.eval(f"{{:ok, tree}} = ({without})")
        wait_for_set(connected, node, "web_2", "web_3")
        wait_for_state(two, "web_1", ":ready")

        assert node.eval(ask).startswith('{"web_1@localhost", :ready, ')
        assert node.eval("names") == '["web_1", "web_2", "web_3"]'
        node.eval(wait)
        node.eval(meta)
        node.eval(watch)
        assert node.eval("first") == '"web_1@localhost"'
        assert node.eval("first |> String.to_atom() |> Node.connect()") == "true"
        node.eval("Supervisor.stop(tree)")
