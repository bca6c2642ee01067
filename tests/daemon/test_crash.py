# SPDX-License-Identifier: Apache-2.0
"""P1, P3, P5: `kill -9` at random moments beneath clients of all kinds, again and again, beside a model of what they
were told."""

import contextlib
import random
import time

import pytest

from daemon.crash_model import Model
from daemon.helpers import assert_intact, is_degraded
from lib.daemon import Daemon

# A round takes some 50 ms. How many there are in a run is told by its seed, so that one that fails can be played again.
ROUNDS, LONG_ROUNDS = 50, 250


def kill_in_its_start(daemon, chance):
    daemon.wait_ready = False
    daemon.start()
    time.sleep(chance.uniform(0, 0.012))
    daemon.kill9()
    daemon.wait_ready = True


def play(seed, n_rounds):
    print(f"seed {seed}, {n_rounds} rounds")
    chance = random.Random(seed)
    daemon = Daemon("--log-level", "warning", "--history-per-name", "1000000", "--history-rows", "1000000")
    with daemon, contextlib.closing(Model(daemon, chance)) as model:
        for _ in range(n_rounds):
            model.work(chance.uniform(0.002, 0.03))
            daemon.kill9()
            model.settle()
            # A reader mends the log for whoever opens it next: mostly that is left to the daemon.
            if chance.random() < 0.3:
                model.check_file()
            while chance.random() < 0.2:
                kill_in_its_start(daemon, chance)
            daemon.start()
            model.check()
        assert not is_degraded(daemon)
        assert daemon.stop() == 0
        assert_intact(daemon.state)
        expected = ("is refused: the name is held", "is going: its listening socket", "Nobody reads --ready-fd", "was released by")
        assert not [line for line in daemon.log().splitlines() if not any(words in line for words in expected)]
        return model


@pytest.mark.parametrize("seed", range(1, 7))
def test_kill_at_random_moments_loses_nothing_and_invents_nothing(seed):
    model = play(seed, ROUNDS)
    assert model.n_acknowledged > ROUNDS and model.n_history > ROUNDS


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1001, 1021))
def test_kill_at_five_thousand_random_moments(seed):
    play(seed, LONG_ROUNDS)
