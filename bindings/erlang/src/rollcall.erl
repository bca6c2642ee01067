%% SPDX-License-Identifier: Apache-2.0
%% @doc Find and watch Erlang nodes, and tell others of this one.
%%
%% The nodes of a machine are asked of its port mapper. Where that is Rollcall, everything it knows is told:
%% state, metadata, unit, host part. Where it is stock epmd, names and ports are (`source => names').
%%
%% <b>A prefix selects, it does not isolate.</b> Whoever connects to one node of a mesh joins the whole mesh,
%% and the cookie decides who may.
%%
%% Names are binaries. {@link node_atom/1} makes an atom of one, when the caller has decided that it wants that:
%% atoms are never freed, and anybody on a machine may register a name.
%%
%% No call crashes its caller, whatever the port mapper does, and every call ends in time: its timeout, and
%% what it takes to notice. Errors are
%% <dl>
%%   <dt>`denied'</dt><dd>this machine may not ask that (`list-from' in rollcall.conf(5)), or the announcement
%%     is another user's</dd>
%%   <dt>`busy', `internal', `unavailable', ...</dt><dd>the daemon's word, see PROTOCOL.md</dd>
%%   <dt>`timeout', `econnrefused', `nxdomain', ...</dt><dd>no answer, nobody there, no such machine</dd>
%%   <dt>`broken_off', `malformed', `too_long', `bad_version'</dt><dd>no whole answer, or none of this protocol</dd>
%%   <dt>`no_extension'</dt><dd>the port mapper is stock epmd, which has no place for that</dd>
%%   <dt>`{bad_selection, What}', `{bad_meta, What}'</dt><dd>the caller's mistake</dd>
%%   <dt>`not_started'</dt><dd>the application `rollcall' does not run</dd>
%% </dl>
-module(rollcall).

-export([nodes/1, info/1, info/2, wait/3, watch/1, unwatch/1]).
-export([ready/0, ready/1, not_ready/0, not_ready/1, is_ready/0, set_meta/1, set_meta/2]).
-export([node_atom/1]).
-export_type([selection/0, info/0, state/0, event/0, reason/0, meta/0]).

-type state() :: up | starting | ready | stopping | awaited.

-type selection() :: binary() | string() | [binary() | string()]
                   | #{patterns => binary() | string() | [binary() | string()],
                       exclude => binary() | string() | [binary() | string()],
                       states => [state()] | any,
                       hidden => boolean(),
                       address => binary() | string() | inet:ip_address(),
                       machine => local | string() | binary() | inet:ip_address(),
                       port => inet:port_number(),
                       timeout => timeout(),
                       heartbeat => pos_integer(),
                       settle => non_neg_integer(),
                       poll => pos_integer()}.
%% Which nodes. Patterns are a shell's (`*', `?', `[a-z]') and mean the whole name, that is what stands before
%% the `@'; a plain name means that name; none: all nodes. A map says more:
%% <ul>
%%   <li>`states': default all but `stopping'. Stock epmd knows no states: its nodes count as `up'</li>
%%   <li>`hidden': also hidden nodes, and those of tools (`rabbitmqcli-...', `rem-...'); default false</li>
%%   <li>`address': only nodes that are registered at that address, `"*"' for those that are at all</li>
%%   <li>`machine': whose port mapper is asked; default this machine's</li>
%%   <li>`port': its port; default that of this node's (`ERL_EPMD_PORT', else 4369)</li>
%%   <li>`timeout': milliseconds, default 5000</li>
%%   <li>for a watch: `heartbeat' (15000: a daemon that says nothing for more than twice that is taken for lost),
%%     `settle' (15000: how long nodes may take to come back after the daemon was away, before they are told as
%%     down), `poll' (5000: how often stock epmd is asked), in milliseconds</li>
%% </ul>

-type info() :: #{name := binary(),
                  node := binary(),
                  host := binary() | unknown,
                  host_source := announced | static | unknown,
                  name_kind := short | long | unknown,
                  state := state() | unknown,
                  state_source := connection | listener | unit | announcement | entry | unknown,
                  port := inet:port_number(),
                  address := binary(),
                  type := normal | hidden | {other, byte()},
                  creation := non_neg_integer() | undefined,
                  since := integer() | undefined,
                  unit => binary(),
                  meta := #{binary() => binary()},
                  announced := ready | draining | undefined | unknown,
                  helper := boolean(),
                  static := boolean(),
                  elsewhere := boolean(),
                  machine := local | string(),
                  source := rollcall | names}.
%% A node. `node' is its full name: where it has not told its host part, it is this node's own for nodes of this
%% machine, what was dialled for another's, and the address of one that is `elsewhere'. `since' is in microseconds since 1970. `unit' is left out over the
%% network where it is not known. `static' is an entry that somebody added, `elsewhere' one of another machine, of
%% which nobody knows whether it lives. `source => names' comes of stock epmd: name and port, the rest is unknown.

-type event() :: {up, info()} | {changed, info()} | {down, info(), Why :: binary()} | synced
               | {unavailable, reason()}.
%% What a watch tells, see {@link watch/1}.

-type reason() :: atom() | tuple().

-type meta() :: #{atom() | binary() | string() => atom() | binary() | string() | integer()}.
%% At most 32 keys of 1 to 64 of `A-Z a-z 0-9 . _ -', with values of at most 256 bytes without control characters.

