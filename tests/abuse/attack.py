# SPDX-License-Identifier: Apache-2.0
"""One kind of abuse, for a while. For daemons of one's own: it goes to addresses of this machine only. Standard library only.

    cd tests; python3 -m abuse.attack idle --port 4369 --seconds 10 --width 1100
    python3 -m abuse.attack --list

Keeps `width` connections open, or under way, and begins a new one for each that ends, `rate` a second at most. Says
"READY" when the first so many were begun, and what became of all as one JSON line at the end, which comes after
`seconds`, or when stdin ends.
"""

import argparse
import dataclasses
import errno
import ipaddress
import json
import random
import resource
import select
import socket
import struct
import sys
import time
from typing import Callable

# What nobody needs more of.
SECONDS_MAX, WIDTH_MAX, RATE_MAX = 3600, 8000, 50000

HEAD = b"LRC\x01"
FIND, WATCH = 9, 6


def frame(body):
    return struct.pack(">H", len(body)) + body


def field(tag, value):
    return struct.pack(">HH", tag, len(value)) + value


def alive2(name, port=1):
    return struct.pack(">cHBBHHH", b"x", port, 77, 0, 6, 5, len(name)) + name + b"\0\0"


def part_of(data):
    return data[: random.randrange(len(data))]


REQUESTS = [frame(b"n"), frame(b"d"), frame(b"zsome_name"), frame(alive2(b"broken")), frame(HEAD + bytes([FIND]))]
# Of those who do not read.
WINDOW_BYTES, SEGMENT_BYTES = 2048, 88
# One that is never whole: the longest there can be.
LONG = struct.pack(">H", 3000) + b"z" * 2999


@dataclasses.dataclass
class Attack:
    """What each connection sends at once, and what it does then: "hold" it, read the "answer", "reset" it, "leave" at once or
    when there is an answer, "drip" the rest byte by byte, or hold it "deaf", without reading. Who does not read has a tiny
    window, and tiny segments: the kernel of who answers makes its buffer as large as some of these, so that by loopback's
    of 64 KiB it takes megabytes."""

    what: str
    says: Callable[[], bytes] = lambda: b""
    then: str = "answer"
    width: int = 200
    rate: int = RATE_MAX


ATTACKS = {
    "idle": Attack("connect and say nothing", then="hold", width=1100),
    "drip": Attack("send a byte a second", lambda: LONG, "drip", 600),
    "half": Attack("send half a request and wait", lambda: part_of(random.choice(REQUESTS)), "hold", 1100),
    "lengths": Attack("announce nothing, or too much", lambda: random.choice(
        [b"\0\0", b"\xff\xff", struct.pack(">H", 3058), b"\xff\xff" + bytes(5000), bytes(5000)])),
    "noise": Attack("send random bytes", lambda: random.randbytes(random.randrange(1, 4000))),
    "reset": Attack("break off at any point", lambda: part_of(random.choice(REQUESTS) + b"\0"), "reset"),
    "pipeline": Attack("send a hundred requests at once", lambda: random.choice(REQUESTS) * 100),
    "deaf": Attack("ask for all there is and read nothing", lambda: random.choice([frame(b"n"), frame(b"d")]), "deaf", 900),
    "names": Attack("ask for all names, again and again", lambda: frame(b"n"), width=64),
    "find": Attack("search with many patterns, again and again", lambda: frame(
        HEAD + bytes([FIND]) + b"".join(field(50, b"*a%d*b?" % i) for i in range(60))), width=64),
    "watch": Attack("watch, as many as there can be, and read nothing", lambda: frame(HEAD + bytes([WATCH])), "deaf", 900),
    "duplicates": Attack("register one name that is held", lambda: frame(alive2(b"steady", random.randrange(1, 65536))),
                         width=64),
    "churn": Attack("register and leave", lambda: frame(alive2(b"churn%d" % random.randrange(10**6))), "leave", 64),
}  # fmt: skip


@dataclasses.dataclass
class Connection:
    sock: socket.socket
    rest: bytes  # to be sent
    due: float = 0.0  # when its next byte is


class Sources:
    """Addresses to come from, one after the other. Of an IPv4 network each address, of an IPv6 network one of each /64."""

    def __init__(self, texts):
        self.networks = [ipaddress.ip_network(text) for text in texts]
        self.counts = [max(1, network.num_addresses >> (64 if network.version == 6 else 0)) for network in self.networks]

    def __bool__(self):
        return bool(self.networks)

    def at(self, n):
        n %= sum(self.counts)
        for network, count in zip(self.networks, self.counts, strict=True):
            if n < count:
                return str(network[n << 64 | 1 if network.version == 6 and count > 1 else n])
            n -= count
        raise AssertionError


