# SPDX-License-Identifier: Apache-2.0
"""The control protocol as a client speaks it, on the control socket or over TCP.

    client = ControlClient(daemon.control)          or ControlClient(("127.0.0.1", port)), or a function that
                                                    makes a connected socket: one request, one connection
    client.request("NAMES")                         -> [Record("NODE", {"NAME": "a", "PORT": 4711, ...}), ...]
    client.request("WHY", NAME="a")                 fields by name; a list repeats one; PAIR={"k": "v"}
    client.request(63)                              a refused request raises ControlError: .error, .word, .text
    client.find(PATTERN=["web_*", "db?"])           -> {("web_1", "*"): Record, ...}: what is selected, as the daemon does it
    with client.watch(PREFIX="web_") as watch:      a stream of records; of all nodes, in all states, unless told otherwise
        watch.sync()                                reads up to SYNCED, keeps what it knows in watch.nodes
        watch.wait(lambda: ("web_1", "*") in watch.nodes)

The numbers are those of PROTOCOL.md.
"""

import dataclasses
import select
import socket
import struct
import time

HEAD = b"LRC\x01"

REQUESTS = {"STATUS": 1, "NAMES": 2, "WHY": 3, "HISTORY": 4, "AT": 5, "WATCH": 6, "ANNOUNCE": 7, "RELEASE": 8,
            "FIND": 9, "ADD": 10, "REMOVE": 11, "PIN": 12, "UNPIN": 13, "PINS": 14, "ENTRIES": 15}
RECORDS = {
    "END": 64, "ERROR": 65, "STATUS": 66, "NODE": 67, "SOCKET": 68, "TENURE": 69, "REFUSAL": 70, "EPOCH": 71,
    "SYNCED": 72, "GONE": 73, "MORE": 74, "PIN": 75, "ENTRY": 76, "CULPRIT": 77,
}
ERRORS = {
    1: "malformed", 2: "bad-version", 3: "unknown-request", 4: "denied", 5: "busy", 6: "internal", 7: "not-found",
    8: "ambiguous", 9: "unavailable", 10: "too-slow", 11: "exists",
}

# number, how its value is written (a struct format, "text", "named": u64 and a name, "pair"), may occur more than once
TAGS = {
    "ERROR": (1, "H"), "TEXT": (2, "text"), "VERSION": (3, "B"),
    "NAME": (16, "text"), "STATE": (17, "text"), "PORT": (18, "H"), "TYPE": (19, "B"), "PROTOCOL": (20, "B"),
    "HIGHEST_VERSION": (21, "H"), "LOWEST_VERSION": (22, "H"), "CREATION": (23, "I"), "SINCE": (24, "Q"),
    "SCOPE": (25, "text"), "UID": (26, "I"), "UNIT": (27, "text"), "LISTENER": (28, "Q"),
    "STATE_SOURCE": (29, "text"), "STATE_SINCE": (30, "Q"), "UNIT_PID": (31, "I"), "HOST": (32, "text"),
    "ANNOUNCED": (33, "text"), "PAIR": (34, "pair"), "AWAITED": (35, "B"), "HELPER": (36, "B"),
    "EVIDENCE_OF_LIFE": (37, "text", True), "LISTENER_ADDRESS": (38, "text"), "IN_FD_STORE": (39, "B"),
    "ADDRESS": (40, "text"), "ORIGIN": (41, "text"),
    "UNTIL": (42, "Q"), "HOW": (43, "text"), "BY": (44, "text"), "AT": (45, "Q"), "REASON": (46, "text"),
    "CURSOR": (47, "Q"), "EPOCH": (48, "Q"), "PREFIX": (49, "text"), "PATTERN": (50, "text"), "EXCLUDE": (51, "text"),
    "HIDDEN": (52, "B"), "HEARTBEAT": (53, "I"), "HOST_SOURCE": (54, "text"), "NAME_KIND": (55, "text"),
    "NODE_ORIGIN": (56, "text"), "ELSEWHERE": (58, "B"), "PINNED_PORT": (59, "H"),
    "PROGRAM_VERSION": (60, "text"), "PID": (61, "I"), "STARTED": (62, "Q"), "DEGRADED": (63, "text", True),
    "EVIDENCE": (64, "text", True), "REGISTRY_PATH": (65, "text"), "REGISTRY_HEALTH": (66, "text"),
    "REGISTRY_DETAIL": (67, "text"), "REGISTRY_BYTES": (68, "Q"), "WAL_BYTES": (69, "Q"), "SCHEMA_VERSION": (70, "I"),
    "N_NODES": (71, "Q"), "N_AWAITED": (72, "Q"), "N_STOPPING": (73, "Q"), "N_CONNECTIONS": (74, "Q"),
    "N_CONNECTIONS_MAX": (75, "Q"), "REVISION": (76, "Q"), "COMMITTED_REVISION": (77, "Q"), "COUNTER": (78, "named"),
    "BOOT_ID": (79, "text"), "NODES_PER_UID_MAX": (80, "Q"), "BLIND": (81, "text"), "N_IN_STATE": (82, "named"),
    "FD_STORE_MAX": (83, "Q"), "FD_STORE_N": (84, "Q"), "FD_STORE_WAITING": (85, "Q"), "N_WATCHERS": (86, "Q"),
    "N_HELD": (87, "Q"), "UNITS_UNSEEN": (88, "text"), "CONFIG_FILE": (89, "text", True),
    "N_SHED": (90, "Q"), "N_BUSY": (91, "Q"),
}
_TAG_NAMES = {tag[0]: name for name, tag in TAGS.items()}
_RECORD_NAMES = {number: name for name, number in RECORDS.items()}


