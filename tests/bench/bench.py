# SPDX-License-Identifier: Apache-2.0
"""Rollcall beside stock epmd and beside a server that does nothing but answer (bare.c): `./dev bench`.

    python3 tests/bench/bench.py [--quick] [--only PART]

What is measured is the CPU time of the server process, all of its threads, from before the first request until it is
idle again; never time on the clock, but for the start. All three run in turn within each round, so that what
else the machine does falls on all of them, and a round's figure is the ratio to the bare server of that round. System
calls are counted by strace in a pass of its own, in which each request has been dealt with before the next one comes.
"""

import argparse
import contextlib
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import report  # noqa: E402
from lib.control_client import put_request  # noqa: E402
from lib.daemon import StockEpmd  # noqa: E402
from lib.epmd_client import alive2, frame  # noqa: E402
from lib.process import build_directory  # noqa: E402
from servers import LOAD_CORE, PORTS, SERVER_CORE, Load, Server, Strace, cores  # noqa: E402

CLIENTS = 16
LISTEN_FROM = 10000  # the ports of the nodes
MANY = 15000
STOCK_MAX = 1000  # it takes no more than FD_SETSIZE connections
PAUSE_USEC = 2000  # one at a time: longer than anything takes under strace, but for a commit
STRACED = 100

FIND = put_request("FIND", PREFIX="node0001")[2:]  # ten of them, however many there are
WATCH = put_request("WATCH")[2:]
WATCHERS = 1000
ROWS = 10000
RETURNING = 5000


# --- workloads --------------------------------------------------------------------------------------


