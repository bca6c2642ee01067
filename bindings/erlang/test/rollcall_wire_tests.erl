%% SPDX-License-Identifier: Apache-2.0
%% The codec: tables of bytes from PROTOCOL.md, random round trips, and what is no answer.
-module(rollcall_wire_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HEAD, "LRC", 1).

requests_are_those_of_the_protocol_test_() ->
    [?_assertEqual(Hex, hex(rollcall_wire:request(Kind, Fields)))
     || {Kind, Fields, Hex} <-
            [{watch, [], "00054C52430106"},
             {watch, [{name, <<"a">>}], "000A4C524301060010000161"},
             {announce, [{name, <<"a">>}, {announced, <<"ready">>}], "00134C52430107001000016100210005" "7265616479"},
             {announce, [{creation, 7}, {pair, rollcall_wire:pair(<<"k">>, <<"v">>)}],
              "00144C52430107" "0017000400000007" "002200036B0076"},
             {find, [{prefix, <<"w">>}, {scope, undefined}, {hidden, 1}], "000F4C52430109" "0031000177" "0034000101"},
             {find, [{state, <<"up">>}, {state, <<"ready">>}], "00144C52430109" "001100027570" "001100057265616479"},
             {watch, [{epoch, 1}, {revision, 2}, {heartbeat, 1000}],
              "00254C52430106" "003000080000000000000001" "004C00080000000000000002" "00350004000003E8"},
             {pins, [{name, <<"app">>}], "000C4C5243010E" "00100003617070"}]].

hex({ok, Binary}) ->
    lists:append([io_lib:format("~2.16.0B", [Byte]) || <<Byte>> <= Binary]).

a_request_is_bounded_test() ->
    Fits = binary:copy(<<"x">>, 3057 - 5 - 4),
    {ok, Request} = rollcall_wire:request(find, [{name, Fits}]),
    ?assertEqual(3059, byte_size(Request)),
    ?assertEqual({error, too_long}, rollcall_wire:request(find, [{name, <<Fits/binary, "x">>}])).

