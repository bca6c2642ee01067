# SPDX-License-Identifier: Apache-2.0
"""How soon a well-behaved client is answered beside each attack, and without: the table of README.md.

    cd tests; ROLLCALL_BUILD=$PWD/../build python3 -m abuse.measure [--seconds 5] [--victim rollcall --victim bare] [ATTACK...]

Victims are Rollcall, stock epmd and the bare server of tests/bench, which only accepts, reads and answers: what a client
waits for there is the kernel's queue, and no port mapper's. layout.py says what runs where.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from abuse import layout
from abuse.attack import ATTACKS
from lib.daemon import Daemon, StockEpmd, free_port
from lib.epmd_client import EpmdClient
from lib.process import build_directory, die_with_parent, end, wait_for

TESTS = Path(__file__).resolve().parents[1]
NOBODY = 65534 if os.geteuid() == 0 else os.geteuid()
N_NODES = 300
MEMORY = Path("/dev/shm")
FEW_DESCRIPTORS = ["prlimit", "--nofile=1024:1024", "--"]


def program(module, *args, uid=None, network=None, seat=None):
    argv = ["/usr/bin/python3", "-B", "-m", f"abuse.{module}", *map(str, args)]
    if uid is not None and uid != os.geteuid():
        argv = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--", *argv]
    die = die_with_parent()

    def prepare():
        die()
        if seat:
            seat()

    return subprocess.Popen([*(network.prefix if network else []), *argv], cwd=TESTS, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, preexec_fn=prepare)  # fmt: skip


@contextlib.contextmanager
def attack(name, victim, *args, uid=NOBODY, network=None, seat=None):
    """While it goes on. A function that ends it and returns what became of it."""
    process = program("attack", name, "--host", victim.host, "--port", victim.port, "--seconds", 60, *args, uid=uid,
                      network=network, seat=seat)  # fmt: skip
    counts = {}

    def finish():
        if not counts:
            process.stdin.close()
            counts.update(json.loads(process.stdout.readline()))
        return counts

    try:
        assert process.stdout.readline() == "READY\n"
        yield finish
    finally:
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()
        end(process)
        process.stdout.close()


def witness(victim, seconds, *args, uid=None, seat=None):
    control = ["--control", victim.control] if hasattr(victim, "control") else []
    process = program("witness", "--host", victim.host, "--port", victim.port, "--seconds", seconds, *control, *args, uid=uid,
                      seat=seat)  # fmt: skip
    try:
        return json.loads(process.communicate(timeout=60 + seconds)[0])
    finally:
        end(process)


# --- victims ---------------------------------------------------------------------------------------------


class Bare:
    """tests/bench/bare.c, with answers of Rollcall's."""

    host = "127.0.0.1"

    def __init__(self, answers):
        self.port = free_port()
        self.client = EpmdClient(self.port)
        self.directory = tempfile.TemporaryDirectory(prefix="rollcall-bare-")
        self.argv = [str(build_directory() / "tests" / "bench" / "bare"), str(self.port)]
        for opcode, data in answers.items():
            path = Path(self.directory.name) / opcode
            path.write_bytes(data)
            self.argv.append(f"{opcode}={path}")

    def _listens(self):
        with contextlib.suppress(OSError):
            return self.client.request(b"?") == b""
        return False

    def __enter__(self):
        self.process = subprocess.Popen([*FEW_DESCRIPTORS, *self.argv], preexec_fn=die_with_parent())
        self.pid = self.process.pid
        wait_for(self._listens, "the bare server")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


@contextlib.contextmanager
def inhabited(victim):
    with contextlib.ExitStack() as nodes, victim:
        nodes.enter_context(victim.client.register("steady", 4711))
        for i in range(N_NODES):
            nodes.enter_context(victim.client.register(f"inhabitant{i}".ljust(200, "_"), i))
        yield victim


@contextlib.contextmanager
def town(on_disk=False):
    """Its registry is in memory, so that what is measured is not how soon a disk has written."""
    with tempfile.TemporaryDirectory(dir=None if on_disk or not MEMORY.is_dir() else MEMORY, prefix="rollcall-town-") as directory:
        daemon = Daemon("--max-nodes-per-uid", "400", wrapper=FEW_DESCRIPTORS, directory=directory)
        with inhabited(daemon):
            yield daemon


def stock_town():
    return inhabited(StockEpmd())


@contextlib.contextmanager
def bare_town():
    """What it answers is recorded, and its port may be any: right answers are not to be expected of it."""
    with town() as daemon:
        answers = {"z": daemon.client.request(b"zsteady"), "n": daemon.client.request(b"n")}
    with Bare({**answers, "x": bytes.fromhex("760000000004")}) as bare:
        yield bare


VICTIMS = {"rollcall": town, "on-disk": lambda: town(on_disk=True), "bare": bare_town, "stock": stock_town}


def enter_own_network():
    """Again, in a network of its own, so that nobody else's connections are there. Where that is not allowed, in this one."""
    if os.environ.pop("ROLLCALL_ABUSE_NETWORK", None):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    unshare = ["unshare", "--net", "--"]
    if subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0:
        os.environ["ROLLCALL_ABUSE_NETWORK"] = "own"
        os.execvp(unshare[0], [*unshare, *sys.orig_argv])


# --- the table -------------------------------------------------------------------------------------------


def measure(victim, name, seconds):
    """In peace, then attacked: two of the witness' reports, and what part of the time the victim was kept from running."""
    layout.seat_victim(victim.pid)
    peace = witness(victim, seconds, seat=layout.seat_witness)
    waited = layout.waited_seconds(victim.pid)
    with attack(name, victim, seat=layout.seat_attack) as finish:
        seen = witness(victim, seconds, seat=layout.seat_witness)
        waited = layout.waited_seconds(victim.pid) - waited
        finish()
    return peace, seen, waited / seconds


def ms(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def tell(name, victim, peace, seen, waited, is_detailed):
    for kind in seen["times"] if is_detailed else ["all"]:
        was, now = peace["times"][kind], seen["times"][kind]
        print(f"{name:11}{victim:10}{kind:10}{was['n']:6}{ms(was['p50']):>8}{ms(was['p99']):>8} {now['n']:6}{ms(now['p50']):>8}"
              f"{ms(now['p99']):>8}{ms(now['most']):>8}   x {now['p50'] / was['p50']:5.1f} {now['p99'] / was['p99']:5.1f}"
              f"   {waited:4.0%}", flush=True)  # fmt: skip
    for wrong in (peace["wrong"] + seen["wrong"])[:3]:
        print(f"    {wrong}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="measure", description=__doc__.split("\n\n")[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="all, if none is given")
    parser.add_argument("--victim", action="append", choices=VICTIMS)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--kinds", action="store_true", help="each kind of question, too")
    args = parser.parse_args()
    enter_own_network()
    print(f"{'':27}{'in peace':>22} {'attacked':>30}\n{'':27}{'n':>6}{'median':>8}{'p99':>8} {'n':>6}{'median':>8}{'p99':>8}{'most':>8}"
          f"   times        kept waiting")  # fmt: skip
    with layout.favoured():
        for name in args.attacks or ATTACKS:
            for victim in args.victim or ["rollcall"]:
                with VICTIMS[victim]() as it:
                    tell(name, victim, *measure(it, name, args.seconds), args.kinds)


if __name__ == "__main__":
    main()
