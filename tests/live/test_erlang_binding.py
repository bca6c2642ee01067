# SPDX-License-Identifier: Apache-2.0
"""The Erlang application in nodes that are units of a real systemd: what their units say of them decides who is dialled, and
a restart of the daemon is no news."""

import re

import pytest

from lib.erlang_app import ebin
from lib.machine import Machine
from lib.process import wait_for

NOTIFY = ["Type=notify", "NotifyAccess=all"]


@pytest.fixture(scope="module")
def shared_machine():
    with Machine(binds=[f"{ebin()}:/opt/rollcall-ebin"]) as machine:
        yield machine.install_rollcall()


def app_node(machine, name, cluster=None, **options):
    flags = ["-pa", "/opt/rollcall-ebin"]
    if cluster:
        flags += ["-rollcall", "cluster", f"[{cluster}]"]
    return machine.node(name, *flags, "-eval", "{ok, _} = application:ensure_all_started(rollcall).", **options)


def connected(node):
    return sorted(re.findall(r"\w+(?=@)", node.eval("nodes()")))


def wait_connected(node, *others):
    wait_for(lambda: connected(node) == sorted(others), lambda: f"{others}: {connected(node)}", 15, 0.05)


def status(node):
    text = node.eval("""[{_, Pid, _, _}] = [C || {{rollcall_cluster, _}, _, _, _} = C <- supervisor:which_children(rollcall_sup)],
                        maps:to_list(rollcall_cluster:status(Pid))""")
    return dict(re.findall(r'\{<<"([^@]*)@[^"]*">>,(\w+)\}', text))


def test_three_services_find_each_other_and_a_restart_is_no_news(machine):
    cluster = '#{patterns => "web_*", jitter => 50}'
    with app_node(machine, "web_1", cluster) as one, app_node(machine, "web_2", cluster) as two, \
         app_node(machine, "web_3", cluster), app_node(machine, "db"):
        wait_connected(one, "web_2", "web_3")
        wait_connected(two, "web_1", "web_3")
        wait_for(lambda: machine.n_stored() == 4, "all to be stored")
        one.eval('{ok, Ref} = rollcall:watch(""), (fun F() -> receive {rollcall, Ref, synced} -> ok; {rollcall, Ref, _} -> F() end end)()')
        machine.kill9_daemon()
        machine.run("systemctl", "restart", "rollcalld.service")
        with app_node(machine, "later"):
            # and it is the first thing that is told
            told = one.eval("receive {rollcall, _, {Kind, #{name := Name}}} -> {Kind, Name}; Other -> Other after 10000 -> none end")
            assert told == '{up,<<"later">>}'


def test_who_is_ready_is_told_by_the_unit(machine):
    cluster = '#{patterns => "app_*", states => [ready], wait_until_ready => true, jitter => 0}'
    with app_node(machine, "app_1", cluster, properties=NOTIFY) as one, app_node(machine, "app_2", cluster, properties=NOTIFY) as two:
        assert one.eval("{ok, #{state := S, state_source := From}} = rollcall:info(node()), {S, From}") == "{starting,unit}"
        one.eval('os:cmd("systemd-notify --ready")')
        wait_for(lambda: status(two) == {"app_1": "not_ready"}, "one to be found by two, which is not ready")
        assert one.eval("rollcall:is_ready()") == "true" and connected(one) == []
        two.eval('os:cmd("systemd-notify --ready")')
        wait_connected(one, "app_2")


def test_whoever_is_being_stopped_is_left_alone(machine):
    """Its unit takes its time, and the node itself knows nothing of it yet."""
    cluster = '#{patterns => "*", states => any, jitter => 0}'
    with app_node(machine, "going", properties=["ExecStop=sleep 60"]) as going:
        machine.run("systemctl", "stop", "--no-block", going.unit)
        wait_for(lambda: going.eval("{ok, #{state := S}} = rollcall:info(node()), S") == "stopping", "it to be stopping")
        with app_node(machine, "other"), app_node(machine, "a", cluster) as a:
            wait_connected(a, "other")
            assert status(a)["going"] == "stopping"
        machine.run("systemctl", "kill", "--signal=KILL", going.unit)
