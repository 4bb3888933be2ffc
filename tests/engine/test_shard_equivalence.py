"""Shards share a pass where that changes no bit, and each has its own where it would."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.shard_inputs import tokens
from tests.tiny_engines import DECODERS, ENCODERS, build_engine, build_model, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("architecture", [*ENCODERS[:-1], *DECODERS, "deberta-v2"])
def test_weights_are_bitwise_equal_in_one_two_and_four_passes(architecture):
    whole = build_model(architecture, dropout=0.1)
    found = [train(whole, tokens(), 5, shards=4, gradient_accumulation_steps=n) for n in (1, 2, 4)]
    assert found[0] == found[1] == found[2]
    assert found[0] != train(whole, tokens(), 5, shards=4, seed=2)  # or this says nothing


@pytest.mark.parametrize("architecture", [*ENCODERS, *DECODERS])
def test_shards_share_a_pass_where_that_changes_no_bit(architecture):
    """Of widths that leave no rest to the elementwise kernels, as all do that are in use."""
    engine = build_engine(build_model(architecture, intermediate_size=64), tokens(), shards=4)
    assert (engine.packed, engine.separation_reason, engine.describe()) == (True, "", "packed batches, exact sums")
    assert bool(engine.writer.shared) == (architecture == "albert")


def test_each_shard_is_a_pass_of_its_own_where_it_must_be():
    padded = build_engine(build_model("deberta-v2"), tokens(), shards=4)
    assert "AttentionInterface" in padded.padding_reason
    assert padded.separation_reason == "padded rows depend on the longest text"
    assert padded.describe() == (
        "padded batches (its attention does not go through transformers' AttentionInterface), exact sums,"
        " each of 4 shards a pass of its own (padded rows depend on the longest text)"
    )
    model = build_model("llama")
    model.model.norm = Beside(model.model.norm)
    holds = build_engine(model, tokens(), shards=4)
    assert (holds.packed, holds.separation_reason) == (True, "model.norm (Beside) holds weights beside modules")
    model = build_model("bert")
    model.classifier = Past(32, model.bert.pooler.dense)
    past = build_engine(model, tokens(), shards=4)
    assert past.separation_reason.startswith("bert.pooler.dense (Linear) is used outside of its own forward")
    for engine in (padded, holds, past):
        rows = np.arange(8)
        whole = engine._compute_gradients(rows, 1), engine.reduce_buffer.clone()
        engine.recipe = replace(engine.recipe, gradient_accumulation_steps=4)
        assert torch.equal(engine._compute_gradients(rows, 1), whole[0])
        assert torch.equal(engine.reduce_buffer, whole[1])


class Beside(nn.Module):
    """A norm and a weight beside it."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.scale = norm, nn.Parameter(torch.ones(32))

    def forward(self, x):
        return self.norm(x) * self.scale


class Past(nn.Linear):
    """A head that uses the weights of the layer below it."""

    def __init__(self, width, below):
        super().__init__(width, 3)
        self.below = [below]

    def forward(self, x):
        return super().forward(nn.functional.linear(x, self.below[0].weight))


def test_a_rest_that_is_rounded_otherwise_is_noticed(monkeypatch):
    """A product of all rows with itself has other bits in parts."""
    model = build_model("bert")
    dense = model.bert.encoder.layer[0].intermediate.dense
    dense.register_forward_hook(lambda _module, _args, y: y * (1 + 1e-7 * y.shape[1]))
    engine = build_engine(model, tokens(), shards=4)
    assert engine.separation_reason == "shards that share one have other bits"
    assert not engine.context.exact


def test_shards_change_rounding_only():
    plain = build_model()
    one, four = (train(plain, tokens(), 5, shards=n)[1] for n in (1, 4))
    assert one == pytest.approx(four, abs=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "albert", "llama"])
def test_parts_that_need_not_be_exact_are_nearly(architecture):
    plain = build_model(architecture)
    engine = build_engine(copy.deepcopy(plain), tokens(), exact=False)
    assert engine.describe().endswith(", sums not exact (train.exact is false)")
    one, two = (train(plain, tokens(), 5, gradient_accumulation_steps=n, exact=False)[1] for n in (1, 2))
    assert one == pytest.approx(two, abs=1e-5)
