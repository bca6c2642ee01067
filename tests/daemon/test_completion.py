# SPDX-License-Identifier: Apache-2.0
"""Completion for bash, zsh and fish, by the shells themselves: what is offered, and that a name is never shell code."""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lib.daemon import Daemon, free_port
from lib.process import SOURCE, built, clean_environment

COMMANDS = {"status", "names", "find", "why", "history", "at", "wait", "watch", "check", "ready", "not-ready", "release", "add",
            "remove", "entries", "pin", "unpin", "pins"}
COMMON = {"--control", "--json", "--help"}
SELECTION = {"--at", "--exclude", "--hidden", "--state", "--port"}

# What is offered at the end of a line; options without the values that they may have.
COMPLETIONS = {
    "rollcall ": COMMANDS,
    "rollcall st": {"status"},
    "rollcall --json w": {"why", "wait", "watch"},
    "rollcall wait --f": {"--free"},
    "rollcall wait --state st": {"starting", "stopping"},
    "rollcall history --": COMMON | {"--all", "--since", "--until", "--limit", "--utc"},
    "rollcall find --": COMMON | SELECTION | {"--timeout"},
    "rollcall watch --": COMMON | SELECTION | {"--prefix"},
    "rollcall check --": COMMON | {"--timeout", "--port", "--quiet"},
    "rollcall why ra": {"rabbit", "rat"},
    "rollcall find ra": {"rabbit", "rat"},
    "rollcall watch rat ra": {"rabbit", "rat"},
    "rollcall check rab": {"rabbit@mail"},
    "rollcall add shop --": COMMON | {"--port", "--address", "--host-part", "--quiet"},
    "rollcall pin ra": {"rabbit", "rat"},
    "rollcall remove sho": {"shop"},
    "rollcall unpin ": {"shop"},
    "rollcall pins --n": {"--nft"},
    "rollcall status ": set(),
}


def environment(daemon, **more):
    """With our program in front of whatever is installed."""
    path = f"{Path(built('rollcall')).parent}:{os.environ['PATH']}"
    return clean_environment({"ROLLCALL_CONTROL": daemon.control, "PATH": path, "HOME": daemon.directory, "TERM": "dumb", **more})


def by_bash(daemon, line):
    script = ('. "$0"; read -ra COMP_WORDS <<<"$1"; [[ $1 != *" " ]] || COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));'
              '_rollcall; printf "%s\\n" "${COMPREPLY[@]}"')
    argv = ["bash", "-c", script, SOURCE / "completion" / "rollcall", line]
    done = subprocess.run(argv, env=environment(daemon), capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    return set(done.stdout.split())


# compadd is where all that zsh offers comes by. What it is given with -O, -A or -D is not offered, but only looked at.
ZSH = r"""
PS1=; unsetopt prompt_cr prompt_sp
fpath=($COMPLETION $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a hits
  builtin compadd -A hits "$@"
  print -rl -- $hits >>$OFFERED
  builtin compadd "$@"
}
offer() { zle complete-word; : >$OFFERED.over }
zle -N offer
bindkey '^I' offer
: >$OFFERED.ready
"""


class Zsh:
    """One interactive shell, as its start takes most of the time."""

    def __init__(self, daemon):
        self.offered = daemon.directory / "offered"
        self.over, self.ready = (self.offered.with_name(f"offered.{word}") for word in ("over", "ready"))
        (daemon.directory / ".zshrc").write_text(ZSH)
        env = environment(daemon, ZDOTDIR=daemon.directory, COMPLETION=SOURCE / "completion", OFFERED=self.offered)
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe("zsh", ["zsh", "-d", "-i"], env)
        try:
            self._wait(self.ready)
        except BaseException:
            self.close()
            raise

    def _wait(self, path, timeout=20):
        """Also takes what the shell prints, so that it does not wait for us."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        seen = b""
        while not path.exists():
            assert time.monotonic() < deadline, seen
            if poll.poll(10):
                seen += os.read(self.master, 65536)
        path.unlink()

    def complete(self, line):
        self.offered.write_text("")
        os.write(self.master, b"\x15" + line.encode() + b"\t")  # ^U: nothing is left of the line before
        self._wait(self.over)
        return {word.rstrip("=") for word in self.offered.read_text().split("\n") if word}

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


def by_fish(daemon, line):
    script = f"source {SOURCE}/completion/rollcall.fish; complete -C {line!r}"
    env = environment(daemon, XDG_CONFIG_HOME=daemon.directory, XDG_DATA_HOME=daemon.directory)
    done = subprocess.run(["fish", "--no-config", "-c", script], env=env, capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    return {offered.split("\t")[0] for offered in done.stdout.splitlines()}


NAMES = {"rabbit", "rat", "mouse"}


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as daemon, contextlib.ExitStack() as stack:
        for name in NAMES:
            stack.enter_context(daemon.client.register(name))
        assert daemon.rollcall("ready", "rabbit@mail").returncode == 0
        for order in (["add", "shop", "--port", free_port()], ["pin", "shop", 9100]):
            assert daemon.rollcall(*order).returncode == 0
        yield daemon


@pytest.fixture(params=["bash", "zsh", "fish"], scope="module")
def shell(request, daemon):
    """What the shell offers at the end of a line."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    if request.param != "zsh":
        by_shell = {"bash": by_bash, "fish": by_fish}[request.param]
        yield lambda line: by_shell(daemon, line)
        return
    zsh = Zsh(daemon)
    # Where nothing else can stand, zsh offers options.
    yield lambda line: zsh.complete(line) - ({"-h", *COMMON} if line == "rollcall status " else set())
    zsh.close()


@pytest.mark.parametrize("line", COMPLETIONS)
def test_the_shell_completes(shell, line):
    assert shell(line) == COMPLETIONS[line]


def test_the_shell_is_not_offered_what_it_would_obey(daemon, shell, directory):
    """Any user can register such a name, and root presses the key."""
    names = [f"$(>{directory}/obeyed)", f"`>{directory}/obeyed`", f"(touch {directory}/obeyed)", "a;b", "-free", "a*", "$HOME",
             "~root", "plain", "a b", "a'b", 'a"b', "a:b"]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(daemon.client.register(name))
        assert shell("rollcall why ") == {"plain"} | NAMES
        assert shell("rollcall check pl") == {f"plain@{os.uname().nodename.split('.')[0]}"}
    assert not (directory / "obeyed").exists()


@pytest.mark.parametrize("name, check", [("rollcall", ["bash", "-n"]), ("_rollcall", ["zsh", "-n"]), ("rollcall.fish", ["fish", "-n"]), ("rollcall", ["shellcheck"])])
def test_the_file_has_no_mistakes(name, check):
    if not shutil.which(check[0]):
        pytest.skip(f"{check[0]} is not installed")
    done = subprocess.run([*check, SOURCE / "completion" / name], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
