%% SPDX-License-Identifier: Apache-2.0
%% @doc A watch: one connection to one port mapper, for one owner, for as long as that lives.
%%
%% A connection that ends is made again, from the last SYNCED on, later each time and never at a moment that
%% others choose as well. What the records mean is rollcall_belief's; what cannot watch (stock epmd) is asked for
%% its names again and again.
%%
%% The trap: a daemon that is killed closes connections without a byte just as stock epmd does. Only the second time
%% in a row it is taken for that.
%% @private
-module(rollcall_watcher).
-behaviour(gen_server).

-export([start_link/3, wait/3, check/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(DELAY_FIRST, 150).
-define(DELAY_MAX, 30000).
-define(HEARTBEAT_MIN, 1000).
%% After so many polls stock epmd is looked at for whether it still is one: it logs what it does not know.
-define(POLLS_PER_PROBE, 12).

-record(state, {owner :: pid(),
                ref :: reference(),
                selection :: rollcall_selection:parsed(),
                belief :: rollcall_belief:belief(),
                socket :: undefined | gen_tcp:socket(),
                stream = rollcall_wire:new() :: rollcall_wire:stream(),
                place :: undefined | rollcall_info:place(),
                %% moments, where 0 has no meaning: this clock may be below it
                heard :: undefined | integer(),
                empty = 0 :: non_neg_integer(),
                probe :: undefined | integer(),
                failures = 0 :: non_neg_integer(),
                told = nothing :: nothing | synced | unavailable,
                expiry :: undefined | reference()}).

-spec start_link(pid(), reference(), rollcall_selection:parsed()) -> {ok, pid()} | {error, term()}.
start_link(Owner, Ref, Selection) ->
    gen_server:start_link(?MODULE, {Owner, Ref, Selection}, []).

%% @doc Whether it fits into a request, with the longest fields that a watch may ever have.
-spec check(rollcall_selection:parsed()) -> ok | {error, too_long}.
check(Selection) ->
    case rollcall_wire:request(watch, request_fields(Selection, {0, 0})) of
        {ok, _} -> ok;
        Error -> Error
    end.

init({Owner, Ref, Selection}) ->
    process_flag(trap_exit, true),
    _ = monitor(process, Owner),
    rollcall_sup:put_watch(Ref, self()),
    self() ! attempt,
    {ok, #state{owner = Owner, ref = Ref, selection = Selection, belief = rollcall_belief:new(Selection)}}.

handle_call(_, _, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast(_, State) ->
    {noreply, State}.

handle_info({tcp, Socket, Data}, #state{socket = Socket} = State) ->
    {noreply, take_in(Data, State#state{heard = now_ms()})};
handle_info({tcp_closed, Socket}, #state{socket = Socket} = State) ->
    {noreply, ended(State)};
handle_info({tcp_error, Socket, _}, #state{socket = Socket} = State) ->
    {noreply, ended(State)};
handle_info(attempt, #state{socket = undefined} = State) ->
    {noreply, attempt(State)};
handle_info({silence, Socket}, #state{socket = Socket} = State) ->
    {noreply, look_at_silence(State)};
handle_info({timeout, Timer, expire}, #state{expiry = Timer} = State) ->
    {noreply, expire(State#state{expiry = undefined})};
handle_info({'DOWN', _, process, Owner, _}, #state{owner = Owner} = State) ->
    {stop, normal, State};
handle_info(_, State) ->
    %% Also the exits of sockets.
    {noreply, State}.

terminate(Reason, #state{owner = Owner, ref = Ref}) ->
    rollcall_sup:drop_watch(Ref),
    Owner ! {rollcall, Ref, {unavailable, {stopped, Reason}}},
    ok.

%% --- the connection ------------------------------------------------------------------------------------

request_fields(#{heartbeat := Heartbeat} = Selection, Resume) ->
    rollcall_selection:fields(Selection) ++ [{heartbeat, Heartbeat}]
        ++ case Resume of
               undefined -> [];
               {Epoch, Revision} -> [{epoch, Epoch}, {revision, Revision}]
           end.

attempt(#state{empty = Empty, probe = Probe} = State) ->
    case Empty >= 2 andalso now_ms() < Probe of
        true -> ask_names(State);
        false -> watch(State)
    end.

watch(#state{selection = Selection, belief = Belief} = State) ->
    {ok, Request} = rollcall_wire:request(watch, request_fields(Selection, rollcall_belief:resume(Belief))),
    case rollcall_conn:open(Selection, Request, rollcall_conn:deadline(5000)) of
        {ok, Socket, Place} ->
            _ = inet:setopts(Socket, [{active, once}]),
            watch_silence(Socket, Selection),
            State#state{socket = Socket, stream = rollcall_wire:new(), place = Place, heard = now_ms()};
        {error, Reason} ->
            failed(Reason, State)
    end.

%% It has closed.
ended(#state{stream = Stream} = State) ->
    case rollcall_wire:pending(Stream) of
        nothing -> without_a_byte(hang_up(State));
        something -> failed(broken_off, hang_up(State))
    end.

without_a_byte(#state{empty = 0} = State) ->
    again(State#state{empty = 1});
without_a_byte(State) ->
    is_stock(State).

is_stock(#state{selection = #{poll := Poll}} = State) ->
    ask_names(State#state{empty = 2, probe = now_ms() + spread(?POLLS_PER_PROBE * Poll)}).

ask_names(#state{selection = Selection, belief = Belief} = State) ->
    case rollcall_conn:names(Selection#{timeout := 5000}) of
        {ok, Infos} ->
            {Events, Next} = rollcall_belief:names(Infos, now_ms(), Belief),
            Told = believe({Events, Next}, State),
            _ = erlang:send_after(spread(maps:get(poll, Selection)), self(), attempt),
            tell_synced(look_again(rollcall_belief:next(Next), Told#state{failures = 0}));
        {error, Reason} ->
            %% Not there now, and another one when it is back, perhaps.
            failed(Reason, State#state{empty = 0})
    end.

%% Somebody is missing: it has been restarted, perhaps as another one.
look_again(undefined, State) -> State;
look_again(_, State) -> State#state{probe = now_ms()}.

hang_up(#state{socket = Socket, belief = Belief} = State) ->
    gen_tcp:close(Socket),
    State#state{socket = undefined, belief = rollcall_belief:cut(Belief)}.

%% The first failure after a good time is nothing to talk about: a daemon that is restarted is back at once.
failed(_, #state{failures = 0, told = synced} = State) ->
    again(State);
failed(Reason, State) ->
    again(tell_unavailable(Reason, State)).

again(#state{failures = N} = State) ->
    Delay = min(?DELAY_MAX, ?DELAY_FIRST bsl min(N, 10)),
    _ = erlang:send_after(spread(Delay), self(), attempt),
    State#state{failures = N + 1}.

%% Somewhere from half of it to one and a half.
spread(Delay) ->
    Delay div 2 + rand:uniform(Delay + 1).

watch_silence(Socket, #{heartbeat := Heartbeat}) ->
    _ = erlang:send_after(max(?HEARTBEAT_MIN, Heartbeat), self(), {silence, Socket}),
    ok.

look_at_silence(#state{socket = Socket, selection = #{heartbeat := Heartbeat} = Selection, heard = Heard} = State) ->
    case now_ms() - Heard > 5 * max(?HEARTBEAT_MIN, Heartbeat) div 2 of
        true -> failed(timeout, hang_up(State));
        false -> watch_silence(Socket, Selection), State
    end.

%% --- what it says --------------------------------------------------------------------------------------

take_in(Data, #state{socket = Socket, stream = Stream} = State) ->
    case rollcall_wire:feed(Data, Stream) of
        {ok, Records, Next} ->
            case records(Records, State#state{stream = Next, empty = 0}) of
                #state{socket = Socket} = After ->
                    %% An error is told by what follows: the socket is closed then.
                    _ = inet:setopts(Socket, [{active, once}]),
                    After;
                After ->
                    After
            end;
        {error, Reason} ->
            failed(Reason, hang_up(State))
    end.

records([], State) ->
    State;
records([{synced, Fields} | More], #state{belief = Belief} = State) ->
    Told = believe(rollcall_belief:synced(maps:get(revision, Fields, undefined), now_ms(), Belief), State),
    records(More, tell_synced(Told#state{failures = 0}));
records([{error, Fields} | _], State) ->
    refused(rollcall_conn:word(maps:get(error, Fields, 6)), hang_up(State));
records([{'end', _} | _], State) ->
    failed(broken_off, hang_up(State));
records([Record | More], #state{belief = Belief, place = Place} = State) ->
    records(More, State#state{belief = rollcall_belief:record(Record, Place, Belief)}).

refused(unknown_request, State) ->
    is_stock(State);
refused(too_slow, State) ->
    again(State);
refused(Word, #state{failures = N} = State) ->
    %% It is there and does not want: no reason to hurry.
    again(tell_unavailable(Word, State#state{failures = max(N, 5)})).

believe({Events, Belief}, #state{owner = Owner, ref = Ref} = State) ->
    _ = [Owner ! {rollcall, Ref, Event} || Event <- Events],
    await_expiry(State#state{belief = Belief}).

%% While nothing is heard nobody can have come back: then it is looked again after the next SYNCED.
expire(#state{socket = undefined, empty = Empty} = State) when Empty < 2 ->
    State;
expire(#state{belief = Belief} = State) ->
    believe(rollcall_belief:expire(now_ms(), Belief), State).

await_expiry(#state{belief = Belief, expiry = Timer} = State) ->
    _ = Timer =/= undefined andalso erlang:cancel_timer(Timer),
    case rollcall_belief:next(Belief) of
        undefined -> State#state{expiry = undefined};
        Time -> State#state{expiry = erlang:start_timer(max(0, Time - now_ms()), self(), expire)}
    end.

tell_synced(#state{told = synced} = State) ->
    State;
tell_synced(#state{owner = Owner, ref = Ref} = State) ->
    Owner ! {rollcall, Ref, synced},
    State#state{told = synced}.

tell_unavailable(_, #state{told = unavailable} = State) ->
    State;
tell_unavailable(Reason, #state{owner = Owner, ref = Ref} = State) ->
    Owner ! {rollcall, Ref, {unavailable, Reason}},
    State#state{told = unavailable}.

now_ms() ->
    erlang:monotonic_time(millisecond).

%% --- waiting -------------------------------------------------------------------------------------------

%% @doc Until `Count' nodes are there at once. In a process of its own, so that no message is left with the caller.
-spec wait(rollcall_selection:parsed(), pos_integer(), timeout()) ->
          {ok, [rollcall:info()]} | {error, timeout | rollcall:reason()}.
wait(Selection, Count, Timeout) ->
    case check(Selection) of
        ok -> wait_checked(Selection, Count, Timeout);
        Error -> Error
    end.

wait_checked(Selection, Count, Timeout) ->
    Caller = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        process_flag(trap_exit, true),
        Gone = monitor(process, Caller),
        Ref = make_ref(),
        {ok, Watcher} = start_link(self(), Ref, Selection),
        Result = wait_loop(Ref, Gone, Count, rollcall_conn:deadline(Timeout), #{}, timeout),
        exit(Watcher, kill),
        exit({waited, Result})
    end),
    receive
        {'DOWN', Monitor, process, Pid, {waited, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> {error, {stopped, Reason}}
    end.

wait_loop(_, _, Count, _, There, _) when map_size(There) >= Count ->
    {ok, [Info || {_, Info} <- lists:sort(maps:to_list(There))]};
wait_loop(Ref, Gone, Count, Deadline, There, Wrong) ->
    receive
        {rollcall, Ref, {Kind, Info}} when Kind =:= up; Kind =:= changed ->
            wait_loop(Ref, Gone, Count, Deadline, There#{wait_key(Info) => Info}, Wrong);
        {rollcall, Ref, {down, Info, _}} ->
            wait_loop(Ref, Gone, Count, Deadline, maps:remove(wait_key(Info), There), Wrong);
        {rollcall, Ref, synced} ->
            wait_loop(Ref, Gone, Count, Deadline, There, timeout);
        {rollcall, Ref, {unavailable, Reason}} ->
            case is_final(Reason) of
                true -> {error, Reason};
                false -> wait_loop(Ref, Gone, Count, Deadline, There, Reason)
            end;
        {'DOWN', Gone, process, _, _} ->
            {error, caller_gone}
    after rollcall_conn:left(Deadline) ->
        {error, Wrong}
    end.

wait_key(#{name := Name, address := Address}) -> {Name, Address}.

%% To go on trying would not help.
is_final(denied) -> true;
is_final(malformed) -> true;
is_final(bad_version) -> true;
is_final({stopped, _}) -> true;
is_final(_) -> false.
