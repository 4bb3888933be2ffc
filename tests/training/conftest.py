"""Checkpoints of two steps in the folder `c`, and what is said of those that are skipped."""

from pathlib import Path

import pytest

from bonafide.training.checkpoints.manager import Checkpoints
from tests.checkpoint_states import state


@pytest.fixture
def said():
    return []


@pytest.fixture
def saved(said):
    made = Checkpoints(Path("c"), said.append)
    for step in (10, 20):
        made.save(step, {"state": state(step), "best": state(step + 1)}, {"epoch": step, "loss": 0.1})
    made.finish()
    return made
