# SPDX-License-Identifier: Apache-2.0
"""bindings/elixir, built by mix without network and hex, and real Elixir nodes with it.

    with ElixirNode("a", epmd_port=daemon.port) as a:
        assert a.eval('Rollcall.info("a") |> elem(0)') == ":ok"

    with Machine(binds=elixir_binds()) as machine, MachineElixirNode(machine, "a") as a:
"""

import fcntl
import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.machine import MachineNode
from lib.nodes import COOKIE, ErlangNode
from lib.process import SOURCE, build_directory, clean_environment

PROJECT = SOURCE / "bindings" / "elixir"
SERVE = Path(__file__).with_name("elixir_node.exs")

needs_elixir = pytest.mark.skipif(shutil.which("mix") is None, reason="elixir is not installed")


def mix_environment(directory):
    """mix writes below `directory` alone, asks nobody, and builds what needs no hex."""
    return clean_environment({
        "HOME": directory / "home", "MIX_HOME": directory / "home" / "mix", "MIX_BUILD_PATH": directory / "test",
        "MIX_DEPS_PATH": directory / "deps", "MIX_ENV": "test", "HEX_OFFLINE": "1",
    })  # fmt: skip


@functools.lru_cache(None)
def code_paths():
    """Where the compiled modules are, after building what is not up to date. One worker builds, others wait."""
    directory = build_directory() / "elixir"
    (directory / "home").mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["mix", "compile", "--warnings-as-errors"], cwd=PROJECT, env=mix_environment(directory),
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    apps = [str(directory / "test" / "lib" / app / "ebin") for app in ("rollcall", "libcluster_rollcall")]
    # The real libcluster in the place of the stand-in.
    return apps + [path for path in os.environ.get("LIBCLUSTER_EBIN", "").split(":") if path]


class ElixirNode(ErlangNode):
    """`elixir --sname NAME` as ErlangNode is `erl`; eval() takes Elixir's expressions, also of several lines, and
    returns what inspect/1 makes of the value. Variables stay from one to the next."""

    serve = str(SERVE)

    @staticmethod
    def paths():
        return code_paths()

    def _argv(self):
        argv = ["elixir", "--name" if self.long else "--sname", self.name, "--cookie", COOKIE]
        if not self.start_epmd:
            argv += ["--erl", "-start_epmd false"]
        for path in self.paths():
            argv += ["-pa", path]
        return [*argv, *self.args, self.serve]

    @staticmethod
    def _line(expressions):
        return expressions.strip().replace("\n", "\u2028") + "\n"


def elixir_binds():
    """For the machine of a MachineElixirNode."""
    return [f"{path}:/opt/elixir/{n}" for n, path in enumerate(code_paths())]


class MachineElixirNode(MachineNode, ElixirNode):
    """One under NAME.service, as Machine.node() makes them of erl."""

    serve = "/opt/tests/lib/elixir_node.exs"

    @staticmethod
    def paths():
        return [f"/opt/elixir/{n}" for n in range(len(code_paths()))]
