# SPDX-License-Identifier: Apache-2.0
"""For tests in a real systemd: a machine for each module, its journal in the report of a failure."""

from pathlib import Path

import pytest

from lib.machine import Machine, remove_installed_tree, why_no_machine
from lib.process import wait_for

HERE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    reason = why_no_machine()
    for item in items:
        if HERE not in item.path.parents:
            continue
        # With xdist's --dist loadgroup: a module shares its machine, hence its worker.
        item.add_marker(pytest.mark.xdist_group(item.path.name))
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"no machine can be booted here: {reason}"))


def pytest_sessionfinish():
    remove_installed_tree()


@pytest.fixture(scope="module")
def shared_machine():
    """The module's machine, with Rollcall installed and enabled as README.md says."""
    with Machine() as machine:
        yield machine.install_rollcall()


@pytest.fixture
def machine(shared_machine):
    """The module's machine with the daemon running; no name is left from the test before."""
    shared_machine.run("systemctl", "start", "epmd.socket", "rollcalld.service")
    wait_for(lambda: shared_machine.client.names() == [], lambda: f"an empty registry: {shared_machine.client.names()}")
    return shared_machine


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        machines = {id(value): value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Machine)}
        for machine in machines.values():
            report.sections.append((f"journal of {machine.name}", machine.logs()))
