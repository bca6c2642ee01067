# SPDX-License-Identifier: Apache-2.0

# What of libcluster's contract the strategy stands on, for tests where libcluster itself cannot be had. With
# LIBCLUSTER_EBIN the real one takes the place of this file. It keeps these facts of libcluster 3.3 to 3.5:
#
# - `Cluster.Supervisor` starts `strategy.start_link([%Cluster.Strategy.State{}])` for each topology, one_for_one, in
#   whose state connect, disconnect and list_nodes are {module, function, arguments}, by default
#   :net_kernel.connect_node/1, :erlang.disconnect_node/1 and :erlang.nodes(:connected); `config` is the topology's
#   `config:` as it was written, and `meta`, nil at the start, is the strategy's own.
# - `use Cluster.Strategy` brings the behaviour and a child_spec/1 that can be overridden.
# - connect_nodes/4 leaves out this node and those that list_nodes has, calls connect for each other one in turn, with the
#   node as its last argument, and logs each outcome. true: connected; false and :ignored: not. It returns :ok, or
#   {:error, [{node, reason}]} with those that failed. It returns when all have been tried, which may take seconds for
#   each. A function that is not exported raises.
# - disconnect_nodes/4 leaves out this node and those that list_nodes has not. true: disconnected; false and
#   :ignored are no failures; anything else is.
# - Both tell :telemetry of each node. (This one does not: telemetry cannot be had either.)
# - `Cluster.Logger` has debug, info, warn and error, each of topology and text.

defmodule Cluster.Strategy.State do
  @moduledoc false
  defstruct [:topology, :connect, :disconnect, :list_nodes, :meta, config: []]
  @type t :: %__MODULE__{}
end

defmodule Cluster.Logger do
  @moduledoc false
  require Logger

  def debug(topology, text) do
    if Application.get_env(:libcluster, :debug, false), do: Logger.debug(line(topology, text)), else: :ok
  end

  def info(topology, text), do: Logger.info(line(topology, text))
  def warn(topology, text), do: Logger.warning(line(topology, text))
  def error(topology, text), do: Logger.error(line(topology, text))

  defp line(topology, text), do: ["[libcluster:", to_string(topology), "] ", text]
end

defmodule Cluster.Strategy do
  @moduledoc false

  @callback child_spec([Cluster.Strategy.State.t()]) :: Supervisor.child_spec()
  @callback start_link([Cluster.Strategy.State.t()]) :: {:ok, pid} | :ignore | {:error, term}

  defmacro __using__(_) do
    quote do
      @behaviour Cluster.Strategy

      @impl true
      def child_spec(states), do: %{id: __MODULE__, type: :worker, start: {__MODULE__, :start_link, [states]}}

      defoverridable child_spec: 1
    end
  end

  def connect_nodes(topology, connect, list_nodes, nodes) do
    there = call(list_nodes, [])

    each(for(node <- nodes, node != node(), node not in there, do: node), fn node ->
      case call(connect, [node]) do
        true ->
          told(:info, topology, "connected to #{inspect(node)}", :ok)

        false ->
          told(:warn, topology, "unable to connect to #{inspect(node)}", {:error, false})

        :ignored ->
          told(:warn, topology, "unable to connect to #{inspect(node)}: not part of network", {:error, :ignored})
      end
    end)
  end

  def disconnect_nodes(topology, disconnect, list_nodes, nodes) do
    there = call(list_nodes, [])

    each(for(node <- nodes, node != node(), node in there, do: node), fn node ->
      case call(disconnect, [node]) do
        true -> told(:info, topology, "disconnected from #{inspect(node)}", :ok)
        false -> told(:warn, topology, "#{inspect(node)} was not connected any more", :ok)
        :ignored -> told(:warn, topology, "#{inspect(node)} is not part of the network", :ok)
        other -> told(:warn, topology, "disconnect from #{inspect(node)} failed: #{inspect(other)}", {:error, other})
      end
    end)
  end

  defp call({module, function, arguments}, more) do
    arity = length(arguments ++ more)

    unless function_exported?(module, function, arity),
      do: raise("#{inspect(module)}.#{function}/#{arity} is undefined")

    apply(module, function, arguments ++ more)
  end

  defp told(level, topology, text, outcome) do
    apply(Cluster.Logger, level, [topology, text])
    outcome
  end

  defp each(nodes, attempt) do
    case for node <- nodes, {:error, reason} <- [attempt.(node)], do: {node, reason} do
      [] -> :ok
      bad -> {:error, bad}
    end
  end
end

defmodule Cluster.Supervisor do
  @moduledoc false
  use Supervisor

  def start_link([topologies]), do: start_link([topologies, []])
  def start_link([topologies, options]), do: Supervisor.start_link(__MODULE__, topologies, options)

  @impl true
  def init(topologies) do
    children =
      for {topology, spec} <- topologies do
        state = %Cluster.Strategy.State{
          topology: topology,
          connect: spec[:connect] || {:net_kernel, :connect_node, []},
          disconnect: spec[:disconnect] || {:erlang, :disconnect_node, []},
          list_nodes: spec[:list_nodes] || {:erlang, :nodes, [:connected]},
          config: spec[:config] || []
        }

        %{id: topology, start: {Keyword.fetch!(spec, :strategy), :start_link, [[state]]}}
      end

    Supervisor.init(children, strategy: :one_for_one)
  end
end
