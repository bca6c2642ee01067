# SPDX-License-Identifier: Apache-2.0
defmodule Cluster.Strategy.Rollcall.RosterTest do
  use ExUnit.Case, async: true

  alias Cluster.Strategy.Rollcall.Roster
  import Rollcall.Fake, only: [info: 1, info: 2]

  doctest Roster

  @nobody MapSet.new()

  defp with_nodes(infos, due \\ 0) do
    Enum.reduce(infos, Roster.new(), fn info, roster ->
      {roster, []} = Roster.put(roster, :local, info, due)
      roster
    end)
  end

  # Who is dialled at `now`, each with success, in order.
  defp dialled(roster, connected \\ @nobody, now) do
    case Roster.next(roster, connected, now) do
      {:dial, node} -> [node | dialled(Roster.settled(roster, node), connected, now)]
      _ -> []
    end
  end

  test "who is due is dialled, the earliest first, and nobody twice" do
    {roster, []} = Roster.put(with_nodes([info("late")], 20), :local, info("early"), 10)
    assert Roster.next(roster, @nobody, 5) == {:wait, 5}
    assert dialled(roster, 15) == ["early@host"]
    assert dialled(roster, 25) == ["early@host", "late@host"]
    assert dialled(roster, MapSet.new(["early@host"]), 25) == ["late@host"]
  end

  test "a change of what is known of a node is no reason to dial it" do
    roster = [info("a")] |> with_nodes() |> Roster.settled("a@host")
    {roster, []} = Roster.put(roster, :local, info("a", state: :ready), 0)
    assert Roster.next(roster, @nobody, 0) == :nobody
  end

  test "who is stopping is never dialled, and is when it is not any more" do
    roster = with_nodes([info("a", state: :stopping), info("b")])
    assert dialled(roster, 0) == ["b@host"]

    {roster, []} = Roster.put(roster, :local, info("b", state: :stopping), 0)
    assert Roster.next(roster, @nobody, 0) == :nobody

    {roster, []} = Roster.put(Roster.settled(roster, "a@host"), :local, info("a", state: :ready), 0)
    assert dialled(roster, 0) == ["a@host"]
  end

  test "who is stopping by one machine's word is not dialled by another's" do
    {roster, []} = Roster.put(with_nodes([info("a", state: :stopping)]), "other", info("a", state: :up), 0)
    assert Roster.next(roster, @nobody, 0) == :nobody
  end

  test "an attempt in vain is repeated, later each time, after those who were not tried" do
    roster = Roster.failed(with_nodes([info("a")]), "a@host", 10)
    assert Roster.tries(roster, "a@host") == 1
    assert Roster.next(roster, @nobody, 0) == {:wait, 10}

    {roster, []} = Roster.put(roster, :local, info("b"), 30)
    assert Roster.next(roster, @nobody, 30) == {:dial, "b@host"}

    roster = Roster.failed(roster, "a@host", 40)
    assert Roster.tries(roster, "a@host") == 2
    assert Roster.tries(Roster.settled(roster, "a@host"), "a@host") == 0
  end

  test "who has left is not tried again" do
    {roster, [{"a@host", true}]} = Roster.drop(with_nodes([info("a")]), :local, info("a"))
    assert Roster.next(Roster.failed(roster, "a@host", 0), @nobody, 0) == :nobody
    assert Roster.nodes(roster) == []
  end

  test "who is told of twice has left when both say so" do
    {roster, []} = Roster.put(with_nodes([info("a")]), "other", info("a"), 0)
    assert {roster, []} = Roster.drop(roster, :local, info("a"))
    assert Roster.nodes(roster) == ["a@host"]
    assert {_, [{"a@host", true}]} = Roster.drop(roster, "other", info("a"))
  end

  test "one name at two addresses is two entries" do
    roster =
      with_nodes([
        info("a", node: "a@127.0.0.1", address: "127.0.0.1"),
        info("a", node: "a@127.0.0.2", address: "127.0.0.2")
      ])

    assert Roster.nodes(roster) == ["a@127.0.0.1", "a@127.0.0.2"]
    assert {_, [{"a@127.0.0.2", true}]} = Roster.drop(roster, :local, info("a", address: "127.0.0.2"))
  end

  test "a host part that becomes known takes the place of a guess" do
    {roster, left} = Roster.put(with_nodes([info("a", node: "a@guess")]), :local, info("a", node: "a@known"), 0)
    assert left == [{"a@guess", true}]
    assert dialled(roster, 0) == ["a@known"]
  end

  test "a node whose address becomes known is the same" do
    roster = [info("a"), info("b", port: 2)] |> with_nodes() |> Roster.settled("a@host")
    {roster, []} = Roster.change(roster, :local, info("a", address: "127.0.0.1"), 0)
    assert dialled(roster, 0) == ["b@host"]
    assert {roster, [{"a@host", true}]} = Roster.drop(roster, :local, info("a", address: "127.0.0.1"))
    assert Roster.nodes(roster) == ["b@host"]

    # Of several of that name and port, it is the one of that node.
    twins = for n <- 1..3, do: info("a", node: "a@127.0.0.#{n}", address: "old#{n}")
    {roster, []} = twins |> with_nodes() |> Roster.change(:local, %{Enum.at(twins, 1) | address: "127.0.0.2"}, 0)
    assert {_, [{"a@127.0.0.1", true}]} = Roster.drop(roster, :local, info("a", address: "old1"))
    assert {_, []} = Roster.drop(roster, :local, info("a", address: "old2"))
    assert {_, [{"a@127.0.0.2", true}]} = Roster.drop(roster, :local, info("a", address: "127.0.0.2"))
  end

  test "a change of one who was not told of is his coming" do
    {roster, []} = Roster.change(Roster.new(), :local, info("a"), 0)
    assert dialled(roster, 0) == ["a@host"]
  end

  test "who was never told of cannot leave" do
    assert {_, []} = Roster.drop(Roster.new(), :local, info("a"))
  end

  test "that a stock epmd does not list a name is not certain" do
    assert {_, [{"a@host", false}]} = Roster.drop(with_nodes([info("a", source: :names)]), :local, info("a"))
  end

  test "in a poll one has left who is missing twice in a row" do
    due = fn -> 0 end
    roster = with_nodes([info("a"), info("b")])

    assert {roster, []} = Roster.replace(roster, :local, [info("b"), info("c")], due)
    assert Roster.nodes(roster) == ["a@host", "b@host", "c@host"]
    assert {again, []} = Roster.replace(roster, :local, [info("a"), info("b"), info("c")], due)
    assert {again, []} = Roster.replace(again, :local, [info("b"), info("c")], due)
    assert Roster.nodes(again) == ["a@host", "b@host", "c@host"]

    assert {roster, [{"a@host", true}]} = Roster.replace(roster, :local, [info("b"), info("c")], due)
    assert Roster.nodes(roster) == ["b@host", "c@host"]
    assert {_, []} = Roster.replace(roster, "other", [], due)
  end

  test "a watch that begins anew forgets who went meanwhile, and nobody before it is whole" do
    roster = [info("a"), info("b")] |> with_nodes() |> Roster.doubt(:local)
    {roster, []} = Roster.put(roster, :local, info("b"), 0)
    assert Roster.nodes(roster) == ["a@host", "b@host"]
    assert {roster, [{"a@host", true}]} = Roster.confirm(roster, :local)
    assert Roster.nodes(roster) == ["b@host"]
    assert {_, []} = Roster.confirm(roster, :local)
    assert {_, []} = roster |> Roster.doubt("other") |> Roster.confirm("other")
  end

  test "a connection that was lost is made again, one that there is needs no dialling" do
    roster = Roster.settled(with_nodes([info("a"), info("b")]), "a@host")
    roster = Roster.check(roster, MapSet.new(["b@host"]), 10)
    assert dialled(roster, 10) == ["a@host"]
    assert dialled(Roster.check(Roster.new(), @nobody, 10), 10) == []
  end

  test "a check does not shorten the pause after a failure" do
    roster = [info("a")] |> with_nodes() |> Roster.failed("a@host", 100) |> Roster.check(@nobody, 10)
    assert Roster.next(roster, @nobody, 10) == {:wait, 90}
  end
end
