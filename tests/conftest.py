# SPDX-License-Identifier: Apache-2.0
"""For all tests in Python: the long ones only when asked for, and fixtures that most of them want."""

import os
import resource

import pytest

from lib.daemon import Daemon, StockEpmd

# A thousand connections are nothing here; the soft limit of a shell is often 1024.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = 65536 if _hard == resource.RLIM_INFINITY else min(_hard, 65536)
if _soft != resource.RLIM_INFINITY and _soft < _wanted:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_wanted, _hard))


def pytest_collection_modifyitems(config, items):
    if os.environ.get("ROLLCALL_LONG") == "1":
        return
    kept = [item for item in items if item.get_closest_marker("long") is None]
    left = [item for item in items if item.get_closest_marker("long") is not None]
    items[:] = kept
    if left:
        config.hook.pytest_deselected(items=left)


@pytest.fixture
def daemon():
    """A rollcalld of this test's own."""
    with Daemon() as it:
        yield it


@pytest.fixture
def stock_epmd():
    """A stock epmd of this test's own."""
    with StockEpmd() as it:
        yield it
