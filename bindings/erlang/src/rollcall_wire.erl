%% SPDX-License-Identifier: Apache-2.0
%% @doc The bytes: requests and answers of Rollcall's extension, and of EPMD's NAMES. Pure; PROTOCOL.md has
%% every number.
%%
%% What comes from a socket is never trusted: garbage is an error, no crash, and makes no atom. What a newer
%% daemon adds (a record, a field, a number's meaning) is skipped.
%% @private
-module(rollcall_wire).

-export([request/2, new/0, feed/2, pending/1, names_request/0, names/1, pair/2]).
-export_type([fields/0, record/0, stream/0]).

-define(MAGIC, "LRC").
-define(VERSION, 1).
-define(REQUEST_MAX, 3057).
-define(RECORD_MAX, 1048576).

-type fields() :: #{atom() => term()}.
-type record() :: {Kind :: atom(), fields()}.
-opaque stream() :: {head | records, binary()}.

%% @doc A whole request. Fields that are `undefined' are left out.
-spec request(atom(), [{atom(), term()}]) -> {ok, binary()} | {error, too_long}.
request(Kind, Fields) ->
    Body = iolist_to_binary([?MAGIC, ?VERSION, kind_number(Kind), [put_field(F) || F <- Fields]]),
    case byte_size(Body) of
        N when N =< ?REQUEST_MAX -> {ok, <<N:16, Body/binary>>};
        _ -> {error, too_long}
    end.

%% @doc The value of a `pair' field.
-spec pair(binary(), binary()) -> binary().
pair(Key, Value) ->
    <<Key/binary, 0, Value/binary>>.

put_field({_, undefined}) ->
    [];
put_field({Name, Value}) ->
    {Number, Form} = tag_number(Name),
    Bytes = put_value(Form, Value),
    [<<Number:16, (byte_size(Bytes)):16>>, Bytes].

put_value({int, Bits}, Value) -> <<Value:Bits>>;
put_value(_, Value) when is_binary(Value) -> Value.

%% --- answers ------------------------------------------------------------------------------------------

%% @doc The beginning of an answer.
-spec new() -> stream().
new() ->
    {head, <<>>}.

%% @doc Takes in what has come: the records that are whole now, in order.
-spec feed(binary(), stream()) -> {ok, [record()], stream()} | {error, malformed | bad_version}.
feed(Data, {Where, Before}) ->
    take(Where, <<Before/binary, Data/binary>>, []).

%% @doc True if nothing has come at all: what closes then is stock epmd, or may not be asked.
-spec pending(stream()) -> nothing | something.
pending({head, <<>>}) -> nothing;
pending(_) -> something.

take(head, <<?MAGIC, ?VERSION, Rest/binary>>, Records) ->
    take(records, Rest, Records);
take(head, <<?MAGIC, _, _/binary>>, _) ->
    {error, bad_version};
take(head, Data, Records) ->
    Head = <<?MAGIC, ?VERSION>>,
    N = byte_size(Data),
    case N < byte_size(Head) andalso binary:part(Head, 0, N) of
        Data -> {ok, lists:reverse(Records), {head, Data}};
        _ -> {error, malformed}
    end;
take(records, <<N:32, _/binary>>, _) when N < 1; N > ?RECORD_MAX ->
    {error, malformed};
take(records, <<N:32, Record:N/binary, Rest/binary>>, Records) ->
    <<Kind, Bytes/binary>> = Record,
    case fields(Bytes, #{}) of
        {ok, Fields} -> take(records, Rest, [{record_kind(Kind), Fields} | Records]);
        error -> {error, malformed}
    end;
take(records, Data, Records) ->
    {ok, lists:reverse(Records), {records, Data}}.

fields(<<>>, Fields) ->
    {ok, Fields};
fields(<<Tag:16, N:16, Value:N/binary, Rest/binary>>, Fields) ->
    fields(Rest, put_tag(tag(Tag), Value, Fields));
fields(_, _) ->
    error.

put_tag(unknown, _, Fields) ->
    Fields;
put_tag({Name, {int, _}}, Value, Fields) ->
    case byte_size(Value) of
        N when N =:= 1; N =:= 2; N =:= 4; N =:= 8 -> Fields#{Name => binary:decode_unsigned(Value)};
        _ -> Fields
    end;
put_tag({Name, text}, Value, Fields) ->
    Fields#{Name => binary:copy(Value)};
put_tag({Name, pair}, Value, Fields) ->
    case binary:split(Value, <<0>>) of
        [Key, V] when Key =/= <<>> ->
            Pairs = maps:get(Name, Fields, #{}),
            Fields#{Name => Pairs#{binary:copy(Key) => binary:copy(V)}};
        _ ->
            Fields
    end.

%% --- numbers ------------------------------------------------------------------------------------------

kind_number(watch) -> 6;
kind_number(announce) -> 7;
kind_number(find) -> 9;
kind_number(pins) -> 14.

record_kind(64) -> 'end';
record_kind(65) -> error;
record_kind(67) -> node;
record_kind(71) -> epoch;
record_kind(72) -> synced;
record_kind(73) -> gone;
record_kind(75) -> pin;
record_kind(_) -> unknown.

tag(1) -> {error, {int, 16}};
tag(2) -> {text, text};
tag(16) -> {name, text};
tag(17) -> {state, text};
tag(18) -> {port, {int, 16}};
tag(19) -> {type, {int, 8}};
tag(23) -> {creation, {int, 32}};
tag(24) -> {since, {int, 64}};
tag(25) -> {scope, text};
tag(27) -> {unit, text};
tag(29) -> {state_source, text};
tag(32) -> {host, text};
tag(33) -> {announced, text};
tag(34) -> {pair, pair};
tag(36) -> {helper, {int, 8}};
tag(43) -> {how, text};
tag(48) -> {epoch, {int, 64}};
tag(49) -> {prefix, text};
tag(50) -> {pattern, text};
tag(51) -> {exclude, text};
tag(52) -> {hidden, {int, 8}};
tag(53) -> {heartbeat, {int, 32}};
tag(54) -> {host_source, text};
tag(55) -> {name_kind, text};
tag(56) -> {origin, text};
tag(58) -> {elsewhere, {int, 8}};
tag(76) -> {revision, {int, 64}};
tag(_) -> unknown.

tag_number(name) -> {16, text};
tag_number(state) -> {17, text};
tag_number(creation) -> {23, {int, 32}};
tag_number(scope) -> {25, text};
tag_number(host) -> {32, text};
tag_number(announced) -> {33, text};
tag_number(pair) -> {34, pair};
tag_number(epoch) -> {48, {int, 64}};
tag_number(prefix) -> {49, text};
tag_number(pattern) -> {50, text};
tag_number(exclude) -> {51, text};
tag_number(hidden) -> {52, {int, 8}};
tag_number(heartbeat) -> {53, {int, 32}};
tag_number(revision) -> {76, {int, 64}}.

%% --- NAMES of stock epmd --------------------------------------------------------------------------------

%% @doc NAMES_REQ.
-spec names_request() -> binary().
names_request() ->
    <<1:16, $n>>.

%% @doc A whole NAMES_RESP. Nothing at all is `denied': epmd always tells its port. A line that is none is skipped.
-spec names(binary()) -> {ok, [{Name :: binary(), inet:port_number()}]} | {error, denied | malformed}.
names(<<>>) ->
    {error, denied};
names(<<_:32, Lines/binary>>) ->
    {ok, lists:append([name_line(Line) || Line <- binary:split(Lines, <<"\n">>, [global])])};
names(_) ->
    {error, malformed}.

%% A name may contain anything, " at port " too: the last one counts.
name_line(<<"name ", Rest/binary>>) ->
    case binary:matches(Rest, <<" at port ">>) of
        [] ->
            [];
        Found ->
            {At, N} = lists:last(Found),
            <<Name:At/binary, _:N/binary, Digits/binary>> = Rest,
            try binary_to_integer(Digits) of
                Port when Port >= 0, Port =< 65535 -> [{binary:copy(Name), Port}];
                _ -> []
            catch
                error:badarg -> []
            end
    end;
name_line(_) ->
    [].
