# SPDX-License-Identifier: Apache-2.0
"""EPMD's protocol as a client speaks it: bytes over a socket, nothing interpreted that need not be.

    client = EpmdClient(port)                      one request, one connection
    with client.register("a", listen=True) as a:   ALIVE2; the name is held as long as the connection
        assert client.port_please("a").port == a.port
    client.names()                                 -> [("a", 39449)]
    client.raw(frame(b"n"))                        -> every byte of the answer until the close
"""

import contextlib
import dataclasses
import re
import select
import socket
import struct

NORMAL, HIDDEN, C_NODE = 77, 72, 104


def frame(body):
    """A request as it goes over the wire: u16 length, body."""
    return struct.pack(">H", len(body)) + body


def as_bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def alive2(name, port, type=NORMAL, protocol=0, highest=6, lowest=5, extra=b""):
    """The body of ALIVE2_REQ. highest >= 6 asks for a 32-bit creation, less for a 16-bit one."""
    name, extra = as_bytes(name), as_bytes(extra)
    head = struct.pack(">cHBBHHH", b"x", port, type, protocol, highest, lowest, len(name))
    return head + name + struct.pack(">H", len(extra)) + extra


@dataclasses.dataclass(frozen=True)
class Alive2Reply:
    """`creation` as sent: 32 bits in a 'v' reply, 16 in a 'y' reply. `result` 0: registered."""

    opcode: str
    result: int
    creation: int

    @classmethod
    def decode(cls, data):
        if data[:1] == b"v" and len(data) == 6:
            return cls("v", *struct.unpack(">BI", data[1:]))
        if data[:1] == b"y" and len(data) == 4:
            return cls("y", *struct.unpack(">BH", data[1:]))
        raise ValueError(f"no answer to ALIVE2: {data!r}")


@dataclasses.dataclass(frozen=True)
class Port2Reply:
    port: int
    type: int
    protocol: int
    highest: int
    lowest: int
    name: bytes
    extra: bytes

    @classmethod
    def decode(cls, data):
        """None where the answer says that the name is not registered."""
        if data == b"w\x01":
            return None
        if len(data) < 12 or data[:2] != b"w\x00":
            raise ValueError(f"no answer to PORT2: {data!r}")
        port, type_, protocol, highest, lowest, n_name = struct.unpack(">HBBHHH", data[2:12])
        name = data[12 : 12 + n_name]
        (n_extra,) = struct.unpack(">H", data[12 + n_name : 14 + n_name])
        extra = data[14 + n_name :]
        if len(name) != n_name or len(extra) != n_extra:
            raise ValueError(f"lengths of the answer to PORT2 do not fit: {data!r}")
        return cls(port, type_, protocol, highest, lowest, name, extra)


class Refused(Exception):
    """ALIVE2 was answered with a result other than 0; `reply` is the Alive2Reply."""

    def __init__(self, reply):
        super().__init__(f"ALIVE2 refused: {reply}")
        self.reply = reply


class ClosedWithoutAnswer(Exception):
    """The connection was closed before a whole answer had come; `data` is what had."""

    def __init__(self, data):
        super().__init__(f"closed after {data!r}")
        self.data = data


def receive_exactly(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise ClosedWithoutAnswer(data)
        data += piece
    return data


def receive_all(sock):
    """Every byte until the other side closes. A reset counts as a close."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def is_closed(sock):
    """True once the other side has closed. Bytes that are there count as open. Reads nothing, does not wait."""
    # Python waits for a socket with a timeout before it receives, whatever the flags.
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def reset(sock):
    """Closes with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Registration:
    """A name held by an open connection: `sock`, `reply`, `creation`, `port`, and `listener` (a socket or None)."""

    def __init__(self, name, port, sock, reply, listener=None):
        self.name, self.port, self.sock, self.reply, self.listener = name, port, sock, reply, listener
        self.creation = reply.creation

    def close_connection(self):
        """The connection only: FIN. The listener, if any, stays."""
        self.sock.close()

    def reset_connection(self):
        reset(self.sock)

    def close_listener(self):
        if self.listener:
            self.listener.close()

    def is_open(self):
        """False once the daemon has closed its side. Reads nothing, does not wait."""
        return not is_closed(self.sock)

    def close(self):
        self.close_connection()
        self.close_listener()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class EpmdClient:
    """Requests to the port mapper on host:port.

    network: a lib.netns.Namespace or lib.machine.Machine; sockets are then opened in its network.
    source: (address, port) to bind to before connecting.
    """

    def __init__(self, port, host="127.0.0.1", timeout=10.0, network=None, source=None):
        self.port, self.host, self.timeout, self.network, self.source = port, host, timeout, network, source

    def _inside(self):
        return self.network.entered() if self.network else contextlib.nullcontext()

    def connect(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with self._inside():
            sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            if self.source:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(self.source)
            sock.connect((self.host, self.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def raw(self, data):
        """Sends the bytes as they are; every byte of the answer until the close."""
        with self.connect() as sock:
            sock.sendall(data)
            return receive_all(sock)

    def request(self, body):
        return self.raw(frame(body))

    def listen(self, address="0.0.0.0", port=0):
        """A listening socket such as a node has: what is left of former connections at that port is no obstacle."""
        with self._inside():
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(5)
        return sock

    def register(self, name, port=0, listen=False, address="0.0.0.0", **fields):
        """ALIVE2; returns a Registration or raises Refused or ClosedWithoutAnswer.

        listen: open a real listening socket on address:port first (port 0: any) and announce its port.
        fields: type, protocol, highest, lowest, extra, as for alive2().
        """
        listener = self.listen(address, port) if listen else None
        try:
            if listener:
                port = listener.getsockname()[1]
            sock = self.connect()
        except BaseException:
            if listener:
                listener.close()
            raise
        try:
            sock.sendall(frame(alive2(name, port, **fields)))
            head = receive_exactly(sock, 1)
            reply = Alive2Reply.decode(head + receive_exactly(sock, 5 if head == b"v" else 3))
            if reply.result != 0:
                raise Refused(reply)
            return Registration(name, port, sock, reply, listener)
        except BaseException:
            sock.close()
            if listener:
                listener.close()
            raise

    def port_please(self, name):
        """A Port2Reply, or None if the name is not registered."""
        data = self.request(b"z" + as_bytes(name))
        if not data:
            raise ClosedWithoutAnswer(data)
        return Port2Reply.decode(data)

    def names_raw(self):
        return self.request(b"n")

    def names(self):
        """[(name, port), ...] in the order of the answer; the port named in its head must be the one asked."""
        data = self.names_raw()
        if len(data) < 4:
            raise ClosedWithoutAnswer(data)
        assert struct.unpack(">I", data[:4]) == (self.port,), data[:4]
        lines = data[4:].decode().splitlines()
        parsed = [re.fullmatch(r"name (.*) at port (\d+)", line) for line in lines]
        assert all(parsed), lines
        return [(match[1], int(match[2])) for match in parsed]

    def dump_raw(self):
        return self.request(b"d")

    def kill(self):
        """b"OK" or b"NO"."""
        return self.request(b"k")

    def stop(self, name):
        """b"STOPPED", b"NOEXIST", or b"" where STOP is not allowed."""
        return self.request(b"s" + as_bytes(name))