class Attacker:
    """`sources`: none: the kernel's choice. `control`: a control socket, to which every second one goes."""

    def __init__(self, attack, host, port, sources=None, control=None):
        self.attack, self.address, self.sources, self.control = attack, (host, port), sources or Sources(()), control
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.poll = select.epoll()
        self.open = {}
        self.counts = {"begun": 0, "answered": 0, "closed": 0, "failed": 0}
        self.deaf = attack.then == "deaf"
        self.drips = []

    def prepare(self, sock):
        if self.deaf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        if self.sources:
            sock.bind((self.sources.at(self.counts["begun"]), 0))

    def begin(self):
        by_control = self.control and self.counts["begun"] % 2 == 0
        sock = socket.socket(socket.AF_UNIX if by_control else self.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if not by_control:
                self.prepare(sock)
            if sock.connect_ex(self.control if by_control else self.address) not in (0, errno.EINPROGRESS):
                raise OSError
        except OSError:
            self.counts["failed"] += 1
            sock.close()
            return
        self.counts["begun"] += 1
        self.open[sock.fileno()] = Connection(sock, self.attack.says())
        self.poll.register(sock, select.EPOLLOUT | select.EPOLLIN)

    def end(self, connection, how):
        self.counts[how] += 1
        del self.open[connection.sock.fileno()]
        if self.attack.then in ("reset", "leave") or how == "failed":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sock.close()

    def send(self, connection):
        """All at once, or the first byte of what drips."""
        if self.attack.then == "drip":
            connection.rest = connection.rest[connection.sock.send(connection.rest[:2]) :]
            connection.due = time.monotonic() + 1
            self.drips.append(connection)
        elif connection.rest:
            connection.rest = connection.rest[connection.sock.send(connection.rest) :]
        if self.attack.then == "reset" or (self.attack.then == "leave" and random.randrange(2)):
            self.end(connection, "closed")
        elif not connection.rest or self.attack.then == "drip":
            self.poll.modify(connection.sock, select.EPOLLRDHUP if self.deaf else select.EPOLLIN)

    def read(self, connection):
        while piece := connection.sock.recv(65536):
            self.counts["answered"] += piece[:1] != b""
            if self.attack.then == "leave":
                break
        self.end(connection, "closed")

    def on_ready(self, connection, events):
        try:
            if events & select.EPOLLOUT:
                self.send(connection)
            elif self.deaf:
                self.end(connection, "closed")
            else:
                self.read(connection)
        except BlockingIOError:
            pass
        except OSError:
            self.end(connection, "failed")

    def drip(self, now):
        due, self.drips = [c for c in self.drips if c.due <= now], [c for c in self.drips if c.due > now]
        for connection in due:
            if self.open.get(connection.sock.fileno()) is connection and connection.rest:
                try:
                    connection.rest = connection.rest[connection.sock.send(connection.rest[:1]) :]
                except OSError:
                    self.end(connection, "failed")
                    continue
                connection.due = now + 1
                self.drips.append(connection)

    def run(self, seconds):
        began = now = before = time.monotonic()
        ready, n_due = False, 0.0
        while now < began + seconds and not select.select([0], [], [], 0)[0]:
            n_due = min(n_due + self.attack.rate * (now - before), 200)
            before = now
            while n_due >= 1 and len(self.open) < self.attack.width:
                self.begin()
                n_due -= 1
            if not ready and self.counts["begun"] + self.counts["failed"] >= self.attack.width:
                ready = True
                print("READY", flush=True)
            for fd, events in self.poll.poll(0.01, 256):
                if fd in self.open:
                    self.on_ready(self.open[fd], events)
            now = time.monotonic()
            self.drip(now)
        self.counts["open"] = len(self.open)
        for connection in list(self.open.values()):
            connection.sock.close()
        return self.counts


def is_of_this_machine(host):
    """Loopback, or an address that one can listen on."""
    if ipaddress.ip_address(host).is_loopback:
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            return False
    return True


def parse(argv):
    parser = argparse.ArgumentParser(prog="attack", description=__doc__.split("\n\n")[0])
    parser.add_argument("attack", nargs="?", choices=ATTACKS)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4369)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--width", type=int)
    parser.add_argument("--rate", type=int)
    parser.add_argument("--source", action="append", default=[], help="an address or network to come from, again for each")
    parser.add_argument("--control", help="a control socket, to which every second connection goes")
    parser.add_argument("--own-network", action="store_true", help="the host is in a network namespace that was made for this")
    args = parser.parse_args(argv)
    if not args.list and not args.attack:
        parser.error("which attack?")
    if not args.list and not args.own_network and not is_of_this_machine(args.host):
        parser.error(f"{args.host} is no address of this machine")
    return args


def main():
    args = parse(sys.argv[1:])
    if args.list:
        for name, attack in ATTACKS.items():
            print(f"{name:12}{attack.what}")
        return
    attack = ATTACKS[args.attack]
    attack = dataclasses.replace(attack, width=min(args.width or attack.width, WIDTH_MAX), rate=min(args.rate or attack.rate, RATE_MAX))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    random.seed(7)
    print(json.dumps(Attacker(attack, args.host, args.port, Sources(args.source), args.control).run(min(args.seconds, SECONDS_MAX))), flush=True)


if __name__ == "__main__":
    main()
