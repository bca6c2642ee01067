# SPDX-License-Identifier: Apache-2.0
"""What the tests of `rollcall` share: how it is run, and what its man page promises."""

import contextlib
import os
import shutil
import subprocess

from lib.process import SOURCE, built, clean_environment, die_with_parent, end

NOBODY = 65534


def rollcall(*args, env=None, timeout=20, **kwargs):
    return subprocess.run([built("rollcall"), *map(str, args)], env=clean_environment(env), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout, **kwargs)


def rollcall_as(uid, directory, *args, env=None, **kwargs):
    """As another user, who may not enter the build directory: a copy in `directory` is run. Needs root."""
    program = directory / "rollcall"
    if not program.exists():
        shutil.copy(built("rollcall"), program)
        os.chmod(program, 0o755)
    return subprocess.run([program, *map(str, args)], user=uid, group=uid, extra_groups=[], env=clean_environment(env),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, cwd="/", **kwargs)


@contextlib.contextmanager
def begun(*args, env=None):
    """A command that takes its time: a Popen, ended in the end."""
    process = subprocess.Popen([built("rollcall"), *map(str, args)], env=clean_environment(env), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent())
    try:
        yield process
    finally:
        end(process)
        process.stdout.close()
        process.stderr.close()


def told(done):
    """(exit status, the one line on stderr) of a command that printed nothing else."""
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
    return done.returncode, done.stderr[:-1]


def keys_of_man_page(heading):
    """Keys of the table that stands after `heading` in the man page."""
    table = (SOURCE / "man" / "rollcall.1").read_text().partition(heading)[2].partition(".El")[0]
    return [line.split()[1] for line in table.splitlines() if line.startswith(".It ") and "Sy key" not in line]


def node_keys():
    return keys_of_man_page("prints an array, in the order of names")


def tenure_keys():
    return node_keys() + keys_of_man_page("print an array of registrations")


def found_keys():
    """Those of its own come first."""
    return keys_of_man_page("prints an array of nodes that were found") + node_keys()
