%% SPDX-License-Identifier: Apache-2.0
%% A record as a caller sees it, and the rule for the host part.
-module(rollcall_info_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HERE, #{machine => local, host => <<"here">>}).

node_of(Fields, Place) ->
    {ok, Info} = rollcall_info:from_node(maps:merge(#{name => <<"a">>, port => 1}, Fields), Place),
    Info.

the_host_part_test_() ->
    There = rollcall_info:place("there.example", false),
    [?_assertMatch(Expected, maps:with(maps:keys(Expected), node_of(Fields, Place)))
     || {Fields, Place, Expected} <-
            [{#{}, ?HERE, #{node => <<"a@here">>, host => unknown, host_source => unknown, name_kind => unknown}},
             {#{host => <<"h">>}, ?HERE, #{node => <<"a@h">>, host => <<"h">>, host_source => announced, name_kind => short}},
             {#{host => <<"h.example">>}, ?HERE, #{node => <<"a@h.example">>, name_kind => long}},
             {#{host => <<"10.0.0.1">>}, ?HERE, #{name_kind => long}},
             {#{host => <<"::1">>}, ?HERE, #{name_kind => long}},
             {#{host => <<"h">>, host_source => <<"static">>}, ?HERE, #{host_source => static}},
             {#{}, There, #{node => <<"a@there.example">>, host => unknown, machine => "there.example"}},
             %% on neither machine
             {#{elsewhere => 1, scope => <<"10.0.0.9">>}, ?HERE, #{node => <<"a@10.0.0.9">>, host => unknown, name_kind => unknown}},
             {#{elsewhere => 1, scope => <<"10.0.0.9">>}, There, #{node => <<"a@10.0.0.9">>, machine => "there.example"}},
             {#{elsewhere => 1, scope => <<"10.0.0.9">>, host => <<"h">>}, ?HERE, #{node => <<"a@h">>}},
             {#{host => <<"h">>}, There, #{node => <<"a@h">>, machine => "there.example"}},
             {#{}, rollcall_info:place({10, 0, 0, 2}, false), #{node => <<"a@10.0.0.2">>, machine => "10.0.0.2"}}]].

this_machine_by_another_name_has_our_host_part_test() ->
    Own = rollcall_info:own_host(),
    ?assertEqual(#{machine => "alias", host => Own}, rollcall_info:place("alias", true)),
    ?assertEqual(#{machine => local, host => Own}, rollcall_info:place(local, true)).

names_of_nodes_test_() ->
    Long = binary:copy(<<"h">>, 253),
    [?_assertEqual(Expected, rollcall_info:is_node_name(Node))
     || {Expected, Nodes} <-
            [{true, [<<"a@h">>, <<"aZ09_-@h.example">>, <<"a@::1">>, <<"a@", Long/binary>>, <<"a@h\303\244"/utf8>>]},
             {false, [<<>>, <<"a">>, <<"@h">>, <<"a@">>, <<"a@b@h">>, <<"a b@h">>, <<"a.b@h">>, <<"*@h">>, <<"\303\244@h">>,
                      <<"a@h", 255>>, <<"aa@", Long/binary>>]}],
        Node <- Nodes].

words_test_() ->
    [?_assertMatch(Expected, maps:with(maps:keys(Expected), node_of(Fields, ?HERE)))
     || {Fields, Expected} <-
            [{#{}, #{state => unknown, state_source => unknown, type => normal, announced => undefined, address => <<"*">>,
                     creation => undefined, since => undefined, meta => #{}, helper => false, static => false,
                     elsewhere => false, source => rollcall}},
             {#{state => <<"ready">>, state_source => <<"announcement">>, announced => <<"ready">>},
              #{state => ready, state_source => announcement, announced => ready}},
             {#{state => <<"dancing">>, state_source => <<"stars">>, announced => <<"x">>},
              #{state => unknown, state_source => unknown, announced => unknown}},
             {#{type => 72}, #{type => hidden}}, {#{type => 77}, #{type => normal}}, {#{type => 104}, #{type => {other, 104}}},
             {#{origin => <<"static">>, elsewhere => 1, scope => <<"10.0.0.9">>, state_source => <<"entry">>},
              #{static => true, elsewhere => true, address => <<"10.0.0.9">>, state_source => entry}},
             {#{helper => 1, unit => <<"a.service">>, creation => 5, since => 9},
              #{helper => true, unit => <<"a.service">>, creation => 5, since => 9}},
             {#{pair => #{<<"k">> => <<"v">>}}, #{meta => #{<<"k">> => <<"v">>}}}]].

a_record_without_a_name_or_a_port_is_no_node_test_() ->
    [?_assertEqual(error, rollcall_info:from_node(Fields, ?HERE)) || Fields <- [#{}, #{name => <<"a">>}, #{port => 1}]].

a_line_of_names_test() ->
    ?assertMatch(#{node := <<"a@here">>, port := 7, state := unknown, host := unknown, source := names},
                 rollcall_info:from_name(<<"a">>, 7, ?HERE)).
