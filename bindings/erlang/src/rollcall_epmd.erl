%% SPDX-License-Identifier: Apache-2.0
%% @doc An `-epmd_module': what OTP's own erl_epmd does, and two things more. It is needed for nothing else that this
%% application does.
%%
%% ```
%% erl -pa /path/to/rollcall/ebin -epmd_module rollcall_epmd -sname app
%% '''
%%
%% <ul>
%% <li>A name to which the operator has pinned a port (`rollcall pin NAME PORT') listens on that port. If the port mapper
%%   does not answer within a second, or is stock epmd, the node listens as ever. If the port is taken, the node does not start,
%%   as with `inet_dist_listen_min'.</li>
%% <li>Address and port of another node are found in one step. Where its machine runs no port mapper, or does not know
%%   the name, the entries that were added to ours are looked at (`rollcall add NAME --host-part H --address A
%%   --port P').</li>
%% </ul>
%%
%% Everything else is delegated to erl_epmd, which also runs as the process of that name. So the node registers with
%% stock epmd as well as with Rollcall.
%%
%% The emulator calls this module before any application runs: it depends on kernel alone, and on no process of ours.
%% <b>A node whose `-epmd_module' is not in the code path does not boot.</b>
-module(rollcall_epmd).

%% As erl_epmd has them in OTP 23 to 28. OTP 26 and later know the behaviour `erl_epmd' as well, which is the same.
-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3, names/0, names/1,
         address_please/3, listen_port_please/2]).

-define(PIN_TIMEOUT, 1000).
-define(ENTRY_TIMEOUT, 1000).
-define(PORT_TIMEOUT, 7000).

%% @doc erl_epmd's process.
-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    erl_epmd:start_link().

%% @doc As erl_epmd.
-spec register_node(string(), inet:port_number()) -> {ok, integer()} | {error, already_registered} | term().
register_node(Name, Port) ->
    erl_epmd:register_node(Name, Port).

%% @doc As erl_epmd.
-spec register_node(string(), inet:port_number(), atom()) -> {ok, integer()} | {error, already_registered} | term().
register_node(Name, Port, Driver) ->
    erl_epmd:register_node(Name, Port, Driver).

%% @doc As erl_epmd.
-spec port_please(atom() | string(), atom() | string() | inet:ip_address()) ->
          {port, inet:port_number(), non_neg_integer()} | noport | closed | {error, term()}.
port_please(Name, Host) ->
    erl_epmd:port_please(Name, Host).

%% @doc As erl_epmd.
-spec port_please(atom() | string(), atom() | string() | inet:ip_address(), timeout()) ->
          {port, inet:port_number(), non_neg_integer()} | noport | closed | {error, term()}.
port_please(Name, Host, Timeout) ->
    erl_epmd:port_please(Name, Host, Timeout).

%% @doc As erl_epmd.
-spec names() -> {ok, [{string(), inet:port_number()}]} | {error, term()}.
names() ->
    erl_epmd:names().

%% @doc As erl_epmd.
-spec names(atom() | string() | inet:ip_address()) -> {ok, [{string(), inet:port_number()}]} | {error, term()}.
names(Host) ->
    erl_epmd:names(Host).

%% @doc The port on which this node is to listen: erl_epmd's answer, if it has one (`-erl_epmd_port'), else the one that
%% the name is pinned to, else 0: any.
-spec listen_port_please(atom() | string(), atom() | string() | inet:ip_address()) -> {ok, inet:port_number()}.
listen_port_please(Name, Host) ->
    case erl_epmd:listen_port_please(Name, Host) of
        {ok, 0} -> {ok, pinned(Name)};
        Said -> Said
    end.

%% No failure of ours is to keep a node from starting.
pinned(Name) ->
    try rollcall_conn:pins(binary(Name), ?PIN_TIMEOUT)
    catch _:_ -> 0
    end.

%% @doc Where a node is: its address, port and version.
-spec address_please(atom() | string(), string() | inet:ip_address(), inet | inet6) ->
          {ok, inet:ip_address()} | {ok, inet:ip_address(), inet:port_number(), non_neg_integer()} | {error, term()}.
address_please(Name, Host, Family) ->
    case {erl_epmd:address_please(Name, Host, Family), self() =:= whereis(net_kernel)} of
        %% net_kernel only wants to know whether there is an address, and must not wait for a port mapper.
        {{ok, Address}, true} -> {ok, Address};
        {{ok, Address}, false} -> port_at(Name, Host, Address);
        {Error, _} -> entry(Name, Host, Error)
    end.

port_at(Name, Host, Address) ->
    case erl_epmd:port_please(Name, Address, ?PORT_TIMEOUT) of
        {port, Port, Version} -> {ok, Address, Port, Version};
        Nowhere -> entry(Name, Host, {error, Nowhere})
    end.

%% An entry for a node of another machine, of which only the port mapper here knows. Every OTP from 23 on speaks
%% version 6.
entry(Name, Host, Otherwise) ->
    try entries(binary(Name), binary(Host)) of
        [#{address := Text, port := Port} | _] ->
            {ok, Address} = inet:parse_address(binary_to_list(Text)),
            {ok, Address, Port, 6};
        [] ->
            Otherwise
    catch
        _:_ -> Otherwise
    end.

entries(Name, Host) ->
    {ok, Selection} = rollcall_selection:parse(#{hidden => true, states => any, timeout => ?ENTRY_TIMEOUT}),
    {ok, Infos} = rollcall_conn:find(Selection#{names := [Name]}),
    [Info || #{elsewhere := true, node := Node} = Info <- Infos, Node =:= <<Name/binary, "@", Host/binary>>].

binary(Name) when is_atom(Name) -> atom_to_binary(Name, utf8);
binary(Name) -> unicode:characters_to_binary(Name).
