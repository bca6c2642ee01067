%% SPDX-License-Identifier: Apache-2.0
%% @doc A child to put last into a supervision tree: when it starts, everything before it has started, and the node says
%% that it is ready; when it ends, it is the first to end, and the node says that it is not.
%%
%% ```
%% init([]) ->
%%     {ok, {#{}, [my_store, my_listener, rollcall_ready:child_spec()]}}.
%% '''
%%
%% It does not fail, and it does not take longer than its timeout, whatever the daemon does: what is to be said is
%% remembered, and said when it can be.
-module(rollcall_ready).
-behaviour(gen_server).

-export([child_spec/0, child_spec/1, start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).
-export_type([options/0]).

-include_lib("kernel/include/logger.hrl").

-type options() :: #{timeout => pos_integer(), meta => rollcall:meta()}.
%% `timeout': how long start and end may take for it, default 2000 milliseconds. `meta': what is told with it.

%% @doc For a supervisor.
-spec child_spec() -> supervisor:child_spec().
child_spec() ->
    child_spec(#{}).

%% @doc The same with options.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => ?MODULE, start => {?MODULE, start_link, [Options]}, shutdown => timeout(Options) + 1000}.

%% @doc Says that the node is ready.
-spec start_link(options()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, []).

timeout(Options) ->
    maps:get(timeout, Options, 2000).

%% @private
init(Options) ->
    process_flag(trap_exit, true),
    More = maps:with([meta], Options),
    complain(ready, rollcall_announcer:say(More#{announced => ready}, timeout(Options))),
    {ok, Options}.

%% @private
handle_call(_, _, Options) ->
    {reply, {error, unknown_request}, Options}.

%% @private
handle_cast(_, Options) ->
    {noreply, Options}.

%% @private
terminate(_, Options) ->
    complain('not ready', rollcall:not_ready(timeout(Options))).

%% Stock epmd, and a node without a name, have no use for it.
complain(_, ok) -> ok;
complain(_, {error, Reason}) when Reason =:= no_extension; Reason =:= not_distributed -> ok;
complain(What, {error, Reason}) ->
    ?LOG_NOTICE("That this node is ~s could not be told to Rollcall: ~0p", [What, Reason]).