class ControlError(Exception):
    """The answer was an ERROR record."""

    def __init__(self, error, text):
        self.error, self.word, self.text = error, ERRORS.get(error, "unknown"), text
        super().__init__(f"{self.word}: {text}")


class BrokenOff(Exception):
    """The answer ended without END or ERROR."""


@dataclasses.dataclass(frozen=True)
class Record:
    """`kind` by its name (its number where it has none), `fields` by theirs. What may be repeated is a list, pairs
    and named numbers are a dict; what is not there is not in `fields`."""

    kind: object
    fields: dict

    def __getitem__(self, name):
        return self.fields[name]

    def get(self, name, default=None):
        return self.fields.get(name, default)

    @property
    def key(self):
        """What tells one node from every other that is registered."""
        return self.fields["NAME"], self.fields["SCOPE"]


# --- bytes ----------------------------------------------------------------------------------------


def _put_value(form, value):
    if isinstance(value, bytes):
        return value
    return value.encode() if form == "text" else struct.pack(">" + form, value)


def put_fields(**fields):
    """Fields as bytes. A value of bytes is taken as it is; a list is one field each; None is left out."""
    data = b""
    for name, value in fields.items():
        number, form = TAGS[name][:2]
        if form == "pair":
            values = value if isinstance(value, (list, bytes)) else [f"{k}\0{v}".encode() for k, v in value.items()]
        else:
            values = value
        for one in values if isinstance(values, list) else [values]:
            if one is not None:
                one = _put_value(form, one)
                data += struct.pack(">HH", number, len(one)) + one
    return data


def put_request(kind, version=1, **fields):
    """A whole request, with its length."""
    number = REQUESTS.get(kind, kind)
    body = b"LRC" + bytes([version, number]) + put_fields(**fields)
    return struct.pack(">H", len(body)) + body


def _get_value(form, value):
    if form == "text":
        return value.decode()
    if form == "named":
        return {value[8:].decode(): int.from_bytes(value[:8], "big")}
    if form == "pair":
        return dict([value.decode().split("\0", 1)])
    return int.from_bytes(value, "big")


def get_fields(data):
    """Fields by name; unknown tags by number, as bytes."""
    fields = {}
    while data:
        number, size = struct.unpack(">HH", data[:4])
        value, data = data[4:4 + size], data[4 + size:]
        assert len(value) == size, "a field runs over the end of its record"
        name = _TAG_NAMES.get(number)
        if not name:
            fields[number] = value
            continue
        form, repeats = TAGS[name][1], len(TAGS[name]) > 2
        value = _get_value(form, value)
        if repeats:
            fields.setdefault(name, []).append(value)
        elif isinstance(value, dict):
            fields.setdefault(name, {}).update(value)
        else:
            fields[name] = value
    return fields


# --- connections ----------------------------------------------------------------------------------


