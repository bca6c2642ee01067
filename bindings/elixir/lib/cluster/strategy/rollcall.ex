# SPDX-License-Identifier: Apache-2.0

# Without libcluster there is no such strategy; Rollcall.Cluster does the same.
if match?({:module, _}, Code.ensure_compiled(Cluster.Strategy)) do
  defmodule Cluster.Strategy.Rollcall do
    @moduledoc """
    A libcluster strategy that connects to the nodes which the Rollcall port mapper knows.

        config :libcluster,
          topologies: [
            web: [
              strategy: Cluster.Strategy.Rollcall,
              config: [patterns: ["web_*"]]
            ]
          ]

    This node then is connected to every node of this machine whose name begins with `web_`, a moment after it has
    registered, and to those that come later.

    > #### A prefix selects, it does not isolate {: .warning}
    >
    > Whoever connects to one node of a mesh is connected to all of it, whatever their names: two topologies of
    > different prefixes and one cookie become one cluster as soon as a single node is in both. What keeps clusters apart
    > is the cookie.

    ## Configuration

    | key | default | meaning |
    | --- | --- | --- |
    | `:patterns` | needed | names, as shell patterns (`*`, `?`, `[...]`) or a list of them: `"web_*"`. What stands after the `@` is no part of a name |
    | `:exclude` | `[]` | patterns of names that are left out |
    | `:machines` | `[:local]` | who is asked: `:local`, host names, addresses, each also as `{machine, port}` |
    | `:states` | all but `:stopping` | `:up`, `:starting`, `:ready`, `:stopping`, `:awaited`, or `:any`. `[:ready]`: who has not said that it is ready is not dialled |
    | `:hidden` | `false` | also hidden nodes and those that tools start for a moment |
    | `:mode` | `:watch` | `:watch`: the daemon tells of each change; `:poll`: it is asked again and again |
    | `:polling_interval` | `5_000` | `:poll`: how often it is asked. Both: how often it is looked whether a connection was lost |
    | `:prune` | `false` | disconnect from a node that went down or left the selection |
    | `:grace` | `0` | a node that has come is not dialled before so many milliseconds |
    | `:jitter` | `500` | and at random up to so many later, lest all dial at once |
    | `:retry` | `{1_000, 60_000}` | the pause after a node could not be connected, doubled each time, and the longest |
    | `:parallel` | `8` | so many nodes are dialled at once |
    | `:wait_until_ready` | `false` | dial nobody before this node is ready itself (`Rollcall.ready/1`, `Rollcall.Ready`, its unit) |
    | `:limit` | `1_000` | so many names that were no atoms before are dialled; others are left alone, and the log says so |
    | `:timeout` | `5_000` | how long a question to a machine may take |

    What is wrong here is an `ArgumentError` at the start, which names the topology and the key.

    ## What it does, and does not

      * A node that is `stopping` is never dialled, whatever `:states` says. Who is connected to a node that begins to
        stop stays so, unless `:prune` is set.
      * It never dials its own node, nor one whose name is of the other kind: long and short names cannot connect.
      * When the daemon is away, restarts or denies, nothing is disconnected and nothing is forgotten; the machine is
        asked again, and a line in the log says so once. A restart of the daemon is no news.
      * A machine that runs stock `epmd` is asked for its names, again and again. States are not known there. By its
        word nobody is disconnected: that a name is missing says little there, since
        a stock `epmd` that was restarted knows none.
      * Other machines answer if their `list-from` allows it. A name whose host part their daemon does not know gets the
        string by which the machine was asked: `machines: ["b.example"]` finds `web_1@b.example`.
      * Connections go through `Cluster.Strategy.connect_nodes/4` and `disconnect_nodes/4`, so that `connect:`,
        `disconnect:` and `list_nodes:` of the topology count, and libcluster's logs and telemetry are as ever. Those
        that were never tried come first.
      * A name becomes an atom when it is dialled and not before, since atoms are never freed. Where names are made up for
        every job, let patterns be narrow.
      * Being connected is symmetric: a node that dials others is in the mesh. For a node that is to be in it only when
        it is ready, set `states: [:ready]` on all of them, and `wait_until_ready: true`. A machine of stock `epmd` knows no
        states but "there"; its nodes are found where `:up` is among the `:states`.

    ## Before you set `:prune`

    A node that drains leaves the default selection, and pruning cuts it off from callers it may still be serving.
    And from OTP 25 on `global` takes a connection that is cut on purpose for a network partition, and disconnects
    further nodes (`prevent_overlapping_partitions` of `kernel`): prune on all nodes of a cluster or on none.
    """
    use GenServer
    use Cluster.Strategy

    alias Cluster.Strategy.Rollcall.{Config, Roster}
    alias Cluster.Strategy.State

    # What an atom may hold, in characters.
    @longest_name 255
    # How often it is asked whether this node is ready, where somebody waits for that.
    @readiness_interval 250

    defstruct [
      :libcluster,
      :config,
      :rollcall,
      :timer,
      roster: Roster.new(),
      watches: %{},
      troubles: %{},
      jobs: %{},
      atoms: 0
    ]

    @doc """
    Starts the strategy of one topology, as `Cluster.Supervisor` does. Raises an `ArgumentError` if its
    configuration is bad.
    """
    @impl Cluster.Strategy
    def start_link([%State{} = libcluster]) do
      GenServer.start_link(__MODULE__, {libcluster, Config.new!(libcluster.topology, libcluster.config)})
    end

    # `meta` is the strategy's own: a test puts there who answers in the place of the Erlang application.
    @impl GenServer
    def init({libcluster, config}) do
      {:ok, %__MODULE__{libcluster: libcluster, config: config, rollcall: libcluster.meta || :rollcall},
       {:continue, :begin}}
    end

    @impl GenServer
    def handle_continue(:begin, it) do
      if it.config.mode == :watch, do: Enum.each(it.config.machines, &send(self(), {:follow, &1}))
      handle_info(:look, it)
    end

    @impl GenServer
    def handle_info({:follow, machine}, it) do
      # The polling is for a machine that runs stock epmd.
      selection = it.config |> Config.selection(machine) |> Map.put(:poll, it.config.polling_interval)

      case it.rollcall.watch(selection) do
        {:ok, reference} ->
          {:noreply, %{it | watches: Map.put(it.watches, reference, machine)}}

        {:error, reason} ->
          Process.send_after(self(), {:follow, machine}, it.config.polling_interval)
          {:noreply, unavailable(it, machine, reason)}
      end
    end

    def handle_info({:rollcall, reference, event}, it) do
      case {it.watches, event} do
        {%{^reference => machine}, {:unavailable, {:stopped, _} = reason}} ->
          Process.send_after(self(), {:follow, machine}, it.config.polling_interval)
          it = %{it | watches: Map.delete(it.watches, reference), roster: Roster.doubt(it.roster, machine)}
          {:noreply, unavailable(it, machine, reason)}

        {%{^reference => machine}, _} ->
          {:noreply, it |> take(machine, event) |> wake()}

        _ ->
          {:noreply, it}
      end
    end

    def handle_info(:look, it) do
      Process.send_after(self(), :look, it.config.polling_interval)
      it = if it.config.mode == :poll, do: Enum.reduce(it.config.machines, it, &ask/2), else: it
      {:noreply, wake(%{it | roster: Roster.check(it.roster, connected(it), due(it, 0))})}
    end

    # One for each message: what was told meanwhile counts before the next.
    def handle_info(:dial, it) do
      it = %{it | timer: nil}
      dialled = for {_, {:dial, node}} <- it.jobs, do: node

      case Roster.next(it.roster, MapSet.union(connected(it), MapSet.new(dialled)), now()) do
        # The end of one of them is heard of.
        _ when length(dialled) >= it.config.parallel -> {:noreply, it}
        {:dial, node} -> {:noreply, if(ready?(it), do: it |> dial(node) |> wake(), else: wake(it, @readiness_interval))}
        {:wait, milliseconds} -> {:noreply, wake(it, milliseconds)}
        :nobody -> {:noreply, it}
      end
    end

    def handle_info({:DOWN, reference, :process, _, result}, it) do
      case Map.pop(it.jobs, reference) do
        {nil, _} -> {:noreply, it}
        {job, jobs} -> {:noreply, %{it | jobs: jobs} |> done(job, result) |> wake()}
      end
    end

    # Such as the late answer to a question that had timed out.
    def handle_info(_, it), do: {:noreply, it}

    # --- what the machines say -----------------------------------------------------------------------

    defp take(it, machine, {kind, info}) when kind in [:up, :changed] do
      debug(it, "#{kind}: #{info.node}, #{info.state}")

      if usable?(info) do
        tell = if kind == :up, do: &Roster.put/4, else: &Roster.change/4
        {roster, left} = tell.(it.roster, machine, info, due(it, it.config.grace))
        left(%{it | roster: roster}, left)
      else
        it
      end
    end

    defp take(it, machine, {:down, info, reason}) do
      debug(it, "down: #{info.node}, #{reason}")
      {roster, left} = Roster.drop(it.roster, machine, info)
      left(%{it | roster: roster}, left)
    end

    defp take(it, machine, :synced) do
      {roster, left} = Roster.confirm(it.roster, machine)
      %{it | roster: roster} |> left(left) |> available(machine)
    end

    defp take(it, machine, {:unavailable, reason}), do: unavailable(it, machine, reason)
    # A later version may know more.
    defp take(it, _, _), do: it

    # Not twice at once.
    defp ask(machine, it) do
      %{rollcall: rollcall, config: config} = it

      if {:ask, machine} in Map.values(it.jobs),
        do: it,
        else: job(it, {:ask, machine}, fn -> rollcall.nodes(Config.selection(config, machine)) end)
    end

    defp done(it, {:ask, machine}, {:done, {:ok, infos}}) do
      it = available(it, machine)
      infos = Enum.filter(infos, &usable?/1)
      {roster, left} = Roster.replace(it.roster, machine, infos, fn -> due(it, it.config.grace) end)
      left(%{it | roster: roster}, left)
    end

    defp done(it, {:ask, machine}, {:done, {:error, reason}}), do: unavailable(it, machine, reason)
    defp done(it, {:ask, machine}, crash), do: unavailable(it, machine, crash)

    # Who has left while it was dialled has left all the same.
    defp done(it, {:dial, node}, {:done, :ok}) do
      it = %{it | roster: Roster.settled(it.roster, node)}
      if Roster.member?(it.roster, node), do: it, else: left(it, [{node, true}])
    end

    defp done(it, {:dial, node}, {:done, {:error, _}}), do: failed(it, node)
    defp done(it, {:dial, node}, crash), do: failed(it, node, "#{inspect(crash)}")

    # What may take seconds has a process of its own, lest what is told has to wait for it.
    defp job(it, job, function) do
      {_, reference} = spawn_monitor(fn -> exit({:done, function.()}) end)
      %{it | jobs: Map.put(it.jobs, reference, job)}
    end

    # Not ourselves, also where another machine's word has us under another host part.
    defp usable?(info) do
      [own | _] = String.split(Atom.to_string(node()), "@")

      ourselves =
        info.node == Atom.to_string(node()) or {info.name, info.creation} == {own, :erlang.system_info(:creation)}

      not ourselves and node?(info.node)
    end

    # Anybody may register a name that the emulator takes for no node's, or that makes no atom.
    defp node?(node),
      do:
        String.valid?(node) and length(String.codepoints(node)) <= @longest_name and
          node =~ ~r/\A[A-Za-z0-9_-]+@[^@]+\z/

    defp left(it, left) do
      certain = for {node, true} <- left, do: node
      # Of those that are connected there are atoms.
      nodes =
        if it.config.prune and certain != [],
          do: Enum.filter(list_nodes(it), &(Atom.to_string(&1) in certain)),
          else: []

      if nodes != [],
        do: Cluster.Strategy.disconnect_nodes(topology(it), it.libcluster.disconnect, it.libcluster.list_nodes, nodes)

      it
    end

    defp unavailable(it, machine, reason) do
      if it.troubles[machine] != reason,
        do:
          Cluster.Logger.warn(
            topology(it),
            "#{inspect(machine)} does not tell its nodes: #{inspect(reason)}; it is asked again"
          )

      %{it | troubles: Map.put(it.troubles, machine, reason)}
    end

    defp available(it, machine) do
      if Map.has_key?(it.troubles, machine),
        do: Cluster.Logger.info(topology(it), "#{inspect(machine)} tells its nodes again")

      %{it | troubles: Map.delete(it.troubles, machine)}
    end

    # --- connecting ----------------------------------------------------------------------------------

    # Who is next is found out then, once for all that was told until then.
    defp wake(it, milliseconds \\ 0) do
      at = now() + milliseconds

      case it.timer do
        {_, earlier} when earlier <= at ->
          it

        later ->
          if later, do: later |> elem(0) |> Process.cancel_timer()
          %{it | timer: {Process.send_after(self(), :dial, milliseconds), at}}
      end
    end

    defp ready?(it), do: not it.config.wait_until_ready or it.rollcall.is_ready()

    defp dial(it, node) do
      with :ok <- same_kind(node),
           {:ok, name, it} <- atom(it, node) do
        %{topology: topology, connect: connect, list_nodes: list_nodes} = it.libcluster
        job(it, {:dial, node}, fn -> Cluster.Strategy.connect_nodes(topology, connect, list_nodes, [name]) end)
      else
        {:error, why} -> failed(it, node, why)
      end
    end

    defp failed(it, node, why) do
      Cluster.Logger.warn(topology(it), "unable to connect to #{node}: #{why}")
      failed(it, node)
    end

    # Otherwise it was logged by libcluster.
    defp failed(it, node) do
      {first, longest} = it.config.retry
      due = due(it, Roster.delay(Roster.tries(it.roster, node), first, longest))
      %{it | roster: Roster.failed(it.roster, node, due)}
    end

    defp same_kind(node) do
      if not Node.alive?() or Roster.same_kind?(node, Atom.to_string(node())),
        do: :ok,
        else: {:error, "of its name and ours one is long and one is short"}
    end

    defp atom(it, node) do
      {:ok, String.to_existing_atom(node), it}
    rescue
      ArgumentError ->
        if it.atoms < it.config.limit,
          do: {:ok, String.to_atom(node), %{it | atoms: it.atoms + 1}},
          else: {:error, "#{it.atoms} new names have been dialled, which is the limit"}
    end

    # To ourselves, too: this node may have got its name after it was told of it.
    defp connected(it), do: MapSet.new([node() | list_nodes(it)], &Atom.to_string/1)

    defp list_nodes(it) do
      {module, function, arguments} = it.libcluster.list_nodes
      apply(module, function, arguments)
    end

    defp due(it, delay), do: now() + delay + :rand.uniform(it.config.jitter + 1) - 1
    defp now, do: System.monotonic_time(:millisecond)
    defp topology(it), do: it.libcluster.topology
    defp debug(it, text), do: Cluster.Logger.debug(topology(it), text)
  end
end
