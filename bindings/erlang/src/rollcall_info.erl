%% SPDX-License-Identifier: Apache-2.0
%% @doc One node as a caller sees it, made of what the daemon told, and the rule for what it did not tell: an
%% unknown host part is the asker's own on its own machine, and the string that it dialled for another; of an entry
%% for a node that is on neither, its address. Pure, but for own_host/0.
%%
%% Everything that a client of the port mapper chose stays a binary: atoms are never freed. Words of the
%% protocol that this version does not know become `unknown'.
%% @private
-module(rollcall_info).

-export([from_node/2, from_name/3, place/2, own_host/0, kind_of_host/1, is_node_name/1, same/2]).
-export_type([place/0]).

-type place() :: #{machine := local | string(), host := binary()}.

%% @doc Where an answer comes from: `Here' is true if that is this machine, whatever it was called.
-spec place(local | string() | inet:ip_address(), boolean()) -> place().
place(local, _) ->
    #{machine => local, host => own_host()};
place(Machine, Here) ->
    Text = if is_tuple(Machine) -> inet:ntoa(Machine); true -> Machine end,
    Host = if Here -> own_host(); true -> unicode:characters_to_binary(Text) end,
    #{machine => Text, host => Host}.

%% @doc The host part of this node; of one that has no name yet, what `-sname' would make it.
-spec own_host() -> binary().
own_host() ->
    case binary:split(atom_to_binary(node(), utf8), <<"@">>) of
        [_, Host] when node() =/= nonode@nohost -> Host;
        _ ->
            {ok, Name} = inet:gethostname(),
            hd(binary:split(unicode:characters_to_binary(Name), <<".">>))
    end.

%% @doc Nodes of short and of long names cannot connect to each other.
-spec kind_of_host(binary()) -> short | long.
kind_of_host(Host) ->
    case binary:match(Host, [<<".">>, <<":">>]) of
        nomatch -> short;
        _ -> long
    end.

%% @doc True if the emulator takes it for a node's full name. The port mapper lets anybody register others.
-spec is_node_name(binary()) -> boolean().
is_node_name(Node) ->
    case {binary:split(Node, <<"@">>, [global]), unicode:characters_to_list(Node)} of
        {[Name, Host], Text} when Name =/= <<>>, Host =/= <<>>, is_list(Text), length(Text) =< 255 ->
            [] =:= [C || <<C>> <= Name, not is_name_byte(C)];
        _ ->
            false
    end.

is_name_byte(C) ->
    (C >= $a andalso C =< $z) orelse (C >= $A andalso C =< $Z) orelse (C >= $0 andalso C =< $9)
        orelse C =:= $_ orelse C =:= $-.

%% @doc A NODE or GONE record.
-spec from_node(rollcall_wire:fields(), place()) -> {ok, rollcall:info()} | error.
from_node(#{name := Name, port := Port} = Fields, #{machine := Machine, host := Filled}) ->
    Host = maps:get(host, Fields, unknown),
    Scope = maps:get(scope, Fields, <<"*">>),
    Elsewhere = maps:get(elsewhere, Fields, 0) =:= 1,
    Full = if
               Host =/= unknown -> Host;
               Elsewhere -> Scope;
               true -> Filled
           end,
    Info = #{name => Name,
             node => <<Name/binary, "@", Full/binary>>,
             host => Host,
             host_source => host_source(Host, maps:get(host_source, Fields, undefined)),
             name_kind => if Host =:= unknown -> unknown; true -> kind_of_host(Host) end,
             state => state(maps:get(state, Fields, undefined)),
             state_source => state_source(maps:get(state_source, Fields, undefined)),
             port => Port,
             address => Scope,
             type => type(maps:get(type, Fields, 77)),
             creation => maps:get(creation, Fields, undefined),
             since => maps:get(since, Fields, undefined),
             meta => maps:get(pair, Fields, #{}),
             announced => announced(maps:get(announced, Fields, undefined)),
             helper => maps:get(helper, Fields, 0) =:= 1,
             static => maps:get(origin, Fields, undefined) =:= <<"static">>,
             elsewhere => Elsewhere,
             machine => Machine,
             source => rollcall},
    {ok, case Fields of
             #{unit := Unit} -> Info#{unit => Unit};
             _ -> Info
         end};
from_node(_, _) ->
    error.

%% @doc A line of NAMES: a name and a port, and nothing else is known.
-spec from_name(binary(), inet:port_number(), place()) -> rollcall:info().
from_name(Name, Port, #{machine := Machine, host := Filled}) ->
    #{name => Name, node => <<Name/binary, "@", Filled/binary>>, host => unknown, host_source => unknown,
      name_kind => unknown, state => unknown, state_source => unknown, port => Port, address => <<"*">>,
      type => normal, creation => undefined, since => undefined, meta => #{}, announced => unknown,
      helper => rollcall_selection:is_helper(Name), static => false, elsewhere => false, machine => Machine,
      source => names}.

%% @doc True if they are the same registration.
-spec same(rollcall:info(), rollcall:info()) -> boolean().
same(#{creation := C, since := S}, #{creation := C, since := S}) -> true;
same(_, _) -> false.

host_source(unknown, _) -> unknown;
host_source(_, <<"static">>) -> static;
host_source(_, _) -> announced.

state(<<"up">>) -> up;
state(<<"starting">>) -> starting;
state(<<"ready">>) -> ready;
state(<<"stopping">>) -> stopping;
state(<<"awaited">>) -> awaited;
state(_) -> unknown.

state_source(<<"connection">>) -> connection;
state_source(<<"listener">>) -> listener;
state_source(<<"unit">>) -> unit;
state_source(<<"announcement">>) -> announcement;
state_source(<<"entry">>) -> entry;
state_source(_) -> unknown.

announced(<<"ready">>) -> ready;
announced(<<"draining">>) -> draining;
announced(undefined) -> undefined;
announced(_) -> unknown.

type(77) -> normal;
type(72) -> hidden;
type(N) -> {other, N}.
