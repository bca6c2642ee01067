# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests in this directory."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from daemon.helpers import in_a_unit
from lib.netns import Namespace


@pytest.fixture
def directory():
    """A short path, since that of a socket is bounded, which anybody may enter."""
    with tempfile.TemporaryDirectory(prefix="rollcall-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def own_network():
    """This module in a network of its own, where that is allowed: the kernel tells a daemon of every listening socket that
    closes in its network, whoever's it is, so that what others do would be among what is counted."""
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:
            with contextlib.suppress(AssertionError, OSError):
                stack.enter_context(stack.enter_context(Namespace()).entered())
        yield


@pytest.fixture(scope="module")
def own_unit():
    """This module, and what it starts, in a cgroup as systemd makes them for a service, where that is allowed."""
    with in_a_unit("rollcall-test"):
        yield
