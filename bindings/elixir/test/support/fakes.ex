# SPDX-License-Identifier: Apache-2.0
defmodule Rollcall.Fake.Daemon do
  @moduledoc """
  Stands for the Erlang application `:rollcall`, and tells what the test wants. Each question is a message to the
  test: `{:watched, selection}`, `{:asked, selection}`, `:asked_whether_ready`.
  """
  use GenServer

  def start_link(test), do: GenServer.start_link(__MODULE__, test, name: __MODULE__)

  # What the strategy calls.
  def watch(selection), do: GenServer.call(__MODULE__, {:watch, selection})

  def nodes(selection) do
    answer = GenServer.call(__MODULE__, {:nodes, selection}, :infinity)
    if answer == :crash, do: exit(:crash), else: answer
  end

  def is_ready, do: GenServer.call(__MODULE__, :is_ready)

  @doc "What is answered to watch/1 of a machine from now on."
  def refuse_watch(machine, reason), do: GenServer.call(__MODULE__, {:refuse, machine, reason})

  @doc "What is answered to nodes/1 of a machine from now on; `:hang`: nothing, `:crash`: it exits."
  def answer(machine, answer), do: GenServer.call(__MODULE__, {:answer, machine, answer})

  @doc "Whether this node is ready. It is not at first."
  def ready(is_ready), do: GenServer.call(__MODULE__, {:ready, is_ready})

  @doc "Tells the last watch of a machine."
  def tell(machine \\ :local, event), do: GenServer.call(__MODULE__, {:tell, machine, event})

  @impl true
  def init(test), do: {:ok, %{test: test, watches: %{}, refused: %{}, answers: %{}, ready: false}}

  @impl true
  def handle_call({:watch, %{machine: machine} = selection}, {from, _}, it) do
    send(it.test, {:watched, selection})

    case it.refused do
      %{^machine => reason} ->
        {:reply, {:error, reason}, %{it | refused: Map.delete(it.refused, machine)}}

      _ ->
        reference = make_ref()
        {:reply, {:ok, reference}, %{it | watches: Map.put(it.watches, machine, {from, reference})}}
    end
  end

  def handle_call({:nodes, selection}, _, it) do
    send(it.test, {:asked, selection})
    answer = Map.get(it.answers, selection.machine, {:ok, []})
    if answer == :hang, do: {:noreply, it}, else: {:reply, answer, it}
  end

  def handle_call({:refuse, machine, reason}, _, it), do: {:reply, :ok, put_in(it.refused[machine], reason)}
  def handle_call({:answer, machine, answer}, _, it), do: {:reply, :ok, put_in(it.answers[machine], answer)}

  def handle_call({:ready, is_ready}, _, it), do: {:reply, :ok, %{it | ready: is_ready}}

  def handle_call(:is_ready, _, it) do
    send(it.test, :asked_whether_ready)
    {:reply, it.ready, it}
  end

  def handle_call({:tell, machine, event}, _, it) do
    {pid, reference} = Map.fetch!(it.watches, machine)
    send(pid, {:rollcall, reference, event})
    {:reply, :ok, it}
  end
end

defmodule Rollcall.Fake.Mesh do
  @moduledoc """
  Stands for the distribution: who is connected, and whether a node can be. Each attempt is a message to the test:
  `{:connect, node}`, `{:disconnect, node}`.
  """
  use GenServer

  def start_link(test), do: GenServer.start_link(__MODULE__, test, name: __MODULE__)

  # The functions that a topology names.
  def connect(node) do
    outcome = GenServer.call(__MODULE__, {:connect, node}, :infinity)
    if outcome == :crash, do: exit(:crash), else: outcome
  end

  def disconnect(node), do: GenServer.call(__MODULE__, {:disconnect, node})
  def connected(:connected), do: GenServer.call(__MODULE__, :connected)

  @doc """
  These outcomes of the next attempts to connect to a node; when there is none left it is `true`. `:hang`: none before
  answer/2, `:crash`: it exits.
  """
  def outcomes(node, outcomes), do: GenServer.call(__MODULE__, {:outcomes, node, outcomes})

  @doc "The outcome of an attempt that hangs."
  def answer(node, outcome), do: GenServer.call(__MODULE__, {:answer, node, outcome})

  @doc "A connection is lost, or was made from the other side."
  def lose(node), do: GenServer.call(__MODULE__, {:lose, node})
  def join(node), do: GenServer.call(__MODULE__, {:join, node})

  @impl true
  def init(test), do: {:ok, %{test: test, connected: MapSet.new(), outcomes: %{}, hanging: %{}}}

  @impl true
  def handle_call({:connect, node}, from, it) do
    send(it.test, {:connect, node})
    {outcome, rest} = it.outcomes |> Map.get(node, []) |> List.pop_at(0, true)
    it = put_in(it.outcomes[node], rest)

    case outcome do
      true -> {:reply, true, add(it, node)}
      :hang -> {:noreply, put_in(it.hanging[node], from)}
      _ -> {:reply, outcome, it}
    end
  end

  def handle_call({:answer, node, outcome}, _, it) do
    {from, hanging} = Map.pop!(it.hanging, node)
    GenServer.reply(from, outcome)
    it = %{it | hanging: hanging}
    {:reply, :ok, if(outcome == true, do: add(it, node), else: it)}
  end

  def handle_call({:disconnect, node}, _, it) do
    send(it.test, {:disconnect, node})
    {:reply, node in it.connected, remove(it, node)}
  end

  def handle_call(:connected, _, it), do: {:reply, MapSet.to_list(it.connected), it}
  def handle_call({:outcomes, node, outcomes}, _, it), do: {:reply, :ok, put_in(it.outcomes[node], outcomes)}
  def handle_call({:lose, node}, _, it), do: {:reply, :ok, remove(it, node)}
  def handle_call({:join, node}, _, it), do: {:reply, :ok, add(it, node)}

  defp add(it, node), do: %{it | connected: MapSet.put(it.connected, node)}
  defp remove(it, node), do: %{it | connected: MapSet.delete(it.connected, node)}
end

defmodule Rollcall.Fake do
  @moduledoc false

  @doc "A node as the Erlang application tells it. This node has no distribution, hence a short name."
  def info(name, more \\ []) do
    Map.merge(
      %{
        name: name,
        node: name <> "@host",
        address: "*",
        port: 1,
        state: :up,
        source: :rollcall,
        creation: 7,
        machine: :local
      },
      Map.new(more)
    )
  end
end
