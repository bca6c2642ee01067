%% SPDX-License-Identifier: Apache-2.0
%% What a cluster may be given. Whom it dials is in tests/daemon/test_erlang_binding.py.
-module(rollcall_cluster_tests).

-include_lib("eunit/include/eunit.hrl").

what_makes_no_sense_is_refused_test_() ->
    [?_assertMatch({stop, _}, rollcall_cluster:init(Options))
     || Options <- [#{pattern => "web_*"}, #{patterns => "["}, #{patterns => web}, #{states => [nonsense]}, #{machines => local},
                    #{machines => [""]}, #{machines => [{"h", 0}]}, #{machines => [7]}, #{grace => -1}, #{jitter => soon},
                    #{retry => 1000}, #{retry => {0, 1}}, #{prune => 1}, #{wait_until_ready => yes}, #{limit => -1},
                    #{parallel => 0}, #{hidden => 1}, #{machine => "h"}, #{patterns => binary:copy(<<"x">>, 4000)}]].

%% Such a process is sent messages.
what_makes_sense_is_taken_test_() ->
    [{spawn, ?_assertMatch({ok, _}, rollcall_cluster:init(Options))}
     || Options <- [#{}, #{patterns => ["a", <<"b*">>], machines => [local, "h", <<"i">>, {10, 0, 0, 1}, {"j", 4370}, {{10, 0, 0, 2}, 1},
                                                                     {0, 0, 0, 0, 0, 0, 0, 1}],
                           exclude => "c", states => any, hidden => true, grace => 1, jitter => 0, retry => {1, 2},
                           prune => true, limit => 0, parallel => 1, name => web, settle => 1, poll => 1, heartbeat => 1}]].

child_specs_test() ->
    ?assertMatch(#{id := {rollcall_cluster, web}, start := {rollcall_cluster, start_link, [#{name := web}]}},
                 rollcall_cluster:child_spec(#{name => web})).
