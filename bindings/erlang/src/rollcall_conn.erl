%% SPDX-License-Identifier: Apache-2.0
%% @doc One question to a port mapper over TCP: where it is found, and an answer before a deadline.
%%
%% The trap: a connection that is closed without a byte is stock epmd, which knows no extension, or, to NAMES, a
%% port mapper that does not let this machine ask.
%% @private
-module(rollcall_conn).

-export([find/1, names/1, ask/4, pins/2, open/3, word/1, epmd_port/0]).
-export([deadline/1, left/1]).
-export_type([where/0]).

%% More than a registry of 100,000 nodes with all they may announce would take to tell.
-define(ANSWER_MAX, 268435456).

-type where() :: #{machine := local | string() | inet:ip_address(), port := inet:port_number() | undefined,
                   _ => _}.
-type deadline() :: integer() | infinity.

%% @doc A moment so far from now.
-spec deadline(timeout()) -> deadline().
deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

%% @doc How long it is until then.
-spec left(deadline()) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

%% --- whole questions -----------------------------------------------------------------------------------

%% @doc FIND; of stock epmd NAMES, of which those that match are left.
-spec find(rollcall_selection:parsed()) -> {ok, [rollcall:info()]} | {error, rollcall:reason()}.
find(#{timeout := Timeout} = Selection) ->
    Deadline = deadline(Timeout),
    case ask(Selection, find, rollcall_selection:fields(Selection), Deadline) of
        {ok, Records, Place} -> {ok, infos(Records, Place)};
        {error, Reason} when Reason =:= no_extension; Reason =:= unknown_request -> names(Selection, Deadline);
        Error -> Error
    end.

infos(Records, Place) ->
    lists:append([case rollcall_info:from_node(Fields, Place) of
                      {ok, Info} -> [Info];
                      error -> []
                  end || {node, Fields} <- Records]).

%% @doc NAMES alone.
-spec names(rollcall_selection:parsed()) -> {ok, [rollcall:info()]} | {error, rollcall:reason()}.
names(#{timeout := Timeout} = Selection) ->
    names(Selection, deadline(Timeout)).

names(#{machine := Machine} = Selection, Deadline) ->
    with_socket(Selection, Deadline, fun(Socket, Here) ->
        case send(Socket, rollcall_wire:names_request()) of
            ok ->
                case read_all(Socket, Deadline, [], 0) of
                    {ok, Data} -> names_infos(rollcall_wire:names(Data), Selection, rollcall_info:place(Machine, Here));
                    Error -> Error
                end;
            Error -> Error
        end
    end).

names_infos({ok, Names}, Selection, Place) ->
    {ok, [rollcall_info:from_name(Name, Port, Place)
          || {Name, Port} <- lists:sort(Names), rollcall_selection:matches(Name, Selection)]};
names_infos(Error, _, _) ->
    Error.

read_all(_, _, _, Size) when Size > ?ANSWER_MAX ->
    {error, too_long};
read_all(Socket, Deadline, Before, Size) ->
    case gen_tcp:recv(Socket, 0, left(Deadline)) of
        {ok, Data} -> read_all(Socket, Deadline, [Data | Before], Size + byte_size(Data));
        {error, closed} -> {ok, iolist_to_binary(lists:reverse(Before))};
        {error, Reason} -> {error, Reason}
    end.

%% @doc The port that a name is pinned to, or 0; whatever goes wrong, 0.
-spec pins(binary(), timeout()) -> inet:port_number().
pins(Name, Timeout) ->
    case ask(#{machine => local, port => undefined}, pins, [{name, Name}], deadline(Timeout)) of
        {ok, Records, _} ->
            hd([Port || {pin, #{name := N, port := Port}} <- Records, N =:= Name] ++ [0]);
        {error, _} ->
            0
    end.

%% --- one request ---------------------------------------------------------------------------------------

%% @doc All records of an answer but its END.
-spec ask(where(), atom(), [{atom(), term()}], deadline()) ->
          {ok, [rollcall_wire:record()], rollcall_info:place()} | {error, rollcall:reason()}.
ask(#{machine := Machine} = Where, Kind, Fields, Deadline) ->
    case rollcall_wire:request(Kind, Fields) of
        {ok, Request} ->
            with_socket(Where, Deadline, fun(Socket, Here) ->
                case send(Socket, Request) of
                    ok ->
                        case read_records(Socket, Deadline, rollcall_wire:new(), [], 0) of
                            {ok, Records} -> {ok, Records, rollcall_info:place(Machine, Here)};
                            Error -> Error
                        end;
                    Error -> Error
                end
            end);
        Error ->
            Error
    end.

read_records(_, _, _, _, Size) when Size > ?ANSWER_MAX ->
    {error, too_long};
read_records(Socket, Deadline, Stream, Before, Size) ->
    case gen_tcp:recv(Socket, 0, left(Deadline)) of
        {ok, Data} ->
            case rollcall_wire:feed(Data, Stream) of
                {ok, Records, Next} ->
                    case ended(Records) of
                        more -> read_records(Socket, Deadline, Next, [Records | Before], Size + byte_size(Data));
                        {ok, Last} -> {ok, lists:append(lists:reverse([Last | Before]))};
                        Error -> Error
                    end;
                Error -> Error
            end;
        {error, timeout} ->
            {error, timeout};
        {error, _} ->
            {error, closed_reason(Stream)}
    end.

closed_reason(Stream) ->
    case rollcall_wire:pending(Stream) of
        nothing -> no_extension;
        something -> broken_off
    end.

ended([]) ->
    more;
ended(Records) ->
    case lists:splitwith(fun({Kind, _}) -> Kind =/= 'end' andalso Kind =/= error end, Records) of
        {_, []} -> more;
        {Last, [{'end', _} | _]} -> {ok, Last};
        {_, [{error, Fields} | _]} -> {error, word(maps:get(error, Fields, 6))}
    end.

%% @doc What an ERROR record means.
-spec word(integer()) -> atom().
word(1) -> malformed;
word(2) -> bad_version;
word(3) -> unknown_request;
word(4) -> denied;
word(5) -> busy;
word(7) -> not_found;
word(8) -> ambiguous;
word(9) -> unavailable;
word(10) -> too_slow;
word(11) -> exists;
word(_) -> internal.

%% @doc A connection on which the request was sent; passive, the caller's.
-spec open(where(), binary(), deadline()) ->
          {ok, gen_tcp:socket(), rollcall_info:place()} | {error, rollcall:reason()}.
open(#{machine := Machine} = Where, Request, Deadline) ->
    case connect(Where, Deadline) of
        {ok, Socket, Here} ->
            case send(Socket, Request) of
                ok -> {ok, Socket, rollcall_info:place(Machine, Here)};
                Error -> gen_tcp:close(Socket), Error
            end;
        Error ->
            Error
    end.

with_socket(Where, Deadline, Use) ->
    case connect(Where, Deadline) of
        {ok, Socket, Here} ->
            try Use(Socket, Here)
            after gen_tcp:close(Socket)
            end;
        Error ->
            Error
    end.

%% What is closed while we send is told by what is read: a refusal may have come before.
send(Socket, Request) ->
    case gen_tcp:send(Socket, Request) of
        {error, Reason} when Reason =/= closed, Reason =/= econnreset, Reason =/= epipe -> {error, Reason};
        _ -> ok
    end.

%% --- where ---------------------------------------------------------------------------------------------

connect(#{port := Port} = Where, Deadline) ->
    case addresses(Where, Deadline) of
        {ok, Addresses} ->
            connect_first(Addresses, case Port of undefined -> epmd_port(); _ -> Port end, Deadline, nxdomain);
        Error -> Error
    end.

connect_first([], _, _, Reason) ->
    {error, Reason};
connect_first([Address | More], Port, Deadline, _) ->
    Options = [family(Address), binary, {active, false}, {packet, raw}, {nodelay, true}, {send_timeout, 5000},
               {send_timeout_close, true}],
    %% An address that does not answer leaves something for the next.
    Share = case left(Deadline) of
                infinity -> 10000;
                Left when More =:= [] -> Left;
                Left -> (Left + 1) div 2
            end,
    case gen_tcp:connect(Address, Port, Options, Share) of
        {ok, Socket} -> {ok, Socket, is_here(Address, Socket)};
        {error, Reason} -> connect_first(More, Port, Deadline, Reason)
    end.

%% Whoever dials an address of this machine does so from that address; 127.0.1.1 is dialled from 127.0.0.1.
is_here({127, _, _, _}, _) -> true;
is_here({0, 0, 0, 0, 0, 0, 0, 1}, _) -> true;
is_here(Address, Socket) ->
    case inet:sockname(Socket) of
        {ok, {Address, _}} -> true;
        _ -> false
    end.

addresses(#{machine := local}, _) ->
    Four = {127, 0, 0, 1},
    Six = {0, 0, 0, 0, 0, 0, 0, 1},
    {ok, case families() of
             [inet | _] -> [Four, Six];
             [inet6 | _] -> [Six, Four]
         end};
addresses(#{machine := Address}, _) when is_tuple(Address) ->
    {ok, [Address]};
addresses(#{machine := Host}, Deadline) ->
    case inet:parse_address(Host) of
        {ok, Address} -> {ok, [Address]};
        {error, _} -> resolve(Host, Deadline)
    end.

%% In a process of its own, since a resolver may take longer than it was given.
resolve(Host, Deadline) ->
    Families = families(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        exit({resolved, lists:usort(lists:append([addresses_of(Host, Family) || Family <- Families]))})
    end),
    receive
        {'DOWN', Monitor, process, Pid, {resolved, []}} -> {error, nxdomain};
        {'DOWN', Monitor, process, Pid, {resolved, Addresses}} -> {ok, in_order(Families, Addresses)};
        {'DOWN', Monitor, process, Pid, _} -> {error, nxdomain}
    after left(Deadline) ->
        exit(Pid, kill),
        erlang:demonitor(Monitor, [flush]),
        {error, timeout}
    end.

addresses_of(Host, Family) ->
    case inet:getaddrs(Host, Family) of
        {ok, Addresses} -> Addresses;
        {error, _} -> []
    end.

in_order([First | _], Addresses) ->
    {Before, After} = lists:partition(fun(A) -> family(A) =:= First end, Addresses),
    Before ++ After.

family(Address) when tuple_size(Address) =:= 4 -> inet;
family(_) -> inet6.

%% As this node's distribution, first.
families() ->
    case init:get_argument(proto_dist) of
        {ok, [["inet6" ++ _ | _] | _]} -> [inet6, inet];
        _ -> [inet, inet6]
    end.

%% @doc The port mapper's port, as erl_epmd has it: the emulator's start turns ERL_EPMD_PORT into a flag.
-spec epmd_port() -> inet:port_number().
epmd_port() ->
    Said = case init:get_argument(epmd_port) of
               {ok, [[Text | _] | _]} -> Text;
               _ -> os:getenv("ERL_EPMD_PORT", "4369")
           end,
    try list_to_integer(Said) of
        Port when Port > 0, Port < 65536 -> Port;
        _ -> 4369
    catch
        error:badarg -> 4369
    end.
