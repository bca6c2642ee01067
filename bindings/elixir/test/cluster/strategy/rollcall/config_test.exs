# SPDX-License-Identifier: Apache-2.0
defmodule Cluster.Strategy.Rollcall.ConfigTest do
  use ExUnit.Case, async: true

  alias Cluster.Strategy.Rollcall.Config

  doctest Config

  @good [
    {[patterns: ["web_*"]], []},
    {[patterns: "web_*"], []},
    {[patterns: ["web_*", "db_?"], exclude: "web_old*"], patterns: ["web_*", "db_?"], exclude: ["web_old*"]},
    {[machines: [:local, "b.example", {127, 0, 0, 1}, {"c", 4370}, {{0, 0, 0, 0, 0, 0, 0, 1}, 4370}]],
     machines: [:local, "b.example", {127, 0, 0, 1}, {"c", 4370}, {{0, 0, 0, 0, 0, 0, 0, 1}, 4370}]},
    {[machines: "b.example"], machines: ["b.example"]},
    {[machines: {127, 0, 0, 1}], machines: [{127, 0, 0, 1}]},
    {[machines: ["b", "b"]], machines: ["b"]},
    {[states: :any], states: :any},
    {[states: [:ready, :up, :ready]], states: [:ready, :up]},
    {[hidden: true], hidden: true},
    {[mode: :poll, polling_interval: 1], mode: :poll, polling_interval: 1},
    {[mode: :watch], mode: :watch},
    {[prune: true], prune: true},
    {[grace: 0, jitter: 0], grace: 0, jitter: 0},
    {[retry: {5, 5}], retry: {5, 5}},
    {[wait_until_ready: true], wait_until_ready: true},
    {[limit: 0], limit: 0},
    {[parallel: 1], parallel: 1},
    {[machines: [{:local, 4370}]], machines: [{:local, 4370}]},
    {[timeout: 100], timeout: 100}
  ]

  test "what is said counts, and what is not is usual" do
    usual = %Config{patterns: ["web_*"]}

    assert {usual.machines, usual.mode, usual.prune, usual.states, usual.hidden} ==
             {[:local], :watch, false, nil, false}

    for {options, expected} <- @good do
      options = Keyword.put_new(options, :patterns, ["web_*"])
      assert Config.new!(:web, options) == struct!(usual, expected)
    end
  end

  # Options, and what the error has to say after "topology :web: ".
  @bad [
    {[], "patterns: is needed"},
    {[patterns: []], "patterns: is needed"},
    {[patterns: nil], "patterns: is needed"},
    {[patterns: [:web]], "patterns: expected a shell pattern"},
    {[patterns: 'web_*'], "patterns: expected a shell pattern"},
    {[patterns: [""]], "patterns: expected a shell pattern"},
    {[patterns: ["web@host"]], "patterns: expected patterns of names, which end before the @"},
    {[exclude: [1]], "exclude: expected"},
    {[exclude: ["*@host"]], "exclude: expected patterns of names"},
    {[machines: []], "machines: expected"},
    {[machines: [:remote]], "machines: expected"},
    {[machines: [""]], "machines: expected"},
    {[machines: [{"a", 0}]], "machines: expected"},
    {[machines: [{"a", 65_536}]], "machines: expected"},
    {[machines: [{{"a", 4369}, 4369}]], "machines: expected"},
    {[machines: [{1, 2, 3}]], "machines: expected"},
    {[states: []], "states: expected"},
    {[states: :ready], "states: expected"},
    {[states: [:redy]], "states: expected :any or a list out of [:up, "},
    {[hidden: nil], "hidden: expected true or false, got: nil"},
    {[prune: "no"], "prune: expected true or false, got: \"no\""},
    {[mode: :push], "mode: expected :watch or :poll, got: :push"},
    {[polling_interval: 0], "polling_interval: expected milliseconds, an integer from 1 "},
    {[polling_interval: "5"], "polling_interval: expected"},
    {[polling_interval: 1.5], "polling_interval: expected"},
    {[polling_interval: 1_000_000_000], "polling_interval: expected"},
    {[grace: -1], "grace: expected milliseconds, an integer from 0 "},
    {[jitter: :infinity], "jitter: expected"},
    {[retry: 1_000], "retry: expected {the first pause, the longest one} in milliseconds, got: 1000"},
    {[retry: {0, 5}], "retry: expected"},
    {[retry: {6, 5}], "retry: expected"},
    {[retry: {1, :infinity}], "retry: expected"},
    {[wait_until_ready: 1], "wait_until_ready: expected true or false"},
    {[parallel: 0], "parallel: expected how many"},
    {[limit: -1], "limit: expected how many"},
    {[timeout: 0], "timeout: expected"},
    {[pattern: "web_*"], "pattern: there is no such key; there are exclude, grace, "}
  ]

  test "what is bad is named, with its topology" do
    for {options, text} <- @bad do
      options = if text =~ "is needed", do: options, else: Keyword.put_new(options, :patterns, ["web_*"])
      error = assert_raise ArgumentError, fn -> Config.new!(:web, options) end
      assert String.starts_with?(error.message, "topology :web: " <> text)
    end

    assert_raise ArgumentError, ~r/^topology :web: config: expected a keyword list/, fn -> Config.new!(:web, %{}) end
  end

  test "a machine is asked for what was said of nodes, and where it is" do
    config = Config.new!(:web, patterns: ["a*", "b"], exclude: ["ab"], states: [:ready], hidden: true, timeout: 9)
    asked = %{patterns: ["a*", "b"], exclude: ["ab"], states: [:ready], hidden: true, timeout: 9}

    for {machine, more} <- [
          {:local, %{machine: :local}},
          {"b.example", %{machine: ~c"b.example"}},
          {{10, 0, 0, 1}, %{machine: {10, 0, 0, 1}}},
          {{:local, 4370}, %{machine: :local, port: 4370}},
          {{"b", 4370}, %{machine: ~c"b", port: 4370}}
        ] do
      assert Config.selection(config, machine) == Map.merge(asked, more)
    end
  end
end