class Bench:
    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.state = build_directory() / "bench-results" / "registry.db"
        self.rounds = 5 if args.quick else 9
        self.many = min(MANY, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000)
        # All nodes here are of one user, who may have half of what the daemon can hold.
        self.options = ["--max-nodes-per-uid", "1000000"]
        self.answers = {"x": bytes.fromhex("760000000004")}
        self.results = []
        self.since = time.monotonic()
        self.n_files = 0

    def times(self, count):
        return count // 6 if self.args.quick else count

    def file(self, requests):
        self.n_files += 1
        path = self.directory / f"requests.{self.n_files}"
        path.write_bytes(b"".join(map(frame, requests)))
        return path

    def remove_state(self):
        for path in self.state.parent.glob(self.state.name + "*"):
            path.unlink()

    # --- what is asked ---

    @staticmethod
    def name(i):
        return f"node{i:05}"

    def registrations(self, n, name="node"):
        return [alive2(f"{name}{i:05}", LISTEN_FROM + i) for i in range(n)]

    def lookups(self, n, opcode=b"z", name="node"):
        """In no order that a cache would like."""
        return [opcode + f"{name}{i * 7919 % n:05}".encode() for i in range(n)]

    # --- how it is measured ---

    def add(self, key, title, goal=None, unit="request", **more):
        result = {"key": key, "title": title, "goal": goal, "unit": unit, "nsec": {}, "calls": {}, **more}
        self.announce(result)
        return result

    def announce(self, result):
        self.results.append(result)
        print(f"--- {result['title']} ({time.monotonic() - self.since:.0f} s)", flush=True)

    def take_turns(self, servers, measure, result):
        """measure(server) -> ns of CPU per request, in each round of each server, every time another one first."""
        for i in range(self.rounds):
            for k in range(len(servers)):
                server = servers[(i + k) % len(servers)]
                name = server if isinstance(server, str) else server.name
                result["nsec"].setdefault(name, []).append(measure(server))
        self.tell(result)

    def tell(self, result):
        for name in result["nsec"]:
            print(f"    {report.NAMES[name]:12} {report.format_ratio(result, name):20} {report.format_usec(result, name):>6} us "
                  f"{report.format_calls(result, name):>6} calls", flush=True)

    def count_calls(self, result, server, n, run):
        """run(): n requests, one at a time."""
        with Strace(server, self.directory) as strace:
            run()
        result["calls"][server.name] = {call: count / n for call, count in strace.counts.items()}

    # --- lookups, listings ---

    def measure_asking(self, servers, result, requests, n_bytes, count):
        paths = {name: self.file(of) for name, of in requests.items()}

        def ask(server, clients, pause, n):
            with Load("ask", server.port, clients, pause, n, paths[server.name], n_bytes) as load:
                load.done()

        def measure(server):
            before = server.idle()
            ask(server, CLIENTS, 0, count)
            return (server.idle() - before) / count

        for server in servers:
            self.count_calls(result, server, STRACED, lambda: ask(server, 1, PAUSE_USEC, STRACED))
        self.take_turns(servers, measure, result)

    def ask(self, servers, key, title, goal, opcode, requests, count, more=None):
        """The same requests to all; for the bare server they begin with `opcode`, which says what it answers."""
        n_bytes = len(self.answers[opcode])
        for server in servers:
            own = requests if server.name != "bare" else [opcode.encode() + r[1:] for r in requests]
            answer = server.client.request(own[0])
            assert len(answer) == n_bytes, (server.name, own[0], answer[:80], n_bytes)
        bare = [opcode.encode() + r[1:] for r in requests]
        result = self.add(key, title, goal, **(more or {}))
        self.measure_asking(servers, result, {"rollcall": requests, "stock": requests, "bare": bare}, n_bytes, count)

    def with_names(self, n):
        """Servers in which n nodes are registered: [Server], as a context. Rollcall's first."""
        stack = contextlib.ExitStack()
        names = ["rollcall", "bare"] + (["stock"] if n <= STOCK_MAX else [])
        requests = self.file(self.registrations(n))
        with stack:
            servers = []
            for name in names:
                server = stack.enter_context(Server(name, self))
                before = server.resident_bytes()
                stack.enter_context(Load("register", server.port, CLIENTS, 0, requests)).done()
                server.idle()
                server.grown = server.resident_bytes() - before
                servers.append(server)
            return stack.pop_all(), servers

    def bench_lookups(self):
        for n in (10, 1000, self.many):
            with contextlib.ExitStack() as stack:
                opened, servers = self.with_names(n)
                stack.enter_context(opened)
                count = self.times(12000)
                self.ask(servers, f"lookup-{n}", f"lookup, {n:,} names", 1.2, "z", self.lookups(n), count)
                self.ask(servers, f"miss-{n}", f"lookup of an unknown name, {n:,} names", 1.2, "m",
                         self.lookups(n, name="miss"), count)
                if n == 1000:
                    self.ask(servers, "names", "NAMES of 1,000", 1.5, "n", [b"n"], self.times(1200))
                if n == self.many:
                    # Stock epmd has nothing like it.
                    self.ask(servers, "find", f"FIND of 10 names by prefix, {n:,} names", None, "L", [FIND], count)
                    result = {"key": "memory", "title": f"memory of a registration, of {n:,}", "goal": 1024,
                              "bytes": {server.name: server.grown / n for server in servers}}
                    self.announce(result)
                    print("    " + report.format_bytes(result), flush=True)

    # --- registrations ---

    def fresh(self, names, result, run, per):
        """run(server) with a server of its own each time; ns of CPU by `per`."""
        def measure(name):
            with Server(name, self) as server:
                before = server.idle()
                with run(server, CLIENTS, 0):
                    after = server.idle()
                return (after - before) / per

        self.take_turns(names, measure, result)

    def count_calls_fresh(self, names, result, run):
        for name in names:
            with Server(name, self) as server, contextlib.ExitStack() as stack:
                self.count_calls(result, server, STRACED, lambda: stack.enter_context(run(server, 1, 3 * PAUSE_USEC)))

    def bench_registrations(self):
        for n in (900, self.many):
            names = ["rollcall", "bare"] + (["stock"] if n <= STOCK_MAX else [])
            result = self.add(f"register-{n}", f"durable registration, {n:,} nodes", 2.2, unit="registration")
            few, all_ = self.file(self.registrations(STRACED)), self.file(self.registrations(n))

            def run(server, clients, pause, requests=all_):
                load = Load("register", server.port, clients, pause, requests)
                load.done()
                return load

            self.count_calls_fresh(names, result, lambda *args: run(*args, requests=few))
            self.fresh(names, result, run, n)

    def bench_churn(self):
        names = ["rollcall", "bare", "stock"]
        result = self.add("churn", "durable registration that is closed at once, with its history", 1.7, unit="pair")
        requests, count = self.file(self.registrations(1000, "churn")), self.times(6000)

        def run(server, clients, pause, n=count):
            load = Load("churn", server.port, clients, pause, n, requests)
            load.done()
            return load

        self.count_calls_fresh(names, result, lambda *args: run(*args, n=STRACED))
        self.fresh(names, result, run, count)

    # --- watchers ---

    def bench_watch(self):
        n_bytes = len(self.answers["w"])
        result = self.add("watch", f"one change, told to {WATCHERS:,} watchers", 1.5, unit="change")
        requests = {"rollcall": self.file([WATCH]), "bare": self.file([b"w"])}

        @contextlib.contextmanager
        def watched(name):
            with contextlib.ExitStack() as stack:
                server = stack.enter_context(Server(name, self))
                watchers = stack.enter_context(Load("watch", server.port, WATCHERS, requests[name]))
                server.idle()
                watchers.level = int(watchers.line()[1])
                yield server, lambda n: change(server, watchers, stack, n)

        def change(server, watchers, stack, n):
            """n registrations; each has reached every watcher before the next one comes."""
            level = watchers.level
            for i in range(n):
                stack.enter_context(server.client.register(f"newcomer{i:02}", LISTEN_FROM + i))
                level += n_bytes
                while watchers.level < level:
                    watchers.level = int(watchers.line()[1])

        def measure(name):
            n = self.times(30)
            with watched(name) as (server, make):
                before = server.idle()
                make(n)
                return (server.idle() - before) / n

        for name in requests:
            with watched(name) as (server, make):
                self.count_calls(result, server, 4, lambda: make(4))
        self.take_turns(list(requests), measure, result)

    # --- start, return ---

    def bench_start(self):
        figures = {"rollcall": [], "stock": []}
        result = {"key": "start", "title": f"start with {ROWS:,} rows to the first right answer", "goal": 20, "start": figures}
        os.environ.update(ERL_EPMD_PORT=str(PORTS["stock"]), ERL_EPMD_ADDRESS="127.0.0.1")
        self.announce(result)
        with Server("rollcall", self) as server:
            with Load("register", server.port, CLIENTS, 0, self.file(self.registrations(ROWS))) as load:
                load.done()
                server.kill9()
            # Where it was, the kernel has what is left of each of those connections, and bind() looks at all of them.
            server.process.listen = [f"127.0.0.1:{PORTS['start']}"]
            starts = {
                "rollcall": (PORTS["start"], self.file([b"z" + self.name(ROWS - 1).encode()]), len(self.answers["z"]),
                             server.process.argv(ready_fd=1)),
                "stock": (PORTS["stock"], self.file([b"znothing"]), 2, [StockEpmd.program]),
            }
            for _ in range(self.rounds):
                for name in starts:
                    figures[name].append(self.time_start(*starts[name]))
        print("    " + report.format_start(result), flush=True)

    def time_start(self, port, requests, n_bytes, argv):
        """ns on the clock and of CPU."""
        with open(self.directory / "start.log", "a") as log:
            with Load("start", port, SERVER_CORE, requests, n_bytes, *argv, stderr=log) as load:
                line = load.line()
                while line[0] != "done":  # but READY
                    line = load.line()
                return [int(number) for number in line[1:]]

    def bench_return(self):
        n = RETURNING
        result = self.add("return", f"{n:,} nodes return after a kill -9, each with its share of the start", None, unit="node")
        requests = self.file(self.registrations(n))

        def measure(name):
            with Server(name, self) as server, Load("register", server.port, CLIENTS, 0, requests) as load:
                load.done()
                server.idle()
                server.kill9()
                server.start()
                load.again()
                result.setdefault("clock_nsec", {}).setdefault(name, []).append(load.done()[0])
                return server.idle() / n

        self.take_turns(["rollcall", "bare"], measure, result)

    # --- all of it ---

    def run(self):
        parts = [("lookups", self.bench_lookups, self.many), ("registrations", self.bench_registrations, self.many),
                 ("churn", self.bench_churn, 1000), ("watch", self.bench_watch, 100), ("start", self.bench_start, ROWS),
                 ("return", self.bench_return, RETURNING)]
        with Load("listen", LISTEN_FROM, 1000) as listeners:
            listeners.done()
            self.answers.update(Example(self).answers)
        for name, part, n_nodes in parts:
            if not self.args.only or self.args.only in name:
                with Load("listen", LISTEN_FROM, n_nodes) as listeners:
                    listeners.done()
                    part()


