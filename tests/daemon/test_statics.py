# SPDX-License-Identifier: Apache-2.0
"""Nodes that do not register, and pinned ports: ordered by command or named in nodes.d, found by their listeners."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess

import pytest

from daemon.commands import NOBODY, keys_of_man_page, rollcall_as, told
from daemon.helpers import end_traced, needs_root, query, status, traced
from lib.control_client import ControlClient, ControlConnection, ControlError, put_request
from lib.daemon import Daemon, free_port
from lib.process import SOURCE, wait_for


@pytest.fixture
def daemon():
    with Daemon() as daemon:
        yield daemon


def listen(port, address="127.0.0.1"):
    return socket.create_server((address, port), reuse_port=False)


def add(daemon, name, port, *more):
    done = daemon.rollcall("add", name, "--port", port, *more)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def entries(daemon):
    return {(entry["name"], entry["address"]): entry for entry in json.loads(daemon.rollcall("entries", "--json").stdout)}


def names(daemon):
    return {node["name"]: node for node in json.loads(daemon.rollcall("names", "--json").stdout)}


# --- entries -----------------------------------------------------------------------------------------


def test_a_node_without_epmd_is_there_while_it_listens(daemon):
    port = free_port()
    assert add(daemon, "shop", port, "--host-part", "shop.example.org") == (
        f"shop@shop.example.org at port {port} of this machine is entered: it is not there now, nobody listens at port {port}\n"
    )
    assert daemon.client.port_please("shop") is None
    why = daemon.rollcall("why", "shop").stdout
    assert f"static entry port {port} of this machine, by uid {os.getuid()}" in why
    assert f"which is     down: nobody listens at port {port}" in why
    (entry,) = json.loads(daemon.rollcall("why", "shop", "--json").stdout)["entries"]
    assert entry == entries(daemon)["shop", "*"]
    with ControlClient(daemon.control).watch() as watch, listen(port):
        found = daemon.client.port_please("shop")
        assert (found.port, found.type, found.highest, found.lowest) == (port, 77, 6, 5)
        assert daemon.client.names() == [("shop", port)]
        watch.wait(lambda: ("shop", "*") in watch.nodes)
        assert watch.nodes["shop", "*"]["NODE_ORIGIN"] == "static"
        node = names(daemon)["shop"]
        expected = {"state": "up", "state_source": "listener", "static": True, "elsewhere": False, "creation": 0, "host": "shop.example.org",
                    "uid": os.getuid(), "pinned_port": None, "listener_address": "127.0.0.1", "scope": "*"}
        assert {key: node[key] for key in expected} == expected
        why = daemon.rollcall("why", "shop").stdout
        assert "static entry port" not in why
        assert "alive        its listening socket is open" in why and "origin       a static entry" in why and "fd store" not in why
    watch_end(daemon, watch, "listener-gone")
    assert daemon.client.names() == []
    (line,) = [line for line in daemon.rollcall("history", "shop").stdout.splitlines() if "shop" in line]
    assert "listener-gone" in line


def watch_end(daemon, watch, how):
    with ControlClient(daemon.control).watch(after=watch) as watch:
        watch.wait(lambda: ("shop", "*") in watch.gone)
    assert watch.gone["shop", "*"]["HOW"] == how


@pytest.mark.parametrize("end_it", [Daemon.stop, Daemon.kill9], ids=["stop", "kill9"])
def test_what_was_ordered_outlives_the_daemon(daemon, end_it):
    port, other = free_port(), free_port()
    with listen(port):
        add(daemon, "shop", port)
        add(daemon, "far", 9100, "--address", "192.0.2.7")
        assert daemon.rollcall("pin", "shop", port).stdout == f"shop is pinned to port {port}\n"
        before, since = entries(daemon), names(daemon)["shop"]["since_usec"]
        end_it(daemon)
        daemon.start()
        assert entries(daemon) == before
        assert names(daemon)["shop"]["since_usec"] == since
        assert names(daemon)["shop"]["pinned_port"] == port
        assert daemon.client.names() == [("shop", port)]
        end_it(daemon)
    # It went while nobody looked.
    daemon.start()
    assert daemon.client.names() == []
    wait_for(lambda: query(daemon.state, "SELECT name, how, origin FROM history") == [("shop", "found-dead", "static")], "its end in the file")
    # And comes while nobody asks.
    with listen(port):
        wait_for(lambda: query(daemon.state, "SELECT name FROM nodes") == [("shop",)], "the node in the file")
        assert daemon.rollcall("remove", "shop").returncode == 0
        assert daemon.client.names() == []
    wait_for(lambda: query(daemon.state, "SELECT how, by FROM history")[-1] == ("removed", f"uid {os.getuid()}"), "its removal in the file")
    assert other not in [entry["port"] for entry in entries(daemon).values()]


def test_an_order_is_synced_before_it_is_answered(directory):
    """What a power cut would leave: the log of system calls has a sync between the request and its answer."""
    trace = directory / "trace"
    daemon = Daemon(wrapper=traced("-o", trace, "-e", "trace=fdatasync,fsync,sendto,sendmsg,write"))
    with contextlib.closing(daemon), contextlib.ExitStack() as stack:
        stack.callback(end_traced, daemon)
        daemon.start()
        client = ControlClient(daemon.control)
        client.request("NAMES")
        for order in (("ADD", {"NAME": "a", "PORT": 1}), ("PIN", {"NAME": "a", "PORT": 9100}), ("UNPIN", {"NAME": "a"}), ("REMOVE", {"NAME": "a"})):
            before = trace.read_text()
            client.request(order[0], **order[1])
            wait_for(lambda: answers(trace.read_text()[len(before):]), "the answer in the trace")
            since = trace.read_text()[len(before):]
            assert since.index("fdatasync(") < since.index(answers(since)), since


def answers(trace):
    """The line with an answer of the control protocol."""
    return next((line for line in trace.splitlines() if '"LRC\\1' in line), None)


def test_another_machines_nodes_are_told_and_not_looked_up(daemon):
    assert "it is on another machine" in add(daemon, "far", 9100, "--address", "192.0.2.7", "--host-part", "far.example.org")
    assert daemon.client.port_please("far") is None
    assert daemon.client.names() == [] and b"far" not in daemon.client.dump_raw()
    node = names(daemon)["far"]
    assert (node["scope"], node["state_source"], node["elsewhere"], node["uid"]) == ("192.0.2.7", "entry", True, None)
    row = daemon.rollcall("names").stdout.splitlines()[1].split()
    assert row[:6] == ["far", "9100", "up", "entry", "normal", "192.0.2.7"]
    assert "nobody here knows whether it lives" in daemon.rollcall("why", "far").stdout
    assert status(daemon)["nodes"]["total"] == 0
    # It is in nobody's way.
    with daemon.client.register("far", listen=True) as here:
        assert daemon.client.port_please("far").port == here.port
    with ControlClient(daemon.control).watch(NAME="far") as watch:
        watch.sync()
        daemon.rollcall("remove", "far@192.0.2.7")
        watch.wait(lambda: ("far", "192.0.2.7") not in watch.nodes)
    assert daemon.client.kill() == b"OK"


def test_its_own_node_takes_the_name_over_and_another_does_not(daemon):
    port = free_port()
    with listen(port) as listener:
        add(daemon, "shop", port)
        with pytest.raises(Exception, match="refused"):
            daemon.client.register("shop", listen=True)
        with daemon.client.register("shop", port) as node:
            assert node.creation >= 4
            assert names(daemon)["shop"]["static"] is False
            assert entries(daemon)["shop", "*"]["state"] == "up"
        listener.close()
    wait_for(lambda: query(daemon.state, "SELECT how, why FROM history")[:1] == [("replaced", "it registered by itself")], "its end in the file")


def test_who_may_order_and_what_is_said_where_it_cannot_be_done(directory):
    with Daemon("--no-state", state=False) as daemon:
        code, said = told(daemon.rollcall("add", "a", "--port", 1))
        assert code == 1 and "Nothing has changed" in said and "nodes.d" in said
        assert entries(daemon) == {}


@needs_root
def test_only_root_and_the_daemons_user_may_order(daemon, directory):
    os.chmod(daemon.directory, 0o755)
    os.chmod(daemon.control, 0o666)
    for order in (["add", "a", "--port", "1"], ["remove", "a"], ["pin", "a", "1"], ["unpin", "a"]):
        done = rollcall_as(NOBODY, directory, "--control", str(daemon.control), *order)
        assert (done.returncode, "Only root and the daemon's own user" in done.stderr) == (1, True), done
    done = rollcall_as(NOBODY, directory, "--control", str(daemon.control), "entries")
    assert (done.returncode, done.stderr) == (0, "")
    # Over TCP nobody may.
    with pytest.raises(ControlError, match="denied"):
        ControlClient(("127.0.0.1", daemon.port)).request("ADD", NAME="a", PORT=1)
    with pytest.raises(ControlError, match="denied"):
        ControlClient(("127.0.0.1", daemon.port)).request("ENTRIES")


def test_a_disk_that_is_full_keeps_nothing(directory):
    """P2: an order that would be forgotten is refused, and lookups go on."""
    mount = directory / "small"
    mount.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", mount], capture_output=True).returncode != 0:
        pytest.skip("cannot mount")
    try:
        with Daemon(state=mount / "registry.db") as daemon:
            add(daemon, "kept", 1)
            with contextlib.suppress(OSError), open(mount / "fill", "wb", buffering=0) as fill:
                while True:
                    fill.write(b"\0" * 4096)
            for _ in range(3):
                code, said = told(daemon.rollcall("pin", "lost", 2))
                assert code == 1 and "Nothing has changed" in said, said
            assert json.loads(daemon.rollcall("pins", "--json").stdout) == []
            (mount / "fill").unlink()
            wait_for(lambda: daemon.rollcall("pin", "lost", 2).returncode == 0, "the disk to take it")
            assert list(entries(daemon)) == [("kept", "*")]
    finally:
        subprocess.run(["umount", mount], check=True)


def pins_on_disk(daemon):
    with contextlib.suppress(sqlite3.OperationalError):
        return query(daemon.state, "SELECT name, port FROM pins")
    return None


def test_orders_are_in_the_file_that_is_made_anew(daemon):
    add(daemon, "kept", 1)
    daemon.rollcall("pin", "kept", 9100)
    os.unlink(daemon.state)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: pins_on_disk(daemon) == [("kept", 9100)], "the new file")
    assert query(daemon.state, "SELECT name, address, port, host, by FROM entries") == [("kept", "*", 1, None, f"uid {os.getuid()}")]


# --- nodes.d -----------------------------------------------------------------------------------------


def reload(daemon):
    before = daemon.log().count("The configuration ")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.log().count("The configuration ") > before, "a word on the configuration")


def test_the_example_says_what_it_means_to(directory):
    example = (SOURCE / "units" / "examples" / "nodes.d-shop.conf").read_text()
    main, nodes = directory / "rollcall.conf", directory / "nodes.d"
    nodes.mkdir()
    main.write_text("")
    # With what it proposes, too.
    (nodes / "shop.conf").write_text(re.sub(r"^#(?=\S)", "", example, flags=re.M))
    with Daemon("--config", main) as daemon:
        assert status(daemon)["degraded"] == []
        found = {key: (entry["port"], entry["host"], entry["state"]) for key, entry in entries(daemon).items()}
        assert found == {("shop", "*"): (9100, "shop.example.org", "down"), ("shop", "192.0.2.7"): (9100, "shop2.example.org", "elsewhere")}


def test_files_are_read_at_reload_and_a_bad_one_keeps_the_last_good_ones(directory):
    main, nodes = directory / "rollcall.conf", directory / "nodes.d"
    nodes.mkdir()
    main.write_text("")
    port, other = free_port(), free_port()
    file = nodes / "shop.conf"
    file.write_text(f"[node shop]\nport = {port}\nhost-part = shop.example.org\n")
    with listen(port), listen(other), Daemon("--config", main) as daemon:
        assert daemon.client.names() == [("shop", port)]
        assert entries(daemon)["shop", "*"]["by"] == str(file)
        # By command there is nothing to be done about it.
        code, said = told(daemon.rollcall("remove", "shop"))
        assert code == 1 and f"is in {file}: remove it there" in said
        code, said = told(daemon.rollcall("add", "shop", "--port", other))
        assert code == 1 and f"in {file}: change it first" in said
        file.write_text(f"[node shop]\nport = {other}x\n")
        reload(daemon)
        assert daemon.client.names() == [("shop", port)]
        assert f"{file}:2: port '{other}x' is not a port" in status(daemon)["degraded"][0]
        file.write_text(f"[node shop]\nport = {other}\n")
        reload(daemon)
        assert status(daemon)["degraded"] == []
        assert daemon.client.names() == [("shop", other)]
        assert str(file) in status(daemon)["config_files"]
        daemon.kill9()
        daemon.start()
        assert daemon.client.names() == [("shop", other)]
        file.unlink()
        reload(daemon)
        assert daemon.client.names() == [] and entries(daemon) == {}


# --- pins --------------------------------------------------------------------------------------------


def test_a_pinned_name_is_let_in_elsewhere_and_that_is_told(daemon):
    assert daemon.rollcall("pin", "shop", 9100).returncode == 0
    with daemon.client.register("shop", 4711):
        assert names(daemon)["shop"]["pinned_port"] == 9100
        assert "its name has port 9100 for good, at which it does not listen" in daemon.rollcall("why", "shop").stdout
        daemon.wait_for_log("shop is at port 4711, though its name is pinned to port 9100")
        assert daemon.rollcall("unpin", "shop").stdout == "shop is not pinned any more to port 9100\n"
        assert names(daemon)["shop"]["pinned_port"] is None


def test_a_node_asks_for_its_port_over_tcp(daemon):
    daemon.rollcall("pin", "shop", 9100)
    client = ControlClient(("127.0.0.1", daemon.port))
    (pin,) = client.request("PINS", NAME="shop")
    assert (pin.kind, pin["PORT"], pin.get("BY")) == ("PIN", 9100, None)
    assert client.request("PINS", NAME="other") == []


NFT = """\
# Ports that names are pinned to: rollcall pins --nft | nft -f -
# The rule that lets them in, for a chain of this table:  tcp dport @rollcall_ports accept
table inet filter {
        set rollcall_ports {
                type inet_service
        }
}
flush set inet filter rollcall_ports
"""


def test_the_firewall_opens_exactly_the_pinned_ports(daemon):
    assert daemon.rollcall("pins", "--nft").stdout == NFT
    for name, port in (("shop", 9100), ("bücher", 9101), ("a b", 9102)):
        assert daemon.rollcall("pin", name, port).returncode == 0
    out = daemon.rollcall("pins", "--nft").stdout
    assert out == NFT + 'add element inet filter rollcall_ports {\n        9102,\n        9101,\n        9100 comment "shop"\n}\n'
    if not shutil.which("nft") or os.geteuid() != 0:
        pytest.skip("the form is right; nft is not there to judge it")
    judge = subprocess.run(["unshare", "--net", "nft", "-c", "-f", "-"], input=out, capture_output=True, text=True, timeout=20)
    if "Operation not permitted" in judge.stderr or "not supported" in judge.stderr:
        pytest.skip(f"the form is right; the kernel has no nf_tables: {judge.stderr}")
    assert (judge.returncode, judge.stderr) == (0, "")


# --- the protocol ------------------------------------------------------------------------------------

REQUESTS = {
    "add": ("ADD", {"NAME": "shop", "PORT": 9100, "HOST": "shop.example.org"}),
    "pin": ("PIN", {"NAME": "shop", "PORT": 9100}),
    "pin of": ("PINS", {"NAME": "shop"}),
    "all pins": ("PINS", {}),
    "entries": ("ENTRIES", {}),
    "unpin": ("UNPIN", {"NAME": "shop"}),
    "remove": ("REMOVE", {"NAME": "shop", "ADDRESS": "192.0.2.7"}),
}


def test_requests_are_as_the_document_draws_them(daemon):
    section = (SOURCE / "PROTOCOL.md").read_text().partition("### Static entries and pinned ports")[2].partition("| tag |")[0]
    for label, (kind, fields) in REQUESTS.items():
        (drawn,) = re.findall(rf"^    {label} +([0-9a-f ]+)$", section, re.M)
        assert bytes.fromhex(drawn) == put_request(kind, **fields), label
        if label == "remove":
            continue
        with ControlConnection(daemon.control, bytes.fromhex(drawn)) as connection:
            kinds = [record.kind for record in connection.records()]
        assert kinds == ["ENTRY" if label in ("add", "entries") else "PIN"], label


def test_find_and_watch_tell_them_as_others(daemon):
    port = free_port()
    client = ControlClient(("127.0.0.1", daemon.port))
    with listen(port):
        add(daemon, "shop_1", port, "--host-part", "shop")
        add(daemon, "shop_2", 9100, "--address", "192.0.2.7", "--host-part", "shop.example.org")
        epoch, *found = client.request("FIND", PATTERN="shop_*")
        assert [node["NAME"] for node in found] == ["shop_1", "shop_2"]
        assert [(node["HOST_SOURCE"], node["NAME_KIND"], node["NODE_ORIGIN"], node.get("ELSEWHERE")) for node in found] == [
            ("static", "short", "static", None), ("static", "long", "static", 1)]
        assert all("UID" not in node.fields and "CREATION" not in node.fields for node in found)
        with client.watch(PATTERN="shop_*") as watch:
            watch.sync()
            assert len(watch.nodes) == 2 and watch.revision == epoch["REVISION"]
            # One that another machine has is on nobody's disk as a registration, and told all the same.
            add(daemon, "shop_3", 9100, "--address", "192.0.2.8")
            watch.wait(lambda: ("shop_3", "192.0.2.8") in watch.nodes)
            assert query(daemon.state, "SELECT count(*) FROM nodes WHERE name = 'shop_3'") == [(0,)]
            daemon.rollcall("remove", "shop_3")
            watch.wait(lambda: ("shop_3", "192.0.2.8") not in watch.nodes)


# --- the command -------------------------------------------------------------------------------------


WRONG = [
    (["add", "a"], "at which port?"),
    (["add", "a", "--port", "0"], "'0' is no port"),
    (["add", "a", "--port", "x"], "'x' is no port"),
    (["add", "a@h", "--port", "1"], "has a host part"),
    (["add", "a", "--port", "1", "--address", "here"], "'here' is no address"),
    (["add", "a", "--port", "1", "--host-part", "a b"], "cannot be the host part"),
    (["add", "a", "--port", "1", "--nft"], "'add' takes no --nft"),
    (["remove", "a@host"], "has no address behind its @"),
    (["pin", "a"], "pin which name to which port?"),
    (["pin", "a", "65536"], "'65536' is no port"),
    (["pins", "--nft", "--json"], "exclude each other"),
]


@pytest.mark.parametrize("words, said", WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_usage(daemon, words, said):
    code, line = told(daemon.rollcall(*words))
    assert code == 2 and said in line, line


def test_tables_and_json_are_as_documented(daemon):
    heading = "NAME PORT STATE ADDRESS HOST SINCE BY\n"
    assert daemon.rollcall("entries").stdout == heading
    assert daemon.rollcall("pins").stdout == "NAME PORT SINCE BY\n"
    port = free_port()
    add(daemon, "a", port)
    done = daemon.rollcall("entries")
    row = done.stdout.splitlines()[1].split()
    assert row[:5] == ["a", str(port), "down", "*", "-"] and " ".join(row[6:]) == f"uid:{os.getuid()}"
    assert done.stderr == f"a: nobody listens at port {port}\n"
    keys = keys_of_man_page("print one, of objects:")
    assert list(entries(daemon)["a", "*"]) == keys
    assert list(json.loads(daemon.rollcall("remove", "a", "--json").stdout)) == keys
    pin = json.loads(daemon.rollcall("pin", "a", "1", "--json").stdout)
    assert daemon.rollcall("pins").stdout.split()[-1] == f"uid:{os.getuid()}"
    assert list(pin) == ["name", "port", "since", "since_usec", "by"]
    assert json.loads(daemon.rollcall("pins", "--json").stdout) == [pin]
    assert daemon.rollcall("pin", "a", "1", "--quiet").stdout == ""
