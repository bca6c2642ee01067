%% SPDX-License-Identifier: Apache-2.0
%% @doc Which nodes are meant: what a caller wrote, as fields of a request, and as a test of one node for what
%% knows no selections (NAMES of stock epmd). Pure.
%%
%% Patterns are a shell's, of bytes, and mean the whole name, as to the daemon: `*', `?', `[a-z]', `[!a-z]',
%% a backslash takes the next byte as it is.
%% @private
-module(rollcall_selection).

-export([parse/1, parse/2, fields/1, wants_state/2, matches/2, glob/2, is_pattern/1, is_helper/1]).
-export_type([parsed/0]).

-type parsed() :: #{names := [binary()], prefixes := [binary()], patterns := [binary()], exclude := [binary()],
                    states := default | any | [atom()], hidden := boolean(), address := binary() | undefined,
                    machine := local | string() | inet:ip_address(), port := inet:port_number() | undefined,
                    timeout := timeout(), heartbeat := pos_integer(), settle := non_neg_integer(),
                    poll := pos_integer()}.

-define(STATES, [up, starting, ready, stopping, awaited]).

%% Names that tools take for a moment, as the daemon's default for `helpers' has them: stock epmd does not tell.
-define(HEX, "[0-9a-fA-F]").
-define(HELPERS,
        ["epmd-starter-*", "rabbit_prelaunch_*", "rabbitmqcli-*",
         ?HEX ?HEX ?HEX "-ctl-*", ?HEX ?HEX ?HEX "-debug-*", ?HEX ?HEX ?HEX "-top-*", ?HEX ?HEX ?HEX "-ping",
         "rem-" ?HEX ?HEX ?HEX ?HEX "-*", "rpc-" ?HEX ?HEX ?HEX ?HEX "-*",
         "remsh" ?HEX ?HEX ?HEX ?HEX ?HEX ?HEX ?HEX ?HEX "-*",
         "longname" ?HEX ?HEX ?HEX ?HEX ?HEX ?HEX ?HEX ?HEX "-*", "*_maint_[0-9]*"]).

