# SPDX-License-Identifier: Apache-2.0
defmodule Rollcall.Ready do
  @moduledoc """
  A child for the last place in a supervision tree: when it starts, everything before it has started, and the node
  says that it is ready; when the tree ends, it is the first to end, and the node says that it is not.

      children = [MyApp.Store, MyApp.Endpoint, Rollcall.Ready]

  Who looks for `states: [:ready]` finds the node in between and not otherwise; who looks for the usual states does
  not find it any more from the moment it stops.

  It does not fail, and does not take longer than its timeout, whatever the daemon does: what is to be said is
  remembered, and said when it can be. Options:

    * `:timeout`: how long start and end may take for it, default 2000 milliseconds;
    * `:meta`: pairs that are told with it, as by `Rollcall.set_meta/2`.

          {Rollcall.Ready, meta: %{version: "1.2"}}
  """

  @doc "For a supervisor."
  @spec child_spec(keyword | map) :: Supervisor.child_spec()
  def child_spec(options), do: %{:rollcall_ready.child_spec(options(options)) | id: __MODULE__}

  @doc "Says that the node is ready."
  @spec start_link(keyword | map) :: GenServer.on_start()
  def start_link(options), do: options |> options() |> :rollcall_ready.start_link()

  defp options(options) do
    case Map.new(options) do
      %{meta: meta} = options -> %{options | meta: Map.new(meta)}
      options -> options
    end
  end
end
