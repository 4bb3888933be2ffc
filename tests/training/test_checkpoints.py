"""Saving is a snapshot, what is saved comes back, and as many checkpoints stay as asked for, written when due."""

import os
import re
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from bonafide.training.checkpoints import manager, manifest
from bonafide.training.checkpoints.manager import Checkpoints
from tests.checkpoint_states import newest, same, state


def test_no_checkpoint_is_none(said):
    assert newest(said) is None
    Path("c").mkdir()
    assert newest(said) is None
    assert said == []


def test_a_save_is_a_snapshot(said):
    made, weights, progress = Checkpoints(Path("c"), said.append), state(1), {"seen": [1]}
    for step in (1, 2):
        made.save(step, {"state": weights}, progress)
        weights["w"] += 1
        progress["seen"].append(2)
    made.finish()
    left = newest(said)
    assert left.load("state")["w"][0] == 2
    assert left.progress == {"seen": [1, 2]}


def test_loaded_tensors_are_the_callers_own(saved, said):
    left = newest(said)
    left.load("state")["w"].zero_()
    assert same(newest(said).load("state"), state(20))


def test_a_file_that_is_none_is_linked_and_outlives_its_origin(saved, said):
    first = Path("c/step-00000020/best.safetensors").stat().st_ino
    for step in (30, 40, 50):
        saved.save(step, {"state": state(step), "best": None}, {}, wait=True)
    assert sorted(path.name for path in Path("c").iterdir()) == ["step-00000040", "step-00000050"]
    left = newest(said)
    assert (left.step, (left.folder / "best.safetensors").stat().st_ino) == (50, first)
    assert same(left.load("best"), state(21))


def test_a_file_is_copied_where_links_are_not_to_be_had(saved, said, monkeypatch):
    def refuse(_old, _new):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    resumed = Checkpoints(Path("c"), said.append)
    assert resumed.newest().step == 20
    resumed.save(30, {"state": None, "best": None}, {}, wait=True)
    assert same(newest(said).load("state"), state(20))


def test_a_file_that_no_checkpoint_has_cannot_be_none(saved, said):
    with pytest.raises(ValueError, match="step 30"):
        saved.save(30, {"other": None}, {})
    with pytest.raises(ValueError, match="step 1"):
        Checkpoints(Path("d"), said.append).save(1, {"state": None}, {})


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_stay_as_asked_for(said, keep):
    made = Checkpoints(Path("c"), said.append, keep)
    for step in range(6):
        made.save(step, {"state": state(step)}, {})
    made.finish()
    assert sorted(int(path.name[5:]) for path in Path("c").iterdir()) == list(range(6 - keep, 6))


DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
TENSORS = st.builds(
    lambda dtype, shape: torch.randint(0, 255, shape).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), TENSORS, max_size=4))
def test_tensors_come_back_as_they_were(said, tensors):
    made = Checkpoints(Path("c"), said.append)
    made.save(1, {"state": tensors}, {}, wait=True)
    back = made.newest().load("state")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor)
    assert made.newest().folder.joinpath("state.safetensors").read_bytes() == save(tensors)


def test_views_parameters_and_tied_tensors_are_saved(said):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    tensors = {"a": weight, "b": weight, "c": weight.T, "d": weight[:, 1], "e": torch.ones(1).expand(3)}
    made = Checkpoints(Path("c"), said.append)
    made.save(1, {"state": tensors}, {}, wait=True)
    for name, tensor in made.newest().load("state").items():
        assert torch.equal(tensor, tensors[name])


def test_nan_in_progress_is_refused_at_once(saved):
    with pytest.raises(ValueError, match="JSON"):
        saved.save(30, {}, {"loss": float("nan")})


def test_what_dead_writers_left_is_removed_and_no_other(saved):
    live, dead, own = (Path(f"c/step-00000001.tmp-{pid}") for pid in (1, 999_999_999, os.getpid()))
    for folder in (live, dead, own):
        folder.mkdir()
    saved.save(30, {}, {}, wait=True)
    assert (live.exists(), dead.exists(), own.exists()) == (True, False, False)


def test_the_next_one_is_due_by_what_the_last_one_cost(monkeypatch, said):
    now = [0.0]
    monkeypatch.setattr(manager, "monotonic", lambda: now[0])
    monkeypatch.setattr(manager, "thread_time", lambda: 0.5)
    made = Checkpoints(Path("c"), said.append)

    def due_at(second):
        now[0] = second
        return made.due()

    assert [due_at(second) for second in (0, 9.9, 10)] == [False, False, True]
    made.save(1, {}, {}, wait=True)  # at 10; blocks for nothing, the writer for 0.5
    assert [due_at(second) for second in (20, 59.9, 60)] == [False, False, True]
    monkeypatch.setattr(manager, "thread_time", lambda: 0.0)
    monkeypatch.setattr(manager, "snapshot", lambda _: now.__setitem__(0, now[0] + 0.3) or {})
    made.save(2, {"state": state(2)}, {}, wait=True)  # at 60; blocks for 0.3
    assert [due_at(second) for second in (89, 90.4)] == [False, True]


def test_none_is_due_while_one_is_written(monkeypatch, said):
    go = threading.Event()
    monkeypatch.setattr(manifest, "sync", lambda *_: go.wait(10))
    monkeypatch.setattr(manager, "monotonic", iter(range(0, 10**6, 1000)).__next__)
    made = Checkpoints(Path("c"), said.append)
    assert made.due()
    made.save(1, {"state": state(1)}, {})
    assert not made.due()
    go.set()
    made.finish()


def test_remove_leaves_nothing(saved, said):
    saved.save(30, {"state": state(30)}, {})
    saved.remove()
    assert not Path("c").exists()
    assert newest(said) is None


@pytest.mark.parametrize("module", [manager, manifest])
def test_nothing_is_pickled(module):
    assert not re.search(r"torch\.(load|save)|pickle", Path(module.__file__).read_text())