the_example_of_the_protocol_is_read_test() ->
    Node = <<16#43, 16:16, 1:16, "a", 18:16, 2:16, 16#1111:16>>,
    Bytes = <<?HEAD, 12:32, Node/binary, 1:32, 16#40>>,
    ?assertEqual(12, byte_size(Node)),
    {ok, Records, _} = rollcall_wire:feed(Bytes, rollcall_wire:new()),
    ?assertEqual([{node, #{name => <<"a">>, port => 4369}}, {'end', #{}}], Records).

the_example_of_an_error_is_read_test() ->
    Text = <<"only version 1">>,
    Bytes = <<?HEAD, 16#1e:32, 16#41, 1:16, 2:16, 2:16, 2:16, 14:16, Text/binary, 3:16, 1:16, 1>>,
    {ok, [Record], _} = rollcall_wire:feed(Bytes, rollcall_wire:new()),
    ?assertEqual({error, #{error => 2, text => Text}}, Record).

record(Kind, Fields) ->
    Body = iolist_to_binary([Kind | [<<Tag:16, (byte_size(Value)):16, Value/binary>> || {Tag, Value} <- Fields]]),
    <<(byte_size(Body)):32, Body/binary>>.

integers_of_any_width_are_taken_test_() ->
    [?_assertEqual([{node, #{name => <<"a">>, port => 7}}],
                   read(<<?HEAD, (record(67, [{16, <<"a">>}, {18, Value}]))/binary>>))
     || Value <- [<<7>>, <<7:16>>, <<7:32>>, <<7:64>>]].

what_is_not_known_is_skipped_test() ->
    Bytes = <<?HEAD, (record(200, [{16, <<"x">>}]))/binary,
              (record(67, [{999, <<"new">>}, {16, <<"a">>}, {18, <<1, 2, 3>>}, {34, <<"no pair">>},
                           {34, <<"k", 0, "v">>}, {34, <<"l", 0, "w">>}, {34, <<0, "x">>}]))/binary>>,
    ?assertEqual([{unknown, #{name => <<"x">>}},
                  {node, #{name => <<"a">>, pair => #{<<"k">> => <<"v">>, <<"l">> => <<"w">>}}}], read(Bytes)).

of_a_field_that_comes_twice_the_last_counts_test() ->
    ?assertEqual([{node, #{name => <<"b">>}}], read(<<?HEAD, (record(67, [{16, <<"a">>}, {16, <<"b">>}]))/binary>>)).

read(Bytes) ->
    {ok, Records, _} = rollcall_wire:feed(Bytes, rollcall_wire:new()),
    Records.

what_is_no_answer_is_an_error_test_() ->
    [?_assertEqual({error, Reason}, rollcall_wire:feed(Bytes, rollcall_wire:new()))
     || {Reason, Bytes} <-
            [{bad_version, <<"LRC", 2>>},
             {bad_version, <<"LRC", 0, 1:32, 16#40>>},
             {malformed, <<"HTTP/1.1 400">>},
             {malformed, <<0, 0, 17, 17>>},
             {malformed, <<"LRX", 1>>},
             {malformed, <<"X">>},
             {malformed, <<?HEAD, 0:32>>},
             {malformed, <<?HEAD, 1048577:32>>},
             {malformed, <<?HEAD, 16#ffffffff:32>>},
             {malformed, <<?HEAD, 2:32, 67, 0>>},
             {malformed, <<?HEAD, 6:32, 67, 16:16, 9:16, "a">>}]].

it_is_told_whether_anything_came_test() ->
    {ok, [], Some} = rollcall_wire:feed(<<"L">>, rollcall_wire:new()),
    {ok, [], Head} = rollcall_wire:feed(<<"RC", 1>>, Some),
    ?assertEqual([nothing, something, something], [rollcall_wire:pending(S) || S <- [rollcall_wire:new(), Some, Head]]).

%% --- chance --------------------------------------------------------------------------------------------

%% However it is cut, the same is read.
pieces_do_not_matter_test_() ->
    {timeout, 30, fun() ->
        repeat(300, fun() ->
            Records = [random_record() || _ <- lists:seq(1, rand:uniform(8))],
            Bytes = iolist_to_binary([<<?HEAD>> | [record(Kind, Fields) || {Kind, Fields, _} <- Records]]),
            Expected = [Read || {_, _, Read} <- Records],
            ?assertEqual(Expected, read(Bytes)),
            ?assertEqual(Expected, feed_pieces(Bytes, rollcall_wire:new(), []))
        end)
    end}.

random_record() ->
    {Kind, Name} = pick([{67, node}, {71, epoch}, {72, synced}, {73, gone}, {75, pin}, {64, 'end'}, {65, error}]),
    Fields = [random_field() || _ <- lists:seq(1, rand:uniform(6))],
    {Kind, [{Tag, Value} || {Tag, Value, _, _} <- Fields],
     {Name, lists:foldl(fun({34, _, K, V}, Acc) -> Acc#{pair => maps:put(K, V, maps:get(pair, Acc, #{}))};
                           ({_, _, K, V}, Acc) -> Acc#{K => V}
                        end, #{}, Fields)}}.

random_field() ->
    case rand:uniform(3) of
        1 ->
            {Tag, Name} = pick([{16, name}, {17, state}, {25, scope}, {32, host}, {33, announced}, {43, how}]),
            Text = bytes(rand:uniform(20) - 1),
            {Tag, Text, Name, Text};
        2 ->
            {Tag, Name} = pick([{18, port}, {19, type}, {23, creation}, {24, since}, {48, epoch}, {76, revision}]),
            Bits = 8 * pick([1, 2, 4, 8]),
            Value = rand:uniform(1 bsl Bits) - 1,
            {Tag, <<Value:Bits>>, Name, Value};
        3 ->
            Key = << <<(C rem 26 + $a)>> || <<C>> <= bytes(rand:uniform(5)) >>,
            Value = bytes(rand:uniform(5) - 1),
            {34, rollcall_wire:pair(Key, Value), Key, Value}
    end.

feed_pieces(<<>>, _, Records) ->
    Records;
feed_pieces(Bytes, Stream, Records) ->
    N = min(byte_size(Bytes), rand:uniform(7)),
    <<Piece:N/binary, Rest/binary>> = Bytes,
    {ok, More, Next} = rollcall_wire:feed(Piece, Stream),
    feed_pieces(Rest, Next, Records ++ More).

%% Chance, with and without a head, and good answers that were spoilt: an error or records, never an exception.
garbage_never_crashes_test_() ->
    {timeout, 60, fun() ->
        repeat(20000, fun() ->
            Bytes = case rand:uniform(3) of
                        1 -> bytes(rand:uniform(60));
                        2 -> <<?HEAD, (bytes(rand:uniform(60)))/binary>>;
                        3 -> spoil(<<?HEAD, (record(67, [{T, V} || {T, V, _, _} <- [random_field(), random_field()]]))/binary>>)
                    end,
            ok = feed_safely(Bytes)
        end)
    end}.

feed_safely(Bytes) ->
    case rollcall_wire:feed(Bytes, rollcall_wire:new()) of
        {ok, Records, _} when is_list(Records) -> as_infos(Records);
        {error, Reason} when is_atom(Reason) -> ok
    end.

%% And what was read of it is a node, or none.
as_infos(Records) ->
    Place = #{machine => local, host => <<"h">>},
    _ = [case rollcall_info:from_node(Fields, Place) of
             {ok, #{node := Node}} when is_binary(Node) -> ok;
             error -> ok
         end || {_, Fields} <- Records],
    ok.

spoil(Bytes) ->
    At = rand:uniform(byte_size(Bytes)) - 1,
    case rand:uniform(3) of
        1 -> binary:part(Bytes, 0, At);
        2 -> <<Before:At/binary, _, After/binary>> = Bytes, <<Before/binary, (rand:uniform(256) - 1), After/binary>>;
        3 -> <<Before:At/binary, After/binary>> = Bytes, <<Before/binary, (bytes(rand:uniform(5)))/binary, After/binary>>
    end.

no_atom_is_made_of_what_comes_test() ->
    %% Everything that is made once has been made.
    ok = feed_safely(<<?HEAD, (record(67, [{16, <<"a">>}, {17, <<"up">>}, {18, <<1>>}]))/binary>>),
    Before = erlang:system_info(atom_count),
    repeat(200, fun() ->
        Word = bytes(12),
        ok = feed_safely(<<?HEAD, (record(67, [{16, Word}, {17, Word}, {18, <<1>>}, {29, Word}, {33, Word}, {54, Word},
                                               {56, Word}, {34, rollcall_wire:pair(<<"k", Word/binary>>, Word)}]))/binary>>),
        {ok, _} = rollcall_wire:names(<<0:32, "name ", (binary:replace(Word, <<"\n">>, <<>>, [global]))/binary, " at port 1\n">>)
    end),
    ?assertEqual(Before, erlang:system_info(atom_count)).

%% --- NAMES ---------------------------------------------------------------------------------------------

names_test_() ->
    [?_assertEqual(Expected, rollcall_wire:names(Bytes))
     || {Bytes, Expected} <-
            [{<<>>, {error, denied}},
             {<<0, 0, 17>>, {error, malformed}},
             {<<4369:32>>, {ok, []}},
             {<<16#00001111:32, "name a at port 39449\n">>, {ok, [{<<"a">>, 39449}]}},
             {<<1:32, "name a at port 1\nname b at port 2\n">>, {ok, [{<<"a">>, 1}, {<<"b">>, 2}]}},
             {<<1:32, "name a at port 1 at port 2\n">>, {ok, [{<<"a at port 1">>, 2}]}},
             {<<1:32, "name  at port 2\n">>, {ok, [{<<>>, 2}]}},
             {<<1:32, "name a at port x\nname b at port 70000\nname c at port -1\nnonsense\n\nname d">>, {ok, []}},
             {<<1:32, "name ", 16#c3, 16#a9, " at port 5\n">>, {ok, [{<<16#c3, 16#a9>>, 5}]}}]].

repeat(0, _) -> ok;
repeat(N, Fun) -> Fun(), repeat(N - 1, Fun).

pick(List) -> lists:nth(rand:uniform(length(List)), List).

%% The state of eunit's process is seeded anew each time; a failure shows the bytes.
bytes(N) -> << <<(rand:uniform(256) - 1)>> || _ <- lists:seq(1, N) >>.
