# SPDX-License-Identifier: Apache-2.0
defmodule Rollcall.Cluster do
  @moduledoc """
  A child that connects this node to the nodes it finds, for those who have no libcluster. With libcluster,
  `Cluster.Strategy.Rollcall` does the same.

      children = [
        {Rollcall.Cluster, patterns: ["web_*"], machines: [:local, "b.example"]},
        MyApp.Store,
        Rollcall.Ready
      ]

  > #### A prefix selects, it does not isolate {: .warning}
  >
  > Whoever connects to one node of a mesh joins the whole mesh, and the cookie decides who may.

  It is `:rollcall_cluster` of the Erlang application, with its options:

    * `:patterns`, `:exclude`, `:states`, `:hidden`: which nodes, see `t:Rollcall.selection/0`;
    * `:machines`: who is asked, default `[:local]`; host names and addresses, each also as `{machine, port}`;
    * `:grace` (0), `:jitter` (500): milliseconds from when a node is found until it is dialled;
    * `:retry` (`{1_000, 60_000}`): the pause after an attempt in vain, doubled each time, and the longest;
    * `:wait_until_ready` (`false`): dial nobody before this node is ready itself;
    * `:prune` (`false`): disconnect from a node whose registration has ended;
    * `:limit` (1000): so many names that were no atoms before are dialled;
    * `:parallel` (8): so many are dialled at once;
    * `:name`: tells several of them in one supervisor apart.

  Options that make no sense are an error at the start.
  """

  @doc "For a supervisor."
  @spec child_spec(keyword | map) :: Supervisor.child_spec()
  def child_spec(options) do
    options = Map.new(options)

    %{
      id: {__MODULE__, Map.get(options, :name, :default)},
      start: {:rollcall_cluster, :start_link, [options]},
      type: :worker
    }
  end

  @doc "Starts to look and to connect."
  @spec start_link(keyword | map) :: GenServer.on_start()
  def start_link(options), do: options |> Map.new() |> :rollcall_cluster.start_link()

  @doc """
  The nodes that are found, by full name, and what becomes of them: `:own` (this one), `:connected`, `:waiting`,
  `:dialling`, or not dialled because it is `:stopping`, of the `:other_kind` (a long name and a short name), one of
  `:too_many` (beyond the limit), or because this node is `:not_ready`.
  """
  @spec status(pid) :: %{optional(String.t()) => atom}
  defdelegate status(cluster), to: :rollcall_cluster
end
