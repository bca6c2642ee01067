# SPDX-License-Identifier: Apache-2.0
defmodule RollcallTest do
  use ExUnit.Case

  doctest Rollcall

  # Nobody listens at port 1. What a daemon answers is tested with a daemon, in tests/daemon/test_elixir_binding.py.
  @nobody [machine: {127, 0, 0, 1}, port: 1, timeout: 1_000]

  test "a daemon that is away is an error, and no exit" do
    assert Rollcall.nodes([patterns: "web_*"] ++ @nobody) == {:error, :econnrefused}
    assert Rollcall.nodes(Map.new(@nobody)) == {:error, :econnrefused}
    assert Rollcall.info("web_1", @nobody) == {:error, :econnrefused}
    assert Rollcall.wait(@nobody, 1, 50) == {:error, :econnrefused}
  end

  test "a selection that makes no sense is an error" do
    assert {:error, {:bad_selection, _}} = Rollcall.nodes(pattern: "web_*")
    assert {:error, {:bad_selection, _}} = Rollcall.nodes("web_1@host")
    assert {:error, {:bad_selection, _}} = Rollcall.watch(states: [:redy])
  end

  test "a watch of a daemon that is away says so and goes on, until it is ended" do
    assert {:ok, watch} = Rollcall.watch(@nobody)
    assert_receive {:rollcall, ^watch, {:unavailable, :econnrefused}}, 5_000
    assert Rollcall.unwatch(watch) == :ok
    refute_received {:rollcall, ^watch, _}
  end
end
