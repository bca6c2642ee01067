# SPDX-License-Identifier: Apache-2.0
"""The daemon as a process: options, sockets, signals, what it tells systemd and the log."""

import contextlib
import os
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from daemon.helpers import (
    closing_all,
    counter,
    cpu_seconds,
    end_traced,
    is_degraded,
    names_on_disk,
    needs_root,
    status,
    traced,
    unregister,
)
from lib.daemon import Daemon, NotReady, StockEpmd, free_port, run_rollcalld
from lib.epmd_client import EpmdClient, alive2, frame, receive_all
from lib.netns import Namespace
from lib.process import built, clean_environment, die_with_parent, end, wait_for

# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_goes_to_stdout(option):
    done = run_rollcalld(option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: rollcalld")
    for word in ("--listen", "--state", "--lookup-from", "--list-from", "--packet-timeout", "--version", "--control"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_goes_to_stdout(option):
    done = run_rollcalld(option)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"rollcalld \d\S*\n", done.stdout)


def test_help_does_not_look_at_what_else_is_wrong():
    assert run_rollcalld("--help", env={"ERL_EPMD_PORT": "garbage"}).returncode == 0


WRONG = [
    (["--bogus"], "--bogus"),
    (["-x"], "x"),
    (["--listen"], "--listen"),
    (["--no-state=yes"], "--no-state"),
    (["extra"], "extra"),
    (["--no-state", "--", "extra"], "extra"),
    (["--listen", "nonsense"], "nonsense"),
    (["--listen", ""], "--listen"),
    (["--listen", "127.0.0.1:0"], "127.0.0.1:0"),
    (["--listen", "127.0.0.1:70000"], "70000"),
    (["--listen", "127.0.0.1:x"], "127.0.0.1:x"),
    (["--listen", "127.0.0.1:"], "127.0.0.1:"),
    (["--listen", "[::1"], "[::1"),
    (["--listen", "1.2.3.4.5"], "1.2.3.4.5"),
    (["--listen", "localhost"], "localhost"),
    (["--listen", "10.0.0.0/8"], "10.0.0.0/8"),
    (["--port", "0"], "--port"),
    (["--port", "65536"], "65536"),
    (["--port", "-1"], "-1"),
    (["--port", "4369x"], "4369x"),
    (["--port", " 4369"], "4369"),
    (["--port", ""], "--port"),
    (["--packet-timeout", "0"], "--packet-timeout"),
    (["--packet-timeout", "soon"], "soon"),
    (["--packet-timeout", "99999999999999999999"], "99999999999999999999"),
    (["--max-nodes-per-uid", "0"], "--max-nodes-per-uid"),
    (["--history-days", "0"], "--history-days"),
    (["--history-rows", "many"], "many"),
    (["--history-per-name", "-5"], "-5"),
    (["--lookup-from", "everywhere"], "everywhere"),
    (["--list-from", "10.0.0.0/33"], "10.0.0.0/33"),
    (["--list-from", "fd00::/129"], "fd00::/129"),
    (["--list-from", ""], "--list-from"),
    (["--log-level", "loud"], "loud"),
    (["--log-format", "xml"], "xml"),
    (["--ready-fd", "stdout"], "stdout"),
    (["--delay-accept", "1.5"], "1.5"),
    (["--delay-write", "x"], "x"),
    (["--state", ""], "registry"),
    (["--state", "/tmp/a", "--no-state"], "exclude"),
    (["--state", "/tmp/a", "--state-if-free", "/tmp/b"], "exclude"),
    (["--epmd-address", "127.0.0.1,nonsense"], "nonsense"),
]


@pytest.mark.parametrize("args, word", WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_wrong_usage_is_one_line_and_exit_status_2(args, word):
    done = run_rollcalld(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert word in done.stderr


@pytest.mark.parametrize("value", ["garbage", "", "0", "-1", "65536", "4369 ", "0x1111", "99999999999999999999"])
def test_garbage_in_erl_epmd_port_is_one_line_and_exit_status_2(value):
    done = run_rollcalld("--no-state", "--control", "none", env={"ERL_EPMD_PORT": value})
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "ERL_EPMD_PORT" in done.stderr


def test_option_counts_more_than_the_variable(daemon):
    daemon.stop()
    daemon.env["ERL_EPMD_PORT"] = "garbage"
    daemon.listen = []
    daemon.start("--listen", "127.0.0.1", "--port", daemon.port)
    assert daemon.client.names() == []


@pytest.mark.parametrize("value", ["nonsense", "127.0.0.1,nonsense", "300.1.1.1"])
def test_garbage_in_erl_epmd_address_is_one_line_and_exit_status_2(value):
    done = run_rollcalld("--no-state", env={"ERL_EPMD_ADDRESS": value})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "ERL_EPMD_ADDRESS" in done.stderr


def test_relaxed_command_check_by_any_value_of_its_variable():
    for value in ("", "0", "true"):
        with Daemon(env={"ERL_EPMD_RELAXED_COMMAND_CHECK": value}) as daemon, daemon.client.register("a", 1):
            assert daemon.client.stop("a") == b"STOPPED"


# --- its own sockets ------------------------------------------------------------------------------


def test_listens_on_each_address_that_is_named():
    port = free_port()
    with Daemon(port=port, listen=[f"127.0.0.1:{port}", f"127.0.0.2:{port}", f"[::1]:{port}"]) as daemon:
        with daemon.client.register("a", 1):
            for host in ("127.0.0.1", "127.0.0.2", "::1"):
                assert EpmdClient(port, host).names() == [("a", 1)]
            with pytest.raises(ConnectionRefusedError):
                EpmdClient(port, "127.0.0.3").connect()
        addresses = {entry["address"]: entry["origin"] for entry in status(daemon)["sockets"]}
        assert addresses == {
            f"127.0.0.1:{port}": "own",
            f"127.0.0.2:{port}": "own",
            f"[::1]:{port}": "own",
            str(daemon.control): "own",
        }


def test_listens_on_several_ports():
    first, second = free_port(), free_port()
    with Daemon(port=first, listen=[f"127.0.0.1:{first}", f"127.0.0.1:{second}"]) as daemon, daemon.client.register("a", 1):
        assert EpmdClient(first).names() == EpmdClient(second).names() == [("a", 1)]


@needs_root
@pytest.mark.parametrize("bindv6only", [0, 1])
def test_by_default_listens_on_every_address_of_both_families(bindv6only):
    with Namespace() as network:
        network.run("sh", "-c", f"echo {bindv6only} > /proc/sys/net/ipv6/bindv6only")
        network.run("ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
        with Daemon(port=4369, listen=False, wrapper=network.prefix) as daemon:
            for host in ("127.0.0.1", "::1", "10.99.0.1"):
                client = EpmdClient(4369, host, network=network)
                with client.register("a", 1) as a:
                    assert client.names() == [("a", 1)]
                    unregister(a)
            assert len(status(daemon)["sockets"]) == 2


@needs_root
@pytest.mark.parametrize(
    "listen, families",
    [
        (["*:4369"], "46"),
        (["*"], "46"),
        (["0.0.0.0"], "4"),
        (["[::]:4369"], "6"),
        (["::"], "6"),
        (["0.0.0.0", "::"], "46"),
        (["*", "127.0.0.1", "::1"], "46"),
        (["127.0.0.1"], "4"),
        (["::1"], "6"),
    ],
)
def test_addresses_mean_their_family(listen, families):
    with Namespace() as network, Daemon(port=4369, listen=listen, wrapper=network.prefix):
        for family, host in (("4", "127.0.0.1"), ("6", "::1")):
            client = EpmdClient(4369, host, network=network)
            if family in families:
                assert client.names() == []
            else:
                with pytest.raises(ConnectionRefusedError):
                    client.connect()


@needs_root
def test_machine_whose_ipv6_is_disabled():
    with Namespace() as network:
        network.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6")
        for env in ({}, {"ERL_EPMD_ADDRESS": "127.0.0.2"}):
            with Daemon(port=4369, listen=False, wrapper=network.prefix, env=env) as daemon:
                daemon.client.network = network
                assert daemon.client.names() == []


@needs_root
def test_machine_without_ipv6():
    """socket(AF_INET6) fails with EAFNOSUPPORT, as where the module is missing."""
    with Namespace() as network, tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace"
        strace = ["-o", trace, "-e", "trace=socket"]
        with Daemon(port=4369, listen=False, wrapper=network.prefix + traced(*strace)) as daemon:
            end_traced(daemon)
        calls = re.findall(r"socket\(.*", trace.read_text())
        first = 1 + next(i for i, call in enumerate(calls) if "AF_INET6" in call)
        strace += ["-e", f"inject=socket:error=EAFNOSUPPORT:when={first}"]
        with Daemon(port=4369, listen=False, wrapper=network.prefix + traced(*strace)) as daemon:
            assert EpmdClient(4369, network=network).names() == []
            with pytest.raises(ConnectionRefusedError):
                EpmdClient(4369, "::1", network=network).connect()
            end_traced(daemon)


@needs_root
def test_erl_epmd_address_lists_addresses_and_loopback_comes_along():
    with Namespace() as network:
        network.run("ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
        network.run("ip", "addr", "add", "10.99.0.2/32", "dev", "lo")
        for text in ("10.99.0.1", "10.99.0.1 127.0.0.1", "10.99.0.1,::1", " 10.99.0.1 , "):
            with Daemon(port=4369, listen=False, wrapper=network.prefix, env={"ERL_EPMD_ADDRESS": text}):
                for host in ("127.0.0.1", "::1", "10.99.0.1"):
                    assert EpmdClient(4369, host, network=network).names() == []
                with pytest.raises(ConnectionRefusedError):
                    EpmdClient(4369, "10.99.0.2", network=network).connect()


@needs_root
@pytest.mark.parametrize("text", ["0.0.0.0", "::"])
def test_erl_epmd_address_of_every_address(text):
    """Stock epmd collides with its own loopback socket then, and ends without a word."""
    with Namespace() as network, Daemon(port=4369, listen=False, wrapper=network.prefix, env={"ERL_EPMD_ADDRESS": text}):
        assert EpmdClient(4369, "127.0.0.1", network=network).names() == []


@needs_root
def test_warns_where_no_node_of_this_machine_can_register():
    with Namespace() as network:
        network.run("ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
        with Daemon(listen=["10.99.0.1:4369"], wrapper=network.prefix) as daemon:
            assert "No loopback address is listened on" in daemon.log()


def test_port_that_was_just_left_can_be_taken_again(daemon):
    """Connections of the former daemon may stand in TIME_WAIT."""
    for _ in range(3):
        with daemon.client.register("a", 1):
            daemon.restart()
            assert daemon.client.names_raw()


# --- a port that is taken -------------------------------------------------------------------------


def refused_start(*args, **options):
    with pytest.raises(NotReady) as failure, Daemon(*args, **options):
        pass
    assert failure.value.status == 1
    lines = failure.value.log.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_port_taken_by_another_program():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        program = Path("/proc/self/comm").read_text().strip()
        line = refused_start(port=port)
        assert f"Port {port} on 127.0.0.1 is taken by {program} (pid {os.getpid()}" in line
        assert "--port" in line, "what to do"


def test_port_taken_by_stock_epmd(stock_epmd):
    line = refused_start(port=stock_epmd.port)
    assert f"taken by epmd (pid {stock_epmd.pid}" in line
    assert "epmd -kill" in line
    assert stock_epmd.client.names() == []


def test_port_taken_by_another_rollcalld(daemon):
    line = refused_start(port=daemon.port)
    assert f"taken by rollcalld (pid {daemon.pid}" in line
    assert daemon.client.names() == []


def test_port_taken_on_one_of_several_addresses():
    port = free_port()
    with socket.create_server(("127.0.0.3", port)):
        line = refused_start(listen=[f"127.0.0.2:{port}", f"127.0.0.3:{port}"])
        assert f"Port {port} on 127.0.0.3" in line and str(os.getpid()) in line


@needs_root
def test_port_taken_on_any_address():
    with Namespace() as network:
        for holds, wants in [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::", "::1"), ("::1", "::"), ("::", "127.0.0.1")]:
            bracketed = f"[{wants}]" if ":" in wants else wants
            with network.entered():
                holder = socket.socket(socket.AF_INET6 if ":" in holds else socket.AF_INET)
            with holder:
                holder.bind((holds, 4369))
                holder.listen(1)
                line = refused_start(listen=[f"{bracketed}:4369"], wrapper=network.prefix)
                assert f"(pid {os.getpid()}" in line, (holds, wants, line)


@needs_root
def test_process_that_may_not_see_the_holder_says_what_it_sees(daemon):
    program = daemon.directory / "rollcalld"
    program.write_bytes(Path(built("rollcalld")).read_bytes())
    program.chmod(0o755)
    daemon.directory.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", program, "--no-state", "--control", "none",
         "--listen", f"127.0.0.1:{daemon.port}"],
        capture_output=True, text=True, timeout=20, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(rf"taken by .*uid {os.geteuid()}\b", done.stderr), done.stderr


def test_address_that_is_not_ours():
    done = run_rollcalld("--listen", f"192.0.2.1:{free_port()}", "--no-state", "--control", "none")
    assert done.returncode == 1
    assert "192.0.2.1" in done.stderr and len(done.stderr.splitlines()) == 1


def test_failed_start_leaves_the_registry_of_a_running_one_alone(daemon):
    with daemon.client.register("a", 1):
        refused_start(port=daemon.port)
        assert daemon.client.names() == [("a", 1)]
        assert names_on_disk(daemon.state) == {"a": (1, "up")}


# --- passed sockets -------------------------------------------------------------------------------


@contextlib.contextmanager
def tcp(address="127.0.0.1", backlog=10):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        if backlog:
            sock.listen(backlog)
        yield sock


def test_every_passed_socket_is_served():
    with tcp() as first, tcp("::1") as second, tcp("127.0.0.2") as third, socket.socket(socket.AF_UNIX) as control:
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/passed"
            control.bind(path)
            control.listen(5)
            passed = [("epmd4", first), ("epmd6", second), ("control", control), ("another", third)]
            with Daemon(port=first.getsockname()[1], listen=False, sockets=passed) as daemon:
                daemon.control = path
                with daemon.client.register("a", 1):
                    for sock in (first, second, third):
                        host, port = sock.getsockname()[:2]
                        assert EpmdClient(port, host).names() == [("a", 1)]
                found = status(daemon)
                assert {entry["origin"] for entry in found["sockets"]} == {"systemd"}
                assert len(found["sockets"]) == 4
                assert "is of no use" not in daemon.log()
                daemon.stop()
                assert os.path.exists(path), "what was passed is not ours to remove"


def useless(kind, directory):
    match kind:
        case "datagram":
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
        case "unix datagram":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(f"{directory}/datagram")
        case "not listening":
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
        case "seqpacket":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.bind(f"{directory}/seqpacket")
            sock.listen(1)
        case "second control":
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(f"{directory}/second")
            sock.listen(1)
        case "file":
            return open(f"{directory}/file", "w+")
    return sock


@pytest.mark.parametrize("kind", ["datagram", "unix datagram", "not listening", "seqpacket", "second control", "file"])
def test_passed_descriptor_of_no_use_is_told_and_the_others_are_served(kind):
    with tempfile.TemporaryDirectory() as directory, tcp() as good, socket.socket(socket.AF_UNIX) as control:
        control.bind(f"{directory}/passed")
        control.listen(5)
        with useless(kind, directory) as bad:
            passed = [("control", control), ("bad-one", bad), ("epmd", good)]
            with Daemon(port=good.getsockname()[1], listen=False, sockets=passed) as daemon:
                assert daemon.client.names() == []
                lines = [line for line in daemon.log().splitlines() if "is of no use" in line]
                assert len(lines) == 1 and "bad-one" in lines[0]
                daemon.control = f"{directory}/passed"
                assert len(status(daemon)["sockets"]) == 2


def test_erl_epmd_address_under_socket_activation_is_told_once():
    with tcp() as sock:
        env = {"ERL_EPMD_ADDRESS": "127.0.0.7"}
        with Daemon(port=sock.getsockname()[1], listen=False, sockets=[("epmd", sock)], env=env) as daemon:
            assert daemon.client.names() == []
            daemon.signal(signal.SIGHUP)
            daemon.wait_for_log("Looked again")
            assert daemon.log().count("ERL_EPMD_ADDRESS") == 1
            with pytest.raises(ConnectionRefusedError):
                EpmdClient(daemon.port, "127.0.0.7").connect()


def test_connections_that_wait_in_the_queue_while_the_daemon_restarts_are_served():
    with tcp(backlog=100) as sock:
        with Daemon(port=sock.getsockname()[1], listen=False, sockets=[("epmd", sock)]) as daemon:
            with daemon.client.register("a", listen=True) as a:
                daemon.kill9()
                with closing_all([daemon.client.connect() for _ in range(20)]) as waiting:
                    for client in waiting:
                        client.sendall(frame(b"n"))
                    daemon.start()
                    for client in waiting:
                        assert receive_all(client)[4:] == f"name a at port {a.port}\n".encode()


def test_activation_by_systemd_socket_activate():
    """The daemon starts with the first connection, on all sockets."""
    first, second = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        log = open(f"{directory}/log", "wb")
        process = subprocess.Popen(
            ["systemd-socket-activate", "-l", f"127.0.0.1:{first}", "-l", f"[::1]:{second}", "-l", f"{directory}/control",
             "--fdname=epmd4:epmd6:control", built("rollcalld"), "--state", f"{directory}/registry.db"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(), preexec_fn=die_with_parent(),
        )  # fmt: skip
        try:
            wait_for(lambda: os.path.exists(f"{directory}/control"), "sockets")
            client = EpmdClient(first)
            with client.register("a", 1):
                assert EpmdClient(second, "::1").names() == client.names() == [("a", 1)]
                assert names_on_disk(f"{directory}/registry.db") == {"a": (1, "up")}
                done = run_rollcalld("--control", f"{directory}/control", "names", program="rollcall")
                assert done.returncode == 0 and "a" in done.stdout
        finally:
            end(process)
            log.close()


# --- the control socket ---------------------------------------------------------------------------


def test_control_socket_is_for_owner_and_group(daemon):
    assert stat.S_IMODE(daemon.control.stat().st_mode) == 0o660
    daemon.stop()
    assert not daemon.control.exists()


def test_control_socket_that_a_killed_daemon_left_is_replaced(daemon):
    daemon.kill9()
    assert daemon.control.exists()
    daemon.start()
    assert status(daemon)["pid"] == daemon.pid


def test_control_socket_of_another_daemon_is_left_alone(daemon):
    with Daemon("--control", daemon.control) as second:
        assert "control socket" in second.log()
        assert second.client.names() == []
        assert status(daemon)["pid"] == daemon.pid
    assert status(daemon)["pid"] == daemon.pid


def test_file_in_the_place_of_the_control_socket_is_left_alone(daemon):
    daemon.stop()
    daemon.control.write_text("somebody's")
    daemon.start()
    assert daemon.client.names() == []
    assert daemon.control.read_text() == "somebody's"
    assert "control socket" in daemon.log()


def test_without_a_control_socket():
    with Daemon("--control", "none") as daemon:
        assert daemon.client.names() == []
        assert not daemon.control.exists()


def ask_control(daemon, data):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.control))
        sock.sendall(data)
        return receive_all(sock)


@pytest.mark.parametrize(
    "body, word",
    [
        (b"LRC\1\1", None),
        (b"LRC\1\2", None),
        (b"LRC\1\x77", b"know"),
        (b"LRC\2\1", b"version"),
        (b"n", b"no request"),
        (alive2("a", 1), b"no request"),
        (b"LXC\1\1", b"no request"),
        (b"L", b"no request"),
    ],
)
def test_control_requests_are_answered_in_words(daemon, body, word):
    answer = ask_control(daemon, frame(body))
    assert answer[:4] == b"LRC\1"
    assert word is None or word in answer
    assert daemon.client.names() == []


def test_the_control_protocol_is_answered_in_words_on_the_epmd_port(daemon):
    assert b"on the control socket only" in daemon.client.request(b"LRC\1\1")
    assert counter(daemon, "requests.denied") == 1


def test_what_only_begins_like_the_control_protocol_is_closed_without_a_byte(daemon):
    for body in (b"L", b"LR", b"LRX\1\1", b"Lname"):
        assert daemon.client.request(body) == b""
    assert counter(daemon, "requests.unknown") == 4


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xff", b"\0\0", frame(b"LRC\1\1") + b"x"])
def test_garbage_at_the_control_socket_harms_nothing(daemon, data):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.control))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        receive_all(sock)
    assert status(daemon)["pid"] == daemon.pid


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(daemon, number):
    with daemon.client.register("a", listen=True) as a:
        daemon.signal(number)
        assert daemon.wait() == 0
        assert receive_all(a.sock) == b""
        assert names_on_disk(daemon.state) == {"a": (a.port, "up")}
        assert "Ending" in daemon.log()


def test_sighup_looks_again_and_loses_nothing(daemon):
    with daemon.client.register("a", listen=True) as a:
        for i in range(3):
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.log().count("Looked again") == i + 1, "line in the log")
        assert a.is_open()
        assert daemon.client.names() == [("a", a.port)]
        assert not is_degraded(daemon)


def test_other_signals_that_a_terminal_sends(daemon):
    daemon.signal(signal.SIGPIPE)
    daemon.signal(signal.SIGWINCH)
    assert daemon.client.names() == []


def test_kill_request_ends_it_and_leaves_the_rows():
    with Daemon("--relaxed-command-check") as daemon, daemon.client.register("a", listen=True) as a:
        assert daemon.client.kill() == b"OK"
        assert daemon.wait() == 0
        assert "asked us to end: granted" in daemon.log()
        daemon.start()
        assert daemon.client.names() == [("a", a.port)]


def test_kill_request_with_live_nodes_is_refused(daemon):
    with daemon.client.register("a", 1):
        assert daemon.client.kill() == b"NO"
        assert daemon.client.names() == [("a", 1)]
    wait_for(lambda: daemon.client.names() == [], "end of a")
    assert daemon.client.kill() == b"OK"
    assert daemon.wait() == 0


# --- what systemd is told -------------------------------------------------------------------------


def test_ready_when_every_answer_is_right():
    """What systemd starts after READY=1 finds names and rows as they are."""
    with Daemon(notify=True) as daemon:
        with daemon.client.register("a", listen=True) as a, daemon.client.register("dead", listen=True) as dead:
            daemon.kill9()
            dead.close()
            lines = len(daemon.notify.lines())
            daemon.wait_ready = False
            daemon.start()
            wait_for(lambda: "READY=1" in daemon.notify.lines()[lines:], "READY=1")
            assert daemon.client.names() == [("a", a.port)]
            words = daemon.notify.value("STATUS")
            assert "1 node, 1 awaited" in words and "listening sockets" in words


def test_nothing_is_accepted_before_the_registry_is_reconciled():
    with tempfile.TemporaryDirectory() as directory, Daemon(directory=directory) as daemon:
        with daemon.client.register("dead", listen=True) as dead:
            daemon.kill9()
            dead.close()
            for _ in range(10):
                daemon.wait_ready = False
                daemon.start()
                wait_for(lambda: _answers(daemon), "answer", interval=0.001)
                daemon.kill9()


def _answers(daemon):
    with contextlib.suppress(ConnectionRefusedError):
        assert daemon.client.names() == [], "the first answer is right"
        return True
    return False


def test_status_words_follow_the_registry():
    with Daemon(notify=True) as daemon:
        assert "0 nodes, 0 awaited" in daemon.notify.value("STATUS")
        with closing_all([daemon.client.register(f"n{i}", listen=True) for i in range(3)]):
            wait_for(lambda: "3 nodes, 0 awaited" in daemon.notify.value("STATUS"), lambda: daemon.notify.lines())
            daemon.kill9()
            daemon.start()
            assert "3 nodes, 3 awaited" in daemon.notify.value("STATUS")
        wait_for(lambda: "0 nodes" in daemon.notify.value("STATUS"), lambda: daemon.notify.lines())


def test_status_words_say_degraded():
    with Daemon("--no-state", state=False, notify=True) as daemon:
        assert daemon.notify.value("STATUS").startswith("DEGRADED")
        assert "memory only" in daemon.notify.value("STATUS")


def test_stopping_and_reloading_are_told():
    with Daemon(notify=True) as daemon:
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.notify.lines().count("READY=1") == 2, lambda: daemon.notify.lines())
        lines = daemon.notify.lines()
        assert "RELOADING=1" in lines
        assert lines.index("RELOADING=1") < len(lines) - 1 - lines[::-1].index("READY=1")
        assert int(daemon.notify.value("MONOTONIC_USEC")) <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
        daemon.stop()
        assert "STOPPING=1" in daemon.notify.lines()


def test_watchdog_is_fed_twice_in_its_time():
    with Daemon(notify=True, env={"WATCHDOG_USEC": "600000"}) as daemon:
        began = daemon.notify.lines().count("WATCHDOG=1")
        time.sleep(1.5)
        assert 4 <= daemon.notify.lines().count("WATCHDOG=1") - began <= 7


def test_without_a_watchdog_it_is_not_fed():
    with Daemon(notify=True, env={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}) as daemon:
        assert daemon.client.names() == []
        time.sleep(0.3)
        assert "WATCHDOG=1" not in daemon.notify.lines()


def test_service_manager_that_does_not_read_delays_nobody():
    """sendmsg() to it would block once its queue is full."""
    with Daemon(notify=True, env={"WATCHDOG_USEC": "2000"}) as daemon:
        began = time.monotonic()
        while time.monotonic() - began < 2.0:
            with daemon.client.register("a", 1) as a:
                unregister(a)
        assert daemon.client.names() == []
        assert daemon.stop() == 0


def test_notify_socket_that_is_not_there_harms_nothing():
    with Daemon(env={"NOTIFY_SOCKET": "/nonexistent/notify"}) as daemon:
        assert daemon.client.names() == []


def test_idle_daemon_uses_no_time():
    with Daemon() as daemon, closing_all([daemon.client.register(f"n{i}", listen=True) for i in range(50)]):
        before = cpu_seconds(daemon.pid)
        time.sleep(1.5)
        assert cpu_seconds(daemon.pid) - before <= 0.05


# --- the log --------------------------------------------------------------------------------------


def test_good_start_and_end_log_no_warning():
    with Daemon("--log-level", "notice") as daemon:
        with daemon.client.register("a", listen=True) as a:
            unregister(a)
        daemon.restart()
        daemon.stop()
        assert daemon.log() == ""


def test_debug_log_shows_each_request_and_answer():
    with Daemon("--debug") as daemon:
        with daemon.client.register("a", 4711) as a:
            daemon.client.port_please("a")
            daemon.client.port_please("unknown")
            daemon.client.names()
            daemon.client.dump_raw()
            daemon.client.stop("a")
            daemon.client.kill()
            unregister(a)
        log = daemon.log()
        for request in ("ALIVE2_REQ a", "PORT2_REQ a", "PORT2_REQ unknown", "NAMES_REQ", "DUMP_REQ", "STOP_REQ a", "KILL_REQ"):
            assert f"** got {request} from 127.0.0.1:" in log, request
        assert re.search(rf"\*\* answer to 127\.0\.0\.1:\d+: registered, creation {a.creation}\n", log)
        assert re.search(r"\*\* answer to 127\.0\.0\.1:\d+: port 4711\n", log)
        assert re.search(r"\*\* answer to 127\.0\.0\.1:\d+: no such node\n", log)
        assert "00000000" not in log and "0000  " not in log


def test_debug_twice_shows_the_bytes():
    with Daemon("-d", "-d") as daemon:
        daemon.client.request(b"zunknown")
        assert "0000  7a 75 6e 6b 6e 6f 77 6e" in daemon.log()
        assert "zunknown" in daemon.log()


def test_info_log_shows_events_and_not_requests(daemon):
    with daemon.client.register("a", 4711) as a:
        daemon.client.names()
        unregister(a)
    wait_for(lambda: "a at port 4711 is gone: left" in daemon.log(), "line")
    assert "a registered at port 4711" in daemon.log()
    assert "NAMES_REQ" not in daemon.log()


@pytest.mark.parametrize("level, expected", [("error", set()), ("warning", {"refused"}), ("info", {"refused", "registered"})])
def test_log_level(level, expected):
    with Daemon("--log-level", level) as daemon:
        with daemon.client.register("a", 1):
            daemon.client.request(alive2("a", 2))
        log = daemon.log()
        assert {word for word in ("refused", "registered", "** got") if word in log} == expected


def test_log_format_of_epmd():
    with Daemon("--log-format", "epmd", "--debug") as daemon:
        daemon.client.names()
        daemon.stop()
        lines = daemon.log_path.read_bytes().decode().splitlines(keepends=True)
        for line in lines:
            assert re.fullmatch(r"epmd: \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}: .*\r\n", line), line
        assert any("NAMES_REQ" in line for line in lines)


def test_log_cannot_be_forged_by_a_name():
    with Daemon("--debug") as daemon:
        daemon.client.request(alive2("a\nrollcalld: forged", 1))
        daemon.client.request(b"zx\nrollcalld: forged")
        daemon.client.request(alive2(b"\xff\x1b[31mred", 1))
        assert "\nrollcalld: forged" not in daemon.log()
        assert "\x1b" not in daemon.log()


def test_repeated_messages_are_limited_and_counted(daemon):
    for _ in range(300):
        assert daemon.client.request(b"Q") == b""
    assert daemon.log().count("is not known") < 80
    time.sleep(0.6)  # until the next one is due
    daemon.client.request(b"Q")
    assert re.search(r"\(\d+ more messages of this kind were not logged\)", daemon.log())
    assert counter(daemon, "requests.unknown") == 301


# --- for tests of clients -------------------------------------------------------------------------


def test_delay_write():
    with Daemon("--delay-write", "1") as daemon:
        began = time.monotonic()
        assert daemon.client.port_please("unknown") is None
        assert 0.9 < time.monotonic() - began < 3


def test_delay_accept():
    with Daemon("--delay-accept", "1") as daemon:
        began = time.monotonic()
        for _ in range(3):
            assert daemon.client.names() == []
        assert 1.5 < time.monotonic() - began < 6


def test_ready_fd_tells_when_it_answers():
    port = free_port()
    read_end, write_end = os.pipe()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [built("rollcalld"), "--listen", f"127.0.0.1:{port}", "--state", f"{directory}/registry.db", "--control", "none",
             "--ready-fd", str(write_end)],
            pass_fds=[write_end], env=clean_environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),
        )  # fmt: skip
        os.close(write_end)
        try:
            assert select.select([read_end], [], [], 10)[0]
            assert os.read(read_end, 100) == b"READY\n"
            assert EpmdClient(port).names_raw() == struct.pack(">I", port)
            assert os.read(read_end, 100) == b"", "closed"
        finally:
            os.close(read_end)
            end(process)


