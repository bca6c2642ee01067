%% SPDX-License-Identifier: Apache-2.0
%% @doc Connects this node to the nodes that it finds, on this machine and on others.
%%
%% ```
%% {ok, _} = rollcall_cluster:start_link(#{patterns => "web_*", machines => [local, "10.0.0.2"]})
%% '''
%%
%% or, in the configuration of the application, `{rollcall, [{cluster, [#{patterns => "web_*"}]}]}'.
%%
%% <b>A prefix selects, it does not isolate.</b> Whoever connects to one node joins its whole mesh (unless the
%% nodes are hidden, or `connect_all' is off), and the cookie decides who may.
%%
%% <ul>
%% <li>A node that is `stopping' is never dialled. With `states => [ready]' none is that has not said, or whose unit
%%   has not said, that it is ready.</li>
%% <li>Connecting is symmetric: a node that dials others is dialled by them no longer, it is connected. With
%%   `wait_until_ready' this node dials nobody before it is ready itself ({@link rollcall:ready/0},
%%   {@link rollcall_ready}, or its unit's READY=1). Those that want only ready nodes do not dial it before, either.</li>
%% <li>A node that is found is dialled after `grace' and a random part of `jitter', so that not all dial all at the same
%%   moment. One that cannot be connected to is dialled again, later each time, for as long as it is listed, and so
%%   is one whose connection has ended.</li>
%% <li>Nobody is disconnected: whether a node is gone is Erlang's own to find out. With `prune' a node is
%%   disconnected when its registration has ended, by Rollcall's word.</li>
%% <li>Only names that are about to be dialled become atoms, at most `limit' that were none before; a warning says when
%%   that is reached.</li>
%% <li>Nodes of short names and of long names cannot connect to each other; those of the other kind are left alone.</li>
%% </ul>
-module(rollcall_cluster).
-behaviour(gen_server).

-export([child_spec/1, start_link/1, status/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0, machine/0, status/0]).

-include_lib("kernel/include/logger.hrl").

-type machine() :: local | string() | binary() | inet:ip_address()
                 | {local | string() | binary() | inet:ip_address(), inet:port_number()}.
%% A machine whose port mapper is asked, and its port where it is another than this node's.

-type options() :: #{name => term(),
                     patterns => binary() | string() | [binary() | string()],
                     exclude => binary() | string() | [binary() | string()],
                     states => [rollcall:state()] | any,
                     hidden => boolean(),
                     machines => [machine()],
                     grace => non_neg_integer(),
                     jitter => non_neg_integer(),
                     retry => {pos_integer(), pos_integer()},
                     wait_until_ready => boolean(),
                     prune => boolean(),
                     limit => non_neg_integer(),
                     parallel => pos_integer()}.
%% `patterns', `exclude', `states', `hidden' as in {@link rollcall:selection()}. `machines': default `[local]';
%% each has to be listed, and to let this one ask (`list-from'). `grace' (0), `jitter' (500), `retry' ({1000,
%% 60000}: the first pause, and the longest): milliseconds. `wait_until_ready' (false). `prune' (false).
%% `limit' (1000). `parallel' (8): how many are dialled at once. `name': the child's id, where there are several.
%% What `rollcall:selection()' has for watches (`settle', ...) is taken, too.

-type status() :: own | connected | waiting | dialling | stopping | bad_name | other_kind | too_many | not_ready.
%% `own': this node itself. `waiting': it will be dialled. `stopping', `bad_name' (that no node can have), `other_kind' (of
%% short or of long names, where we are not), `too_many' (`limit'), `not_ready' (this node is not): it is not dialled.

%% A connection that ends sooner is taken for one that failed.
-define(LASTING, 10000).
-define(OF_SELECTIONS, [patterns, exclude, states, hidden, heartbeat, settle, poll]).

-record(target, {infos = #{} :: #{term() => rollcall:info()},
                 status = waiting :: status(),
                 timer :: undefined | reference(),
                 failures = 0 :: non_neg_integer()}).

-record(state, {options :: map(),
                %% by the reference of a watch, and of the timer that begins one anew
                watches = #{} :: #{reference() => machine()},
                targets = #{} :: #{binary() => #target{}},
                %% since when
                connected = #{} :: #{binary() => integer()},
                dialling = #{} :: #{pid() => binary()},
                queue = [] :: [binary()],
                made = 0 :: non_neg_integer(),
                ready = true :: boolean(),
                readiness :: undefined | reference()}).

%% @doc For a supervisor.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => {?MODULE, maps:get(name, Options, default)}, start => {?MODULE, start_link, [Options]}}.

%% @doc Starts to look and to connect. The application `rollcall' must run.
-spec start_link(options()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, []).

%% @doc The nodes that are found, by full name, and what becomes of them.
-spec status(pid()) -> #{binary() => status()}.
status(Cluster) ->
    gen_server:call(Cluster, status).

%% @private
init(Options) ->
    Defaults = #{machines => [local], grace => 0, jitter => 500, retry => {1000, 60000}, wait_until_ready => false,
                 prune => false, limit => 1000, parallel => 8},
    All = maps:merge(Defaults, Options),
    case [{bad_option, Option} || {_, Value} = Option <- maps:to_list(All), not is_option(Option, Value)]
         ++ bad_selections(All) of
        [] ->
            process_flag(trap_exit, true),
            ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
            Connected = maps:from_list([{binary(N), now_ms()} || N <- nodes(connected)]),
            _ = [self() ! {watch, M} || M <- lists:usort(maps:get(machines, All))],
            {ok, follow_readiness(#state{options = All, connected = Connected})};
        [Bad | _] ->
            {stop, Bad}
    end.

%% A key that is misspelt would select more than was meant.
is_option({name, _}, _) -> true;
is_option({machines, _}, Machines) -> is_list(Machines);
is_option({Time, _}, N) when Time =:= grace; Time =:= jitter; Time =:= limit -> is_integer(N) andalso N >= 0;
is_option({parallel, _}, N) -> is_integer(N) andalso N > 0;
is_option({retry, _}, {First, Longest}) -> is_integer(First) andalso First > 0 andalso is_integer(Longest) andalso Longest > 0;
is_option({Switch, _}, Value) when Switch =:= wait_until_ready; Switch =:= prune -> is_boolean(Value);
is_option({Key, _}, _) -> lists:member(Key, ?OF_SELECTIONS).

bad_selections(#{machines := Machines} = Options) when is_list(Machines) ->
    [Bad || M <- Machines, {error, Bad} <- [check(rollcall_selection:parse(selection(M, Options)))]];
bad_selections(_) ->
    [].

check({ok, Parsed}) -> rollcall_watcher:check(Parsed);
check(Error) -> Error.

selection(Machine, Options) ->
    Given = maps:with(?OF_SELECTIONS, Options),
    case Machine of
        {Where, Port} when not is_integer(Where) -> Given#{machine => Where, port => Port};
        Where -> Given#{machine => Where}
    end.

%% @private
handle_call(status, _, #state{targets = Targets} = State) ->
    {reply, maps:map(fun(_, #target{status = Status}) -> Status end, Targets), State};
handle_call(_, _, State) ->
    {reply, {error, unknown_request}, State}.

%% @private
handle_cast(_, State) ->
    {noreply, State}.

%% @private
handle_info({rollcall, Ref, Event}, #state{watches = Watches} = State) ->
    case Watches of
        #{Ref := Machine} -> {noreply, told(Event, Ref, Machine, State)};
        _ -> {noreply, State}
    end;
handle_info({watch, Machine}, State) ->
    {noreply, watch(Machine, State)};
handle_info({timeout, Timer, {dial, Node}}, #state{targets = Targets} = State) ->
    case Targets of
        #{Node := #target{timer = Timer} = Target} -> {noreply, dial(Node, Target#target{timer = undefined}, State)};
        _ -> {noreply, State}
    end;
handle_info({'EXIT', Pid, Result}, #state{dialling = Dialling} = State) ->
    case maps:take(Pid, Dialling) of
        {Node, Rest} -> {noreply, next_in_queue(dialled(Node, Result, State#state{dialling = Rest}))};
        error -> {noreply, State}
    end;
handle_info({nodeup, Node, _}, State) when Node =:= node() ->
    {noreply, consider_all(State)};
handle_info({nodeup, Node, _}, State) ->
    {noreply, came(binary(Node), State)};
handle_info({nodedown, Node, _}, State) ->
    {noreply, went(binary(Node), State)};
handle_info({rollcall_ready, Ready}, #state{options = #{wait_until_ready := true}} = State) ->
    {noreply, consider_all(State#state{ready = Ready})};
handle_info({'DOWN', Monitor, process, _, _}, #state{readiness = Monitor} = State) ->
    _ = erlang:send_after(1000, self(), follow_readiness),
    {noreply, State#state{readiness = undefined}};
handle_info(follow_readiness, State) ->
    {noreply, follow_readiness(State)};
handle_info(_, State) ->
    {noreply, State}.

%% @private
terminate(_, #state{watches = Watches}) ->
    lists:foreach(fun rollcall:unwatch/1, maps:keys(Watches)).

%% --- what is found -------------------------------------------------------------------------------------

watch(Machine, #state{options = Options, watches = Watches} = State) ->
    case rollcall:watch(selection(Machine, Options)) of
        {ok, Ref} ->
            State#state{watches = Watches#{Ref => Machine}};
        {error, _} ->
            %% The application is being restarted, or started after us.
            _ = erlang:send_after(1000, self(), {watch, Machine}),
            State
    end.

told({Kind, #{node := Node} = Info}, _, Machine, #state{targets = Targets} = State) when Kind =:= up; Kind =:= changed ->
    #target{infos = Infos} = Target = maps:get(Node, Targets, #target{}),
    Key = key(Machine, Info),
    Moved = case Kind =:= changed andalso not maps:is_key(Key, Infos) of
                true -> move(Key, Info, State);
                false -> State
            end,
    consider(Node, Target#target{infos = Infos#{Key => Info}}, Moved);
told({down, #{node := Node} = Info, Why}, _, Machine, #state{targets = Targets} = State) ->
    case Targets of
        #{Node := #target{infos = Infos} = Target} ->
            lost(Node, Target#target{infos = maps:remove(key(Machine, Info), Infos)}, Info, Why, State);
        _ ->
            State
    end;
told({unavailable, {stopped, _}}, Ref, Machine, #state{watches = Watches} = State) ->
    _ = erlang:send_after(1000, self(), {watch, Machine}),
    State#state{watches = maps:remove(Ref, Watches)};
told({unavailable, Reason}, _, Machine, State) ->
    ?LOG_NOTICE("rollcall_cluster: the port mapper of ~0p does not tell its nodes (~0p); it is asked again.", [Machine, Reason]),
    State;
told(synced, _, _, State) ->
    State.

%% A registration's address may become known late, its port does not change.
key(Machine, #{name := Name, port := Port}) ->
    {Machine, Name, Port}.

%% A node that tells its host part has another full name than was thought.
move(Key, Info, #state{targets = Targets} = State) ->
    maps:fold(fun(Other, #target{infos = #{Key := _} = Infos} = Target, Acc) ->
                      lost(Other, Target#target{infos = maps:remove(Key, Infos)}, Info, <<"renamed">>, Acc);
                 (_, _, Acc) -> Acc
              end, State, Targets).

lost(Node, #target{infos = Infos} = Target, Info, Why, #state{targets = Targets} = State) when map_size(Infos) =:= 0 ->
    _ = cancel(Target),
    prune(Node, Info, Why, State#state{targets = maps:remove(Node, Targets)});
lost(Node, Target, _, _, State) ->
    consider(Node, Target, State).

%% Who is draining or only in another state has not ended; that a name is missing in stock epmd's list says little.
prune(Node, #{source := rollcall}, Why, #state{options = #{prune := true}, connected = Connected} = State) ->
    Lives = [<<"up">>, <<"starting">>, <<"ready">>, <<"stopping">>, <<"awaited">>, <<"renamed">>],
    _ = maps:is_key(Node, Connected) andalso not lists:member(Why, Lives)
        andalso erlang:disconnect_node(binary_to_existing_atom(Node, utf8)),
    State;
prune(_, _, _, State) ->
    State.

came(Node, #state{connected = Connected, targets = Targets} = State) ->
    Next = State#state{connected = Connected#{Node => now_ms()}},
    case Targets of
        #{Node := Target} -> consider(Node, Target, Next);
        _ -> Next
    end.

%% A connection that did not last is a failure more.
went(Node, #state{connected = Connected, targets = Targets} = State) ->
    Next = State#state{connected = maps:remove(Node, Connected)},
    case Targets of
        #{Node := #target{failures = N} = Target} ->
            Now = now_ms(),
            Failures = case Now - maps:get(Node, Connected, Now) > ?LASTING of
                           true -> 1;
                           false -> N + 1
                       end,
            consider(Node, Target#target{failures = Failures}, Next);
        _ ->
            Next
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).

%% --- what becomes of it --------------------------------------------------------------------------------

consider_all(#state{targets = Targets} = State) ->
    maps:fold(fun consider/3, State, Targets).

%% The one place where it is decided whether a node is to be dialled.
consider(Node, Target, #state{targets = Targets, options = Options} = State) ->
    Status = status_of(Node, Target, State),
    Next = case Status of
               waiting -> schedule(Node, Target, Options);
               dialling -> Target;
               _ -> cancel(Target)
           end,
    State#state{targets = Targets#{Node => Next#target{status = Status}}}.

status_of(Node, #target{infos = Infos}, #state{connected = Connected, ready = Ready, made = Made,
                                               options = #{limit := Limit}, dialling = Dialling}) ->
    Own = binary(node()),
    IsDialled = lists:member(Node, maps:values(Dialling)),
    if
        Node =:= Own -> own;
        is_map_key(Node, Connected) -> connected;
        IsDialled -> dialling;
        not Ready; node() =:= nonode@nohost -> not_ready;
        true ->
            IsStopping = lists:any(fun(#{state := S}) -> S =:= stopping end, maps:values(Infos)),
            case kind(Node) =:= kind(Own) of
                _ when IsStopping -> stopping;
                false -> case kind(Node) of none -> bad_name; _ -> other_kind end;
                true when Made < Limit -> waiting;
                true ->
                    case existing(Node) of
                        {ok, _} -> waiting;
                        error -> too_many
                    end
            end
    end.

%% Anybody may register a name that makes no atom, or no node's: net_kernel logs an error for each attempt.
kind(Node) ->
    case rollcall_info:is_node_name(Node) of
        true -> rollcall_info:kind_of_host(lists:last(binary:split(Node, <<"@">>)));
        false -> none
    end.

schedule(Node, #target{timer = undefined, failures = Failures} = Target, Options) ->
    Target#target{timer = erlang:start_timer(pause(Failures, Options), self(), {dial, Node})};
schedule(_, Target, _) ->
    Target.

pause(0, #{grace := Grace, jitter := Jitter}) ->
    Grace + rand:uniform(Jitter + 1) - 1;
pause(Failures, #{retry := {First, Longest}}) ->
    Pause = min(Longest, First bsl min(Failures - 1, 20)),
    Pause div 2 + rand:uniform(Pause).

cancel(#target{timer = undefined} = Target) ->
    Target;
cancel(#target{timer = Timer} = Target) ->
    _ = erlang:cancel_timer(Timer),
    Target#target{timer = undefined}.

%% --- dialling ------------------------------------------------------------------------------------------

dial(Node, Target, #state{targets = Targets, options = #{parallel := Parallel}, dialling = Dialling,
                          queue = Queue} = State) ->
    case status_of(Node, Target, State) of
        waiting when map_size(Dialling) >= Parallel ->
            State#state{targets = Targets#{Node => Target}, queue = (Queue -- [Node]) ++ [Node]};
        waiting ->
            {Atom, Next} = atom(Node, State),
            %% Not net_kernel's time: a process may wait for it.
            Pid = spawn_link(fun() -> exit({dialled, net_kernel:connect_node(Atom)}) end),
            consider(Node, Target, Next#state{dialling = Dialling#{Pid => Node}});
        _ ->
            consider(Node, Target, State)
    end.

%% That it is connected is told by nodeup alone, which may have come, or be followed by nodedown.
dialled(Node, Result, #state{targets = Targets} = State) ->
    case Targets of
        #{Node := #target{failures = N} = Target} ->
            Failures = case Result of
                           {dialled, true} -> N;
                           _ -> N + 1
                       end,
            consider(Node, Target#target{failures = Failures}, State);
        _ ->
            State
    end.

next_in_queue(#state{queue = []} = State) ->
    State;
next_in_queue(#state{queue = [Node | Queue], targets = Targets} = State) ->
    Next = State#state{queue = Queue},
    case Targets of
        #{Node := Target} -> dial(Node, Target, Next);
        _ -> next_in_queue(Next)
    end.

atom(Node, #state{made = Made, options = #{limit := Limit}} = State) ->
    case existing(Node) of
        {ok, Atom} -> {Atom, State};
        error ->
            _ = Made + 1 =:= Limit andalso
                ?LOG_WARNING("rollcall_cluster has dialled ~b nodes of new names, its limit: others are left alone. "
                             "If so many are meant, raise `limit'; else see who registers such names.", [Limit]),
            {binary_to_atom(Node, utf8), State#state{made = Made + 1}}
    end.

existing(Node) ->
    try {ok, binary_to_existing_atom(Node, utf8)}
    catch error:_ -> error
    end.

binary(Node) ->
    atom_to_binary(Node, utf8).

%% --- whether we are ready ------------------------------------------------------------------------------

follow_readiness(#state{options = #{wait_until_ready := false}} = State) ->
    State;
follow_readiness(State) ->
    case rollcall_announcer:subscribe() of
        {ok, Monitor} -> State#state{readiness = Monitor, ready = false};
        {error, not_started} ->
            _ = erlang:send_after(1000, self(), follow_readiness),
            State#state{ready = false}
    end.
