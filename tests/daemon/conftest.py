# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests in this directory."""

import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def directory():
    """A short path, since that of a socket is bounded, which anybody may enter."""
    with tempfile.TemporaryDirectory(prefix="rollcall-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)
