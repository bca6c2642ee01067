# SPDX-License-Identifier: Apache-2.0
"""A real systemd in nspawn with what `make install` installs under /usr/local. Needs root.

    with Machine() as machine:
        machine.install_rollcall()                   sysusers, daemon-reload, enable --now
        machine.run("systemctl", "is-active", "epmd.socket")
        with machine.node("a") as a:                 erl -sname a in a unit of its own, a.service
            machine.client.port_please("a")          EPMD from inside of its network
        machine.reboot()

    with booted(Machine(), Machine()) as (one, two):  boot at the same time
        join(one, two, "10.0.0.1/24", "10.0.0.2/24")  of lib.netns
        introduce(one, "10.0.0.1", two, "10.0.0.2")   each finds the other by its name

why_no_machine() says in words why this computer cannot run one, or returns None.
"""

import contextlib
import fcntl
import functools
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from lib.epmd_client import EpmdClient
from lib.netns import entered
from lib.nodes import ErlangNode
from lib.process import build_directory, die_with_parent, end, wait_for

LIB = Path(__file__).resolve().parent
REGISTRY = "/var/lib/rollcall/registry.db"
INSIDE = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
EXAMPLES = LIB.parents[1] / "units" / "examples"


def why_no_machine():
    if os.geteuid() != 0:
        return "not root"
    for program in ("systemd-nspawn", "nsenter", "dbus-daemon"):
        if not shutil.which(program):
            return f"{program} is not installed"
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    cgroup2 = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
    if not cgroup2:
        return "no cgroup v2 is mounted"
    probe = Path(cgroup2) / f"rollcall-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"{cgroup2} is not writable: {error.strerror}"
    return None


@functools.cache
def installed_tree():
    """A directory with all that is installed, by `make install` once per process; removed by remove_installed_tree()."""
    build = build_directory()
    tree = Path(tempfile.mkdtemp(prefix="rollcall-installed-"))
    tree.chmod(0o755)
    with open(build / ".install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = subprocess.run(
            ["make", "-s", "-C", str(build), "install", f"DESTDIR={tree}"], capture_output=True, text=True, timeout=300,
        )
    if result.returncode != 0:
        raise RuntimeError(f"make install failed:\n{result.stdout}{result.stderr}")
    assert (tree / "usr/local/sbin/rollcalld").exists(), f"{build} is not configured with the prefix /usr/local"
    return tree


def has_sanitizers():
    return b"__asan_init" in (installed_tree() / "usr/local/sbin/rollcalld").read_bytes()


def remove_installed_tree():
    if installed_tree.cache_info().currsize:
        shutil.rmtree(installed_tree(), ignore_errors=True)
        installed_tree.cache_clear()


class CommandFailed(Exception):
    pass


