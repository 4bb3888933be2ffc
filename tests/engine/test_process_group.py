"""Several processes end in the bytes of one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torch import multiprocessing as mp

from bonafide.engine.process_group import ProcessGroup
from bonafide.engine.shards.shard_context import tree_sum
from tests.process_groups import in_threads
from tests.shard_inputs import golden, parts_of, tokens
from tests.tiny_engines import build_model, random_tokens, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size", [2, 4, 8])
def test_worlds_add_up_in_the_order_of_one(size):
    parts = parts_of(8)
    each = 8 // size

    def work(group):
        return group.all_reduce(tree_sum(p.clone() for p in parts[group.rank * each : (group.rank + 1) * each]))

    assert all(torch.equal(total, golden(parts)) for total in in_threads(size, work))


@settings(max_examples=4)
@given(st.integers(5, 20), st.sampled_from([(2, 1), (2, 2), (4, 1)]))
def test_weights_are_bitwise_equal_in_played_groups(n, group_and_accumulation):
    size, accumulation = group_and_accumulation
    whole, texts = build_model(dropout=0.1), random_tokens(n, seed=n)
    expected = train(whole, texts, 3, shards=4)
    found = in_threads(
        size, lambda group: train(whole, texts, 3, group, shards=4, gradient_accumulation_steps=accumulation)
    )
    assert found == [expected] * size


def test_a_lone_process_agrees_with_itself():
    assert ProcessGroup().broadcast(7) == 7
    assert ProcessGroup().all_reduce(torch.ones(2)).tolist() == [1, 1]


def process(rank, size, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet{size}", rank=rank, world_size=size)
    group = ProcessGroup(rank, size)
    agreed = group.broadcast(10 + rank)
    weights, losses = train(build_model(dropout=0.1), tokens(), 6, group, shards=4)
    (folder / f"{size}-{rank}").write_text(f"{weights} {losses} {agreed}")
    distributed.destroy_process_group()


@pytest.mark.slow  # 4 processes import transformers
def test_weights_are_bitwise_equal_in_one_two_and_four_processes(tmp_path):
    for size in (1, 2, 4):
        mp.spawn(process, (size, tmp_path), nprocs=size)
    found = {path.read_text() for path in tmp_path.glob("?-?")}
    assert len(list(tmp_path.glob("?-?"))) == 7
    assert len(found) == 1


def gone(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    if rank:
        return
    with pytest.raises(ConnectionError, match="a process of the group is gone"):
        ProcessGroup(0, 2).all_reduce(torch.ones(3))
    (folder / "told").touch()


@pytest.mark.slow
def test_a_process_that_is_gone_is_a_connection_error(tmp_path):
    mp.spawn(gone, (tmp_path,), nprocs=2)
    assert (tmp_path / "told").exists()
