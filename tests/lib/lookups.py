# SPDX-License-Identifier: Apache-2.0
"""Lookups without end, run inside of a machine by lib.inside.Lookups. Standard library only.

    python3 -m lib.lookups RATE          {"name": port, ...} as the first line of stdin

Asks for one name after the other, RATE a second, and looks at every answer. Says each answer that is wrong and
each question that was cut off (its connection ended without an answer) as a JSON line at once, and every fifty
questions that they were asked; at the end of stdin the sum of all.
"""

import json
import select
import socket
import sys
import time

from lib.epmd_client import Port2Reply, frame, receive_all

PATIENCE = 10.0


def ask(name):
    """The port; None: not registered. ConnectionError: cut off."""
    with socket.create_connection(("127.0.0.1", 4369), timeout=PATIENCE) as sock:
        sock.sendall(frame(b"z" + name.encode()))
        data = receive_all(sock)
    if not data:
        raise ConnectionAbortedError("closed without a byte")
    found = Port2Reply.decode(data)
    return found and found.port


def say(event, **fields):
    print(json.dumps({"event": event, "at": time.monotonic(), **fields}), flush=True)


def main():
    rate = float(sys.argv[1])
    expected = list(json.loads(sys.stdin.readline()).items())
    n, slowest = 0, 0.0
    say("asking")
    began = time.monotonic()
    while True:
        # A stream that was held up does not make up for it.
        now = time.monotonic()
        began = max(began, now - n / rate)
        if select.select([0], [], [], max(0.0, began + n / rate - now))[0]:
            break
        name, port = expected[n % len(expected)]
        n += 1
        before = time.monotonic()
        try:
            found = ask(name)
            if found != port:
                say("wrong", name=name, said=found)
        except (ConnectionAbortedError, ConnectionResetError, BrokenPipeError) as error:
            say("cut", name=name, why=repr(error))
        except (OSError, ValueError) as error:
            say("wrong", name=name, said=repr(error))
        slowest = max(slowest, time.monotonic() - before)
        if n % 50 == 0:
            say("asked")
    say("sum", asked=n, slowest=slowest)


if __name__ == "__main__":
    main()
