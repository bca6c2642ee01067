# SPDX-License-Identifier: Apache-2.0
"""Many nodes in one process, run inside of a machine by lib.inside.Swarm. Standard library only.

    python3 -m lib.swarm COUNT [--prefix n] [--host 127.0.0.1] [--listen 0.0.0.0] [--port 0]

Each is a listener and an open ALIVE2 connection, as OTP makes them: one that loses its connection registers
again after 2 s, with the same port. Says as JSON lines what happens to whom, and does what it is told on
stdin, a line each:

    leave NAME      its connection and its listener close
    churn COUNT     as many others register, each for a moment
    more COUNT      as many more nodes
    quit            (or end of file) all leave
"""

import argparse
import heapq
import json
import os
import selectors
import socket
import struct
import sys
import time

from lib.epmd_client import Alive2Reply, ClosedWithoutAnswer, alive2, frame, receive_exactly

# erl_epmd's.
RETURN_AFTER = 2.0
# What is asked for at one time: a thousand clients that connect at the same moment are no test of nodes.
WINDOW = 64


def say(event, **fields):
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n")


class Node:
    def __init__(self, swarm, name):
        self.swarm, self.name = swarm, name
        self.sock, self.creation, self.is_asking = None, None, False
        family = socket.AF_INET6 if ":" in swarm.args.listen else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind((swarm.args.listen, swarm.args.port))
        self.listener.listen(5)
        self.port = self.listener.getsockname()[1]

    def ask(self, is_asking):
        self.swarm.n_asking += is_asking - self.is_asking
        self.is_asking = is_asking

    def connect(self):
        self.ask(True)
        try:
            self.sock = socket.create_connection((self.swarm.args.host, 4369), timeout=10)
            self.sock.sendall(frame(alive2(self.name, self.port)))
        except OSError as error:
            return self.fail(repr(error))
        self.sock.setblocking(False)
        self.swarm.selector.register(self.sock, selectors.EVENT_READ, self.on_answer)

    def on_answer(self):
        if not self.sock:
            return  # it was told to leave in the same turn
        try:
            data = self.sock.recv(64)
        except BlockingIOError:
            return
        except OSError as error:
            return self.fail(repr(error))
        if len(data) != 6:
            return self.fail(f"{len(data)} bytes")
        reply = Alive2Reply.decode(data)
        if reply.result != 0:
            return self.fail("refused")
        self.ask(False)
        say("registered" if self.creation is None else "returned", name=self.name, port=self.port, creation=reply.creation)
        self.creation = reply.creation
        self.swarm.selector.modify(self.sock, selectors.EVENT_READ, self.on_loss)

    def on_loss(self):
        if not self.sock:
            return
        say("lost", name=self.name)
        self.disconnect()
        self.swarm.later(RETURN_AFTER, self)

    def fail(self, why):
        """OTP's first attempt ends the node; what comes back tries again."""
        self.ask(False)
        say("failed", name=self.name, why=why)
        self.disconnect()
        if self.creation is not None:
            self.swarm.later(RETURN_AFTER, self)

    def disconnect(self):
        if self.sock:
            try:
                self.swarm.selector.unregister(self.sock)
            except KeyError:
                pass
            self.sock.close()
            self.sock = None

    def leave(self):
        self.ask(False)
        self.disconnect()
        self.listener.close()


class Swarm:
    def __init__(self, args):
        self.args = args
        self.selector = selectors.DefaultSelector()
        self.nodes, self.waiting, self.due = {}, [], []
        self.n_made, self.n_asking, self.n_due, self.input = 0, 0, 0, b""

    def grow(self, count):
        for _ in range(count):
            name = f"{self.args.prefix}{self.n_made}"
            self.n_made += 1
            self.nodes[name] = Node(self, name)
            self.waiting.append(self.nodes[name])

    def later(self, seconds, node):
        self.n_due += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.n_due, node))

    def come_for_a_moment(self, name, port):
        """False where the daemon ended before it answered."""
        try:
            with socket.create_connection((self.args.host, 4369), timeout=10) as sock:
                sock.sendall(frame(alive2(name, port)))
                return struct.unpack(">cBI", receive_exactly(sock, 6))[1] == 0
        except (OSError, ClosedWithoutAnswer):
            return False

    def churn(self, count):
        """One after the other, each answered before it leaves: none is there for longer than a moment."""
        with socket.socket() as listener:
            listener.bind((self.args.listen, 0))
            listener.listen(5)
            for i in range(count):
                while not self.come_for_a_moment(f"{self.args.prefix}churn{i}", listener.getsockname()[1]):
                    pass
        say("churned", count=count)

    def on_stdin(self):
        data = os.read(0, 65536)
        *lines, self.input = (self.input + data).split(b"\n")
        for line in lines:
            word, *rest = line.decode().split()
            if word == "leave":
                self.nodes.pop(rest[0]).leave()
            elif word == "churn":
                self.churn(int(rest[0]))
            elif word == "more":
                self.grow(int(rest[0]))
            elif word == "quit":
                return False
        return data != b""

    def run(self):
        self.selector.register(0, selectors.EVENT_READ, None)
        self.grow(self.args.count)
        while True:
            now = time.monotonic()
            while self.due and self.due[0][0] <= now:
                self.waiting.append(heapq.heappop(self.due)[2])
            while self.waiting and self.n_asking < WINDOW:
                node = self.waiting.pop(0)
                if self.nodes.get(node.name) is node:
                    node.connect()
            sys.stdout.flush()
            left = max(0.0, self.due[0][0] - now) if self.due else None
            for key, _ in self.selector.select(left):
                if key.data:
                    key.data()
                elif not self.on_stdin():
                    return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--prefix", default="n")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--listen", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=0)
    Swarm(parser.parse_args()).run()


if __name__ == "__main__":
    main()
