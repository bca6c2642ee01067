# SPDX-License-Identifier: Apache-2.0
defmodule Cluster.Strategy.Rollcall.Roster do
  @moduledoc """
  Who is in the selection, and who of them is to be dialled when: pure rules.

  It knows what the machines said and the time it is given. It reads no clock, dials nobody and makes no atoms: nodes are
  strings until one is dialled, since atoms are never freed.

  A node may be told of by several machines, and one machine may tell of one name at several addresses. Each of these
  is an entry; a node has *left* when its last entry is gone. The trap: a name whose host part becomes known is the same
  entry under another node, so entries are kept by machine, name and address, never by node; and the address may become
  known as well, while the port does not change (`change/4`).
  """

  defstruct entries: %{}, dials: %{}

  @typedoc "A full name, such as `\"web_1@host\"`."
  @type name :: String.t()
  @type machine :: term
  @type milliseconds :: integer
  @type entry :: %{node: name, port: integer, dial?: boolean, certain?: boolean, missed: non_neg_integer}
  @opaque t :: %__MODULE__{
            entries: %{optional({machine, String.t(), String.t()}) => entry},
            dials: %{optional(name) => {milliseconds, non_neg_integer}}
          }

  # In a poll a node has left when it was missing so often in a row: after the loss of its registry a daemon learns again
  # from the nodes who they are, which takes them 2 seconds.
  @missing_polls 2

  @doc "An empty roster."
  @spec new :: t
  def new, do: %__MODULE__{}

  @doc "The nodes in the selection."
  @spec nodes(t) :: [name]
  def nodes(%__MODULE__{} = roster), do: roster |> wanted() |> MapSet.to_list() |> Enum.sort()

  @doc "Whether a node is in the selection."
  @spec member?(t, name) :: boolean
  def member?(%__MODULE__{} = roster, node), do: Enum.any?(roster.entries, fn {_, entry} -> entry.node == node end)

  @doc """
  A machine says that a node is there. `due` is when it is to be dialled, if it is new.

  Returns also who has left by that, as `drop/3` does.

      iex> alias Cluster.Strategy.Rollcall.Roster
      iex> info = %{name: "web_1", node: "web_1@a", address: "*", port: 9, state: :ready, source: :rollcall}
      iex> {roster, []} = Roster.put(Roster.new(), :local, info, 100)
      iex> Roster.next(roster, MapSet.new(), 0)
      {:wait, 100}
      iex> Roster.next(roster, MapSet.new(), 100)
      {:dial, "web_1@a"}
      iex> Roster.next(roster, MapSet.new(["web_1@a"]), 100)
      :nobody
      iex> {roster, []} = Roster.put(roster, :local, %{info | state: :stopping}, 100)
      iex> Roster.next(roster, MapSet.new(), 100)
      :nobody
  """
  @spec put(t, machine, map, milliseconds) :: {t, [{name, certain? :: boolean}]}
  def put(%__MODULE__{} = roster, machine, info, due) do
    entry = %{
      node: info.node,
      port: info.port,
      dial?: info.state != :stopping,
      certain?: info.source == :rollcall,
      missed: 0
    }

    key = key(machine, info)
    before = Map.get(roster.entries, key)
    roster = %{roster | entries: Map.put(roster.entries, key, entry)}

    cond do
      before == nil or before.node != entry.node -> roster |> dial_at(entry.node, due) |> without(List.wrap(before))
      not before.dial? and entry.dial? -> {dial_at(roster, entry.node, due), []}
      true -> {roster, []}
    end
  end

  @doc "A machine says that a node it told of has changed, perhaps in its address. Otherwise as `put/4`."
  @spec change(t, machine, map, milliseconds) :: {t, [{name, certain? :: boolean}]}
  def change(%__MODULE__{} = roster, machine, info, due) do
    key = key(machine, info)

    with false <- Map.has_key?(roster.entries, key),
         {before, entry} <- twin(roster, machine, info) do
      put(%{roster | entries: roster.entries |> Map.delete(before) |> Map.put(key, entry)}, machine, info, due)
    else
      _ -> put(roster, machine, info, due)
    end
  end

  # The entry of that name and port; where several addresses have that, of that node.
  defp twin(roster, machine, %{name: name, port: port, node: node}) do
    roster.entries
    |> Enum.filter(fn {{by, told, _}, entry} -> {by, told, entry.port} == {machine, name, port} end)
    |> Enum.min_by(fn {key, entry} -> {entry.node != node, key} end, fn -> nil end)
  end

  @doc """
  A machine says that a node is there no more, or is in the selection no more. Returns who has left by that, each with
  whether that is certain: a stock epmd that does not list a name may have been restarted and know no names at all.
  """
  @spec drop(t, machine, map) :: {t, [{name, certain? :: boolean}]}
  def drop(%__MODULE__{} = roster, machine, info) do
    {gone, entries} = Map.pop(roster.entries, key(machine, info))
    without(%{roster | entries: entries}, List.wrap(gone))
  end

  @doc """
  A machine's whole list, by a poll. `due` as in `put/4`, a function that is called for each of its nodes. Returns who
  has left, as `drop/3` does: who was missing twice in a row.
  """
  @spec replace(t, machine, [map], (() -> milliseconds)) :: {t, [{name, certain? :: boolean}]}
  def replace(%__MODULE__{} = roster, machine, infos, due) do
    {roster, left} =
      Enum.reduce(infos, {roster, []}, fn info, {roster, left} ->
        {roster, more} = put(roster, machine, info, due.())
        {roster, more ++ left}
      end)

    present = MapSet.new(infos, &key(machine, &1))

    roster = %{roster | entries: Map.new(roster.entries, &missed(&1, machine, present))}
    {roster, more} = without_missing(roster, machine, @missing_polls)
    {roster, more ++ left}
  end

  @doc "A watch has ended: what this machine has told is to be told again. Nobody has left by that."
  @spec doubt(t, machine) :: t
  def doubt(%__MODULE__{} = roster, machine) do
    %{roster | entries: Map.new(roster.entries, &missed(&1, machine, MapSet.new()))}
  end

  @doc "This machine has told everything: who was in doubt and was not told again has left, as in `drop/3`."
  @spec confirm(t, machine) :: {t, [{name, certain? :: boolean}]}
  def confirm(%__MODULE__{} = roster, machine), do: without_missing(roster, machine, 1)

  @doc """
  Who is to be dialled next: those that were never dialled come first, so that one who does not answer delays
  nobody twice.
  """
  @spec next(t, connected :: MapSet.t(name), now :: milliseconds) :: {:dial, name} | {:wait, milliseconds} | :nobody
  def next(%__MODULE__{} = roster, connected, now) do
    dialable = dialable(roster)
    waiting = for {node, dial} <- roster.dials, node in dialable, node not in connected, do: {node, dial}

    case Enum.split_with(waiting, fn {_, {due, _}} -> due <= now end) do
      {[], []} -> :nobody
      {[], later} -> {:wait, (later |> Enum.map(fn {_, {due, _}} -> due end) |> Enum.min()) - now}
      {due, _} -> {:dial, due |> Enum.min_by(fn {node, {due, tries}} -> {tries, due, node} end) |> elem(0)}
    end
  end

  @doc "How often a node was dialled in vain since it was connected last, or came."
  @spec tries(t, name) :: non_neg_integer
  def tries(%__MODULE__{dials: dials}, node), do: dials |> Map.get(node, {0, 0}) |> elem(1)

  @doc "It was dialled in vain and is dialled again when `due`, as long as it is in the selection."
  @spec failed(t, name, milliseconds) :: t
  def failed(%__MODULE__{} = roster, node, due) do
    if member?(roster, node),
      do: %{roster | dials: Map.put(roster.dials, node, {due, tries(roster, node) + 1})},
      else: roster
  end

  @doc "It needs no dialling any more."
  @spec settled(t, name) :: t
  def settled(%__MODULE__{} = roster, node), do: %{roster | dials: Map.delete(roster.dials, node)}

  @doc "Who is connected needs no dialling; who was, and is not any more, is dialled when `due`."
  @spec check(t, connected :: MapSet.t(name), milliseconds) :: t
  def check(%__MODULE__{} = roster, connected, due) do
    roster.entries
    |> Map.values()
    |> Enum.map(& &1.node)
    |> Enum.uniq()
    |> Enum.reduce(roster, fn node, roster ->
      if node in connected, do: settled(roster, node), else: dial_at(roster, node, due)
    end)
  end

  @doc """
  The delay before the next attempt, after so many in vain: doubled each time.

      iex> for tries <- 0..6, do: Cluster.Strategy.Rollcall.Roster.delay(tries, 1_000, 30_000)
      [1000, 2000, 4000, 8000, 16000, 30000, 30000]
  """
  @spec delay(non_neg_integer, pos_integer, pos_integer) :: pos_integer
  def delay(tries, from, to), do: min(from * Integer.pow(2, min(tries, 32)), to)

  @doc """
  Whether two nodes are of one kind: one with a long name and one with a short name cannot connect.

      iex> alias Cluster.Strategy.Rollcall.Roster
      iex> {Roster.same_kind?("a@one", "b@two"), Roster.same_kind?("a@one", "b@two.example")}
      {true, false}
  """
  @spec same_kind?(name, name) :: boolean
  def same_kind?(one, other), do: long?(one) == long?(other)

  defp long?(node), do: node |> String.split("@") |> List.last() |> String.contains?([".", ":"])

  defp key(machine, info), do: {machine, info.name, info.address}

  defp wanted(roster), do: MapSet.new(roster.entries, fn {_, entry} -> entry.node end)

  # One whose word is that it is stopping counts, whoever else tells otherwise.
  defp dialable(roster) do
    {dial, leave} = roster.entries |> Map.values() |> Enum.split_with(& &1.dial?)
    MapSet.difference(MapSet.new(dial, & &1.node), MapSet.new(leave, & &1.node))
  end

  # Not later than it would be dialled anyway.
  defp dial_at(roster, node, due), do: %{roster | dials: Map.put_new(roster.dials, node, {due, 0})}

  defp missed({key, entry}, machine, present) do
    if elem(key, 0) == machine and key not in present,
      do: {key, %{entry | missed: entry.missed + 1}},
      else: {key, entry}
  end

  defp without_missing(roster, machine, often) do
    {gone, kept} =
      Enum.split_with(roster.entries, fn {key, entry} -> elem(key, 0) == machine and entry.missed >= often end)

    without(%{roster | entries: Map.new(kept)}, Enum.map(gone, &elem(&1, 1)))
  end

  defp without(roster, []), do: {roster, []}

  defp without(roster, gone) do
    wanted = wanted(roster)
    left = for entry <- gone, entry.node not in wanted, do: {entry.node, entry.certain?}
    {%{roster | dials: Map.drop(roster.dials, Enum.map(left, &elem(&1, 0)))}, Enum.uniq(left)}
  end
end
