%% SPDX-License-Identifier: Apache-2.0
%% @private
-module(rollcall_app).
-behaviour(application).

-export([start/2, stop/1]).

start(_Type, _Args) ->
    rollcall_sup:start_link().

stop(_State) ->
    ok.