%% @doc What a caller wrote. {error, {bad_selection, What}} names the part that makes no sense.
-spec parse(term()) -> {ok, parsed()} | {error, {bad_selection, term()}}.
parse(Selection) ->
    parse(Selection, #{}).

%% @doc The same; `More' counts more than what a map says.
-spec parse(term(), map()) -> {ok, parsed()} | {error, {bad_selection, term()}}.
parse(Selection, More) when is_map(Selection) ->
    try
        {ok, maps:fold(fun put/3, defaults(), maps:merge(Selection, More))}
    catch
        throw:{bad, What} -> {error, {bad_selection, What}}
    end;
parse(Patterns, More) ->
    parse(#{patterns => Patterns}, More).

defaults() ->
    #{names => [], prefixes => [], patterns => [], exclude => [], states => default, hidden => false,
      address => undefined, machine => local, port => undefined, timeout => 5000, heartbeat => 15000,
      settle => 15000, poll => 5000}.

put(patterns, Patterns, Parsed) ->
    lists:foldl(fun put_pattern/2, Parsed, texts(Patterns));
put(exclude, Patterns, Parsed) ->
    Parsed#{exclude := [name_part(P) || P <- texts(Patterns)]};
put(states, any, Parsed) ->
    Parsed#{states := any};
put(states, States, Parsed) when is_list(States) ->
    _ = [lists:member(S, ?STATES) orelse throw({bad, {state, S}}) || S <- States],
    Parsed#{states := case States of [] -> default; _ -> States end};
put(hidden, Hidden, Parsed) when is_boolean(Hidden) ->
    Parsed#{hidden := Hidden};
put(address, Address, Parsed) ->
    Parsed#{address := address(Address)};
put(machine, Machine, Parsed) ->
    Parsed#{machine := machine(Machine)};
put(port, Port, Parsed) when is_integer(Port), Port > 0, Port < 65536 ->
    Parsed#{port := Port};
put(timeout, Timeout, Parsed) when Timeout =:= infinity; is_integer(Timeout), Timeout >= 0 ->
    Parsed#{timeout := Timeout};
put(settle, Settle, Parsed) when is_integer(Settle), Settle >= 0 ->
    Parsed#{settle := Settle};
put(Time, Value, Parsed) when Time =:= heartbeat orelse Time =:= poll, is_integer(Value), Value > 0 ->
    Parsed#{Time := Value};
put(Key, Value, _) ->
    throw({bad, {Key, Value}}).

address(<<"*">>) -> <<"*">>;
address("*") -> <<"*">>;
address(undefined) -> undefined;
address(Address) when is_tuple(Address) ->
    case inet:ntoa(Address) of
        {error, _} -> throw({bad, {address, Address}});
        Text -> list_to_binary(Text)
    end;
address(Address) ->
    Text = text(Address),
    case inet:parse_address(binary_to_list(Text)) of
        {ok, _} -> Text;
        {error, _} -> throw({bad, {address, Address}})
    end.

machine(local) -> local;
machine(Machine) when is_tuple(Machine) ->
    case inet:ntoa(Machine) of
        {error, _} -> throw({bad, {machine, Machine}});
        _ -> Machine
    end;
machine(Machine) when is_atom(Machine) -> atom_to_list(Machine);
machine(Machine) ->
    case unicode:characters_to_list(text(Machine)) of
        "" -> throw({bad, {machine, Machine}});
        Text -> Text
    end.

%% One text, or several: a string is a list of integers.
texts([]) -> [];
texts([First | _] = Text) when is_integer(First) -> [text(Text)];
texts(Texts) when is_list(Texts) -> [text(T) || T <- Texts];
texts(Text) -> [text(Text)].

text(Text) when is_binary(Text); is_list(Text) ->
    case catch_text(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> throw({bad, Text})
    end;
text(Text) ->
    throw({bad, Text}).

catch_text(Text) ->
    try unicode:characters_to_binary(Text)
    catch error:badarg -> error
    end.

%% The port mapper knows what stands before the @, and nothing behind it.
name_part(Pattern) ->
    case Pattern =/= <<>> andalso binary:match(Pattern, <<"@">>) =:= nomatch andalso is_pattern(Pattern) of
        true -> Pattern;
        false -> throw({bad, {pattern, Pattern}})
    end.

%% A name and a prefix are found without looking at every node.
put_pattern(Pattern, #{names := Names, prefixes := Prefixes, patterns := Patterns} = Parsed) ->
    Literal = byte_size(name_part(Pattern)) - 1,
    case [At || {At, _} <- binary:matches(Pattern, [<<"*">>, <<"?">>, <<"[">>, <<"\\">>])] of
        [] -> Parsed#{names := Names ++ [Pattern]};
        [Literal] when Literal > 0 ->
            case Pattern of
                <<Prefix:Literal/binary, "*">> -> Parsed#{prefixes := Prefixes ++ [Prefix]};
                _ -> Parsed#{patterns := Patterns ++ [Pattern]}
            end;
        _ -> Parsed#{patterns := Patterns ++ [Pattern]}
    end.

%% @doc As fields of FIND and of WATCH.
-spec fields(parsed()) -> [{atom(), term()}].
fields(#{names := Names, prefixes := Prefixes, patterns := Patterns, exclude := Exclude, states := States,
         hidden := Hidden, address := Address}) ->
    [{name, N} || N <- Names] ++ [{prefix, P} || P <- Prefixes] ++ [{pattern, P} || P <- Patterns]
        ++ [{exclude, P} || P <- Exclude]
        ++ case States of
               default -> [];
               any -> [{state, <<"any">>}];
               _ -> [{state, atom_to_binary(S, utf8)} || S <- States]
           end
        ++ [{hidden, 1} || Hidden]
        ++ [{scope, Address}].

%% @doc True if a node in that state is selected. Of `unknown' only that it is registered is known, as of `up'.
-spec wants_state(atom(), parsed()) -> boolean().
wants_state(_, #{states := any}) -> true;
wants_state(State, #{states := default}) -> State =/= stopping;
wants_state(unknown, #{states := States}) -> lists:member(up, States);
wants_state(State, #{states := States}) -> lists:member(State, States).

%% @doc True if a node of which nothing but the name is known is selected.
-spec matches(binary(), parsed()) -> boolean().
matches(Name, #{names := Names, prefixes := Prefixes, patterns := Patterns, exclude := Exclude, hidden := Hidden,
                address := Address} = Parsed) ->
    (Names =:= [] andalso Prefixes =:= [] andalso Patterns =:= []
     orelse lists:member(Name, Names)
     orelse lists:any(fun(P) -> has_prefix(P, Name) end, Prefixes)
     orelse lists:any(fun(P) -> glob(P, Name) end, Patterns))
        andalso not lists:any(fun(P) -> glob(P, Name) end, Exclude)
        andalso (Hidden orelse not is_helper(Name))
        andalso Address =:= undefined
        andalso wants_state(unknown, Parsed).

has_prefix(Prefix, Name) ->
    N = byte_size(Prefix),
    case Name of
        <<Prefix:N/binary, _/binary>> -> true;
        _ -> false
    end.

%% @doc True if it is a name that a tool takes for a moment.
-spec is_helper(binary()) -> boolean().
is_helper(Name) ->
    lists:any(fun(P) -> glob(list_to_binary(P), Name) end, ?HELPERS).

%% --- shell patterns -----------------------------------------------------------------------------------

%% @doc True if it is a pattern to the daemon, too.
-spec is_pattern(binary()) -> boolean().
is_pattern(<<>>) -> true;
is_pattern(<<"\\">>) -> false;
is_pattern(<<"\\", _, Rest/binary>>) -> is_pattern(Rest);
is_pattern(<<"[", Class/binary>>) ->
    case class(Class) of
        {ok, _, _, Rest} -> is_pattern(Rest);
        error -> false
    end;
is_pattern(<<_, Rest/binary>>) -> is_pattern(Rest).

%% @doc True if the pattern matches the whole name. Takes at most the product of their lengths.
-spec glob(binary(), binary()) -> boolean().
glob(Pattern, Name) ->
    glob(Pattern, Name, none).

%% After a mismatch the last star takes one byte more; those before it need not be looked at again.
glob(<<"*", Pattern/binary>>, Name, _) ->
    glob(Pattern, Name, {Pattern, Name});
glob(<<>>, <<>>, _) ->
    true;
glob(Pattern, Name, Star) ->
    case one(Pattern, Name) of
        {true, PatternRest, NameRest} -> glob(PatternRest, NameRest, Star);
        false -> back(Star)
    end.

back({Pattern, <<_, Name/binary>>}) -> glob(Pattern, Name, {Pattern, Name});
back(_) -> false.

one(<<"?", Pattern/binary>>, <<_, Name/binary>>) ->
    {true, Pattern, Name};
one(<<"[", Class/binary>>, <<Byte, Name/binary>>) ->
    case class(Class) of
        {ok, Negated, Items, Pattern} ->
            case lists:any(fun(Item) -> in(Byte, Item) end, Items) of
                Negated -> false;
                _ -> {true, Pattern, Name}
            end;
        error -> false
    end;
one(<<"\\", Byte, Pattern/binary>>, <<Byte, Name/binary>>) ->
    {true, Pattern, Name};
one(<<Special, _/binary>>, _) when Special =:= $\\; Special =:= $[ ->
    false;
one(<<Byte, Pattern/binary>>, <<Byte, Name/binary>>) ->
    {true, Pattern, Name};
one(_, _) ->
    false.

%% What stands behind [, up to its ], which is itself where it stands first.
class(<<C, Class/binary>>) when C =:= $!; C =:= $^ -> class(Class, true, first, []);
class(Class) -> class(Class, false, first, []).

class(<<"]", Pattern/binary>>, Negated, rest, Items) ->
    {ok, Negated, Items, Pattern};
class(<<"[:", Rest/binary>>, Negated, _, Items) ->
    case binary:split(Rest, <<":]">>) of
        [Word, Class] ->
            case is_of(Word, $a) of
                unknown -> error;
                _ -> class(Class, Negated, rest, [{word, Word} | Items])
            end;
        _ -> error
    end;
class(<<"[", C, _/binary>>, _, _, _) when C =:= $.; C =:= $= ->
    error;
class(<<"\\", Byte, Class/binary>>, Negated, _, Items) ->
    range(Byte, Class, Negated, Items);
class(<<"\\">>, _, _, _) ->
    error;
class(<<Byte, Class/binary>>, Negated, _, Items) ->
    range(Byte, Class, Negated, Items);
class(<<>>, _, _, _) ->
    error.

%% A minus that stands last is itself.
range(Byte, <<"-]", _/binary>> = Class, Negated, Items) ->
    class(Class, Negated, rest, [{Byte, Byte} | Items]);
range(_, <<"-[", _/binary>>, _, _) ->
    error;
range(_, <<"-\\">>, _, _) ->
    error;
range(From, <<"-\\", To, Class/binary>>, Negated, Items) ->
    class(Class, Negated, rest, [{From, To} | Items]);
range(From, <<"-", To, Class/binary>>, Negated, Items) ->
    class(Class, Negated, rest, [{From, To} | Items]);
range(Byte, Class, Negated, Items) ->
    class(Class, Negated, rest, [{Byte, Byte} | Items]).

in(Byte, {word, Word}) -> is_of(Word, Byte);
in(Byte, {From, To}) -> Byte >= From andalso Byte =< To.

is_of(<<"digit">>, B) -> B >= $0 andalso B =< $9;
is_of(<<"lower">>, B) -> B >= $a andalso B =< $z;
is_of(<<"upper">>, B) -> B >= $A andalso B =< $Z;
is_of(<<"alpha">>, B) -> is_of(<<"lower">>, B) orelse is_of(<<"upper">>, B);
is_of(<<"alnum">>, B) -> is_of(<<"alpha">>, B) orelse is_of(<<"digit">>, B);
is_of(<<"xdigit">>, B) -> is_of(<<"digit">>, B) orelse (B bor 32 >= $a andalso B bor 32 =< $f);
is_of(<<"space">>, B) -> B =:= 32 orelse (B >= 9 andalso B =< 13);
is_of(<<"blank">>, B) -> B =:= 32 orelse B =:= 9;
is_of(<<"print">>, B) -> B >= 32 andalso B < 127;
is_of(<<"graph">>, B) -> B > 32 andalso B < 127;
is_of(<<"cntrl">>, B) -> B < 32 orelse B =:= 127;
is_of(<<"punct">>, B) -> is_of(<<"graph">>, B) andalso not is_of(<<"alnum">>, B);
is_of(_, _) -> unknown.
