# SPDX-License-Identifier: Apache-2.0
"""The application of bindings/erlang, compiled, and nodes that have it.

    with app_node("a", daemon) as a:                the application runs
        a.eval('rollcall:nodes("web_*")')
    with app_node("a", daemon, started=False) as a: it is only in the code path
"""

import contextlib
import fcntl
import subprocess

from lib.nodes import ErlangNode
from lib.process import SOURCE, build_directory

BINDING = SOURCE / "bindings" / "erlang"


def ebin():
    """The directory with the compiled application; made again when a source is newer."""
    target = build_directory() / "erlang"
    target.mkdir(parents=True, exist_ok=True)
    sources = [BINDING / "build", *(BINDING / "src").iterdir()]
    with open(target / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = target / "rollcall.app"
        if not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in sources):
            with contextlib.suppress(FileNotFoundError):
                made.unlink()
            subprocess.run([BINDING / "build", target], check=True, timeout=120)
    return str(target)


class AppNode(ErlangNode):
    """One that is not stopped in the end, which takes a second, but halts."""

    def close(self):
        if self.process:
            self._hang_up()
        super().close()


def app_node(name, daemon, *args, started=True, config=None, **options):
    """An AppNode under `daemon` (anything with a port). config: {key: Erlang term} of the application."""
    flags = ["-pa", ebin()]
    for key, term in (config or {}).items():
        flags += ["-rollcall", key, term]
    if started:
        flags += ["-eval", "{ok, _} = application:ensure_all_started(rollcall)."]
    return AppNode(name, *flags, *args, epmd_port=daemon.port, **options)