class Machine:
    """One machine. Inside, these tests are in /opt/tests.

    network   a lib.netns.Namespace to live in; by default one of its own with loopback only (lib.netns.join()
              takes machines, too)
    rollcall  False: /usr/local is this computer's, and nothing of ours is in the machine
    binds     more of ["/host/path:/path/inside", ...], read-only
    prepare   called with the root directory before the first boot
    """

    def __init__(self, name=None, network=None, rollcall=True, binds=(), prepare=None):
        self.name = name or "m" + uuid.uuid4().hex[:10]
        self.has_rollcall = rollcall
        self.options = [f"--bind-ro={bind}" for bind in (f"{LIB.parent}:/opt/tests", *binds)]
        if rollcall:
            self.options.append(f"--bind-ro={installed_tree()}/usr/local:/usr/local")
        self.options.append(f"--network-namespace-path={network.path}" if network else "--private-network")
        self._prepare = prepare
        self._supervisor = None
        self._directory = Path(tempfile.mkdtemp(prefix="rollcall-machine-"))
        self.root = self._directory / self.name
        self.leader = None
        self.client = EpmdClient(4369, network=self)

    # --- life ---

    def begin_boot(self):
        """The first half of start(), so that several machines boot at once."""
        subprocess.run([LIB / "mkroot.sh", self.root, self.name], check=True, timeout=60)
        if self.has_rollcall and has_sanitizers():
            # The sandbox denies what the search for leaks needs.
            for unit in ("rollcalld.service", "rollcall-wait@.service"):
                self.write(f"/etc/systemd/system/{unit}.d/asan.conf", "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\n")
        if self._prepare:
            self._prepare(self.root)
        self._supervisor = subprocess.Popen(
            [LIB / "boot.sh", self.name, self.root, *self.options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )
        return self

    def wait_up(self, timeout=60.0):
        line = self._read_line(timeout)
        if not line.startswith("up "):
            said = self._supervisor.stderr.read().decode(errors="replace") if self._supervisor.poll() is not None else ""
            raise CommandFailed(f"{self.name} did not boot: {line!r}\n{said}")
        self.leader = int(line.split()[1])
        return self

    def start(self):
        return self.begin_boot().wait_up()

    def _read_line(self, timeout):
        """Unbuffered, as the pipe is also polled. "" at its end."""
        deadline, line = time.monotonic() + timeout, b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._supervisor.stdout], [], [], left)[0]:
                raise TimeoutError(f"{self.name}: nothing from boot.sh within {timeout} s")
            piece = os.read(self._supervisor.stdout.fileno(), 1)
            if not piece:
                self._supervisor.wait(10)
                break
            line += piece
        return line.decode()

    def _order(self, word):
        self._supervisor.stdin.write(word.encode() + b"\n")
        self._supervisor.stdin.flush()
        return self.wait_up()

    def reboot(self):
        """An orderly stop and a new boot, with the same files and another boot id."""
        return self._order("reboot")

    def power_cut(self):
        """Every process is killed, then a new boot. (Files keep what the page cache had.)"""
        return self._order("power-cut")

    def close(self):
        try:
            if self._supervisor:
                with contextlib.suppress(BrokenPipeError):
                    self._supervisor.stdin.close()
                try:
                    self._supervisor.wait(60)
                except subprocess.TimeoutExpired:
                    end(self._supervisor)
                self._supervisor.stdout.close()
                self._supervisor.stderr.close()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *failure):
        if failure[0] is not None:
            print(f"--- journal of {self.name}:\n{self.logs()}")
        self.close()

    # --- commands ---

    @property
    def prefix(self):
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-p", "-n", "-C", "--"]

    def run(self, *argv, check=True, env=None, timeout=60, input=None):
        """A command inside, as root; a CompletedProcess with text. CommandFailed if check and it failed."""
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        result = subprocess.run(
            [*self.prefix, *map(str, argv)], env={**INSIDE, **(env or {})}, capture_output=True, text=True, timeout=timeout,
            errors="replace", **stdin,
        )
        if check and result.returncode != 0:
            raise CommandFailed(f"{' '.join(map(str, argv))} -> {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    @contextlib.contextmanager
    def begun(self, *argv):
        """A command that runs beside the test: a Popen, ended at the latest with the block.

        What nsenter has started is ended, and reaped by that: an orphan would be left to an init outside of the machine, and
        the machine waits at its end for whom that does not reap."""
        process = subprocess.Popen(
            [*self.prefix, *map(str, argv)], env=INSIDE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent(),
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                end(process)
            process.stdout.close()

    def shell(self, script, **kwargs):
        return self.run("bash", "-c", script, **kwargs)

    def output(self, *argv, **kwargs):
        """stdout of a command inside, stripped."""
        return self.run(*argv, **kwargs).stdout.strip()

    def write(self, path, text):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    @contextlib.contextmanager
    def entered(self):
        """This thread in its network, for sockets."""
        with entered(f"/proc/{self.leader}/ns/net"):
            yield self

    @property
    def pid(self):
        return self.leader

    # --- systemd ---

    def install_rollcall(self):
        """What README.md tells an operator to do after `make install`."""
        self.run("systemd-sysusers")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "enable", "--now", "-q", "epmd.socket", "epmd.service", "rollcalld.service")
        return self

    def drop_in(self, unit, name, text):
        """A drop-in for a unit, taken up by daemon-reload; restart what must see it."""
        self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.run("systemctl", "daemon-reload")

    def remove_drop_in(self, unit, name):
        (self.root / f"etc/systemd/system/{unit}.d/{name}.conf").unlink()
        self.run("systemctl", "daemon-reload")

    def show(self, unit, what):
        return self.output("systemctl", "show", "--value", "-p", what, unit)

    def main_pid(self, unit):
        """As seen inside; 0: not running."""
        return int(self.show(unit, "MainPID"))

    def daemon_pid(self):
        return self.main_pid("rollcalld.service")

    def kill9_daemon(self):
        """Kills rollcalld and returns when another one is ready."""
        old = self.daemon_pid()
        assert old, "rollcalld is not running"
        self.run("kill", "-KILL", old)
        self.wait_daemon_other_than(old)

    def stop_and_start_daemon(self):
        """Unlike a restart or a kill it costs the nodes their connections: the fd store is lost."""
        self.run("systemctl", "stop", "rollcalld.service")
        self.run("systemctl", "start", "rollcalld.service")

    def wait_daemon_other_than(self, old):
        def other():
            values = self.output("systemctl", "show", "-p", "MainPID", "-p", "ActiveState", "rollcalld.service")
            found = dict(line.split("=", 1) for line in values.splitlines())
            return found["ActiveState"] == "active" and int(found["MainPID"]) not in (0, old)

        wait_for(other, "a new rollcalld", 20)

    def n_stored(self):
        """Descriptors in the service manager's fd store of rollcalld."""
        return int(self.show("rollcalld.service", "NFileDescriptorStore"))

    def manager_cpu(self):
        """CPU seconds that its process 1 has used."""
        fields = Path(f"/proc/{self.leader}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def manager_frozen(self):
        """Its process 1 stopped (SIGSTOP): systemctl waits for ever meanwhile."""
        os.kill(self.leader, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.leader, signal.SIGCONT)

    def journal(self, *args):
        return self.output("journalctl", "--no-pager", "-q", *args)

    def logs(self):
        """The journal's end and the state of our units, for a report on a failure. Never fails."""
        try:
            units = self.run("systemctl", "status", "--no-pager", "-l", "-n0", "epmd.socket", "rollcalld.service", check=False)
            return self.journal("-n", "200", "-o", "short-precise") + "\n" + units.stdout
        except Exception as error:
            return f"no logs: {error!r}"

    def sql(self, statement):
        """Rows of a read-only query on the registry, as lists of text."""
        out = self.output("sqlite3", "-readonly", "-cmd", ".timeout 5000", "-separator", "\x1f", REGISTRY, statement)
        return [line.split("\x1f") for line in out.splitlines()]

    # --- nodes ---

    def service(self, unit, env=None, properties=()):
        """argv to put before a command that is to be unit.service, with stdin and stdout piped."""
        variables = {"HOME": "/root", "ERL_CRASH_DUMP_BYTES": "0", **(env or {})}
        return [
            *self.prefix, "systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}", "--description=a test",
            *(f"--setenv={key}={value}" for key, value in variables.items()), *(f"--property={item}" for item in properties), "--",
        ]

    def node(self, name, *args, unit=None, env=None, properties=(), **kwargs):
        """An unmodified erl under NAME.service. A name without @ gets the machine's own, as `erl -sname` does."""
        return MachineNode(self, name, *args, unit=unit, env=env, properties=properties, **kwargs)


@contextlib.contextmanager
def booted(*machines):
    """All of them, booted at the same time."""
    with contextlib.ExitStack() as stack:
        for machine in machines:
            stack.push(machine.__exit__)
        for machine in machines:
            machine.begin_boot()
        for machine in machines:
            machine.wait_up()
        yield machines


def introduce(one, address, other, other_address):
    """Each knows the other's name, for that address."""
    for machine, name, where in ((one, other.name, other_address), (other, one.name, address)):
        with open(machine.root / "etc/hosts", "a") as hosts:
            hosts.write(f"{where} {name}\n")


class MachineNode(ErlangNode):
    def __init__(self, machine, name, *args, unit=None, env=None, properties=(), start_epmd=True, **kwargs):
        self.machine = machine
        self.unit = (unit or name.split("@")[0]) + ".service"
        full = name if "@" in name or kwargs.get("long") else f"{name}@{machine.name}"
        prefix = machine.service(self.unit, env, properties)
        super().__init__(full, *args, prefix=prefix, start_epmd=start_epmd, **kwargs)

    @contextlib.contextmanager
    def frozen(self):
        """Stopped (SIGSTOP): its sockets live, but it does nothing, such as coming back after a lost connection."""
        self.machine.run("systemctl", "kill", "--kill-whom=all", "--signal=STOP", self.unit)
        try:
            yield self
        finally:
            self.machine.run("systemctl", "kill", "--kill-whom=all", "--signal=CONT", self.unit, check=False)

    def kill9(self):
        """Every process of its unit; returns when the unit is gone."""
        self.machine.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", self.unit)
        self.process.wait(20)
