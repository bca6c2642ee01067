%% SPDX-License-Identifier: Apache-2.0
%% @doc Tells the daemon what it cannot know of this node: its host part, whether it is ready, its metadata.
%%
%% What is to be told is remembered, in a table that outlives this process. It is told when the node gets its name, when it
%% changes, and when the daemon does not know it any more: a watch of our own record shows a registration that is not the
%% one we have told it of. (It is not told merely because the record says otherwise: an operator's `rollcall
%% not-ready' counts.)
%%
%% The daemon is asked by a process of its own, one question at a time, so that this one can always answer.
%% @private
-module(rollcall_announcer).
-behaviour(gen_server).

-export([start_link/0, say/2, is_ready/0, subscribe/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

-define(ASK_TIMEOUT, 5000).
-define(DELAY_FIRST, 500).
-define(DELAY_MAX, 30000).
%% Bytes of pairs that fit into a request beside everything else.
-define(PAIRS_BYTES_MAX, 2000).

-type said() :: #{announced := undefined | ready | draining, meta := #{binary() => binary()}}.

-record(state, {said :: said(),
                %% what of it was said since the daemon has taken what was said before
                fresh = #{} :: map(),
                %% grows with everything that is said
                version = 0 :: non_neg_integer(),
                node :: undefined | node(),
                %% what is on its way, and its version
                worker :: undefined | {pid(), reference(), non_neg_integer(), map()},
                %% the registration that has been told, as the answer had it; what our watch says of it, where it can
                told :: undefined | rollcall:info(),
                record :: undefined | rollcall:info(),
                watch :: undefined | {pid(), reference()},
                waiting = [] :: [{non_neg_integer(), {pid(), term()}}],
                retry :: undefined | reference(),
                failures = 0 :: non_neg_integer(),
                complained :: undefined | rollcall:reason(),
                ready = false :: boolean(),
                subscribers = #{} :: #{pid() => reference()}}).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Says more; `ok' when the daemon knows it.
-spec say(map(), timeout()) -> ok | {error, rollcall:reason()}.
say(More, Timeout) ->
    case check(More) of
        {ok, Checked} -> call({say, Checked}, Timeout, {error, not_started});
        Error -> Error
    end.

-spec is_ready() -> boolean().
is_ready() ->
    call(is_ready, 5000, false) =:= true.

%% @doc The caller is sent `{rollcall_ready, Boolean}', now and when it changes. The monitor tells when to ask again.
-spec subscribe() -> {ok, reference()} | {error, not_started}.
subscribe() ->
    case whereis(?MODULE) of
        undefined -> {error, not_started};
        Pid ->
            Monitor = monitor(process, Pid),
            gen_server:cast(Pid, {subscribe, self()}),
            {ok, Monitor}
    end.

%% Before OTP 24 an answer that comes too late stays in the caller's mailbox, as of any call that takes too long.
call(Request, Timeout, NotThere) ->
    try gen_server:call(?MODULE, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> NotThere
    end.

%% --- what may be said ----------------------------------------------------------------------------------

check(#{meta := Meta} = More) ->
    try
        Pairs = maps:from_list([{key(K), value(K, V)} || {K, V} <- maps:to_list(Meta)]),
        {ok, More#{meta := Pairs}}
    catch
        throw:{bad, What} -> {error, {bad_meta, What}}
    end;
check(More) ->
    {ok, More}.

key(Key) ->
    Text = text(Key, Key),
    case byte_size(Text) of
        N when N >= 1, N =< 64 -> ok;
        _ -> throw({bad, Key})
    end,
    _ = [throw({bad, Key}) || <<C>> <= Text, not is_key_byte(C)],
    Text.

is_key_byte(C) ->
    (C >= $a andalso C =< $z) orelse (C >= $A andalso C =< $Z) orelse (C >= $0 andalso C =< $9)
        orelse C =:= $. orelse C =:= $_ orelse C =:= $-.

value(Key, Value) ->
    Text = text(Key, Value),
    _ = byte_size(Text) =< 256 orelse throw({bad, Key}),
    _ = [throw({bad, Key}) || <<C/utf8>> <= Text, C < 32 orelse (C >= 127 andalso C < 160)],
    Text.

text(_, Value) when is_atom(Value) -> atom_to_binary(Value, utf8);
text(_, Value) when is_integer(Value) -> integer_to_binary(Value);
text(What, Value) when is_binary(Value); is_list(Value) ->
    try unicode:characters_to_binary(Value) of
        Text when is_binary(Text) -> Text;
        _ -> throw({bad, What})
    catch
        error:badarg -> throw({bad, What})
    end;
text(What, _) ->
    throw({bad, What}).

%% --- the process ---------------------------------------------------------------------------------------

init([]) ->
    process_flag(trap_exit, true),
    %% Tells of this node, too: when it gets its name and when it loses it.
    ok = net_kernel:monitor_nodes(true),
    Said = case rollcall_sup:find_said() of
               {ok, Before} -> Before;
               error -> #{announced => undefined, meta => #{}}
           end,
    {ok, named(#state{said = Said})}.

handle_call({say, More}, From, #state{said = Said, fresh = Fresh, version = Version, waiting = Waiting} = State) ->
    case add(Said, More) of
        #{meta := Meta} when map_size(Meta) > 32 ->
            {reply, {error, {bad_meta, too_many}}, State};
        New ->
            rollcall_sup:put_said(New),
            Next = look(State#state{said = New, fresh = add(Fresh, More), version = Version + 1}),
            case node() of
                nonode@nohost -> {reply, {error, not_distributed}, Next};
                _ -> {noreply, announce(Next#state{waiting = [{Version + 1, From} | Waiting]})}
            end
    end;
handle_call(is_ready, _, #state{ready = Ready} = State) ->
    {reply, Ready, State};
handle_call(_, _, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast({subscribe, Pid}, #state{subscribers = Subscribers, ready = Ready} = State) ->
    Pid ! {rollcall_ready, Ready},
    case Subscribers of
        #{Pid := _} -> {noreply, State};
        _ -> {noreply, State#state{subscribers = Subscribers#{Pid => monitor(process, Pid)}}}
    end;
handle_cast(_, State) ->
    {noreply, State}.

handle_info({nodeup, Node}, State) when Node =:= node() ->
    {noreply, named(State)};
handle_info({nodedown, Node}, #state{node = Node} = State) ->
    {noreply, nameless(State)};
handle_info({'DOWN', Monitor, process, Pid, Result}, #state{worker = {Pid, Monitor, Version, Sent}} = State) ->
    {noreply, answered(Result, Version, Sent, State#state{worker = undefined})};
handle_info({'DOWN', _, process, Pid, _}, #state{subscribers = Subscribers} = State) ->
    {noreply, State#state{subscribers = maps:remove(Pid, Subscribers)}};
handle_info({rollcall, Ref, Event}, #state{watch = {_, Ref}} = State) ->
    {noreply, seen(Event, State)};
handle_info({timeout, Timer, announce}, #state{retry = Timer} = State) ->
    {noreply, announce(State#state{retry = undefined})};
handle_info({'EXIT', Pid, _}, #state{watch = {Pid, _}} = State) ->
    _ = erlang:send_after(1000, self(), watch_again),
    {noreply, State#state{watch = undefined}};
handle_info(watch_again, #state{watch = undefined, node = Node} = State) when Node =/= undefined ->
    {noreply, watch_own(State)};
handle_info(_, State) ->
    {noreply, State}.

terminate(_, #state{worker = Worker, watch = Watch}) ->
    _ = [exit(Pid, kill) || {Pid, _, _, _} <- [Worker]],
    _ = [exit(Pid, kill) || {Pid, _} <- [Watch]],
    ok.

%% What was said, and then more.
add(Said, More) ->
    Meta = maps:merge(maps:get(meta, Said, #{}), maps:get(meta, More, #{})),
    maps:merge(Said, More#{meta => Meta}).

%% --- the node's name -----------------------------------------------------------------------------------

named(#state{node = Before} = State) ->
    case node() of
        nonode@nohost -> State;
        Before -> State;
        Node ->
            Fresh = watch_own((nameless(State))#state{node = Node}),
            case is_anything_to_say(Fresh) of
                true -> announce(Fresh);
                false -> Fresh
            end
    end.

nameless(#state{watch = Watch, worker = Worker, retry = Retry, waiting = Waiting} = State) ->
    _ = [begin unlink(Pid), exit(Pid, kill) end || {Pid, _} <- [Watch]],
    _ = [begin demonitor(Monitor, [flush]), exit(Pid, kill) end || {Pid, Monitor, _, _} <- [Worker]],
    _ = Retry =/= undefined andalso erlang:cancel_timer(Retry),
    _ = [gen_server:reply(From, {error, not_distributed}) || {_, From} <- Waiting],
    %% A node of another name is told everything of.
    look(State#state{node = undefined, watch = undefined, worker = undefined, retry = undefined, waiting = [],
                     told = undefined, record = undefined, fresh = #{}, failures = 0}).

is_anything_to_say(#state{said = #{announced := Announced, meta := Meta}}) ->
    application:get_env(rollcall, announce, true) orelse Announced =/= undefined orelse Meta =/= #{}.

name_and_host(Node) ->
    [Name, Host] = binary:split(atom_to_binary(Node, utf8), <<"@">>),
    {Name, Host}.

%% --- our own record ------------------------------------------------------------------------------------

watch_own(#state{node = Node} = State) ->
    {Name, _} = name_and_host(Node),
    Poll = application:get_env(rollcall, poll, 5000),
    {ok, Selection} = rollcall_selection:parse(#{hidden => true, states => any, settle => 0, poll => Poll}),
    Ref = make_ref(),
    {ok, Pid} = rollcall_watcher:start_link(self(), Ref, Selection#{names := [Name]}),
    State#state{watch = {Pid, Ref}}.

seen({Kind, #{source := rollcall} = Info}, #state{told = Told} = State) when Kind =:= up; Kind =:= changed ->
    case is_ours(Info, Told) of
        true ->
            Next = look(State#state{record = Info}),
            case is_told(Info, Next) orelse not is_anything_to_say(Next) of
                true -> Next;
                false -> announce(Next)
            end;
        false ->
            State
    end;
seen({down, #{address := Address}, _}, #state{record = #{address := Address}} = State) ->
    look(State#state{record = undefined, told = undefined});
seen(_, State) ->
    State.

%% It may be another node of our name, at another address.
is_ours(#{creation := Creation}, #{creation := Creation}) -> true;
is_ours(#{creation := Creation} = Info, _) ->
    Creation =:= erlang:system_info(creation) orelse is_our_port(Info).

%% The daemon, or another that came after it, has another idea of our creation: a node keeps that of its first
%% registration. That we listen there is proof enough.
is_our_port(#{port := Port}) ->
    lists:any(fun(Socket) -> is_listening(Socket, Port) end, erlang:ports()).

%% Asked of the sockets, since erl_epmd, which knows, is not made to be asked.
is_listening(Socket, Port) ->
    erlang:port_info(Socket, name) =:= {name, "tcp_inet"}
        andalso case inet:sockname(Socket) of
                    {ok, {_, Port}} -> inet:peername(Socket) =:= {error, enotconn};
                    _ -> false
                end.

is_told(_, #state{worker = Worker}) when Worker =/= undefined ->
    true;
is_told(Info, #state{told = #{host := Host} = Told}) ->
    rollcall_info:same(Info, Told) andalso maps:get(host, Info) =:= Host;
is_told(_, _) ->
    false.

%% Whether we are ready by what we have said, or by our unit's word; whoever wants to know is told.
look(#state{said = #{announced := Announced}, record = Record, told = Told, ready = Before,
            subscribers = Subscribers} = State) ->
    Ready = case {Announced, case Record of undefined -> Told; _ -> Record end} of
                {draining, _} -> false;
                {_, #{state := stopping}} -> false;
                {ready, _} -> true;
                {_, #{state := ready}} -> true;
                _ -> false
            end,
    _ = Ready =:= Before orelse [Pid ! {rollcall_ready, Ready} || Pid <- maps:keys(Subscribers)],
    State#state{ready = Ready}.

%% --- telling -------------------------------------------------------------------------------------------

%% All of it to a registration that knows nothing of it; else only what is new: the rest may have been changed by an
%% operator since.
announce(#state{node = undefined} = State) ->
    State;
announce(#state{worker = undefined, node = Node, said = Said, fresh = Fresh, version = Version, told = Told,
                record = Record, retry = Retry} = State) ->
    _ = Retry =/= undefined andalso erlang:cancel_timer(Retry),
    Sent = case Told =/= undefined andalso (Record =:= undefined orelse is_told(Record, State)) of
               true -> Fresh;
               false -> Said
           end,
    {Pid, Monitor} = spawn_monitor(fun() -> exit({told, tell(Node, Sent)}) end),
    State#state{worker = {Pid, Monitor, Version, Sent}, retry = undefined, fresh = #{}};
announce(State) ->
    State.

answered({told, {ok, Info}}, Version, _, #state{complained = Complained, record = Record} = State) ->
    _ = Complained =/= undefined andalso ?LOG_INFO("Rollcall has taken the announcement of this node."),
    Next = reply(ok, Version, look(State#state{told = Info, failures = 0, complained = undefined})),
    case Next of
        #state{version = Version} ->
            case is_newer(Record, Info) of
                true -> announce(Next);
                false -> Next
            end;
        _ ->
            announce(Next)
    end;
answered(Result, Version, Sent, #state{fresh = Fresh} = State) ->
    Reason = case Result of
                 {told, {error, Said}} -> Said;
                 Crash -> {stopped, Crash}
             end,
    refused(Reason, Version, State#state{fresh = add(Sent, Fresh)}).

%% We may have registered anew while the announcement was under way.
is_newer(undefined, _) -> false;
is_newer(#{since := Seen}, #{since := Told}) -> Seen > Told.

%% To try again would help nobody: it has no place for that, and logs it. Our watch tells when another has come.
refused(no_extension, Version, State) ->
    reply({error, no_extension}, Version, State);
refused(Reason, Version, #state{failures = N} = State) ->
    Delay = min(?DELAY_MAX, ?DELAY_FIRST bsl min(N, 10)),
    Timer = erlang:start_timer(Delay div 2 + rand:uniform(Delay), self(), announce),
    reply({error, Reason}, Version, complain(Reason, State#state{failures = N + 1, retry = Timer})).

reply(Result, Version, #state{waiting = Waiting} = State) ->
    {Now, Later} = lists:partition(fun({V, _}) -> V =< Version end, Waiting),
    _ = [gen_server:reply(From, Result) || {_, From} <- Now],
    State#state{waiting = Later}.

%% Once for each reason, and not where it is to be expected.
complain(Reason, #state{complained = Reason} = State) ->
    State;
complain(Reason, #state{failures = N} = State) when N < 4, Reason =/= denied ->
    State;
complain(Reason, State) ->
    ?LOG_NOTICE("The announcement of this node was not taken by Rollcall (~0p); it is tried again.", [Reason]),
    State#state{complained = Reason}.

%% --- in the worker -------------------------------------------------------------------------------------

%% Metadata first: who is ready is known whole. Several requests if it does not fit into one.
tell(Node, Said) ->
    {Name, Host} = name_and_host(Node),
    Deadline = rollcall_conn:deadline(?ASK_TIMEOUT),
    Requests = requests(Host, Said),
    case tell_all(Requests, [{name, Name}, {creation, erlang:system_info(creation)}], Deadline) of
        {error, Reason} when Reason =:= denied; Reason =:= ambiguous ->
            case find_ours(Name) of
                {ok, #{creation := Creation, address := Scope}} ->
                    tell_all(Requests, [{name, Name}, {creation, Creation}, {scope, Scope}], Deadline);
                error ->
                    {error, Reason}
            end;
        Result ->
            Result
    end.

find_ours(Name) ->
    {ok, Selection} = rollcall_selection:parse(#{hidden => true, states => any, timeout => ?ASK_TIMEOUT}),
    case rollcall_conn:find(Selection#{names := [Name]}) of
        {ok, Infos} ->
            case [Info || #{source := rollcall, creation := C} = Info <- Infos, C =/= undefined, is_our_port(Info)] of
                [Info] -> {ok, Info};
                _ -> error
            end;
        {error, _} ->
            error
    end.

requests(Host, Said) ->
    Announced = maps:get(announced, Said, undefined),
    [First | More] = lists:reverse(portions(lists:sort(maps:to_list(maps:get(meta, Said, #{}))), [[]], 0)),
    Last = [{announced, atom_to_binary(Announced, utf8)} || Announced =/= undefined],
    Fields = [[{host, Host} | First] | More],
    lists:droplast(Fields) ++ [lists:last(Fields) ++ Last].

portions([], Portions, _) ->
    Portions;
portions([{Key, Value} | Pairs], [Portion | Full] = Portions, Bytes) ->
    Pair = rollcall_wire:pair(Key, Value),
    case Bytes + byte_size(Pair) of
        More when More > ?PAIRS_BYTES_MAX -> portions(Pairs, [[{pair, Pair}] | Portions], byte_size(Pair));
        More -> portions(Pairs, [[{pair, Pair} | Portion] | Full], More)
    end.

tell_all([Request | More], Who, Deadline) ->
    case rollcall_conn:ask(#{machine => local, port => undefined}, announce, Who ++ Request, Deadline) of
        {ok, _, _} when More =/= [] -> tell_all(More, Who, Deadline);
        {ok, Records, Place} ->
            case [Info || {node, Fields} <- Records, {ok, Info} <- [rollcall_info:from_node(Fields, Place)]] of
                [Info | _] -> {ok, Info};
                [] -> {error, malformed}
            end;
        Error -> Error
    end.
