%% SPDX-License-Identifier: Apache-2.0
%% What callers write, and shell patterns.
-module(rollcall_selection_tests).

-include_lib("eunit/include/eunit.hrl").

fields(Selection) ->
    {ok, Parsed} = rollcall_selection:parse(Selection),
    [Field || {_, Value} = Field <- rollcall_selection:fields(Parsed), Value =/= undefined].

what_callers_write_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Selection])), ?_assertEqual(Expected, fields(Selection))}
     || {Selection, Expected} <-
            [{"", []}, {[], []}, {#{}, []}, {#{states => []}, []},
             {"web", [{name, <<"web">>}]},
             {<<"web">>, [{name, <<"web">>}]},
             {"web_*", [{prefix, <<"web_">>}]},
             {"*", [{pattern, <<"*">>}]},
             {"*_web", [{pattern, <<"*_web">>}]},
             {"web_?*", [{pattern, <<"web_?*">>}]},
             {"a\\*", [{pattern, <<"a\\*">>}]},
             {["a", <<"b*">>, "c?"], [{name, <<"a">>}, {prefix, <<"b">>}, {pattern, <<"c?">>}]},
             {#{patterns => ["a"], exclude => "a[0-9]", states => [up, ready], hidden => true, address => {127, 0, 0, 2}},
              [{name, <<"a">>}, {exclude, <<"a[0-9]">>}, {state, <<"up">>}, {state, <<"ready">>}, {hidden, 1},
               {scope, <<"127.0.0.2">>}]},
             {#{states => any}, [{state, <<"any">>}]},
             {#{address => "*"}, [{scope, <<"*">>}]},
             {#{address => "::1"}, [{scope, <<"::1">>}]},
             {"caf\x{e9}*", [{prefix, <<"caf", 16#c3, 16#a9>>}]}]].

what_makes_no_sense_is_named_test_() ->
    [?_assertMatch({error, {bad_selection, _}}, rollcall_selection:parse(Selection))
     || Selection <- [web, 7, {a}, ["a" | "b"], [a], ["a", 1], <<255>>, "[", "a\\", "[[:nonsense:]]", "[a-[.z.]]", "web@host",
                      #{patterns => ""  , nonsense => 1}, #{states => [nonsense]}, #{states => up}, #{hidden => 1},
                      #{port => 0}, #{port => 65536}, #{address => "host"}, #{address => {1, 2}}, #{machine => ""},
                      #{machine => {1, 2}}, #{machine => 1}, #{timeout => -1}, #{timeout => soon}, #{settle => -1},
                      #{heartbeat => 0}, #{patterns => ["", "a"]}, #{exclude => "["}]].

machines_test_() ->
    [?_assertMatch({ok, #{machine := Expected}}, rollcall_selection:parse(#{machine => Machine}))
     || {Machine, Expected} <- [{local, local}, {"h", "h"}, {<<"h">>, "h"}, {'h.example', "h.example"},
                                {{10, 0, 0, 1}, {10, 0, 0, 1}}, {{0, 0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}}]].

patterns_test_() ->
    [{Pattern ++ " of " ++ Name,
      ?_assertEqual(Expected, rollcall_selection:glob(list_to_binary(Pattern), list_to_binary(Name)))}
     || {Pattern, Name, Expected} <-
            [{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "A", false}, {"a", "ab", false}, {"ab", "a", false},
             {"*", "", true}, {"*", "abc", true}, {"**", "a", true}, {"a*", "a", true}, {"a*", "ba", false},
             {"*a", "aa", true}, {"*ab", "aab", true}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
             {"?", "", false}, {"?", "a", true}, {"?", "ab", false}, {"a?c", "abc", true}, {"*?", "a", true},
             {"[abc]", "b", true}, {"[abc]", "d", false}, {"[a-c]x", "bx", true}, {"[!a-c]", "b", false},
             {"[^a-c]", "d", true}, {"[]]", "]", true}, {"[]a]", "a", true}, {"[!]]", "]", false}, {"[a-]", "-", true},
             {"[-a]", "-", true}, {"[\\]]", "]", true}, {"[a\\-c]", "b", false}, {"[[:digit:]]", "7", true},
             {"[[:digit:]]", "a", false}, {"[[:alpha:]_]", "_", true}, {"[!]", "a", false}, {"[", "[", false},
             {"\\*", "*", true}, {"\\*", "a", false}, {"a\\", "a\\", false}, {"\\a", "a", true}, {"[*]", "*", true},
             {"*[0-9]", "web_12", true}, {"w*[!0-9]", "web_12", false}, {"[z-a]", "m", false}]].

%% A pattern of many stars takes no longer than its length times that of the name.
many_stars_do_not_take_long_test() ->
    Pattern = <<(binary:copy(<<"*a">>, 100))/binary, "b">>,
    {Time, false} = timer:tc(fun() -> rollcall_selection:glob(Pattern, binary:copy(<<"a">>, 1020)) end),
    ?assert(Time < 1000000).

%% A pattern made of a name by blotting out parts of it matches; whatever it is, it is answered.
chance_test_() ->
    {timeout, 30, fun() ->
        [begin
             Name = list_to_binary([rand:uniform(4) + $a || _ <- lists:seq(1, rand:uniform(8))]),
             Pattern = iolist_to_binary([blot(C) || <<C>> <= Name]),
             ?assert(rollcall_selection:is_pattern(Pattern), Pattern),
             ?assertEqual({Pattern, Name, true}, {Pattern, Name, rollcall_selection:glob(Pattern, Name)}),
             Chance = list_to_binary([lists:nth(rand:uniform(10), "ab*?[]!-\\:") || _ <- lists:seq(1, rand:uniform(9))]),
             ?assert(is_boolean(rollcall_selection:glob(Chance, Name))),
             ?assert(is_boolean(rollcall_selection:is_pattern(Chance)))
         end || _ <- lists:seq(1, 5000)],
        ok
    end}.

blot(C) ->
    case rand:uniform(7) of
        1 -> "?";
        2 -> "*";
        3 -> [$[, C, $]];
        4 -> [$[, C, $-, C, $]];
        5 -> [$\\, C];
        6 -> "[!z]";
        7 -> C
    end.

names_of_stock_epmd_test_() ->
    [?_assertEqual(Expected, begin {ok, P} = rollcall_selection:parse(Selection), rollcall_selection:matches(Name, P) end)
     || {Selection, Name, Expected} <-
            [{"", <<"a">>, true}, {"web_*", <<"web_1">>, true}, {"web_*", <<"db">>, false}, {["a", "b?"], <<"bc">>, true},
             {#{exclude => "a*"}, <<"ab">>, false}, {#{states => [ready]}, <<"a">>, false}, {#{states => [up]}, <<"a">>, true},
             {#{states => any}, <<"a">>, true}, {"", <<"rabbitmqcli-842-rabbit">>, false}, {"", <<"rem-1a2b-app">>, false},
             {"", <<"rem-port">>, true}, {#{hidden => true}, <<"rem-1a2b-app">>, true}, {#{address => "10.0.0.1"}, <<"a">>, false}]].

states_test_() ->
    [?_assertEqual(Expected, begin {ok, P} = rollcall_selection:parse(#{states => States}), rollcall_selection:wants_state(State, P) end)
     || {States, State, Expected} <- [{[], up, true}, {[], stopping, false}, {[], unknown, true}, {any, stopping, true},
                                      {[ready], ready, true}, {[ready], up, false}, {[ready], unknown, false}, {[up], unknown, true}]].
