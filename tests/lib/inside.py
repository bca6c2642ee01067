# SPDX-License-Identifier: Apache-2.0
"""Programs of this directory inside of a machine, each in a unit of its own, telling events as JSON lines.

    with Swarm(machine, 50) as swarm:              50 nodes that behave as OTP's; they have registered
        swarm.ports                                {name: port}
        swarm.say("leave n7")
        with Lookups(machine, swarm.ports) as stream:
            machine.kill9_daemon()
        stream.check(cut=1)                        every answer was right; at most one was cut off
        assert swarm.events("lost") == []
"""

import json
import subprocess
import threading

from lib.process import die_with_parent, end, wait_for

PYTHON = ["/usr/bin/python3", "-B"]


class Inside:
    """A program of tests/lib: `python3 -m lib.MODULE ARGS` in UNIT.service."""

    def __init__(self, machine, unit, module, *args, properties=()):
        self.machine, self.unit = machine, unit
        properties = ("WorkingDirectory=/opt/tests", "LimitNOFILE=20000", *properties)
        self._argv = [*machine.service(unit, properties=properties), *PYTHON, "-m", f"lib.{module}", *map(str, args)]
        self._events, self._other, self._known = [], [], threading.Condition()
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self):
        for line in self.process.stdout:
            with self._known:
                if line.startswith("{"):
                    self._events.append(json.loads(line))
                else:
                    self._other.append(line)
                self._known.notify_all()
        with self._known:
            self._known.notify_all()

    def say(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._reader.join(15)
            raise AssertionError(f"{self.unit} has ended: {self.output()[-3000:]}") from None

    def output(self):
        """What it printed besides events: why it failed."""
        return "".join(self._other)

    def events(self, *kinds):
        """All so far, in order; of these kinds if any are named."""
        with self._known:
            return [event for event in self._events if not kinds or event["event"] in kinds]

    def wait_events(self, kind, count=1, timeout=30.0):
        """Until so many events of that kind have been told. They."""
        with self._known:
            def enough():
                return len([event for event in self._events if event["event"] == kind]) >= count or not self._reader.is_alive()

            self._known.wait_for(enough, timeout)
        found = self.events(kind)
        assert len(found) >= count, f"{self.unit}: {len(found)} of {count} {kind}; {self.events()[-5:]}\n{self.output()}"
        return found

    def close(self):
        """The end of its input ends it."""
        if not self.process:
            return
        try:
            self.process.stdin.close()
        except OSError:
            pass
        # Not by systemd-run, which leaves early when the manager is executed anew.
        self._reader.join(15)
        end(self.process)
        self.process.stdout.close()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()


class Swarm(Inside):
    """`count` nodes named PREFIX0, PREFIX1, ... in one unit."""

    def __init__(self, machine, count, *args, prefix="n", unit="swarm", properties=()):
        super().__init__(machine, unit, "swarm", count, "--prefix", prefix, *args, properties=properties)
        self.count = count

    def start(self):
        super().start()
        self.wait_events("registered", self.count, 60)
        return self

    @property
    def ports(self):
        return {event["name"]: event["port"] for event in self.events("registered")}

    @property
    def creations(self):
        """As each was told last."""
        return {event["name"]: event["creation"] for event in self.events("registered", "returned")}

    def noticed(self):
        """What happened to its nodes since they registered."""
        return self.events("lost", "returned", "failed")


class Lookups(Inside):
    """A stream of lookups: {name: port} is what every answer must say."""

    def __init__(self, machine, expected, rate=500, unit="lookups"):
        super().__init__(machine, unit, "lookups", rate)
        self.expected = expected

    def start(self):
        super().start()
        self.say(json.dumps(self.expected))
        self.wait_events("asking")
        return self

    def go_on(self, count=100):
        """Until so many more have been asked."""
        self.wait_events("asked", len(self.events("asked")) + count // 50)

    def check(self, cut=0):
        """After its end: nothing was wrong, and at most `cut` were cut off."""
        assert self.events("wrong") == [], self.output()
        assert len(self.events("cut")) <= cut, self.events("cut")
        assert len(self.events("sum")) == 1, self.output()


class LightNode:
    """lib.light_node in UNIT.service, of Type=notify; daemon-reload before its first start."""

    def __init__(self, machine, unit, name, *args, properties=()):
        self.machine, self.unit, self.name = machine, unit + ".service", name
        command = " ".join([*PYTHON, "-m", "lib.light_node", name, *map(str, args)])
        lines = ["[Unit]", "StartLimitIntervalSec=0", "[Service]", "Type=notify", "WorkingDirectory=/opt/tests", *properties, f"ExecStart={command}", ""]
        machine.write(f"/etc/systemd/system/{self.unit}", "\n".join(lines))

    def start(self, check=True):
        """Returns when it has registered, or has failed to."""
        return self.machine.run("systemctl", "start", self.unit, check=check)

    def begin_start(self):
        self.machine.run("systemctl", "start", "--no-block", self.unit)

    def begin_stop(self):
        self.machine.run("systemctl", "stop", "--no-block", self.unit)

    def kill9(self, whom="main"):
        self.machine.run("systemctl", "kill", f"--kill-whom={whom}", "--signal=KILL", self.unit)

    @property
    def active(self):
        return self.machine.show(self.unit, "ActiveState")

    def wait_active(self, state, timeout=10.0):
        wait_for(lambda: self.active == state, lambda: f"{self.unit} {state}: {self.active}", timeout)

    def remove(self):
        self.machine.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", self.unit, check=False)
        self.machine.run("systemctl", "stop", self.unit, check=False)
        self.machine.run("systemctl", "reset-failed", self.unit, check=False)
        (self.machine.root / f"etc/systemd/system/{self.unit}").unlink(missing_ok=True)