class Example:
    """What Rollcall answers, for the bare server to repeat."""

    def __init__(self, bench):
        with Server("rollcall", bench) as server:
            with Load("register", server.port, CLIENTS, 0, bench.file(bench.registrations(1000))) as load:
                load.done()
                self.answers = {
                    "z": server.client.request(b"z" + bench.name(7).encode()),
                    "m": server.client.request(b"zmiss00007"),
                    "n": server.client.request(b"n"),
                    "L": server.client.request(FIND),
                    "w": self.change(server, bench),
                }

    @staticmethod
    def change(server, bench):
        """What a watcher is told of one registration."""
        with Load("watch", server.port, 1, bench.file([WATCH])) as watcher, server.client.connect() as sock:
            watcher.line()
            sock.sendall(frame(WATCH))
            before = receive_until_quiet(sock)
            assert before.startswith(b"LRC"), before[:50]
            with server.client.register("newcomer00", LISTEN_FROM):
                return receive_until_quiet(sock)


def receive_until_quiet(sock):
    """All that comes until nothing has for a while; something must."""
    data = b""
    while not data or select.select([sock], [], [], 0.3)[0]:
        piece = sock.recv(1 << 20)
        assert piece, "closed"
        data += piece
    return data


def enter_own_network():
    """Again, in a network of its own, so that nobody else's sockets and ports are there. Where that is not
    allowed, in this one."""
    if os.environ.pop("ROLLCALL_BENCH_NETWORK", None):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for options in ([], ["--user", "--map-root-user"]):
        unshare = ["unshare", *options, "--net", "--"]
        if subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0:
            os.environ["ROLLCALL_BENCH_NETWORK"] = "own"
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])
    print("bench: no network namespace of its own is to be had; the machine's is used", flush=True)


