# SPDX-License-Identifier: Apache-2.0
"""What the tests in Python share.

    from lib.daemon import Daemon, StockEpmd      a daemon of ours, and the stock one, each on a port of its own
    from lib.epmd_client import EpmdClient        EPMD's requests as bytes over a socket
    from lib.control_client import ControlClient  the control protocol, by the names of PROTOCOL.md
    from lib.nodes import ErlangNode              a real Erlang node that answers expressions
    from lib.netns import Namespace, join         network namespaces joined by veth (root)
    from lib.machine import Machine               a real systemd with Rollcall installed (root)
    from lib.inside import Swarm, Lookups         programs of this directory in units of a machine: swarm, lookups, light_node

Everything here is a context manager that leaves nothing behind, also when a test fails or pytest is killed.
"""