class ControlConnection:
    """One connection with one request, and its records one by one. `address`: a path, a (host, port), or a function that
    makes a connected socket."""

    def __init__(self, address, data, timeout=20.0):
        self.timeout = timeout
        if callable(address):
            self.sock = address()
        elif isinstance(address, tuple):
            self.sock = socket.create_connection(address, timeout)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(address))
        self.sock.setblocking(False)
        self._data = b""
        self._has_head = False
        self._ended = False
        self.sock.sendall(data)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def _parse(self):
        """The next whole record of what has come, or None."""
        if not self._has_head:
            if len(self._data) < 4:
                assert HEAD.startswith(self._data), self._data
                return None
            assert self._data[:4] == HEAD, self._data[:20]
            self._data = self._data[4:]
            self._has_head = True
        if len(self._data) < 4:
            return None
        size = int.from_bytes(self._data[:4], "big")
        assert 1 <= size <= 1 << 20, f"a record of {size} bytes"
        if len(self._data) < 4 + size:
            return None
        record, self._data = self._data[4:4 + size], self._data[4 + size:]
        return Record(_RECORD_NAMES.get(record[0], record[0]), get_fields(record[1:]))

    def next(self, timeout=None):
        """The next record; None at the end of the connection. TimeoutError if there is none in time."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while (record := self._parse()) is None:
            left = deadline - time.monotonic()
            if self._ended:
                assert not self._data, "the connection ended within a record"
                return None
            if not poll.poll(max(0, left) * 1000):
                raise TimeoutError(f"no record within {self.timeout if timeout is None else timeout} s")
            try:
                piece = self.sock.recv(1 << 20)
            except ConnectionResetError:
                piece = b""
            self._data += piece
            self._ended = not piece
        if record.kind == "ERROR":
            raise ControlError(record["ERROR"], record["TEXT"])
        return record

    def records(self):
        """All records up to END, without it. ControlError, or BrokenOff."""
        found = []
        while (record := self.next()) is not None:
            if record.kind == "END":
                return found
            found.append(record)
        raise BrokenOff(found)


class Watch(ControlConnection):
    """A WATCH: what it was told is kept in `nodes` (by name and scope) and `gone` (the last end of each). `states`: those
    that were asked for, None: all; a node that is told to be in another one has left the selection."""

    def __init__(self, address, data, timeout=20.0, states=None):
        super().__init__(address, data, timeout)
        self.states = states
        self.nodes, self.gone = {}, {}
        self.epoch = self.revision = None
        self.n_epochs = 0
        self.told = []

    def step(self, timeout=None):
        """Takes in one record and returns it; None at the end."""
        record = self.next(timeout)
        if record is None:
            return None
        self.told.append(record)
        if record.kind == "EPOCH":
            self.nodes, self.gone = {}, {}
            self.epoch = record["EPOCH"]
            self.n_epochs += 1
        elif record.kind == "NODE" and self.states is not None and record["STATE"] not in self.states:
            assert self.nodes.pop(record.key, None) is not None or self.n_epochs == 0, f"{record.key} was not selected"
        elif record.kind == "NODE":
            self.nodes[record.key] = record
        elif record.kind == "GONE":
            assert self.nodes.pop(record.key, None) is not None or self.n_epochs == 0, f"{record.key} was not there"
            self.gone[record.key] = record
        elif record.kind == "SYNCED":
            self.revision = record["REVISION"]
        return record

    def sync(self, timeout=None):
        """Reads up to the next SYNCED. Returns self."""
        while True:
            record = self.step(timeout)
            if record is None:
                raise BrokenOff(self.told)
            if record.kind == "SYNCED":
                return self

    def wait(self, condition, timeout=None):
        """Reads until `condition()` holds at a SYNCED."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self.revision is None or not condition():
            self.sync(max(0, deadline - time.monotonic()))
        return self


class ControlClient:
    def __init__(self, address, timeout=20.0):
        self.address, self.timeout = address, timeout

    def open(self, kind, **fields):
        """Sends a request; a ControlConnection."""
        return ControlConnection(self.address, put_request(kind, **fields), self.timeout)

    def request(self, kind, **fields):
        """Sends a request; its records, without END."""
        with self.open(kind, **fields) as connection:
            return connection.records()

    def find(self, **fields):
        """The nodes that FIND tells, by name and scope, in its order."""
        epoch, *nodes = self.request("FIND", **fields)
        assert epoch.kind == "EPOCH" and all(node.kind == "NODE" for node in nodes)
        return {node.key: node for node in nodes}

    def watch(self, **fields):
        """A Watch of all nodes in all states, unless HIDDEN and STATE say otherwise (None: the daemon's default).
        `after=watch` goes on where another one stopped."""
        fields = {"HIDDEN": 1, "STATE": "any", **fields}
        after = fields.pop("after", None)
        if after is not None:
            fields.update(EPOCH=after.epoch, REVISION=after.revision)
        states = fields["STATE"] or ["up", "starting", "ready", "awaited"]
        states = [states] if isinstance(states, str) else states
        request = put_request("WATCH", **fields)
        watch = Watch(self.address, request, self.timeout, None if "any" in states else states)
        if after is not None:
            watch.nodes, watch.epoch = dict(after.nodes), after.epoch
        return watch
