# SPDX-License-Identifier: Apache-2.0
defmodule Rollcall do
  @moduledoc """
  Find and watch nodes by the port mapper, and tell others of this one: the Erlang application `:rollcall` for Elixir.

      {:ok, nodes} = Rollcall.nodes("web_*")
      for info <- nodes, do: {info.name, info.state}

  The port mapper of this machine is asked, or that of another (`machine:`). Where it is Rollcall, everything it knows is
  told: state, metadata, unit, host part. Where it is stock `epmd`, names and ports are (`info.source` is `:names`).

  > #### A prefix selects, it does not isolate {: .warning}
  >
  > Whoever connects to one node of a mesh joins the whole mesh, and the cookie decides who may.

  To be connected to the nodes that are found, see `Cluster.Strategy.Rollcall` (with libcluster) and
  `Rollcall.Cluster` (without).

  Names are strings. `node_atom/1` makes an atom of one, when you have decided that you want that: atoms are never freed,
  and anybody on a machine may register a name.

  No call crashes its caller, whatever the port mapper does, and every call ends in time. Errors are
  `{:error, reason}`:

    * `:denied`: this machine may not ask that (`list-from` of the daemon), or the announcement is another user's;
    * `:busy`, `:internal`, `:unavailable`, ...: the daemon's word;
    * `:timeout`, `:econnrefused`, `:nxdomain`, ...: no answer, nobody there, no such machine;
    * `:broken_off`, `:malformed`, `:too_long`, `:bad_version`: no whole answer, or none of this protocol;
    * `:no_extension`: the port mapper is stock `epmd`, which has no place for that;
    * `{:bad_selection, what}`, `{:bad_meta, what}`: the caller's mistake;
    * `:not_started`: the application `:rollcall` does not run.
  """

  @typedoc """
  Which nodes: a shell pattern (`"web_*"`, `*`, `?`, `[a-z]`) of the whole name, that is of what stands before the
  `@`; a list of them; or a keyword list or map that says more:

    * `:patterns`, `:exclude`: one or several; no patterns: all nodes;
    * `:states`: out of `:up`, `:starting`, `:ready`, `:stopping`, `:awaited`, or `:any`; default all but `:stopping`;
    * `:hidden`: also hidden nodes, and those of tools (`rabbitmqcli-...`, `rem-...`); default `false`;
    * `:address`: only nodes that are registered at that address, `"*"` for those that are at all;
    * `:machine`, `:port`: whose port mapper is asked: `:local` (default), a host name or an address;
    * `:timeout`: milliseconds, default 5000;
    * for a watch: `:heartbeat`, `:settle` and `:poll`, see `:rollcall`.
  """
  @type selection :: String.t() | [String.t()] | keyword | map

  @typedoc """
  A node, as the Erlang application has it: a map with `:name`, `:node` (the full name), `:host`, `:state`,
  `:port`, `:meta`, `:machine`, `:source` and more, see `t::rollcall.info/0`.
  """
  @type info :: map

  @type reason :: atom | tuple

  @doc """
  The nodes that are registered now, in order of name.

      {:ok, nodes} = Rollcall.nodes(patterns: ["web_*"], exclude: ["web_old*"], states: [:ready])
  """
  @spec nodes(selection) :: {:ok, [info]} | {:error, reason}
  def nodes(selection), do: :rollcall.nodes(selection(selection))

  @doc """
  One node of this machine, or, of a name with an `@` in it, of that machine, in whatever state.

  Options are `:machine`, `:port`, `:address` and `:timeout` of a `t:selection/0`.
  """
  @spec info(String.t() | node, keyword) :: {:ok, info} | {:error, :not_found | reason}
  def info(name, options \\ []), do: :rollcall.info(name, Map.new(options))

  @doc """
  Watches. The caller is sent `{:rollcall, reference, event}`, where the event is

    * `{:up, info}`: a node is registered, or has come into a state that was asked for;
    * `{:changed, info}`: something of it is different: state, metadata, ...;
    * `{:down, info, why}`: it is not registered any more, or in a state that was not asked for;
    * `:synced`: everything there is now has been told;
    * `{:unavailable, reason}`: the port mapper is away, denies, ...: told once; what is known stays, and it goes on
      trying. With `{:stopped, _}` it is the last message.

  When the daemon is restarted, nobody is down who is not. The watch ends with the caller, or by `unwatch/1`.

      {:ok, watch} = Rollcall.watch("web_*")

      receive do
        {:rollcall, ^watch, {:up, info}} -> info.node
      end
  """
  @spec watch(selection) :: {:ok, reference} | {:error, reason}
  def watch(selection), do: :rollcall.watch(selection(selection))

  @doc "Ends a watch. No message of it is in the caller's mailbox afterwards."
  @spec unwatch(reference) :: :ok
  defdelegate unwatch(watch), to: :rollcall

  @doc """
  Waits until at least so many nodes are there at once: those nodes. `%{count: 3, states: [:ready]}` waits for
  nodes in these states. While the port mapper is away it goes on trying.

      {:ok, nodes} = Rollcall.wait("db_*", 3, 30_000)
  """
  @spec wait(selection, pos_integer | %{optional(:count) => pos_integer, optional(:states) => [atom] | :any}, timeout) ::
          {:ok, [info]} | {:error, :timeout | reason}
  def wait(selection, wanted, timeout), do: :rollcall.wait(selection(selection), wanted, timeout)

  @doc """
  Says that this node is ready. What is said is remembered: if it cannot be told now (the error says why), or the
  daemon has lost it, it is told as soon as it can be. `Rollcall.Ready` says it from a supervision tree.
  """
  @spec ready(timeout) :: :ok | {:error, reason}
  def ready(timeout \\ 5_000), do: :rollcall.ready(timeout)

  @doc """
  Says that this node is about to leave: its state becomes `:stopping`, and who asks for nodes is not told of it any
  more unless he asks for those.
  """
  @spec not_ready(timeout) :: :ok | {:error, reason}
  def not_ready(timeout \\ 5_000), do: :rollcall.not_ready(timeout)

  @doc "True if this node has said that it is ready, or its unit has."
  @spec ready?() :: boolean
  def ready?, do: :rollcall.is_ready()

  @doc """
  Tells pairs of key and value, which are in `info.meta` of this node then. Those that were told before stay.

      :ok = Rollcall.set_meta(version: "1.2", shard: 7)
  """
  @spec set_meta(keyword | map, timeout) :: :ok | {:error, reason}
  def set_meta(pairs, timeout \\ 5_000), do: :rollcall.set_meta(Map.new(pairs), timeout)

  @doc """
  The full name as an atom, to connect to it. **An atom is never freed**: make them of nodes that you want to talk
  to, not of everything that is listed.

      iex> Rollcall.node_atom(%{node: "web_1@host"})
      :web_1@host
  """
  @spec node_atom(info) :: node
  defdelegate node_atom(info), to: :rollcall

  defp selection([{key, _} | _] = options) when is_atom(key), do: Map.new(options)
  defp selection(selection), do: selection
end
