"""Sums as trees, and dropout masks by shard."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bonafide.engine.hyperparameters import partition_by_tokens
from bonafide.engine.shards.dropout import ShardedDropout, dropout_mask
from bonafide.engine.shards.shard_context import ShardContext, are_told_apart, tree_sum
from tests.shard_inputs import LENGTHS, OFFSETS, golden, parts_of, sharded
from tests.tiny_engines import build_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return build_model(dropout=0.1)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 8])
def test_sums_are_taken_as_a_tree(n):
    parts, spent = parts_of(n), []
    assert torch.equal(tree_sum((part.clone() for part in parts), spent.append), golden(parts))
    assert len(spent) == n - 1
    if n > 2:  # the order matters
        assert not torch.equal(golden(parts), sum(parts[::-1]))


@pytest.mark.parametrize("halves", [2, 4])
def test_the_tree_of_parts_is_the_tree_of_the_whole(halves):
    parts, each = parts_of(8), 8 // halves
    inner = (tree_sum(part.clone() for part in parts[i : i + each]) for i in range(0, 8, each))
    assert torch.equal(tree_sum(inner), golden(parts))


def mask_of(x, p, site, *pass_of):
    with sharded(*pass_of) as context:
        return dropout_mask(x, p, site, context)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 65536])
def test_the_share_that_is_dropped_is_near_p(p):
    kept = mask_of(torch.ones(1, 2000, 64), p, 1, [250] * 8, [0, 2, 4, 6, 8])
    n = kept.numel()
    assert float((kept == 0).float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 2**-16)
    assert kept[kept != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    assert float(kept.mean()) == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)


def test_a_mask_is_a_function_of_key_shard_site_and_position():
    x = torch.ones(19, 8)
    kept = mask_of(x, 0.5, 3)
    torch.manual_seed(9)
    assert torch.equal(kept, mask_of(x, 0.5, 3))
    assert torch.equal(kept[None], mask_of(x[None], 0.5, 3))
    others = mask_of(x, 0.5, 3, LENGTHS, OFFSETS, 6), mask_of(x, 0.5, 3, LENGTHS, OFFSETS, 5, 1), mask_of(x, 0.5, 4)
    for other in others:
        assert 0.3 < float((kept != other).float().mean()) < 0.7


def test_masks_are_pinned():
    """Other masks are other weights: numpy and torch must not change them unseen."""
    kept = mask_of(torch.ones(19, 4), 0.5, 1)
    assert "".join(map(str, (kept != 0).int().flatten().tolist()))[:24] == "001010101000101000101111"


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 2**63 - 1), st.integers(1, 33))
def test_a_shard_has_the_same_mask_wherever_it_lies(lengths, key, width):
    rows, offsets = partition_by_tokens(np.arange(len(lengths)), np.array(lengths), 4)
    lengths = [lengths[row] for row in rows]
    whole = mask_of(torch.ones(sum(lengths), width), 0.5, 2, lengths, offsets.tolist(), key)
    for first, last in ((0, 2), (2, 4), (3, 4)):
        mine = lengths[offsets[first] : offsets[last]]
        before = sum(lengths[: offsets[first]])
        if mine:
            part = (offsets[first : last + 1] - offsets[first]).tolist()
            kept = mask_of(torch.ones(sum(mine), width), 0.5, 2, mine, part, key, first)
            assert torch.equal(kept, whole[before : before + sum(mine)])


def test_dropout_drops_in_training_only_and_is_the_derivative_of_itself():
    x, dropout = torch.randn(19, 4, requires_grad=True), nn.Dropout(0.5)
    with sharded() as context, ShardedDropout(dropout, context).active():
        y = dropout(x)
        y.sum().backward()
        assert dropout.eval()(x) is x
        assert nn.functional.dropout(x, 0.0) is x
    assert torch.equal(y, x * x.grad)
    assert (x.grad == 0).any()


class Layer(nn.Module):
    """Drops by a module, and by itself, twice."""

    def __init__(self):
        super().__init__()
        self.dropout, self.inner = 0.5, nn.Dropout(0.5)

    def forward(self, x):
        again = nn.functional.dropout(x, p=self.dropout, training=self.training)
        return self.inner(x), again, nn.functional.dropout(x, p=self.dropout, training=self.training)


def test_places_are_told_apart_and_are_the_same_every_time():
    x, model = torch.ones(19, 16), nn.Sequential(nn.Dropout(0.5), Layer(), Layer())
    with sharded() as context, ShardedDropout(model, context).active():
        first, second, third = model[0](x), model[1](x), model[2](x)
        places = [first, *second, *third, nn.functional.dropout(x)]
        assert all(not torch.equal(a, b) for a, b in itertools.combinations(places, 2))
        assert all(torch.equal(a, b) for a, b in zip(second, model[1](x), strict=True))
        for module, site in ((first, 0), (second[0], 1), (third[0], 2)):
            assert torch.equal(module, dropout_mask(x, 0.5, site, context))
    assert not torch.equal(nn.functional.dropout(x), nn.functional.dropout(x))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=4, max_size=6))
def test_kinds_of_rows_are_known_by_their_number_or_said_not_to_be(lengths):
    source, target = ([*counts] for counts in zip(*lengths, strict=True))
    kinds, offsets = [[1] * len(lengths), source, target], [0, 1, 2, len(lengths)]
    by_shard = [[counts[0], counts[1], sum(counts[2:])] for counts in kinds]
    context = ShardContext()
    with context.shards(kinds, offsets, 0, 0):
        found = [context.sizes_of(torch.ones(sum(counts), 2)) for counts in kinds]
    assert (found == by_shard) == are_told_apart(kinds, offsets)
    assert are_told_apart(kinds, offsets) == all(
        a == b or sum(a) != sum(b) for a, b in itertools.combinations(by_shard, 2)
    )
