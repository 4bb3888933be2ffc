"""The parts of a checkpoint: all of one save or none, and joined by any number of processes."""

from pathlib import Path

import pytest
import torch

from bonafide.engine.process_group import ProcessGroup
from bonafide.training.checkpoints.manager import Checkpoints
from bonafide.training.checkpoints.sharded import ShardedCheckpoints

SHAPES = {"matrix": (10, 3), "bias": (7,), "classifier": (2, 3), "row": (1, 4)}


def tensors(seed=0):
    chance = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=chance) for name, shape in SHAPES.items()}


def own(state, rank, size):
    """The rows of one rank, as torch cuts them: an empty piece where there are fewer rows than ranks."""
    cut = {}
    for name, tensor in state.items():
        pieces = [*torch.chunk(tensor, size), *[tensor[:0]] * size]
        cut[name] = pieces[rank].clone()
    return cut


def write(size, step, mark, state=None, ranks=None):
    for rank in range(size) if ranks is None else ranks:
        saved = Checkpoints(Path(f"c/rank-{rank}-of-{size}"), print)
        saved.newest()
        saved.save(step, {"state": own(state or tensors(), rank, size)}, {"mark": mark, "rank": rank}, wait=True)


class Same(ProcessGroup):
    """One of several processes, of which the others say the same as it does."""

    def broadcast(self, value):
        return value

    def all_min(self, value):
        return value


@pytest.mark.parametrize("before", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("after", [1, 2, 3, 4, 12])
def test_any_number_of_processes_reads_the_rows_that_another_wrote(before, after):
    write(before, 5, 5 << 32 | 1)
    for rank in range(after):
        found = ShardedCheckpoints(Path("c"), print, Same(rank, after)).newest()
        assert found.step == 5
        assert found.progress["rank"] == (rank if before == after else 0)  # rank 0 has the whole history
        expected, loaded = own(tensors(), rank, after), found.load("state")
        assert {name: torch.equal(loaded[name], rows) for name, rows in expected.items()} == dict.fromkeys(SHAPES, True)


def newest(group=None):
    said = []
    found = ShardedCheckpoints(Path("c"), said.append, group or ProcessGroup()).newest()
    return found.step if found else None, said


def test_a_step_counts_if_every_part_has_it():
    write(3, 5, 5 << 32 | 1)
    write(3, 6, 6 << 32 | 2, ranks=[0, 2])
    assert newest() == (5, ["checkpoint step-00000006: rank-1-of-3 has no whole part of it; skipped"])


def test_parts_of_one_step_from_two_saves_are_not_mixed():
    write(2, 5, 5 << 32 | 1)
    write(2, 6, 6 << 32 | 2, ranks=[0])
    write(2, 6, 6 << 32 | 3, ranks=[1])
    assert newest()[0] == 5


def test_the_newest_step_of_any_number_wins_and_of_equal_ones_our_number():
    write(2, 5, 5 << 32 | 1)
    write(3, 6, 6 << 32 | 2)
    assert newest() == (6, [])
    write(1, 6, 6 << 32 | 3)
    assert ShardedCheckpoints(Path("c"), print, ProcessGroup()).newest().progress["mark"] == 6 << 32 | 3


def test_without_a_whole_step_there_is_none():
    assert newest() == (None, [])
    write(2, 5, 5 << 32 | 1, ranks=[0])
    assert newest() == (None, ["checkpoint step-00000005: rank-1-of-2 has no whole part of it; skipped"])
    Path("c/rank-0-of-x").mkdir()
    assert newest()[0] is None


def test_a_part_is_saved_once_all_have_finished_the_one_before(monkeypatch):
    """A process whose last write failed says so before the others begin the next one."""
    order = []

    class Ordered(ProcessGroup):
        def all_min(self, value):
            order.append("all")
            return value

    parts = ShardedCheckpoints(Path("c"), print, Ordered())
    monkeypatch.setattr(parts._own, "finish", lambda: order.append("finish"))
    monkeypatch.setattr(parts._own, "save", lambda *_, **__: order.append("save"))
    parts.save(1, {}, {})
    assert order == ["finish", "all", "save"]


def test_remove_leaves_no_part_of_any_number():
    write(2, 5, 5 << 32 | 1)
    parts = ShardedCheckpoints(Path("c"), print, ProcessGroup())
    parts.save(6, {"state": tensors()}, {}, wait=True)
    assert newest() == (6, [])
    parts.remove()
    assert not Path("c").exists()