%% @doc The nodes that are registered now, in order of name; this one, too, if it is selected.
-spec nodes(selection()) -> {ok, [info()]} | {error, reason()}.
nodes(Selection) ->
    case rollcall_selection:parse(Selection) of
        {ok, Parsed} -> rollcall_conn:find(Parsed);
        Error -> Error
    end.

%% @doc One node of this machine, or, of a name with an `@' in it, of that machine, in whatever state.
%% Where several have that name, each at an address of its own, it is the first in order of addresses.
-spec info(atom() | binary() | string()) -> {ok, info()} | {error, not_found | reason()}.
info(Name) ->
    info(Name, #{}).

%% @doc The same with more of a {@link selection()}: `machine', `port', `address', `timeout'.
-spec info(atom() | binary() | string(), map()) -> {ok, info()} | {error, not_found | reason()}.
info(Name, Options) ->
    case split(Name) of
        {ok, Plain, Where} ->
            Whole = maps:merge(Where, Options),
            Exact = Whole#{patterns => [quote(Plain)], exclude => [], hidden => true, states => any},
            case ?MODULE:nodes(Exact) of
                {ok, [Info | _]} -> {ok, Info};
                {ok, []} -> {error, not_found};
                Error -> Error
            end;
        error ->
            {error, {bad_selection, Name}}
    end.

split(Name) when is_atom(Name) ->
    split(atom_to_binary(Name, utf8));
split(Name) when is_list(Name) ->
    try unicode:characters_to_binary(Name) of
        Binary when is_binary(Binary) -> split(Binary);
        _ -> error
    catch
        error:badarg -> error
    end;
