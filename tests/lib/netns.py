# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, joined by veth. Needs root.

    with Namespace() as a, Namespace() as b:
        join(a, b, "10.99.0.1/24", "10.99.0.2/24", "fd99::1/64", "fd99::2/64")
        a.run("ip", "addr")                          a command in it
        with b.entered():                            this thread in it: sockets made here are b's
            socket.create_connection(("10.99.0.1", 4369))
        EpmdClient(4369, "10.99.0.1", network=b)     the same for requests
        Daemon(wrapper=a.prefix, host="10.99.0.1")   a daemon in it
"""

import contextlib
import os
import subprocess
import threading

from lib.process import die_with_parent, setns, wait_for


class Namespace:
    """A namespace held by a process of ours: it goes when that goes. Loopback is up."""

    def __init__(self):
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent(),
        )
        try:
            wait_for(self._is_made, "a network namespace (root is needed)")
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def _is_made(self):
        assert self._holder.poll() is None, "unshare --net failed; root is needed"
        with contextlib.suppress(OSError):
            return os.readlink("/proc/self/ns/net") != os.readlink(self.path)
        return False

    @property
    def pid(self):
        """A process in it, for `ip link ... netns PID`."""
        return self._holder.pid

    @property
    def path(self):
        return f"/proc/{self._holder.pid}/ns/net"

    @property
    def prefix(self):
        """argv to put before a command that is to run in it; the process keeps the pid."""
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, *argv, check=True, **kwargs):
        return subprocess.run([*self.prefix, *map(str, argv)], capture_output=True, text=True, check=check, timeout=60, **kwargs)

    @contextlib.contextmanager
    def entered(self):
        with entered(self.path):
            yield self

    def close(self):
        self._holder.stdin.close()
        self._holder.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def entered(path):
    """This thread in the network namespace of a /proc/PID/ns/net, and back."""
    home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(there)
        try:
            yield
        finally:
            setns(home)
    finally:
        os.close(there)
        os.close(home)


def join(a, b, *addresses, device="ve0"):
    """A veth pair between a and b; addresses alternate: a's, b's, a's, b's. Anything with `pid` and `run` is fine."""
    ip = ["ip", "link", "add", device, "netns", str(a.pid), "type", "veth", "peer", "name", device, "netns", str(b.pid)]
    subprocess.run(ip, check=True, timeout=60)
    for index, address in enumerate(addresses):
        nodad = ["nodad"] if ":" in address else []
        (a, b)[index % 2].run("ip", "addr", "add", address, "dev", device, *nodad)
    for side in (a, b):
        side.run("ip", "link", "set", device, "up")
