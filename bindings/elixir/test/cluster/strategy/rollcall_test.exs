# SPDX-License-Identifier: Apache-2.0
defmodule Cluster.Strategy.RollcallTest do
  use ExUnit.Case

  import ExUnit.CaptureLog
  import Rollcall.Fake, only: [info: 1, info: 2]
  alias Rollcall.Fake.{Daemon, Mesh}

  @moduletag :capture_log
  # Messages are waited for; this is for a machine that does something else.
  @patience 5_000

  setup do
    start_supervised!({Daemon, self()})
    start_supervised!({Mesh, self()})
    :ok
  end

  # No jitter, lest a test wait for it; one dial after another, so that their order says something.
  defp state(config) do
    %Cluster.Strategy.State{
      topology: :web,
      connect: {Mesh, :connect, []},
      disconnect: {Mesh, :disconnect, []},
      list_nodes: {Mesh, :connected, [:connected]},
      meta: Daemon,
      config: Keyword.merge([patterns: ["web_*"], jitter: 0, retry: {5, 20}, parallel: 1], config)
    }
  end

  defp start(config \\ []) do
    strategy = start_supervised!({Cluster.Strategy.Rollcall, [state(config)]})
    if config[:mode] != :poll, do: for(_ <- List.wrap(config[:machines] || :local), do: wait_for_watch())
    strategy
  end

  defp wait_for_watch do
    assert_receive {:watched, selection}, @patience
    selection
  end

  defp connected(node) do
    assert_receive {:connect, ^node}, @patience
  end

  # The strategy has read everything that was sent to it.
  defp settle(strategy), do: :sys.get_state(strategy)

  describe "starting" do
    test "a bad configuration fails at once, with the key" do
      assert_raise ArgumentError, ~r/^topology :web: mode: /, fn ->
        Cluster.Strategy.Rollcall.start_link([state(mode: :push)])
      end
    end

    test "under libcluster's supervisor it is one child, and its configuration is looked at there" do
      topology = [
        strategy: Cluster.Strategy.Rollcall,
        config: [patterns: ["web_*"], machines: [{127, 0, 0, 1}], mode: :poll]
      ]

      supervisor = start_supervised!(%{id: :cluster, start: {Cluster.Supervisor, :start_link, [[[web: topology]]]}})
      assert [{:web, pid, :worker, _}] = Supervisor.which_children(supervisor)
      assert is_pid(pid)

      bad = put_in(topology[:config][:pruna], true)
      Process.flag(:trap_exit, true)
      assert {:error, reason} = Cluster.Supervisor.start_link([[web: bad], []])
      assert inspect(reason) =~ "topology :web: pruna: there is no such key"
    end

    test "each machine is watched, and asked for what the configuration says" do
      start_supervised!(
        {Cluster.Strategy.Rollcall, [state(machines: [:local, "b.example"], states: [:ready], polling_interval: 77)]}
      )

      asked = %{patterns: ["web_*"], exclude: [], hidden: false, states: [:ready], timeout: 5_000, poll: 77}
      assert wait_for_watch() == Map.put(asked, :machine, :local)
      assert wait_for_watch() == Map.put(asked, :machine, ~c"b.example")
    end
  end

  describe "watching" do
    test "who is told of is connected, once" do
      strategy = start()
      for name <- ["web_1", "web_2"], do: Daemon.tell({:up, info(name)})
      Daemon.tell(:synced)
      connected(:web_1@host)
      connected(:web_2@host)
      Daemon.tell({:changed, info("web_1", state: :ready)})
      settle(strategy)
      refute_received {:connect, _}
    end

    test "who is connected already is not dialled" do
      start()
      Mesh.join(:web_1@host)
      for name <- ["web_1", "web_2"], do: Daemon.tell({:up, info(name)})
      connected(:web_2@host)
      refute_received {:connect, :web_1@host}
    end

    test "who is stopping is not dialled, whatever states are asked for, and is when it is back" do
      start(states: :any)
      Daemon.tell({:up, info("web_1", state: :stopping)})
      Daemon.tell({:up, info("web_2")})
      connected(:web_2@host)
      refute_received {:connect, :web_1@host}
      Daemon.tell({:changed, info("web_1", state: :ready)})
      connected(:web_1@host)
    end

    test "who begins to stop before it was dialled is not dialled any more" do
      start(grace: 50)
      Daemon.tell({:up, info("web_1")})
      Daemon.tell({:down, info("web_1", state: :stopping), "stopping"})
      Daemon.tell({:up, info("web_2")})
      connected(:web_2@host)
      refute_received {:connect, :web_1@host}
    end

    test "this node is never dialled, under no host part" do
      start()
      own = node() |> Atom.to_string() |> String.split("@") |> hd()
      Daemon.tell({:up, info(own, node: Atom.to_string(node()))})
      Daemon.tell({:up, info(own, node: own <> "@10.0.0.1", creation: :erlang.system_info(:creation))})
      Daemon.tell({:up, info("web_2")})
      connected(:web_2@host)
      refute_received {:connect, _}
    end

    test "a name that no node can have is no atom, and harms nobody" do
      strategy = start()
      # 256 characters; 405 characters in 205 letters; bytes that are no characters.
      Daemon.tell({:up, info("long", node: String.duplicate("w", 251) <> "@host")})
      Daemon.tell({:up, info("accents", node: String.duplicate("e\u0301", 200) <> "@host")})
      Daemon.tell({:up, info("bytes", node: <<"web_", 255, "@host">>)})
      for name <- ["web.1", "web 1", "web@1", "wéb"], do: Daemon.tell({:up, info(name)})

      # Whoever comes later is dialled later.
      for {name, node} <- [{"web_2", :web_2@host}, {"web_3", :web_3@host}] do
        Daemon.tell({:up, info(name)})
        connected(node)
      end

      settle(strategy)
      refute_received {:connect, _}
      assert_raise ArgumentError, fn -> String.to_existing_atom("web" <> " 1@host") end
    end

    test "a node whose address and host part become known is the same" do
      strategy = start()
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      Daemon.tell({:changed, info("web_1", node: "web_1@known", address: "127.0.0.1")})
      connected(:web_1@known)
      Mesh.lose(:web_1@host)
      Daemon.tell({:up, info("web_2")})
      connected(:web_2@host)
      assert settle(strategy).roster |> Cluster.Strategy.Rollcall.Roster.nodes() == ["web_1@known", "web_2@host"]
    end

    test "who could not be connected is tried again until it is" do
      start()
      Mesh.outcomes(:web_1@host, [false, :ignored, false])
      Daemon.tell({:up, info("web_1")})
      for _ <- 1..4, do: connected(:web_1@host)
      Daemon.tell({:up, info("web_2")})
      connected(:web_2@host)
      refute_received {:connect, :web_1@host}
    end

    test "who could not be connected and has left is not tried again" do
      strategy = start(retry: {50, 50})
      Mesh.outcomes(:web_1@host, [false])
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      Daemon.tell({:down, info("web_1"), "left"})
      Mesh.outcomes(:web_2@host, [false])
      Daemon.tell({:up, info("web_2")})
      # Its second attempt comes after that of web_1 would have.
      for _ <- 1..2, do: connected(:web_2@host)
      settle(strategy)
      refute_received {:connect, :web_1@host}
    end

    test "nobody is dialled before this node is ready, where that is wanted" do
      start(wait_until_ready: true)
      Daemon.tell({:up, info("web_1")})
      for _ <- 1..2, do: assert_receive(:asked_whether_ready, @patience)
      refute_received {:connect, _}
      Daemon.ready(true)
      connected(:web_1@host)
    end

    test "one who does not answer keeps nobody waiting" do
      strategy = start(parallel: 2)
      Mesh.outcomes(:web_1@host, [:hang])
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      for name <- ["web_2", "web_3"], do: Daemon.tell({:up, info(name)})
      connected(:web_2@host)
      connected(:web_3@host)
      settle(strategy)
      refute_received {:connect, :web_1@host}
      Mesh.answer(:web_1@host, false)
      connected(:web_1@host)
    end

    test "no more are dialled at once than parallel says" do
      start(parallel: 1)
      Mesh.outcomes(:web_1@host, [:hang])
      for name <- ["web_1", "web_2"], do: Daemon.tell({:up, info(name)})
      connected(:web_1@host)
      refute_receive {:connect, :web_2@host}, 50
      Mesh.answer(:web_1@host, true)
      connected(:web_2@host)
    end

    test "a connect function that crashes is an attempt in vain" do
      start()
      Mesh.outcomes(:web_1@host, [:crash])

      log =
        capture_log(fn ->
          Daemon.tell({:up, info("web_1")})
          for _ <- 1..2, do: connected(:web_1@host)
        end)

      assert log =~ "unable to connect to web_1@host: "
    end

    test "no more names become atoms than the limit says" do
      strategy = start(limit: 1, retry: {5, 5})
      # Names that this file does not make atoms of.
      [one, other] = for n <- 1..2, do: "web_#{n}@" <> Base.encode16(:crypto.strong_rand_bytes(8))
      Daemon.tell({:up, info("web_1", node: one)})
      assert_receive {:connect, node}, @patience
      assert Atom.to_string(node) == one

      log =
        capture_log(fn ->
          Daemon.tell({:up, info("web_2", node: other)})
          Daemon.tell({:up, info("web_3")})
          connected(:web_3@host)
          settle(strategy)
        end)

      assert log =~ "unable to connect to #{other}: 1 new names have been dialled, which is the limit"
      assert_raise ArgumentError, fn -> String.to_existing_atom(other) end
    end

    test "a connection that is lost is made again" do
      start(polling_interval: 5)
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      Mesh.lose(:web_1@host)
      connected(:web_1@host)
    end

    test "nobody is disconnected without prune" do
      strategy = start()
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      Daemon.tell({:down, info("web_1"), "left"})
      settle(strategy)
      refute_received {:disconnect, _}
    end

    test "with prune, who has left is disconnected, and nobody else" do
      strategy = start(prune: true)
      for name <- ["web_1", "web_2"], do: Daemon.tell({:up, info(name)})
      connected(:web_1@host)
      connected(:web_2@host)
      Mesh.join(:other@host)
      Daemon.tell({:down, info("web_1"), "left"})
      Daemon.tell({:down, info("other"), "left"})
      settle(strategy)
      assert_received {:disconnect, :web_1@host}
      refute_received {:disconnect, _}
    end

    test "with prune, who left while it was dialled is disconnected when that is through" do
      strategy = start(prune: true)
      Mesh.outcomes(:web_1@host, [:hang])
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      Daemon.tell({:down, info("web_1"), "left"})
      settle(strategy)
      refute_received {:disconnect, _}
      Mesh.answer(:web_1@host, true)
      assert_receive {:disconnect, :web_1@host}, @patience
    end

    test "with prune, who is not connected needs no disconnecting" do
      strategy = start(prune: true)
      Mesh.outcomes(:web_1@host, [false])
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
      Daemon.tell({:down, info("web_1"), "left"})
      settle(strategy)
      refute_received {:disconnect, _}
    end

    test "with prune, a daemon that is away, or restarted, or stock costs nobody his connection" do
      strategy = start(prune: true)
      Daemon.tell({:up, info("web_1", source: :names)})
      Daemon.tell({:up, info("web_2")})
      connected(:web_1@host)
      connected(:web_2@host)
      Daemon.tell({:unavailable, :econnrefused})
      Daemon.tell(:synced)
      Daemon.tell({:down, info("web_1", source: :names), "gone"})
      settle(strategy)
      refute_received {:disconnect, _}
    end

    test "a machine that is away is told once, and its return" do
      strategy = start()

      log =
        capture_log(fn ->
          for _ <- 1..2, do: Daemon.tell({:unavailable, :econnrefused})
          Daemon.tell(:synced)
          Daemon.tell(:synced)
          settle(strategy)
        end)

      assert length(String.split(log, "does not tell its nodes: :econnrefused")) == 2
      assert length(String.split(log, ":local tells its nodes again")) == 2
      assert log =~ "[libcluster:web]"
    end

    test "a watch that is refused is asked for again" do
      Daemon.refuse_watch(:local, :not_started)
      start(polling_interval: 5)
      wait_for_watch()
      Daemon.tell({:up, info("web_1")})
      connected(:web_1@host)
    end

    test "a watch that has ended begins anew, and who went meanwhile is not dialled any more" do
      strategy = start(polling_interval: 5, prune: true)
      for name <- ["web_1", "web_2"], do: Daemon.tell({:up, info(name)})
      connected(:web_1@host)
      connected(:web_2@host)
      Daemon.tell({:unavailable, {:stopped, :shutdown}})
      wait_for_watch()
      Daemon.tell({:up, info("web_2")})
      settle(strategy)
      refute_received {:disconnect, _}
      Daemon.tell(:synced)
      assert_receive {:disconnect, :web_1@host}, @patience
      refute_received {:disconnect, _}
    end

    test "what is not known is not minded" do
      strategy = start()
      Daemon.tell({:moved, info("web_1"), :somewhere})
      send(strategy, {make_ref(), :late})
      send(strategy, {:rollcall, make_ref(), {:up, info("web_9")}})
      Daemon.tell({:up, info("web_2")})
      connected(:web_2@host)
      refute_received {:connect, :web_9@host}
    end
  end

  describe "polling" do
    test "machines are asked again and again, and who is there is connected" do
      Daemon.answer(:local, {:ok, [info("web_1"), info("web_2", state: :stopping)]})
      Daemon.answer(~c"b", {:ok, [info("web_3", node: "web_3@b")]})
      start(mode: :poll, machines: [:local, "b"], polling_interval: 5)
      connected(:web_1@host)
      connected(:web_3@b)
      Daemon.answer(:local, {:ok, [info("web_1"), info("web_4")]})
      connected(:web_4@host)
      refute_received {:connect, :web_2@host}
      assert_received {:asked, %{patterns: ["web_*"], machine: :local, hidden: false, timeout: 5_000}}
    end

    test "one machine that does not answer keeps nobody from the others, and forgets nobody" do
      Daemon.answer(:local, {:ok, [info("web_1")]})
      Daemon.answer(~c"b", {:error, :denied})
      strategy = start(mode: :poll, machines: [:local, "b"], polling_interval: 5, prune: true)
      connected(:web_1@host)
      Daemon.answer(:local, {:error, :econnrefused})
      polls(3)
      Mesh.lose(:web_1@host)
      connected(:web_1@host)
      settle(strategy)
      refute_received {:disconnect, _}
    end

    test "a machine that takes its time is not asked twice at once, and keeps nobody from the others" do
      Daemon.answer(~c"b", :hang)
      start(mode: :poll, machines: [:local, "b"], polling_interval: 5)
      polls(3)
      assert_received {:asked, %{machine: ~c"b"}}
      polls(3)
      refute_received {:asked, %{machine: ~c"b"}}
    end

    test "an answer that crashes is none" do
      Daemon.answer(:local, :crash)
      start(mode: :poll, polling_interval: 5)
      polls(2)
      Daemon.answer(:local, {:ok, [info("web_1")]})
      connected(:web_1@host)
    end

    test "with prune, who is missing twice is disconnected" do
      Daemon.answer(:local, {:ok, [info("web_1"), info("web_2")]})
      start(mode: :poll, polling_interval: 5, prune: true)
      connected(:web_1@host)
      connected(:web_2@host)
      Daemon.answer(:local, {:ok, [info("web_2")]})
      assert_receive {:disconnect, :web_1@host}, @patience
      refute_received {:disconnect, _}
    end

    test "with prune, names of a stock epmd that are missing cost nobody his connection" do
      Daemon.answer(:local, {:ok, [info("web_1", source: :names)]})
      strategy = start(mode: :poll, polling_interval: 5, prune: true)
      connected(:web_1@host)
      Daemon.answer(:local, {:ok, []})
      polls(4)
      settle(strategy)
      refute_received {:disconnect, _}
    end
  end

  # So many more questions are asked of this machine.
  defp polls(n) do
    flush_asked()
    for _ <- 1..n, do: assert_receive({:asked, %{machine: :local}}, @patience)
  end

  defp flush_asked do
    receive do
      {:asked, %{machine: :local}} -> flush_asked()
    after
      0 -> :ok
    end
  end
end
