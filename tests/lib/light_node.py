# SPDX-License-Identifier: Apache-2.0
"""A node of few milliseconds, for a service of a test: a listener, an ALIVE2 connection. Standard library only.

    python3 -m lib.light_node NAME [--listen 0.0.0.0] [--port 0] [--ready-when FILE] [--going 0.3]
                                   [--keep connection|both] [--cgroup PATH]

It says READY=1 (--ready-when: once the file is there) if somebody wants to hear it, and stays; at SIGTERM it goes on
for --going seconds (-1: for ever), as a node that closes its tables. A name that is refused ends it with status 1
and the words of erl.

--keep     a child holds the registering connection (both: and the listener) open, as a port program does that
           inherited them. With the listener it ends at SIGTERM; without, it ends when /opt/NAME.end appears
--cgroup   first of all it moves itself there: below its own cgroup

SIGHUP makes it go of its own accord: it says STOPPING=1.
"""

import argparse
import os
import signal
import socket
import sys
import time

from lib.epmd_client import Alive2Reply, alive2, frame, receive_exactly


def notify(text):
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), path)


def keep(name, listener, what):
    if os.fork() != 0:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL if what == "both" else signal.SIG_IGN)
    if what == "connection":
        listener.close()
    while not os.path.exists(f"/opt/{name}.end"):
        time.sleep(0.02)
    os._exit(0)


class Going:
    """What SIGTERM does: nothing is left to do for a node that still waits for its answer."""

    def __init__(self, seconds):
        self.seconds, self.is_registered = seconds, False
        signal.signal(signal.SIGTERM, self.on_signal)
        signal.signal(signal.SIGHUP, self.on_signal)

    def on_signal(self, number, _):
        if number == signal.SIGHUP:
            notify("STOPPING=1")
        while self.is_registered and self.seconds < 0:
            signal.pause()
        time.sleep(self.seconds if self.is_registered else 0)
        os._exit(0)


def move_to(cgroup):
    own = open("/proc/self/cgroup").read().strip().split("::")[1]
    path = f"/sys/fs/cgroup{own}/{cgroup}"
    os.makedirs(path)
    with open(f"{path}/cgroup.procs", "w") as procs:
        procs.write("0")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--listen", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--going", type=float, default=0.0)
    parser.add_argument("--ready-when")
    parser.add_argument("--keep", choices=("connection", "both"))
    parser.add_argument("--cgroup")
    args = parser.parse_args()
    if args.cgroup:
        move_to(args.cgroup)
    going = Going(args.going)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((args.listen, args.port))
    listener.listen(5)
    sock = socket.create_connection(("127.0.0.1", 4369), timeout=15)
    sock.sendall(frame(alive2(args.name, listener.getsockname()[1])))
    reply = Alive2Reply.decode(receive_exactly(sock, 6))
    if reply.result != 0:
        print(f"the name {args.name} seems to be in use by another Erlang node", flush=True)
        sys.exit(1)
    going.is_registered = True
    if args.keep:
        keep(args.name, listener, args.keep)
    while args.ready_when and not os.path.exists(args.ready_when):
        time.sleep(0.01)
    notify("READY=1")
    print(f"registered {listener.getsockname()[1]} {reply.creation}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
