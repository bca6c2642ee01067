%% SPDX-License-Identifier: Apache-2.0
%% @doc The application's processes, and the table that outlives each of them: what the application has said of
%% itself, and whose watch a reference is.
%% @private
-module(rollcall_sup).
-behaviour(supervisor).

-export([start_link/0, put_watch/2, drop_watch/1, find_watch/1, put_said/1, find_said/0]).
-export([init/1]).

-define(TABLE, ?MODULE).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set]),
    Clusters = application:get_env(rollcall, cluster, []),
    Children =
        [#{id => rollcall_watcher_sup, start => {rollcall_watcher_sup, start_link, []}, type => supervisor},
         #{id => rollcall_announcer, start => {rollcall_announcer, start_link, []}}]
        ++ [rollcall_cluster:child_spec(Options) || Options <- Clusters],
    {ok, {#{strategy => one_for_one, intensity => 10, period => 60}, Children}}.

%% --- whose watch it is --------------------------------------------------------------------------------

-spec put_watch(reference(), pid()) -> ok.
put_watch(Ref, Pid) -> write({{watch, Ref}, Pid}).

-spec drop_watch(reference()) -> ok.
drop_watch(Ref) ->
    try ets:delete(?TABLE, {watch, Ref}), ok
    catch error:badarg -> ok
    end.

-spec find_watch(reference()) -> {ok, pid()} | error.
find_watch(Ref) -> read({watch, Ref}).

%% --- what was said ------------------------------------------------------------------------------------

-spec put_said(map()) -> ok.
put_said(Said) -> write({said, Said}).

-spec find_said() -> {ok, map()} | error.
find_said() -> read(said).

%% The table is not there where the application does not run.
write(Row) ->
    try ets:insert(?TABLE, Row), ok
    catch error:badarg -> ok
    end.

read(Key) ->
    try ets:lookup(?TABLE, Key) of
        [{_, Value}] -> {ok, Value};
        [] -> error
    catch
        error:badarg -> error
    end.
