# SPDX-License-Identifier: Apache-2.0
"""A control socket that says what a test wants it to say, in the bytes of the control protocol.

    with FakeControl(path, HEAD + record(67, field(16, b"a")) + END) as server:    the same to everybody
    with FakeControl(path, None) as server:                                        nothing, and stays open
    with FakeControl(path, script) as server:                                      script(connection, request)
    with FakeControl(("127.0.0.2", port), b"") as server:                          over TCP: closes without a byte
"""

import contextlib
import socket
import struct
import threading
import time

HEAD = b"LRC\x01"
END = b"\0\0\0\x01\x40"


def field(tag, value):
    return struct.pack(">HH", tag, len(value)) + value


def record(kind, *fields):
    body = bytes([kind]) + b"".join(fields)
    return struct.pack(">I", len(body)) + body


def request(kind, *fields):
    body = HEAD + bytes([kind]) + b"".join(fields)
    return struct.pack(">H", len(body)) + body


def u16(value):
    return struct.pack(">H", value)


def u64(value):
    return struct.pack(">Q", value)


def refusal(error, text=b"No."):
    """A whole answer."""
    return HEAD + record(65, field(1, u16(error)), field(2, text))


def decode(answer):
    """[(kind, {tag: value})], of which the last has to be END or ERROR."""
    assert answer[:4] == HEAD
    rest, records = answer[4:], []
    while rest:
        (n,) = struct.unpack(">I", rest[:4])
        body, rest = rest[4 : 4 + n], rest[4 + n :]
        assert len(body) == n
        kind, fields, values = body[0], body[1:], {}
        while fields:
            tag, n = struct.unpack(">HH", fields[:4])
            values[tag], fields = fields[4 : 4 + n], fields[4 + n :]
            assert len(values[tag]) == n
        records.append((kind, values))
    assert records[-1][0] in (64, 65)
    return records


class FakeControl:
    """`requests` are what came first on each connection, `times` when (time.monotonic())."""

    def __init__(self, path, answer):
        self.is_tcp = isinstance(path, tuple)
        self.path, self.answer, self.requests, self.times = path if self.is_tcp else str(path), answer, [], []
        self.listener = socket.socket(socket.AF_INET if self.is_tcp else socket.AF_UNIX)
        if self.is_tcp:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.path)
        self.listener.listen(100)
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    self.requests.append(connection.recv(4096))
                    self.times.append(time.monotonic())
                    self._answer(connection)

    def _answer(self, connection):
        if self.answer is None:
            self.closing.wait(30)
        elif callable(self.answer):
            self.answer(connection, self.requests[-1])
        else:
            connection.sendall(self.answer)

    @property
    def machine(self):
        """As --at takes it."""
        return "%s:%d" % self.path

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
