%% SPDX-License-Identifier: Apache-2.0
%% @doc One process for each watch.
%% @private
-module(rollcall_watcher_sup).
-behaviour(supervisor).

-export([start_link/0, start_watch/3, stop_watch/1]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    %% Temporary: one that began anew would tell its owner everything again.
    Child = #{id => watch, start => {rollcall_watcher, start_link, []}, restart => temporary, shutdown => 1000},
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.

-spec start_watch(pid(), reference(), rollcall_selection:parsed()) -> {ok, pid()} | {error, not_started | term()}.
start_watch(Owner, Ref, Selection) ->
    try supervisor:start_child(?MODULE, [Owner, Ref, Selection])
    catch exit:_ -> {error, not_started}
    end.

-spec stop_watch(pid()) -> ok.
stop_watch(Pid) ->
    try
        _ = supervisor:terminate_child(?MODULE, Pid),
        ok
    catch
        exit:_ -> ok
    end.
