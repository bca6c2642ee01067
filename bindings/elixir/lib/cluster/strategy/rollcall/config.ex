# SPDX-License-Identifier: Apache-2.0
defmodule Cluster.Strategy.Rollcall.Config do
  @moduledoc """
  What a topology's `config:` may say, checked before anything starts.

  It knows words and numbers, and nothing of daemons. The keys are those in the table of
  `Cluster.Strategy.Rollcall`; one that is unknown is an error like a bad one, since a misspelt
  `prune:` would be noticed too late.
  """

  defstruct patterns: [],
            exclude: [],
            machines: [:local],
            states: nil,
            hidden: false,
            mode: :watch,
            polling_interval: 5_000,
            prune: false,
            grace: 0,
            jitter: 500,
            retry: {1_000, 60_000},
            parallel: 8,
            wait_until_ready: false,
            limit: 1_000,
            timeout: 5_000

  @type machine :: where | {where, 1..65_535}
  @type where :: :local | String.t() | :inet.ip_address()

  @type t :: %__MODULE__{
          patterns: [String.t()],
          exclude: [String.t()],
          machines: [machine],
          states: nil | :any | [atom],
          hidden: boolean,
          mode: :watch | :poll,
          polling_interval: pos_integer,
          prune: boolean,
          grace: non_neg_integer,
          jitter: non_neg_integer,
          retry: {pos_integer, pos_integer},
          parallel: pos_integer,
          wait_until_ready: boolean,
          limit: non_neg_integer,
          timeout: pos_integer
        }

  @states [:up, :starting, :ready, :stopping, :awaited]
  @longest 24 * 3_600_000

  @doc """
  Reads a topology's configuration. Raises an `ArgumentError` that names the topology and the key.

      iex> config = Cluster.Strategy.Rollcall.Config.new!(:web, patterns: "web_*", mode: :poll)
      iex> {config.patterns, config.mode, config.prune}
      {["web_*"], :poll, false}

      iex> Cluster.Strategy.Rollcall.Config.new!(:web, patterns: ["web_*"], pruna: true)
      ** (ArgumentError) topology :web: pruna: there is no such key; there are exclude, grace, hidden, \
  jitter, limit, machines, mode, parallel, patterns, polling_interval, prune, retry, states, timeout, wait_until_ready
  """
  @spec new!(atom, keyword) :: t
  def new!(topology, options) do
    unless Keyword.keyword?(options) do
      raise ArgumentError, "topology #{inspect(topology)}: config: expected a keyword list, got: #{inspect(options)}"
    end

    with :ok <- known(options),
         {:ok, config} <- read(options),
         :ok <- whole(config) do
      config
    else
      {:error, key, why} -> raise ArgumentError, "topology #{inspect(topology)}: #{key}: #{why}"
    end
  end

  @doc """
  What one of the machines is asked for: a selection of the Erlang application.

      iex> config = Cluster.Strategy.Rollcall.Config.new!(:web, patterns: ["web_*"], machines: ["db.example"])
      iex> Cluster.Strategy.Rollcall.Config.selection(config, "db.example")
      %{patterns: ["web_*"], exclude: [], hidden: false, timeout: 5000, machine: ~c"db.example"}
  """
  @spec selection(t, machine) :: map
  def selection(%__MODULE__{} = config, machine) do
    config
    |> Map.take([:patterns, :exclude, :hidden, :timeout])
    |> Map.merge(address(machine))
    |> Map.merge(if config.states, do: %{states: config.states}, else: %{})
  end

  defp address(:local), do: %{machine: :local}
  defp address({machine, port}), do: Map.put(address(machine), :port, port)
  defp address(host) when is_binary(host), do: %{machine: String.to_charlist(host)}
  defp address(address), do: %{machine: address}

  defp known(options) do
    case Keyword.keys(options) -- keys() do
      [] -> :ok
      [key | _] -> {:error, key, "there is no such key; there are #{Enum.join(keys(), ", ")}"}
    end
  end

  defp keys, do: %__MODULE__{} |> Map.from_struct() |> Map.keys() |> Enum.sort()

  defp read(options) do
    Enum.reduce_while(options, {:ok, %__MODULE__{}}, fn {key, value}, {:ok, config} ->
      case take(key, value) do
        {:ok, taken} -> {:cont, {:ok, Map.put(config, key, taken)}}
        {:error, why} -> {:halt, {:error, key, "#{why}, got: #{inspect(value)}"}}
      end
    end)
  end

  # What no key says alone.
  defp whole(%{patterns: []}) do
    {:error, :patterns, "is needed, such as [\"web_*\"], or [\"*\"] for all nodes of these machines"}
  end

  defp whole(_), do: :ok

  defp take(key, value) when key in [:patterns, :exclude] do
    values = List.wrap(value)

    cond do
      not Enum.all?(values, &(is_binary(&1) and &1 != "")) ->
        {:error, "expected a shell pattern such as \"web_*\", or a list of them"}

      Enum.any?(values, &String.contains?(&1, "@")) ->
        {:error, "expected patterns of names, which end before the @"}

      true ->
        {:ok, values}
    end
  end

  defp take(:machines, value) do
    machines = List.wrap(value)

    if machines != [] and Enum.all?(machines, &machine?/1),
      do: {:ok, Enum.uniq(machines)},
      else: {:error, "expected :local, host names, addresses, or {one of these, port}"}
  end

  defp take(:states, :any), do: {:ok, :any}

  defp take(:states, value) do
    if is_list(value) and value != [] and Enum.all?(value, &(&1 in @states)),
      do: {:ok, Enum.uniq(value)},
      else: {:error, "expected :any or a list out of #{inspect(@states)}"}
  end

  defp take(key, value) when key in [:hidden, :prune, :wait_until_ready] do
    if is_boolean(value), do: {:ok, value}, else: {:error, "expected true or false"}
  end

  defp take(:mode, value) do
    if value in [:watch, :poll], do: {:ok, value}, else: {:error, "expected :watch or :poll"}
  end

  defp take(:retry, value) do
    with {from, to} <- value, {:ok, from} <- milliseconds(from, 1), {:ok, to} when to >= from <- milliseconds(to, 1) do
      {:ok, {from, to}}
    else
      _ -> {:error, "expected {the first pause, the longest one} in milliseconds"}
    end
  end

  defp take(:limit, value) do
    if is_integer(value) and value >= 0,
      do: {:ok, value},
      else: {:error, "expected how many new names may become atoms"}
  end

  defp take(:parallel, value) do
    if is_integer(value) and value >= 1, do: {:ok, value}, else: {:error, "expected how many may be dialled at once"}
  end

  defp take(key, value) when key in [:grace, :jitter], do: milliseconds(value, 0)
  defp take(_, value), do: milliseconds(value, 1)

  defp milliseconds(value, least) do
    if is_integer(value) and value >= least and value <= @longest,
      do: {:ok, value},
      else: {:error, "expected milliseconds, an integer from #{least} to #{@longest}"}
  end

  defp machine?({where, port}) when port in 1..65_535, do: where?(where)
  defp machine?(where), do: where?(where)

  defp where?(:local), do: true
  defp where?(host) when is_binary(host), do: host != ""
  defp where?(address), do: :inet.is_ip_address(address)
end