split(Name) when is_binary(Name) ->
    Own = rollcall_info:own_host(),
    case binary:split(Name, <<"@">>) of
        [Plain] -> {ok, Plain, #{}};
        [Plain, Own] -> {ok, Plain, #{}};
        [Plain, Host] -> {ok, Plain, #{machine => Host}}
    end;
split(_) ->
    error.

%% Rare, but a name may have a star in it.
quote(Name) ->
    << <<(if C =:= $*; C =:= $?; C =:= $[; C =:= $\\ -> <<"\\", C>>; true -> <<C>> end)/binary>> || <<C>> <= Name >>.

%% @doc Waits until at least so many nodes are there at once: those nodes. `#{count, states}' waits for nodes in
%% these states. While the port mapper is away it goes on trying; at the end of the time the error is what was
%% wrong last, and `timeout' if nothing was.
-spec wait(selection(), pos_integer() | #{count => pos_integer(), states => [state()] | any}, timeout()) ->
          {ok, [info()]} | {error, timeout | reason()}.
wait(Selection, Count, Timeout) when not is_map(Count) ->
    wait(Selection, #{count => Count}, Timeout);
wait(Selection, Wanted, Timeout) ->
    Count = maps:get(count, Wanted, 1),
    case rollcall_selection:parse(Selection, maps:with([states], Wanted)) of
        {ok, _} when not is_integer(Count); Count < 1 -> {error, {bad_selection, {count, Count}}};
        {ok, Parsed} -> rollcall_watcher:wait(Parsed, Count, Timeout);
        Error -> Error
    end.

%% @doc Watches. The caller is sent `{rollcall, Ref, Event}':
%% <dl>
%%   <dt>`{up, Info}'</dt><dd>a node is registered, or has come into a state that was asked for</dd>
%%   <dt>`{changed, Info}'</dt><dd>something of it is different: state, metadata, ...</dd>
%%   <dt>`{down, Info, Why}'</dt><dd>it is not registered any more, or in a state that was not asked for. `Why' is
%%     the daemon's word: `<<"left">>', `<<"listener-gone">>', ..., that state (`<<"stopping">>'), or
%%     `<<"replaced">>' (another of that name is there), `<<"gone">>' (it is not there any more)</dd>
%%   <dt>`synced'</dt><dd>everything there is now has been told; after the beginning, and again after
%%     `unavailable'</dd>
%%   <dt>`{unavailable, Reason}'</dt><dd>the port mapper is away, denies, ...: told once, and it goes on trying;
%%     what is known stays. `{stopped, _}' is the last message of a watch that cannot go on</dd>
%% </dl>
%% When the daemon is restarted, nobody is down who is not: it is asked for what happened since; one that cannot
%% tell, because it has lost its registry, is given `settle' for all nodes to come back. The watch ends with the
%% caller, or by {@link unwatch/1}. The application must run.
-spec watch(selection()) -> {ok, reference()} | {error, reason()}.
watch(Selection) ->
    case rollcall_selection:parse(Selection) of
        {ok, Parsed} ->
            case rollcall_watcher:check(Parsed) of
                ok -> start_watch(Parsed);
                Error -> Error
            end;
        Error ->
            Error
    end.

start_watch(Parsed) ->
    Ref = make_ref(),
    case rollcall_watcher_sup:start_watch(self(), Ref, Parsed) of
        {ok, _} -> {ok, Ref};
        {error, Reason} -> {error, Reason}
    end.

%% @doc Ends a watch. No message of it is in the caller's mailbox afterwards.
-spec unwatch(reference()) -> ok.
unwatch(Ref) when is_reference(Ref) ->
    case rollcall_sup:find_watch(Ref) of
        {ok, Pid} -> rollcall_watcher_sup:stop_watch(Pid);
        error -> ok
    end,
    rollcall_sup:drop_watch(Ref),
    flush(Ref).

flush(Ref) ->
    receive
        {rollcall, Ref, _} -> flush(Ref)
    after 0 ->
        ok
    end.

%% @doc Says that this node is ready. What is said is remembered: if it cannot be told now (the error says why), or
%% this node has no name yet, or the daemon has lost it, it is told as soon as it can be.
-spec ready() -> ok | {error, reason()}.
ready() ->
    ready(5000).

%% @doc The same, with another timeout than 5000 ms.
-spec ready(timeout()) -> ok | {error, reason()}.
ready(Timeout) ->
    rollcall_announcer:say(#{announced => ready}, Timeout).

%% @doc Says that this node is about to leave (`draining'): its state becomes `stopping', and who asks for nodes is
%% not told of it any more unless he asks for those.
-spec not_ready() -> ok | {error, reason()}.
not_ready() ->
    not_ready(5000).

%% @doc The same, with another timeout than 5000 ms.
-spec not_ready(timeout()) -> ok | {error, reason()}.
not_ready(Timeout) ->
    rollcall_announcer:say(#{announced => draining}, Timeout).

%% @doc True if this node has said that it is ready, or its unit has.
-spec is_ready() -> boolean().
is_ready() ->
    rollcall_announcer:is_ready().

%% @doc Tells pairs of key and value. Those that were told before stay.
-spec set_meta(meta()) -> ok | {error, reason()}.
set_meta(Meta) ->
    set_meta(Meta, 5000).

%% @doc The same, with another timeout than 5000 ms.
-spec set_meta(meta(), timeout()) -> ok | {error, reason()}.
set_meta(Meta, Timeout) when is_map(Meta) ->
    rollcall_announcer:say(#{meta => Meta}, Timeout).

%% @doc The full name as an atom, to connect to it. <b>An atom is never freed</b>: make them of nodes that you
%% want to talk to, not of everything that is listed. `badarg' or `system_limit' of a name that makes none, which no
%% node has.
-spec node_atom(info()) -> node().
node_atom(#{node := Node}) ->
    binary_to_atom(Node, utf8).