def machine():
    """Where the figures come from, in a line."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.M)
    osrelease = re.search(r'^PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text(), re.M)
    virtual = subprocess.run(["systemd-detect-virt"], capture_output=True, text=True).stdout.strip()
    processor = model[1] if model else os.uname().machine
    facts = [f"{len(cores)} {'virtual ' if virtual not in ('', 'none') else ''}cores of {processor}"]
    facts += [f"Linux {os.uname().release.split('-')[0]}", osrelease[1] if osrelease else ""]
    return ", ".join(filter(None, [*facts, f"files on {file_system(build_directory())}"]))


def file_system(path):
    return subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser(prog="dev bench")
    parser.add_argument("--quick", action="store_true", help="under two minutes: fewer rounds of fewer requests")
    parser.add_argument("--only", metavar="PART", help="lookups, registrations, churn, watch, start or return")
    args = parser.parse_args()
    enter_own_network()
    os.sched_setaffinity(0, {LOAD_CORE})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    out = build_directory() / "bench-results"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as directory:
        bench = Bench(args, Path(directory))
        try:
            bench.run()
        except KeyboardInterrupt:
            sys.exit("bench: interrupted; the last results are as they were")
        finally:
            bench.remove_state()
    facts = {"machine": machine(), "rounds": bench.rounds, "clients": CLIENTS, "date": time.strftime("%Y-%m-%d")}
    report.write(out, bench.results, facts)
    print(f"\n{out / 'results.md'}, results.svg, results.json")


if __name__ == "__main__":
    main()
