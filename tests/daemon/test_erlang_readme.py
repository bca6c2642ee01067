# SPDX-License-Identifier: Apache-2.0
"""Every example of bindings/erlang/README.md, run; and its documents, made."""

import re
import subprocess

import pytest

from daemon.helpers import closing_all
from lib.erlang_app import BINDING, app_node, ebin
from lib.process import clean_environment, wait_for

TEXT = (BINDING / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
ERLANG = [text for kind, text in BLOCKS if kind == "erlang"]
EXPRESSIONS = [text for text in ERLANG if not text.startswith(("-module", "["))]
[MODULE] = [text for text in ERLANG if text.startswith("-module")]
[CONFIG] = [text for text in ERLANG if text.startswith("[")]
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]


def test_nothing_is_left_out():
    assert {kind for kind, _ in BLOCKS} == {"sh", "erlang"}
    assert len(EXPRESSIONS) == 6 and len(COMMANDS) == 3


def test_the_examples(daemon):
    with app_node("web_1", daemon) as one, app_node("web_2", daemon) as two, closing_all() as connections:
        two.eval("ok = rollcall:set_meta(#{zone => eu}), ok = rollcall:ready()")
        connections.append(daemon.client.register("other", 1))
        for text in EXPRESSIONS:
            one.eval(text.strip())


def test_the_supervisor(daemon, tmp_path):
    (tmp_path / "my_sup.erl").write_text(MODULE)
    (tmp_path / "my_worker.erl").write_text("""
        -module(my_worker).
        -export([start_link/0]).
        start_link() -> {ok, spawn_link(fun() -> receive stop -> ok end end)}.
    """)
    subprocess.run(["erlc", "+warnings_as_errors", "my_sup.erl", "my_worker.erl"], cwd=tmp_path, check=True, timeout=60)
    with app_node("app", daemon, "-pa", str(tmp_path)) as app:
        app.eval("{ok, Pid} = supervisor:start_link(my_sup, []), put(pid, Pid), unlink(Pid)")
        assert "state => ready" in app.eval("rollcall:info(node())")
        app.eval("gen_server:stop(get(pid))")
        assert "state => stopping" in app.eval("rollcall:info(node())")


def test_the_configuration(daemon, tmp_path):
    (tmp_path / "sys.config").write_text(CONFIG.replace('"10.0.0.2", "10.0.0.3"', '"127.0.0.1"'))
    config = ("-config", str(tmp_path / "sys"))
    with app_node("web_1", daemon, *config) as one, app_node("web_2", daemon, *config) as two:
        for node in (one, two):
            assert node.eval("rollcall:ready()") == "ok"
        wait_for(lambda: one.eval("nodes()") == "[web_2@localhost]", "the connection")


@pytest.mark.parametrize("text", COMMANDS)
def test_the_commands(daemon, tmp_path, text):
    """`erl` is told to say its name and to end."""
    text = text.replace("/opt/rollcall/ebin", ebin()).replace("/tmp/rollcall-ebin", str(tmp_path / "ebin"))
    say = "io:format(\"~s ~s~n\", [node(), code:which(rollcall)]), halt(0)."
    text = re.sub(r"^(.*\berl .*)$", rf"\1 -start_epmd false -noinput -eval '{say}'", text, flags=re.M)
    env = clean_environment({"ERL_EPMD_PORT": daemon.port, "HOME": tmp_path})
    done = subprocess.run(["bash", "-ec", text], cwd=BINDING, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"\w+@\S+ \S*/rollcall\.beam\n", done.stdout), done.stdout


def test_the_documents_can_be_made(tmp_path):
    make = f"""
        case code:which(edoc) of non_existing -> halt(7); _ -> ok end,
        edoc:application(rollcall, "{BINDING}", [{{dir, "{tmp_path}"}}]), halt(0).
    """
    done = subprocess.run(["erl", "-noinput", "-eval", " ".join(make.split())], capture_output=True, text=True, timeout=120,
                          env=clean_environment({"HOME": tmp_path}))  # fmt: skip
    if done.returncode == 7:
        pytest.skip("erlang-edoc is not installed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr, done.stdout + done.stderr
    made = (tmp_path / "rollcall.html").read_text()
    for function in ("nodes/1", "watch/1", "wait/3", "info/1", "ready/0", "not_ready/0", "set_meta/1", "node_atom/1"):
        assert f'<h3 class="function"><a name="{function.replace("/", "-")}">' in made
    assert {path.stem for path in tmp_path.glob("rollcall*.html")} == {"rollcall", "rollcall_cluster", "rollcall_ready", "rollcall_epmd"}