# --- stock clients --------------------------------------------------------------------------------


def run_epmd(port, *args):
    """Debian's epmd command as a client."""
    env = clean_environment({"ERL_EPMD_PORT": port})
    return subprocess.run([StockEpmd.program, *args], env=env, capture_output=True, timeout=20)


def test_stock_epmd_command(daemon):
    with daemon.client.register("a", 4711):
        names = run_epmd(daemon.port, "-names")
        expected = f"epmd: up and running on port {daemon.port} with data:\nname a at port 4711\n".encode()
        assert (names.returncode, names.stdout) == (0, expected)
        assert run_epmd(daemon.port, "-dump").stdout.endswith(b"\n\0")
        kill = run_epmd(daemon.port, "-kill")
        assert (kill.returncode, kill.stdout) == (1, b"Killing not allowed - living nodes in database.\n")
        assert run_epmd(daemon.port, "-stop", "a").returncode == 1
    wait_for(lambda: daemon.client.names() == [], "end of a")
    kill = run_epmd(daemon.port, "-kill")
    assert (kill.returncode, kill.stdout) == (0, b"Killed\n")
    assert daemon.wait() == 0


def test_stock_epmd_command_stops_a_node():
    with Daemon("--relaxed-command-check") as daemon, daemon.client.register("a", 1):
        done = run_epmd(daemon.port, "-stop", "unknown")
        assert (done.returncode, done.stdout) == (0, b"NOEXIST\n")
        done = run_epmd(daemon.port, "-stop", "a")
        assert (done.returncode, done.stdout) == (0, b"STOPPED\n")
        assert daemon.client.names() == []
