%% SPDX-License-Identifier: Apache-2.0
%% What a watcher tells of what it is told: cases, and a daemon of chance that is changed, cut off, restarted and robbed of
%% its registry, beside which what is believed must equal what is.
-module(rollcall_belief_tests).

-include_lib("eunit/include/eunit.hrl").

-define(PLACE, #{machine => local, host => <<"h">>}).
-define(SETTLE, 1000).

new() ->
    new(#{}).

new(Selection) ->
    {ok, Parsed} = rollcall_selection:parse(Selection#{settle => ?SETTLE}),
    rollcall_belief:new(Parsed).

node_record(Name, Port, More) ->
    {node, maps:merge(#{name => Name, port => Port, creation => Port, since => Port, state => <<"up">>}, More)}.

%% Records, with `{synced, Revision}' among them; all events, as words.
play(Records, Belief) ->
    play(Records, 0, Belief).

play(Records, Now, Belief) ->
    lists:foldl(fun({synced, Revision}, {Events, B}) ->
                        {More, Next} = rollcall_belief:synced(Revision, Now, B),
                        {Events ++ [word(E) || E <- More], Next};
                   (Record, {Events, B}) ->
                        {Events, rollcall_belief:record(Record, ?PLACE, B)}
                end, {[], Belief}, Records).

word({Kind, #{name := Name}}) -> {Kind, Name};
word({down, #{name := Name}, Why}) -> {down, Name, Why}.

events(Batches) ->
    {Told, _} = lists:foldl(fun(Records, {Told, Belief}) ->
        {Events, Next} = play(Records, Belief),
        {Told ++ [Events], Next}
    end, {[], new()}, Batches),
    Told.

epoch(Epoch) -> {epoch, #{epoch => Epoch, revision => 1}}.
up(Name, Port) -> node_record(Name, Port, #{}).
gone(Name, How) -> {gone, #{name => Name, scope => <<"*">>, how => How}}.

-define(A, <<"a">>).
-define(B, <<"b">>).

cases_test_() ->
    Begin = [epoch(1), up(?A, 1), up(?B, 2), {synced, 5}],
    Began = [{up, ?A}, {up, ?B}],
    [{What, ?_assertEqual(Expected, events(Batches))}
     || {What, Batches, Expected} <-
            [{"the beginning", [Begin], [Began]},
             {"nothing is told before SYNCED", [[epoch(1), up(?A, 1)]], [[]]},
             {"what is told again is no news", [Begin, [up(?A, 1), {synced, 6}]], [Began, []]},
             {"a change", [Begin, [node_record(?A, 1, #{state => <<"ready">>}), {synced, 6}]], [Began, [{changed, ?A}]]},
             {"an end", [Begin, [gone(?A, <<"left">>), {synced, 6}]], [Began, [{down, ?A, <<"left">>}]]},
             {"an end of one that is not known", [Begin, [gone(<<"c">>, <<"left">>), {synced, 6}]], [Began, []]},
             {"another in its place", [Begin, [gone(?A, <<"left">>), up(?A, 9), {synced, 6}]],
              [Began, [{down, ?A, <<"left">>}, {up, ?A}]]},
             {"another in its place, without a word", [Begin, [up(?A, 9), {synced, 6}]],
              [Began, [{down, ?A, <<"replaced">>}, {up, ?A}]]},
             {"a state that was not asked for", [Begin, [node_record(?A, 1, #{state => <<"stopping">>}), {synced, 6},
                                                         gone(?A, <<"left">>), {synced, 7}]],
              [Began, [{down, ?A, <<"stopping">>}]]},
             {"and back", [Begin, [node_record(?A, 1, #{state => <<"stopping">>}), {synced, 6}, up(?A, 1), {synced, 7}]],
              [Began, [{down, ?A, <<"stopping">>}, {up, ?A}]]},
             {"a snapshot of the same daemon", [Begin, [epoch(1), up(?B, 2), up(<<"c">>, 3), {synced, 9}]],
              [Began, [{down, ?A, <<"gone">>}, {up, <<"c">>}]]},
             {"a snapshot that begins twice", [[epoch(1), up(?A, 1), epoch(1), up(?B, 2), {synced, 9}]], [[{up, ?B}]]},
             {"changes behind a snapshot", [[epoch(1), up(?A, 1), up(?B, 2), gone(?A, <<"left">>), {synced, 9}]], [[{up, ?B}]]},
             {"another daemon that knows all", [Begin, [epoch(2), up(?A, 1), up(?B, 2), {synced, 1}]], [Began, []]},
             {"another daemon that knows less", [Begin, [epoch(2), up(?B, 2), {synced, 1}]], [Began, []]},
             {"one that comes back to it", [Begin, [epoch(2), {synced, 1}], [node_record(?A, 1, #{creation => 77, since => 99}),
                                                                            {synced, 2}]],
              [Began, [], [{changed, ?A}]]},
             {"one that comes back elsewhere", [Begin, [epoch(2), {synced, 1}], [up(?A, 9), {synced, 2}]],
              [Began, [], [{down, ?A, <<"replaced">>}, {up, ?A}]]},
             {"one that comes back and another scope is found", [Begin, [epoch(2), {synced, 1}],
                                                                 [node_record(?A, 1, #{scope => <<"127.0.0.1">>}), {synced, 2}]],
              [Began, [], [{changed, ?A}]]},
             {"one that came back and ends", [Begin, [epoch(2), {synced, 1}], [up(?A, 1), gone(?A, <<"left">>), {synced, 2}]],
              [Began, [], [{down, ?A, <<"left">>}]]},
             {"a stranger with another scope", [Begin, [epoch(2), up(?A, 1), up(?B, 2),
                                                        node_record(?A, 1, #{scope => <<"127.0.0.1">>}), {synced, 1}]],
              [Began, [{up, ?A}]]},
             {"what is no node", [[epoch(1), {node, #{name => ?A}}, {unknown, #{}}, {gone, #{}}, {synced, 1}]], [[]]}]].

who_is_missing_after_a_restart_is_waited_for_test() ->
    {_, Known} = play([epoch(1), up(?A, 1), up(?B, 2), {synced, 5}], new()),
    ?assertEqual(undefined, rollcall_belief:next(Known)),
    {[], Missing} = play([epoch(2), up(?B, 2), {synced, 1}], 500, Known),
    ?assertEqual(500 + ?SETTLE, rollcall_belief:next(Missing)),
    ?assertMatch({[], _}, rollcall_belief:expire(499 + ?SETTLE, Missing)),
    %% Another snapshot makes no difference, another restart makes it longer.
    {[], Still} = play([epoch(2), up(?B, 2), {synced, 2}], 700, Missing),
    ?assertEqual(500 + ?SETTLE, rollcall_belief:next(Still)),
    {[], Again} = play([epoch(3), up(?B, 2), {synced, 1}], 900, Still),
    ?assertEqual(900 + ?SETTLE, rollcall_belief:next(Again)),
    {[Down], Late} = rollcall_belief:expire(900 + ?SETTLE, Again),
    ?assertEqual({down, ?A, <<"gone">>}, word(Down)),
    ?assertEqual(undefined, rollcall_belief:next(Late)),
    ?assertMatch([#{name := ?B}], rollcall_belief:infos(Late)).

where_to_go_on_test() ->
    {_, B} = play([epoch(7), up(?A, 1), {synced, 5}, up(?B, 2)], new()),
    ?assertEqual({7, 5}, rollcall_belief:resume(B)),
    %% What was not synced comes again.
    {Events, Next} = play([up(?B, 2), {synced, 6}], rollcall_belief:cut(B)),
    ?assertEqual([{up, ?B}], Events),
    ?assertEqual({7, 6}, rollcall_belief:resume(Next)),
    ?assertEqual(undefined, rollcall_belief:resume(new())).

names(Names, Now, Belief) ->
    {Events, Next} = rollcall_belief:names([rollcall_info:from_name(N, P, ?PLACE) || {N, P} <- Names], Now, Belief),
    {[word(E) || E <- Events], Next}.

stock_epmd_test() ->
    {[{up, ?A}, {up, ?B}], B1} = names([{?B, 2}, {?A, 1}], 0, new()),
    {[], B2} = names([{?A, 1}, {?B, 2}], 10, B1),
    %% It was restarted: all are forgotten for two seconds.
    {[], B3} = names([], 20, B2),
    {[], B4} = names([{?A, 1}], 30, B3),
    ?assertEqual(20 + ?SETTLE, rollcall_belief:next(B4)),
    {[{down, #{name := ?B}, <<"gone">>}], B5} = rollcall_belief:expire(20 + ?SETTLE, B4),
    {[{down, ?A, <<"replaced">>}, {up, ?A}], _} = names([{?A, 5}], 40, B5).

from_stock_epmd_to_rollcall_and_back_test() ->
    {_, B1} = names([{?A, 1}, {?B, 2}], 0, new()),
    {Events, B2} = play([epoch(1), node_record(?A, 1, #{scope => <<"127.0.0.1">>}), up(?B, 2), {synced, 1}], B1),
    ?assertEqual([{changed, ?A}, {changed, ?B}], lists:sort(Events)),
    ?assertEqual(undefined, rollcall_belief:next(B2)),
    %% What is known stays known, but nothing is gone on from.
    {[], B3} = names([{?A, 1}, {?B, 2}], 0, B2),
    ?assertMatch([#{source := rollcall}, #{source := rollcall}], rollcall_belief:infos(B3)),
    ?assertEqual(undefined, rollcall_belief:resume(B3)),
    {[{changed, ?A}, {down, ?A, <<"left">>}], _} = play([epoch(1), up(?B, 2), up(?A, 1), {synced, 3},
                                                         gone(?A, <<"left">>), {synced, 4}], B3).

many_nodes_do_not_take_long_test() ->
    Nodes = [up(integer_to_binary(N), N rem 60000) || N <- lists:seq(1, 10000)],
    {Time, B} = timer:tc(fun() ->
        {_, B1} = play([epoch(1) | Nodes] ++ [{synced, 1}], new()),
        {[], B2} = play([epoch(2) | Nodes] ++ [{synced, 1}], B1),
        B2
    end),
    ?assertEqual(10000, length(rollcall_belief:infos(B))),
    ?assert(Time < 5000000, Time).

%% --- a daemon of chance --------------------------------------------------------------------------------

%% The model: nodes that live, those of them that are registered, and the log of one run of the daemon. `told' is what a caller
%% believes who does as the events say.
-record(model, {now = 0, epoch = 1, revision = 0, next = 1, live = #{}, registered = #{}, log = [],
                belief, told = #{}, restarted = 0}).

chance_test_() ->
    {timeout, 60, fun() ->
        [begin
             Seed = rand:uniform(1 bsl 30),
             _ = rand:seed(exsplus, {Seed, 1, 1}),
             try run(rand:uniform(60), #model{belief = new(#{})})
             catch Class:Reason:Stack -> erlang:raise(Class, {seed, Seed, Reason}, Stack)
             end,
             _ = rand:seed(exsplus)
         end || _ <- lists:seq(1, 1500)],
        ok
    end}.

run(0, Model) ->
    %% All that were lost come back, and time passes: what is believed is what is.
    Back = sync(all_back(Model)),
    Late = expire(sync(Back#model{now = Back#model.now + ?SETTLE})),
    Selected = maps:filter(fun(_, {_, Node}) -> maps:get(state, Node) =/= <<"stopping">> end, Late#model.registered),
    ?assertEqual(lists:sort(maps:keys(Selected)), lists:sort([N || #{name := N} <- rollcall_belief:infos(Late#model.belief)])),
    ?assertEqual(lists:sort(maps:keys(Selected)), lists:sort(maps:keys(Late#model.told))),
    maps:foreach(fun(Name, #{state := State, port := Port}) ->
                         {_, Node} = maps:get(Name, Selected),
                         ?assertEqual({maps:get(state, Node), maps:get(port, Node)}, {atom_to_binary(State, utf8), Port})
                 end, Late#model.told);
run(N, Model) ->
    Step = lists:nth(rand:uniform(10), [fun start/1, fun start/1, fun stop/1, fun change/1, fun change/1, fun sync/1, fun sync/1,
                                        fun cut_off/1, fun restart/1, fun wait/1]),
    run(N - 1, Step(Model)).

log(Record, #model{revision = R, log = Log} = M) ->
    M#model{revision = R + 1, log = [{R + 1, Record} | Log]}.

start(#model{next = N, live = Live} = M) ->
    Name = <<(rand:uniform(5) + $a)>>,
    case Live of
        #{Name := _} -> M;
        _ ->
            Node = #{name => Name, port => N, creation => N, since => N, state => <<"up">>},
            register_node(Name, Node, M#model{next = N + 1, live = Live#{Name => Node}})
    end.

register_node(Name, Node, #model{registered = Registered} = M) ->
    log({node, Node}, M#model{registered = Registered#{Name => {true, Node}}}).

stop(#model{live = Live, registered = Registered} = M) when map_size(Live) > 0 ->
    Name = any(maps:keys(Live)),
    Next = M#model{live = maps:remove(Name, Live), registered = maps:remove(Name, Registered)},
    case maps:is_key(Name, Registered) of
        true -> log({gone, #{name => Name, scope => <<"*">>, how => <<"left">>}}, Next);
        false -> Next
    end;
stop(M) -> M.

change(#model{registered = Registered} = M) when map_size(Registered) > 0 ->
    Name = any(maps:keys(Registered)),
    {_, Node} = maps:get(Name, Registered),
    register_node(Name, Node#{state => any([<<"up">>, <<"ready">>, <<"stopping">>])}, M);
change(M) -> M.

%% What the daemon sends to one who goes on from where he is: the log since, or everything.
sync(#model{belief = Belief, epoch = Epoch, revision = Revision, log = Log, registered = Registered} = M) ->
    Records = case rollcall_belief:resume(Belief) of
                  {Epoch, R} ->
                      case rand:uniform(4) of
                          1 -> snapshot(Epoch, Registered);
                          _ -> [Record || {At, Record} <- lists:reverse(Log), At > R]
                      end;
                  _ -> snapshot(Epoch, Registered)
              end,
    Fed = lists:foldl(fun(Record, B) -> rollcall_belief:record(Record, ?PLACE, B) end, Belief, Records),
    {Events, Next} = rollcall_belief:synced(Revision, M#model.now, Fed),
    hear(Events, M#model{belief = Next}).

snapshot(Epoch, Registered) ->
    [{epoch, #{epoch => Epoch, revision => 0}}
     | [{node, Node} || {_, Node} <- maps:values(Registered), maps:get(state, Node) =/= <<"stopping">>]].

%% In the midst of something.
cut_off(#model{belief = Belief, log = Log} = M) ->
    Half = [Record || {_, Record} <- lists:sublist(Log, rand:uniform(3))],
    Fed = lists:foldl(fun(Record, B) -> rollcall_belief:record(Record, ?PLACE, B) end, Belief, Half),
    M#model{belief = rollcall_belief:cut(Fed)}.

%% Some are lost by it, and come back later, with another creation for all the daemon knows.
restart(#model{epoch = Epoch, registered = Registered} = M) ->
    Kept = case rand:uniform(2) of
               1 -> Registered;
               2 -> maps:filter(fun(_, _) -> rand:uniform(2) =:= 1 end, Registered)
           end,
    sync(M#model{epoch = Epoch + 1, revision = 0, log = [], registered = Kept, restarted = M#model.now}).

all_back(#model{live = Live, registered = Registered} = M) ->
    lists:foldl(fun({Name, Node}, #model{next = N} = Acc) ->
        register_node(Name, Node#{creation => N, since => N, state => <<"up">>}, Acc#model{next = N + 1})
    end, M, maps:to_list(maps:without(maps:keys(Registered), Live))).

%% Less than it takes until all are back.
wait(#model{now = Now, restarted = Restarted} = M) ->
    Later = M#model{now = Now + rand:uniform(?SETTLE div 2)},
    case Later#model.now - Restarted >= ?SETTLE of
        true -> expire(sync(all_back(Later)));
        false -> expire(sync(Later))
    end.

expire(#model{belief = Belief, now = Now} = M) ->
    {Events, Next} = rollcall_belief:expire(Now, Belief),
    hear(Events, M#model{belief = Next}).

%% Nobody comes twice, changes or ends who has not come; nobody is told to have ended who lives, but who is stopping.
hear(Events, Model) ->
    lists:foldl(fun hear_one/2, Model, Events).

hear_one({up, #{name := Name} = Info}, #model{told = Told} = M) ->
    ?assertNot(maps:is_key(Name, Told)),
    M#model{told = Told#{Name => Info}};
hear_one({changed, #{name := Name} = Info}, #model{told = Told} = M) ->
    ?assert(maps:is_key(Name, Told)),
    M#model{told = Told#{Name => Info}};
hear_one({down, #{name := Name, port := Port}, Why}, #model{told = Told, live = Live} = M) ->
    ?assert(maps:is_key(Name, Told)),
    case Live of
        #{Name := #{port := Port}} when Why =/= <<"stopping">> ->
            %% A snapshot does not say why somebody is not in it.
            #{Name := {_, #{state := State}}} = M#model.registered,
            ?assertEqual({<<"gone">>, <<"stopping">>}, {Why, State});
        _ -> ok
    end,
    M#model{told = maps:remove(Name, Told)}.

any(List) -> lists:nth(rand:uniform(length(List)), List).
