"""What the engine does on a GPU, done on the CPU: bf16 products, chance of the device's, and nothing to wait for."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from bonafide.engine import engine as training
from bonafide.engine.gradients import sum_by_id
from bonafide.engine.step_context import Layout, tree_sum
from bonafide.forward import batch, packed_attention, transfer
from bonafide.forward.packing import pack
from tests import tiny_engines
from tests.tiny_engines import build_engine, build_model, build_tokens, digest, queued_layout, random_tokens, train

pytestmark = pytest.mark.usefixtures("one_thread")

PACKED = ("bert", "distilbert", "roberta", "electra", "modernbert")


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(training, "Layout", queued_layout)
    monkeypatch.setattr(training, "Graphs", lambda ordinary, *_: ordinary)  # attention by runs asks the host's lengths
    monkeypatch.setattr(batch, "SHORT", 0)  # blocks are the CPU's
    monkeypatch.setattr(tiny_engines, "RECIPE", replace(tiny_engines.RECIPE, precision="bf16"))


def trained(model, steps=5, *, lowers=True, done=0, state=None, **changes):
    """The engine after so many steps."""
    engine = build_engine(copy.deepcopy(model), random_tokens(19), **changes)
    if not lowers:
        engine.layout.lowered = {}
    if state:
        engine.optimizer.load(state, done)
    for step in engine.steps(done):
        if step.step == done + steps:
            break
    return engine


@pytest.mark.parametrize("architecture", PACKED)
def test_weights_that_stay_lowered_are_those_cast_each_time(architecture):
    model = build_model(architecture, dropout=0.1)
    stays, cast = (trained(model, lowers=lowers, shards=4) for lowers in (True, False))
    assert digest(stays.model) == digest(cast.model)
    assert stays.layout.lowered
    for p in stays.optimizer.trained.values():
        assert torch.equal(stays.layout.lowered[id(p)], p.bfloat16())


def test_lowered_weights_are_those_of_the_checkpoint_that_was_loaded():
    model = build_model(dropout=0.1)
    whole, half = trained(model, 4), trained(model, 2)
    saved = {name: tensor.clone() for name, tensor in half.optimizer.state().items()}
    assert digest(trained(model, 2, done=2, state=saved).model) == digest(whole.model)


def test_frozen_weights_are_lowered_once():
    model = build_model(dropout=0.1)
    model.bert.encoder.layer[1].requires_grad_(requires_grad=False)
    stays, cast = (trained(model, lowers=lowers) for lowers in (True, False))
    assert digest(stays.model) == digest(cast.model)
    dense = stays.model.bert.encoder.layer[1].output.dense
    assert torch.equal(stays.layout.lowered[id(dense.weight)], dense.weight.bfloat16())


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_weights_are_bitwise_equal_in_one_two_and_four_passes(architecture):
    model = build_model(architecture, dropout=0.1)
    found = [train(model, random_tokens(19), 5, shards=4, gradient_accumulation_steps=n) for n in (1, 2, 4)]
    assert found[0] == found[1] == found[2]
    assert found[0] != train(model, random_tokens(19), 5, shards=4, seed=2)


def test_bf16_and_other_chance_change_the_loss_little(monkeypatch):
    model = build_model()
    low = train(model, random_tokens(19), 5)[1]
    monkeypatch.setattr(training, "Layout", Layout)
    assert low == pytest.approx(train(model, random_tokens(19), 5, precision="fp32")[1], abs=0.02)


@pytest.mark.parametrize("architecture", PACKED)
def test_what_is_filled_in_has_no_part_in_the_gradient(architecture):
    """In fp32, with dropout, whose chance is that of a row's place in its shard; the third step has three texts."""
    engines = [
        build_engine(build_model(architecture, 0.1), random_tokens(19), shards=4, precision="fp32") for _ in "ab"
    ]
    filled, plain = engines
    filled.fills = True
    for (mine, expected), _ in zip(zip(filled.steps(), plain.steps(), strict=True), range(3), strict=False):
        assert float(mine.loss) == pytest.approx(float(expected.loss), abs=1e-6)
        assert mine.tokens == expected.tokens
        assert (filled.optimizer.gradient - plain.optimizer.gradient).abs().max() < 1e-5


