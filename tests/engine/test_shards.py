"""bonafide/engine/step_context.py: sums as trees, and chance by shard."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bonafide.engine.recipe import cut
from bonafide.engine.step_context import Dropout, Layout, replace_dropout, tree_sum
from tests.shard_inputs import CUTS, LENGTHS, golden, laid_out, parts_of
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


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 65536])
def test_the_share_that_is_dropped_is_near_p(p):
    kept = laid_out([250] * 8, [0, 2, 4, 6, 8]).keep(torch.ones(1, 2000, 64), p, 1)
    n = kept.numel()
    assert float((kept == 0).float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 2**-16)
    assert kept[kept != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    assert float(kept.mean()) == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)


def test_chance_is_a_function_of_key_shard_site_and_position():
    x = torch.ones(19, 8)
    kept = laid_out(LENGTHS, CUTS).keep(x, 0.5, 3)
    torch.manual_seed(9)
    assert torch.equal(kept, laid_out(LENGTHS, CUTS).keep(x, 0.5, 3))
    assert torch.equal(kept[None], laid_out(LENGTHS, CUTS).keep(x[None], 0.5, 3))
    for other in (
        laid_out(LENGTHS, CUTS, key=6).keep(x, 0.5, 3),
        laid_out(LENGTHS, CUTS, first_shard=1).keep(x, 0.5, 3),
        laid_out(LENGTHS, CUTS).keep(x, 0.5, 4),
    ):
        assert 0.3 < float((kept != other).float().mean()) < 0.7


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 2**63 - 1), st.integers(1, 33))
def test_a_shard_has_the_same_chance_wherever_it_lies(lengths, key, width):
    rows, cuts = cut(np.arange(len(lengths)), np.array(lengths), 4)
    lengths = [lengths[row] for row in rows]
    whole = laid_out(lengths, cuts.tolist(), key).keep(torch.ones(sum(lengths), width), 0.5, 2)
    for first, last in ((0, 2), (2, 4), (3, 4)):
        mine = lengths[cuts[first] : cuts[last]]
        before = sum(lengths[: cuts[first]])
        if mine:
            part = laid_out(mine, (cuts[first : last + 1] - cuts[first]).tolist(), key, first)
            kept = part.keep(torch.ones(sum(mine), width), 0.5, 2)
            assert torch.equal(kept, whole[before : before + sum(mine)])


def test_dropout_drops_in_training_only_and_is_the_derivative_of_itself():
    layout = laid_out(LENGTHS, CUTS)
    dropout = Dropout(0.5, 0, layout)
    x = torch.randn(19, 4, requires_grad=True)
    y = dropout(x)
    y.sum().backward()
    assert torch.equal(y, x * x.grad)
    assert (x.grad == 0).any()
    assert dropout.eval()(x) is x
    assert Dropout(0.0, 0, layout)(x) is x


def test_each_dropout_is_replaced_once(model):
    mine = copy.deepcopy(model)
    layout = Layout()
    replace_dropout(mine, layout)
    found = [module for module in mine.modules() if isinstance(module, Dropout)]
    assert [module.site for module in found] == list(range(len(found)))
    assert len(found) == sum(isinstance(module, nn.Dropout) for module in model.modules())
    assert not any(isinstance(module, nn.Dropout) for module in mine.modules())
