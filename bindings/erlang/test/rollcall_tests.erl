%% SPDX-License-Identifier: Apache-2.0
%% The interface where there is no daemon and no application; tests/daemon/test_erlang_binding.py has the rest.
-module(rollcall_tests).

-include_lib("eunit/include/eunit.hrl").

%% A port on which somebody listened until now.
closed_port() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.

nobody_there_test_() ->
    Port = closed_port(),
    [?_assertEqual({error, econnrefused}, rollcall:nodes(#{port => Port})),
     ?_assertEqual({error, econnrefused}, rollcall:nodes(#{port => Port, machine => "127.0.0.1"})),
     ?_assertEqual({error, econnrefused}, rollcall:nodes(#{port => Port, machine => {127, 0, 0, 1}})),
     ?_assertEqual({error, econnrefused}, rollcall:info("a", #{port => Port})),
     ?_assertEqual({error, econnrefused}, rollcall:wait(#{port => Port}, 1, 200))].

no_such_machine_test() ->
    ?assertEqual({error, nxdomain}, rollcall:nodes(#{machine => "no such machine", timeout => 10000})).

%% A port mapper that takes what is said and answers nothing, or something else.
with_server(Answer, Use) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false}, {reuseaddr, true}]),
    {ok, Port} = inet:port(Listener),
    Server = spawn_link(fun() -> serve(Listener, Answer) end),
    try Use(Port)
    after
        unlink(Server),
        exit(Server, kill),
        gen_tcp:close(Listener)
    end.

serve(Listener, Answer) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    case gen_tcp:recv(Socket, 0) of
        {ok, Request} -> Answer(Socket, Request);
        {error, _} -> ok
    end,
    serve(Listener, Answer).

answers_test_() ->
    Close = fun(Bytes) -> fun(Socket, _) -> _ = gen_tcp:send(Socket, Bytes), gen_tcp:close(Socket) end end,
    Refuse = fun(N) -> Close(<<"LRC", 1, 7:32, 65, 1:16, 2:16, N:16>>) end,
    [{What, ?_assertEqual({error, Reason}, with_server(Answer, fun(Port) -> rollcall:nodes(#{port => Port, timeout => 500}) end))}
     || {What, Answer, Reason} <-
            [{"silence", fun(_, _) -> ok end, timeout},
             {"half an answer, and silence", fun(Socket, _) -> gen_tcp:send(Socket, <<"LRC", 1, 0>>) end, timeout},
             {"closed, also to NAMES", Close(<<>>), denied},
             {"half an answer", Close(<<"LRC", 1, 3:32, 67>>), broken_off},
             {"an answer without an end", Close(<<"LRC", 1>>), broken_off},
             {"another protocol", Close(<<"HTTP/1.1 400 Bad Request\r\n\r\n">>), malformed},
             {"another version", Close(<<"LRC", 2>>), bad_version},
             {"denied", Refuse(4), denied}, {"busy", Refuse(5), busy}, {"internal", Refuse(6), internal},
             {"an error of tomorrow", Refuse(4711), internal}]].

%% Who drips is bounded by the time, not by the number of pieces.
a_slow_answer_ends_in_time_test() ->
    Drip = fun(Socket, _) -> drip(Socket, <<"LRC", 1, 100:32, 0:800>>) end,
    {Time, Result} = timer:tc(fun() ->
        with_server(Drip, fun(Port) -> rollcall:nodes(#{port => Port, timeout => 300}) end)
    end),
    ?assertEqual({error, timeout}, Result),
    ?assert(Time < 2000000, Time).

drip(Socket, <<Byte, Rest/binary>>) ->
    case gen_tcp:send(Socket, <<Byte>>) of
        ok -> timer:sleep(20), drip(Socket, Rest);
        {error, _} -> ok
    end;
drip(_, <<>>) -> ok.

no_message_is_left_with_the_caller_test() ->
    with_server(fun(Socket, _) -> gen_tcp:send(Socket, <<"LRC">>) end, fun(Port) ->
        {error, timeout} = rollcall:nodes(#{port => Port, timeout => 50}),
        {error, _} = rollcall:wait(#{port => Port}, 1, 50),
        {error, _} = rollcall:info("a", #{port => Port, timeout => 50})
    end),
    ?assertEqual(none, receive Any -> Any after 0 -> none end).

mistakes_are_named_test_() ->
    [?_assertMatch({error, {bad_selection, _}}, Call())
     || Call <- [fun() -> rollcall:nodes(web) end, fun() -> rollcall:nodes(#{nonsense => 1}) end,
                 fun() -> rollcall:watch("[") end, fun() -> rollcall:wait("*", 0, 10) end,
                 fun() -> rollcall:wait("*", many, 10) end, fun() -> rollcall:wait("*", #{states => [nonsense]}, 10) end,
                 fun() -> rollcall:info(7) end, fun() -> rollcall:info([a]) end, fun() -> rollcall:info("a", #{port => 0}) end,
                 fun() -> rollcall:info("") end]].

metadata_is_checked_test_() ->
    [?_assertMatch({error, {bad_meta, _}}, rollcall:set_meta(Meta))
     || Meta <- [#{"" => 1}, #{"a b" => 1}, #{<<"caf", 16#c3, 16#a9>> => 1}, #{binary:copy(<<"k">>, 65) => 1}, #{7.5 => 1},
                 #{k => binary:copy(<<"v">>, 257)}, #{k => "line\n"}, #{k => <<255>>}, #{k => {}}, #{k => [a]}, #{{} => 1}]].

without_the_application_test_() ->
    [?_assertEqual({error, not_started}, Call())
     || Call <- [fun() -> rollcall:watch("*") end, fun() -> rollcall:ready() end, fun() -> rollcall:not_ready() end,
                 fun() -> rollcall:set_meta(#{zone => eu, "n" => 4, <<"s">> => "text"}) end]]
        ++ [?_assertEqual(false, rollcall:is_ready()), ?_assertEqual(ok, rollcall:unwatch(make_ref()))].

node_atom_test() ->
    ?assertEqual('app@host', rollcall:node_atom(#{node => <<"app@host">>})).

the_application_description_names_every_module_test() ->
    {ok, [{application, rollcall, Description}]} = file:consult("src/rollcall.app.src"),
    ?assertEqual(lists:sort([list_to_atom(filename:basename(F, ".erl")) || F <- filelib:wildcard("src/*.erl")]),
                 lists:sort(proplists:get_value(modules, Description))).
