# SPDX-License-Identifier: Apache-2.0
"""`rollcall watch --json` inside of a machine, event by event.

    with watching(machine, "web_*") as watch:
        watch.until("synced")                        all that is there has been told
        watch.until("gone", "web_1")
        assert watch.names("gone") == ["web_1"]      and nobody else has
"""

import contextlib
import json


class Watch:
    def __init__(self, process):
        self.process, self.events = process, []

    def until(self, kind, name=None):
        """Takes in events until this one, which it returns."""
        while True:
            line = self.process.stdout.readline()
            assert line, f"it ended before {kind} {name}: {self.events}"
            self.events.append(json.loads(line))
            if (self.events[-1]["event"], self.events[-1].get("name")) == (kind, name):
                return self.events[-1]

    def names(self, kind):
        """Of all events of this kind so far."""
        return [event["name"] for event in self.events if event["event"] == kind]


@contextlib.contextmanager
def watching(machine, *args, timeout=60):
    with machine.begun("timeout", timeout, "rollcall", "watch", "--json", *args) as process:
        yield Watch(process)
