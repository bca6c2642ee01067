%% SPDX-License-Identifier: Apache-2.0
%% @doc What a watcher believes, and what it tells when it learns more. Pure: time comes in.
%%
%% Records are gathered until SYNCED, at which what is believed equals what the registry was. A snapshot replaces
%% everything; the difference is told. If its epoch is another one, the daemon was restarted and may have lost its
%% registry, and the nodes come back to it one by one: who is missing then is told as down only when he is still
%% missing `settle' milliseconds later. Between two incarnations on one port no difference is made there.
%%
%% Stock epmd tells names and ports. It forgets all when it is restarted, without a sign: who is missing is
%% always waited for.
%% @private
-module(rollcall_belief).

-export([new/1, record/3, synced/3, cut/1, names/3, expire/2, next/1, resume/1, infos/1]).
-export_type([belief/0]).

-type key() :: {Name :: binary(), Scope :: binary() | names}.

-record(belief, {selection :: rollcall_selection:parsed(),
                 known = #{} :: #{key() => rollcall:info()},
                 missing = #{} :: #{key() => integer()},
                 batch = [] :: [tuple()],
                 epoch :: undefined | non_neg_integer(),
                 revision :: undefined | non_neg_integer()}).

-opaque belief() :: #belief{}.

-spec new(rollcall_selection:parsed()) -> belief().
new(Selection) ->
    #belief{selection = Selection}.

%% @doc Takes in a record. What is none of a watch is skipped.
-spec record(rollcall_wire:record(), rollcall_info:place(), belief()) -> belief().
record({epoch, #{epoch := Epoch}}, _, #belief{} = Belief) ->
    %% What was gathered before is void.
    Belief#belief{batch = [{epoch, Epoch}]};
record({node, Fields}, Place, #belief{batch = Batch} = Belief) ->
    case rollcall_info:from_node(Fields, Place) of
        {ok, Info} -> Belief#belief{batch = [{node, Info} | Batch]};
        error -> Belief
    end;
record({gone, #{name := Name} = Fields}, _, #belief{batch = Batch} = Belief) ->
    Key = {Name, maps:get(scope, Fields, <<"*">>)},
    Belief#belief{batch = [{gone, Key, maps:get(how, Fields, <<"gone">>)} | Batch]};
record(_, _, Belief) ->
    Belief.

%% @doc SYNCED: what has changed since the last one.
-spec synced(non_neg_integer() | undefined, integer(), belief()) -> {[rollcall:event()], belief()}.
synced(Revision, Now, #belief{batch = Batch} = Belief) ->
    {Events, After} = case lists:reverse(Batch) of
                          [{epoch, Epoch} | Changes] -> snapshot(Epoch, Changes, Now, Belief);
                          Changes -> changes(Changes, Belief)
                      end,
    {Events, After#belief{batch = [], revision = Revision}}.

%% @doc The connection is lost: what was not synced will be told again.
-spec cut(belief()) -> belief().
cut(Belief) ->
    Belief#belief{batch = []}.

%% @doc Where to go on from.
-spec resume(belief()) -> undefined | {Epoch :: non_neg_integer(), Revision :: non_neg_integer()}.
resume(#belief{epoch = Epoch, revision = Revision}) when Epoch =/= undefined, Revision =/= undefined ->
    {Epoch, Revision};
resume(_) ->
    undefined.

%% @doc Everything believed.
-spec infos(belief()) -> [rollcall:info()].
infos(#belief{known = Known}) ->
    [Info || {_, Info} <- lists:sort(maps:to_list(Known))].

%% @doc When there may be something to tell though nothing is heard.
-spec next(belief()) -> undefined | integer().
next(#belief{missing = Missing}) ->
    case maps:values(Missing) of
        [] -> undefined;
        Times -> lists:min(Times)
    end.

%% @doc Who was waited for long enough.
-spec expire(integer(), belief()) -> {[rollcall:event()], belief()}.
expire(Now, #belief{known = Known, missing = Missing} = Belief) ->
    Late = lists:sort([Key || {Key, Time} <- maps:to_list(Missing), Time =< Now]),
    {[{down, maps:get(Key, Known), <<"gone">>} || Key <- Late],
     Belief#belief{known = maps:without(Late, Known), missing = maps:without(Late, Missing)}}.

%% --- changes -------------------------------------------------------------------------------------------

changes(Changes, Belief) ->
    {Events, After} = lists:mapfoldl(fun change/2, Belief, Changes),
    {lists:append(Events), After}.

change({gone, Key, How}, #belief{known = Known} = Belief) ->
    case Known of
        #{Key := Info} -> {[{down, Info, How}], forget(Key, Belief)};
        _ -> {[], Belief}
    end;
change({node, #{state := State} = Info}, #belief{known = Known, selection = Selection} = Belief) ->
    Key = key(Info),
    case {rollcall_selection:wants_state(State, Selection), Known} of
        {true, _} -> there(Info, Belief);
        {false, #{Key := _}} -> {[{down, Info, atom_to_binary(State, utf8)}], forget(Key, Belief)};
        {false, _} -> {[], Belief}
    end.

there(Info, #belief{known = Known, missing = Missing} = Belief) ->
    Key = key(Info),
    case {Known, Missing} of
        {_, #{Key := _}} -> met_again(Key, Info, Belief);
        {#{Key := Before}, _} ->
            case rollcall_info:same(Before, Info) of
                true -> {changed(Before, Info), believe(Info, Belief)};
                false -> {[{down, Before, <<"replaced">>}, {up, Info}], believe(Info, Belief)}
            end;
        _ ->
            %% Perhaps one who is missing, of whom another scope was known, or none.
            case [K || K <- lists:sort(maps:keys(Missing)), twin(maps:get(K, Known)) =:= twin(Info)] of
                [Old | _] -> met_again(Old, Info, Belief);
                [] -> {[{up, Info}], believe(Info, Belief)}
            end
    end.

%% The daemon has changed since `Old' was told of: on the same port it is taken for the same node.
met_again(Old, Info, #belief{known = Known} = Belief) ->
    Before = maps:get(Old, Known),
    {case twin(Before) =:= twin(Info) of
         true -> changed(Before, Info);
         false -> [{down, Before, <<"replaced">>}, {up, Info}]
     end, believe(Info, forget(Old, Belief))}.

key(#{name := Name, source := names}) -> {Name, names};
key(#{name := Name, address := Scope}) -> {Name, Scope}.

twin(#{name := Name, port := Port}) -> {Name, Port}.

believe(Info, #belief{known = Known, missing = Missing} = Belief) ->
    Key = key(Info),
    Belief#belief{known = Known#{Key => Info}, missing = maps:remove(Key, Missing)}.

forget(Key, #belief{known = Known, missing = Missing} = Belief) ->
    Belief#belief{known = maps:remove(Key, Known), missing = maps:remove(Key, Missing)}.

changed(Info, Info) -> [];
changed(_, Info) -> [{changed, Info}].

%% --- snapshots -----------------------------------------------------------------------------------------

snapshot(Epoch, Changes, Now, #belief{epoch = Before} = Belief) ->
    %% Changes may follow the snapshot before the first SYNCED.
    There = lists:foldl(fun(Change, Acc) -> lay(Change, Acc, Belief) end, #{}, Changes),
    case Epoch of
        Before -> continuous(There, Belief);
        %% Whoever was missing before has to come back to this one now.
        _ -> broken(There, Now, Belief#belief{epoch = Epoch, missing = #{}})
    end.

lay({gone, Key, _}, There, _) ->
    maps:remove(Key, There);
lay({node, #{state := State} = Info}, There, #belief{selection = Selection}) ->
    case rollcall_selection:wants_state(State, Selection) of
        true -> There#{key(Info) => Info};
        false -> maps:remove(key(Info), There)
    end.

%% The same daemon, which knows all that happened: who is not there has gone, but for those who are waited for.
continuous(There, #belief{known = Known, missing = Missing} = Belief) ->
    Gone = lists:sort(maps:keys(Known) -- (maps:keys(There) ++ maps:keys(Missing))),
    Downs = [{down, maps:get(Key, Known), <<"gone">>} || Key <- Gone],
    Left = lists:foldl(fun forget/2, Belief, Gone),
    {Events, After} = changes([{node, Info} || {_, Info} <- in_order(There)], Left),
    {Downs ++ Events, After}.

%% Another daemon than before, or another kind: all are missing that are not there.
broken(There, Now, #belief{known = Known, missing = Missing, selection = #{settle := Settle}} = Belief) ->
    Waited = maps:map(fun(Key, _) -> maps:get(Key, Missing, Now + Settle) end, Known),
    %% Those that are known as they are first, lest another of that name and port be taken for one of them.
    {Met, New} = lists:partition(fun({Key, _}) -> maps:is_key(Key, Known) end, in_order(There)),
    changes([{node, Info} || {_, Info} <- Met ++ New], Belief#belief{missing = Waited}).

in_order(There) ->
    lists:sort(maps:to_list(There)).

%% --- names ---------------------------------------------------------------------------------------------

%% @doc All that stock epmd has told.
-spec names([rollcall:info()], integer(), belief()) -> {[rollcall:event()], belief()}.
names(Infos, Now, #belief{known = Known} = Belief) ->
    %% What was known of it before is more than that.
    Before = maps:from_list([{twin(Info), Info} || {_, Info} <- in_order(Known)]),
    There = maps:from_list([begin
                                Best = maps:get(twin(Info), Before, Info),
                                {key(Best), Best}
                            end || Info <- Infos]),
    %% Where Rollcall had stopped telling is of no use to any daemon that comes.
    broken(There, Now, Belief#belief{epoch = undefined, revision = undefined, batch = []}).
