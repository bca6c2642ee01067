# SPDX-License-Identifier: Apache-2.0
"""Real Erlang nodes that evaluate what a test sends them.

    with ErlangNode("a", epmd_port=daemon.port) as a, ErlangNode("b", epmd_port=daemon.port) as b:
        assert a.eval("net_adm:ping('b@localhost')") == "pong"
        a.kill9()

A node reads expressions from its stdin and ends when that closes, so none outlives its test.
"""

import queue
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

from lib.process import clean_environment, die_with_parent, end

COOKIE = "rollcalltests"

# Spawned, since init counts as still starting for as long as an -eval runs.
_SERVE = r"""
Evaluate = fun(Line) ->
    {ok, Tokens, _} = erl_scan:string(Line),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []),
    Value
end,
Serve = fun(Again) ->
    case io:get_line("") of
        Line when is_list(Line) ->
            Answer = try {ok, Evaluate(Line)} catch C:R -> {failed, {C, R}} end,
            io:format("answer ~0tp~n", [Answer]),
            Again(Again);
        _ -> erlang:halt(0, [{flush, false}])
    end
end,
spawn(fun() -> io:format("started ~s~n", [node()]), Serve(Serve) end).
"""


class NodeFailed(Exception):
    pass


class ErlangNode:
    """`erl -sname NAME` under the port mapper on `epmd_port`.

    name       "a" means a@localhost; a full name is taken as it is
    long       -name instead of -sname ("a" means a@127.0.0.1)
    args       more flags of erl: "-hidden", "-proto_dist", "inet6_tcp", "-kernel", ...
    start_epmd False: -start_epmd false, as every test wants that has a port mapper of its own
    prefix     argv before erl: a namespace's prefix, or Machine.service(...)
    wait       False: the constructor's start() returns before the node has started
    """

    def __init__(self, name, *args, epmd_port=None, long=False, env=None, start_epmd=False, prefix=(), wait=True, timeout=30.0):
        self.name = name if "@" in name else name + ("@127.0.0.1" if long else "@localhost")
        self.alive_name = name.split("@")[0]
        self.args, self.long, self.prefix, self.start_epmd = list(args), long, list(prefix), start_epmd
        self.env = {"ERL_EPMD_PORT": epmd_port, **(env or {})}
        self.timeout, self._wait = timeout, wait
        self.process = self._home = None
        self._lines, self._other = queue.Queue(), []

    def _argv(self):
        argv = ["erl", "-noshell", "-name" if self.long else "-sname", self.name, "-setcookie", COOKIE]
        if not self.start_epmd:
            argv += ["-start_epmd", "false"]
        return [*argv, *self.args, "-eval", " ".join(_SERVE.split())]

    def start(self):
        self._home = tempfile.mkdtemp(prefix="rollcall-node-")
        env = clean_environment({"HOME": self._home, "ERL_CRASH_DUMP_BYTES": "0", **self.env})
        self.process = subprocess.Popen(
            [*self.prefix, *self._argv()], env=env, cwd=self._home, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self._wait:
            self.wait_started()
        return self

    def _read(self):
        for line in self.process.stdout:
            if line.startswith(("answer ", "started ")):
                self._lines.put(line.rstrip("\n"))
            else:
                self._other.append(line)
        self._lines.put(None)

    def _next(self, kind, timeout):
        try:
            line = self._lines.get(timeout=timeout or self.timeout)
        except queue.Empty:
            line = ""
        if not line or not line.startswith(kind + " "):
            raise NodeFailed(f"{self.name}: {line!r} instead of {kind}; its output:\n{self.output()}")
        return line[len(kind) + 1 :]

    def wait_started(self, timeout=None):
        """Until the node is distributed, hence registered. Its full name."""
        return self._next("started", timeout)

    def output(self):
        """What the node printed besides answers: its log."""
        return "".join(self._other)

    def eval(self, expressions, timeout=None):
        """Evaluates, and returns the value as text on one line: eval("1 + 1") == "2". NodeFailed on an exception."""
        text = self._line(expressions)
        self.process.stdin.write(text)
        self.process.stdin.flush()
        answer = self._next("answer", timeout)
        if not answer.startswith("{ok,"):
            raise NodeFailed(f"{self.name}: {text.strip()} -> {answer}")
        return answer[len("{ok,") : -1]

    @staticmethod
    def _line(expressions):
        return " ".join(expressions.split()).rstrip(".") + ".\n"

    def ping(self, other):
        """'pong' or 'pang'."""
        return self.eval(f"net_adm:ping('{getattr(other, 'name', other)}')")

    @property
    def os_pid(self):
        """As the node sees it: inside of a machine, that of the machine."""
        return int(self.eval("list_to_integer(os:getpid())"))

    def kill9(self):
        """Without a prefix that keeps the pid (nsenter --net does), kill what it stands for in another way."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """An orderly end: init:stop(), as SIGTERM causes. Returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None and not self.prefix:
            return end(self.process)
        return self._hang_up()

    def _hang_up(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            return end(self.process)

    def close(self):
        self.stop()
        if self.process:
            self._hang_up()
            self._reader.join(10)
            self.process.stdout.close()
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *failure):
        if failure[0] is not None and self.process:
            print(f"--- output of {self.name}:\n{self.output()[-5000:]}")
        self.close()


def listening_on(address, port=None):
    """Flags of erl: the distribution listens on this address only, and on this port."""
    if ":" in address:
        parts = struct.unpack(">8H", socket.inet_pton(socket.AF_INET6, address))
    else:
        parts = socket.inet_aton(address)
    flags = ["-kernel", "inet_dist_use_interface", "{" + ",".join(map(str, parts)) + "}"]
    if port:
        flags += ["inet_dist_listen_min", str(port), "inet_dist_listen_max", str(port)]
    return flags
