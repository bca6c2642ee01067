# SPDX-License-Identifier: Apache-2.0
"""A client that behaves: it asks one thing after the other, and notes whether and how soon it is answered. Standard
library and tests/lib only.

    cd tests; python3 -m abuse.witness --port 4369 --control /run/rollcall/control --seconds 10

The name "steady" must be registered, at port 4711. Prints one JSON line: for each kind of question the times in
milliseconds (n, p50, p99, most), and what went wrong, in words.
"""

import argparse
import gc
import json
import socket
import time

from lib.control_client import ControlConnection, put_request
from lib.epmd_client import EpmdClient

NAME, PORT = "steady", 4711
# A little rest after each: it is a client, no load.
REST = 0.002


class Witness:
    def __init__(self, client, control):
        self.client, self.control = client, control
        self.listener = client.listen()  # as a node has
        self.times, self.wrong, self.n = {}, [], 0

    def lookup(self):
        assert self.client.port_please(NAME).port == PORT

    def miss(self):
        assert self.client.port_please("nobody") is None

    def register(self):
        self.n += 1
        with self.client.register(f"witness{self.n}", self.listener.getsockname()[1]):
            pass

    def names(self):
        assert (NAME, PORT) in self.client.names()

    def find(self):
        with ControlConnection(str(self.control), put_request("FIND", NAME=NAME), 10) as question:
            assert [record["PORT"] for record in question.records() if record.kind == "NODE"] == [PORT]

    def status(self):
        with ControlConnection(str(self.control), put_request("STATUS"), 10) as question:
            assert any(record.kind == "STATUS" for record in question.records())

    def watch(self):
        """Also a stream has a place."""
        with ControlConnection(str(self.control), put_request("WATCH", NAME=NAME), 10) as stream:
            while stream.next().kind != "SYNCED":
                pass

    def ask(self, question):
        before = time.monotonic()
        try:
            question()
        except Exception as error:  # whatever it is, it is not the answer
            self.wrong.append(f"{question.__name__} after {time.monotonic() - before:.3f} s: {error!r}")
        self.times.setdefault(question.__name__, []).append((time.monotonic() - before) * 1000)

    def run(self, seconds, is_local=True):
        questions = [self.lookup, self.miss, self.lookup]
        if is_local:
            questions += [self.register, self.names]
        if self.control:
            questions += [self.find, self.status, self.watch]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for question in questions:
                self.ask(question)
                time.sleep(REST)
        return self


def summary(times):
    times = sorted(times)
    return {"n": len(times), "p50": times[len(times) // 2], "p99": times[min(len(times) - 1, len(times) * 99 // 100)], "most": times[-1]}


def main():
    parser = argparse.ArgumentParser(prog="witness", description=__doc__.split("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4369)
    parser.add_argument("--control")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--remote", action="store_true", help="it may look up only")
    args = parser.parse_args()
    socket.setdefaulttimeout(10)
    gc.disable()
    witness = Witness(EpmdClient(args.port, args.host), args.control).run(args.seconds, not args.remote)
    told = {name: summary(times) for name, times in witness.times.items()}
    told["all"] = summary([one for times in witness.times.values() for one in times])
    print(json.dumps({"times": told, "wrong": witness.wrong}))


if __name__ == "__main__":
    main()
