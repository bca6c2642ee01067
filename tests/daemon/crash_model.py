# SPDX-License-Identifier: Apache-2.0
"""Clients that keep a daemon busy until it is killed, and what they may then expect of it.

    model = Model(daemon, random.Random(seed))
    model.work(until)            all kinds of requests, several at a time; on_due() is called when the time is over
    model.settle()               after the kill: what was answered, what was not; some nodes die meanwhile
    daemon.start()
    model.check()                nothing acknowledged lost, nothing invented, no creation given twice, history true

What has been asked and not answered may have happened or not: that is all that is left open.
"""

import collections
import contextlib
import select
import socket
import time

from daemon.helpers import query
from lib.control_client import BrokenOff, ControlClient, put_request
from lib.epmd_client import Alive2Reply, Port2Reply, alive2, frame

WINDOW = 12
NAMES = [f"n{i}" for i in range(40)] + [f"small{i}" for i in range(8)]
HOSTS = ["one.example", "two.example", "three.example"]


def now_usec():
    return time.time_ns() // 1000


class Node:
    """One that has a listening socket and has asked for a name with it: whatever follows is known by name and port,
    which no two have in common."""

    taken = set()

    def __init__(self, name):
        self.name, self.port = name, 0
        while self.port == 0 or (name, self.port) in self.taken:
            self.listener = socket.socket()
            self.listener.bind(("0.0.0.0", 0))
            self.port = self.listener.getsockname()[1]
        self.taken.add((name, self.port))
        self.listener.listen(1)
        self.sock = self.creation = None
        self.since = (now_usec(), None)  # it is registered no earlier, and no later
        self.is_busy = False
        self.hosts = {None}  # what it may have announced
        self.how = set()  # in which way it may have ended

    @property
    def is_small(self):
        return self.name.startswith("small")

    def disconnect(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def die(self, *how):
        self.how |= set(how)
        self.disconnect()
        self.listener.close()

    def __repr__(self):
        return f"{self.name} at {self.port} (creation {self.creation}, ended: {sorted(self.how) or 'no'})"


class Request:
    """One connection. `n_answer` bytes are the whole answer, or (None) all up to the close."""

    n_answer = None

    def __init__(self, model, node):
        self.model, self.node = model, node
        node.is_busy = True
        self.received, self.is_closed = b"", False
        self.sock = self.begin()
        self.sock.setblocking(False)

    def send(self, data, address=None):
        sock = socket.socket(socket.AF_INET if address is None else socket.AF_UNIX)
        try:
            sock.connect(("127.0.0.1", self.model.daemon.port) if address is None else str(address))
            sock.sendall(data)
        except OSError:
            sock.close()
            raise
        return sock

    def read(self):
        try:
            piece = self.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            piece = b""
        self.received += piece
        self.is_closed = not piece

    def has_ended(self):
        return self.is_closed or (self.n_answer is not None and len(self.received) >= self.n_answer)

    def finish(self):
        """With what has been received by now."""
        self.node.is_busy = False
        if self.n_answer is None or len(self.received) == self.n_answer:
            self.on_answer()
        else:
            assert not self.received, f"half an answer: {self.received}"
            self.on_loss()

    def on_loss(self):
        self.sock.close()


class Register(Request):
    @property
    def n_answer(self):
        return 4 if self.node.is_small else 6

    def body(self):
        highest = 5 if self.node.is_small else 6
        return frame(alive2(self.node.name, self.node.port, highest=highest, lowest=5))

    def begin(self):
        return self.send(self.body())

    def on_answer(self):
        reply = Alive2Reply.decode(self.received)
        assert reply.result == 0, f"{self.node} was refused"
        self.node.since = (self.node.since[0], self.node.since[1] or now_usec())
        self.node.sock = self.sock
        self.model.note_registered(self.node, reply.creation)

    def on_loss(self):
        self.sock.close()
        self.model.note_doubtful(self.node)


class Duplicate(Register):
    """Another one asks for a name whose holder lives."""

    def body(self):
        return frame(alive2(self.node.name, 1, highest=5 if self.node.is_small else 6, lowest=5))

    def on_answer(self):
        assert Alive2Reply.decode(self.received).result == 1, f"{self.node} was registered a second time"
        self.sock.close()

    def on_loss(self):
        self.sock.close()


class Leave(Request):
    def begin(self):
        sock, self.node.sock = self.node.sock, None
        sock.shutdown(socket.SHUT_WR)
        self.node.die("left", "found-dead", "listener-gone")
        self.model.note_ended(self.node)
        return sock

    def on_answer(self):
        self.sock.close()


class Lookup(Request):
    def begin(self):
        return self.send(frame(b"z" + self.node.name.encode()))

    def on_answer(self):
        self.sock.close()
        if self.received:
            found = Port2Reply.decode(self.received)
            assert found and found.port == self.node.port, f"{self.node} is told to be {found}"


class Order(Request):
    """On the control socket. Acknowledged is what has an END behind it."""

    END = b"\0\0\0\1@"

    def finish(self):
        self.node.is_busy = False
        self.sock.close()
        if self.received.endswith(self.END):
            self.on_answer()
        else:
            self.on_loss()


class Announce(Order):
    def begin(self):
        self.host = self.model.chance.choice(HOSTS)
        request = put_request("ANNOUNCE", NAME=self.node.name, HOST=self.host, PAIR={"round": str(self.model.round)})
        return self.send(request, self.model.daemon.control)

    def on_answer(self):
        self.node.hosts = {self.host}

    def on_loss(self):
        self.node.hosts = self.node.hosts | {self.host}


class Release(Order):
    def begin(self):
        return self.send(put_request("RELEASE", NAME=self.node.name), self.model.daemon.control)

    def on_answer(self):
        self.node.die("released")
        self.model.note_ended(self.node)

    def on_loss(self):
        self.node.die("released", "found-dead")
        self.model.note_ended(self.node)


ACTIONS = [Leave] * 8 + [Announce] * 3 + [Duplicate] * 3 + [Lookup] * 3 + [Release]


class Model:
    def __init__(self, daemon, chance):
        self.daemon, self.chance, self.round = daemon, chance, 0
        self.nodes = {}  # name: who has it, as far as was answered
        self.doubtful = []  # asked for a name, and were not answered
        self.owed = []  # have ended, and the history does not have them yet
        self.given = {}  # creation of 32 bits: (name, port)
        self.last_small = {}
        self.asked_name = set()
        self.requests, self.poll = {}, None
        self.watch = None
        self.n_history = self.n_acknowledged = 0
        self.until = collections.defaultdict(int)  # name: when its last tenure that was seen has ended

    # --- what is known ---

    def note_creation(self, node, creation):
        """P5"""
        if node.is_small:
            assert creation in (1, 2, 3)
            if node.creation is None:
                assert creation != self.last_small.get(node.name), f"{node} has its predecessor's {creation}"
            self.last_small[node.name] = creation
        else:
            assert self.given.setdefault(creation, (node.name, node.port)) == (node.name, node.port), f"{creation} again for {node}"
        assert node.creation in (None, creation), f"{node} came back and was given {creation}"
        node.creation = creation

    def note_registered(self, node, creation):
        self.note_creation(node, creation)
        self.nodes[node.name] = node
        self.asked_name.discard(node.name)
        self.n_acknowledged += 1

    def note_doubtful(self, node):
        if self.nodes.get(node.name) is not node:
            self.doubtful.append(node)

    def note_ended(self, node):
        assert self.nodes.pop(node.name) is node
        self.owed.append(node)

    # --- work ---

    def begin_request(self):
        free = [name for name in NAMES if name not in self.nodes and name not in self.asked_name]
        idle = [node for node in self.nodes.values() if not node.is_busy]
        lost = [node for node in idle if node.sock is None]
        if lost and self.chance.random() < 0.5:
            return Register(self, self.chance.choice(lost))
        if free and (not idle or self.chance.random() < 0.55):
            node = Node(self.chance.choice(free))
            self.asked_name.add(node.name)
            try:
                return Register(self, node)
            except OSError:
                self.asked_name.discard(node.name)
                node.listener.close()
                raise
        present = [node for node in idle if node.sock]
        action = self.chance.choice(ACTIONS)
        return action(self, self.chance.choice(present)) if present else None

    def step(self, timeout):
        while len(self.requests) < WINDOW:
            request = self.begin_request()
            if not request:
                break
            self.requests[request.sock.fileno()] = request
            self.poll.register(request.sock, select.POLLIN)
        for fd, _ in self.poll.poll(timeout * 1000):
            request = self.requests[fd]
            request.read()
            if request.has_ended():
                self.poll.unregister(fd)
                del self.requests[fd]
                request.finish()

    def work(self, seconds):
        """Returns when the time is over, with requests under way."""
        self.poll = select.poll()
        self.watch = ControlClient(self.daemon.control).watch()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.step(left)

    def settle(self):
        """After a kill: takes in what was answered before it. Then some of the nodes die, before anybody starts."""
        self.round += 1
        requests, self.requests = list(self.requests.values()), {}
        for request in requests:
            request.sock.setblocking(True)
            request.sock.settimeout(10)
            while not request.has_ended():
                request.read()
            request.finish()
        self.asked_name.clear()
        for node in list(self.nodes.values()):
            node.disconnect()
            if self.chance.random() < 0.2:
                node.die("found-dead")
                self.note_ended(node)
        for node in self.doubtful:
            node.is_dead = self.chance.random() < 0.5
            if node.is_dead:
                node.die("found-dead")

    # --- what is there ---

    def check_file(self):
        """Before anybody starts: whoever was told so is in the file (P1), and what watchers were told, too."""
        assert query(self.daemon.state, "PRAGMA integrity_check") == [("ok",)]
        rows = set(query(self.daemon.state, "SELECT name, port, creation FROM registrations"))
        ended = set(query(self.daemon.state, "SELECT name, port, creation FROM tenures"))
        for node in self.nodes.values():
            assert (node.name, node.port, node.creation) in rows, f"{node} was acknowledged"
        for node in self.owed:
            key = (node.name, node.port, node.creation)
            assert key in ended if node.how == {"released"} else key in rows | ended, f"{node} was acknowledged"
        for record in self.told():
            key = (record["NAME"], record["PORT"], record["CREATION"])
            assert key in (ended if record.kind == "GONE" else rows | ended), f"a watcher was told {record}"

    def told(self):
        """What the watcher had been told, up to half a record at the end."""
        records = []
        with contextlib.suppress(BrokenOff, AssertionError), self.watch:
            while (record := self.watch.next(10)) is not None:
                records.append(record)
        return [record for record in records if record.kind in ("NODE", "GONE")]

    def check(self):
        """At the first answers of a new start."""
        told = self.daemon.client.names()
        names = dict(told)
        assert len(names) == len(told)
        for node in self.nodes.values():
            assert names.pop(node.name, None) == node.port, f"{node} was acknowledged and lives"
        for node in self.doubtful:
            if not node.is_dead and names.pop(node.name, None) == node.port:
                self.nodes[node.name] = node
            elif not node.is_dead:
                node.die()
        assert not names, f"nobody asked for {names}"
        # An answer about the past comes after all that was to be written before it.
        ControlClient(self.daemon.control).request("HISTORY", NAME="nobody")
        self.check_rows()
        self.check_history()

    def check_rows(self):
        ask = "SELECT name, port, creation, host, since_usec FROM registrations"
        rows = {row[0]: row for row in query(self.daemon.state, ask)}
        assert rows.keys() == self.nodes.keys()
        for node in self.nodes.values():
            _, port, creation, host, since = rows[node.name]
            assert port == node.port and host in node.hosts, f"{node} has {rows[node.name]}, not {node.hosts}"
            assert node.since[0] <= since <= (node.since[1] or now_usec()), node
            self.note_creation(node, creation)
            node.hosts = {host}

    def check_history(self):
        ask = "SELECT id, name, port, creation, how, since_usec, until_usec FROM tenures ORDER BY id"
        rows = query(self.daemon.state, ask)
        new, self.n_history = rows[self.n_history :], len(rows)
        owed = {(node.name, node.port): node for node in self.owed}
        dead = {(node.name, node.port): node for node in self.doubtful if node.is_dead}
        for _, name, port, creation, how, since, until in new:
            node = owed.pop((name, port), None) or dead.pop((name, port), None)
            assert node, f"nobody of history is {name} at {port}, which {how}"
            if node.creation is None or not node.is_small:
                self.note_creation(node, creation)
            assert node.creation == creation and how in node.how, f"{node} has ended: {how}"
            assert node.since[0] <= since <= (node.since[1] or now_usec()) and since <= until <= now_usec(), node
            assert self.until[name] <= since, f"{node} was there before its predecessor had gone"
            self.until[name] = until
        assert not owed, f"the history lacks {list(owed.values())}"
        self.owed, self.doubtful = [], []

    def close(self):
        if self.watch:
            self.watch.close()
        for request in self.requests.values():
            request.sock.close()
        for node in [*self.nodes.values(), *self.doubtful, *(request.node for request in self.requests.values())]:
            node.die()