class NothingWaits(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU: values, and shapes that depend on values."""

    WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_", "bincount", "equal", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        sizeless = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        waits = name.startswith(self.WAIT) or by_mask or sizeless
        assert not waits, f"{func} waits"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("changes", [{}, {"shards": 4}, {"shards": 4, "gradient_accumulation_steps": 2}], ids=str)
def test_no_step_waits_for_the_device(architecture, changes):
    engine = build_engine(build_model(architecture, dropout=0.1), random_tokens(60), **changes)
    steps = engine.steps()
    next(steps)
    with NothingWaits():
        for _ in range(3):
            next(steps)


@pytest.mark.parametrize("waits", [lambda x: x.sum().item(), lambda x: x[x > 0], torch.unique, lambda x: bool(x.any())])
def test_what_waits_is_caught(waits):
    with NothingWaits(), pytest.raises(AssertionError, match="waits"):
        waits(torch.arange(3))


@given(st.lists(st.integers(0, 39), min_size=4, max_size=30), st.sampled_from([2, 20, 40]), st.integers(0, 9))
def test_sums_by_id_are_those_of_each_shard_added_as_a_tree(ids, words, seed):
    ids = torch.tensor(ids) % words
    sizes = [1, 0, 2, len(ids) - 3]
    g = torch.randn(len(ids), 5, generator=torch.Generator().manual_seed(seed))
    found = torch.full((words, 5), torch.nan)
    sum_by_id(ids, g, sizes, found)
    parts = zip(torch.split(ids, sizes), torch.split(g, sizes), strict=True)
    assert torch.equal(found, tree_sum(torch.zeros(words, 5).index_add_(0, at, part) for at, part in parts))


def test_an_array_goes_to_the_device_once_and_for_as_long_as_its_split():
    tokens, at = random_tokens(9), torch.tensor([3, 1], device="meta")  # a device that can be had anywhere
    before = len(transfer._there)
    ids = transfer.take(tokens, "input_ids", at)
    assert (ids.device.type, ids.shape, ids.dtype) == ("meta", (2,), torch.int32)
    (there,) = transfer._there[tokens].values()
    transfer.take(tokens, "input_ids", at)
    assert next(iter(transfer._there[tokens].values())) is there
    del tokens
    assert len(transfer._there) == before
    tokens = random_tokens(9)
    assert transfer.take(tokens, "input_ids", torch.tensor([3, 1])).tolist() == tokens.input_ids[[3, 1]].tolist()


def kernel(query, key, value, queries, keys, most, longest, *, scale, window_size):
    """What torch documents of varlen_attn, text by text."""
    assert queries.dtype == keys.dtype == torch.int32
    assert most >= int(queries.diff().max())
    assert longest >= int(keys.diff().max())
    outs = []
    for (a, b), (c, d) in zip(pairwise(queries.tolist()), pairwise(keys.tolist()), strict=True):
        q, k, v = query[a:b].transpose(0, 1), key[c:d].transpose(0, 1), value[c:d].transpose(0, 1)
        far = (torch.arange(b - a)[:, None] - torch.arange(d - c)).abs()
        seen = far <= window_size[0] if window_size[0] >= 0 else None
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)
        outs.append(out.transpose(0, 1))
    return torch.cat(outs)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("firsts_only", [False, True])
def test_the_kernel_is_told_where_texts_begin_and_end(window, firsts_only, monkeypatch):
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    packed = pack(build_tokens([1, 2, 2, 7, 11]), np.arange(5), build_model())
    assert (packed.bounds.tolist(), packed.longest) == ([0, 1, 3, 5, 12, 23], 11)
    q, k, v = torch.randn(3, 23, 2, 8, generator=torch.Generator().manual_seed(0)).unbind()
    if firsts_only:
        q, packed = q[packed.first], replace(packed, hidden=torch.zeros(23, 16))
    window = None if firsts_only else window
    expected = packed_attention.by_runs(packed_attention.Reads(q, k, v, 0.3, window), packed)
    assert (
        packed_attention.variable_length(packed_attention.Reads(q, k, v, 0.3, window), packed) - expected
    ).abs().max() < 1e-6


def test_bounds_are_made_once_a_batch(monkeypatch):
    """The kernel takes the batch's own tensor in every layer."""
    seen = []

    def spy(*args, **options):
        seen.append(args[4])
        return kernel(*args, **options)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", spy)
    monkeypatch.setattr(packed_attention, "by_length", packed_attention.variable_length)
    model = build_model("bert", num_hidden_layers=3)
    engine = build_engine(model, random_tokens(19))
    seen.clear()
    next(engine.steps())
    assert len(seen) == 3
    assert len({id(bounds) for bounds in seen}) == 1
