"""Translators, causal and masked language models train to the same bytes however their shards are shared out."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.engine.hyperparameters import partition_by_tokens
from bonafide.engine.shards.shard_context import are_told_apart, rows_by_shard, tree_sum
from tests.process_groups import in_threads
from tests.tiny_engines import checkpoint_activations, digest
from tests.tiny_language_models import build_pairs
from tests.tiny_networks import KINDS, build_examples, build_network, task_of, train

pytestmark = pytest.mark.usefixtures("one_thread")

APART = {"t5": "padded rows depend on the longest text"}
FAST = ("marian", "gpt2", "bert, next sentence")
WALKED = [pytest.param(kind, marks=[] if kind in FAST else pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize("kind", WALKED)
def test_weights_are_bitwise_equal_in_any_number_of_parts_and_played_groups(kind):
    model, examples = KINDS[kind](dropout=0.1), build_examples(kind)
    expected = train(kind, model, examples, 3, shards=4)
    assert train(kind, model, examples, 3, shards=4, gradient_accumulation_steps=4) == expected
    assert in_threads(2, lambda group: train(kind, model, examples, 3, group, shards=4)) == [expected] * 2
    parts = {"shards": 4, "gradient_accumulation_steps": 2}
    assert in_threads(2, lambda group: train(kind, model, examples, 3, group, **parts)) == [expected] * 2
    if kind not in FAST[1:]:
        assert in_threads(4, lambda group: train(kind, model, examples, 3, group, shards=4)) == [expected] * 4
    assert expected[1] != train(kind, model, examples, 3, shards=4, seed=2)[1]  # or this says nothing


@pytest.mark.parametrize("kind", WALKED)
def test_shards_share_a_pass_and_gradients_are_autograds(kind):
    model, examples = KINDS[kind](), build_examples(kind)
    stock, task = copy.deepcopy(model), task_of(kind)
    engine = build_network(kind, model, examples, shards=4)
    assert engine.separation_reason == APART.get(kind, ""), engine.describe()
    assert not engine.writer.shared
    assert not engine.writer.copied
    rows = np.argsort(examples.lengths[:8], kind="stable")
    value = engine._compute_gradients(rows, 1)
    stock.train()
    batch = task.collate(examples, rows, stock)  # padded
    expected = task.loss(stock(**batch.inputs), batch).sum() / int(examples.units[rows].sum())
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), abs=1e-5)
    for (name, p), mine in zip(stock.named_parameters(), engine.model.parameters(), strict=True):
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        assert not p.requires_grad or (mine.grad - grad).abs().max() <= 2e-5, name


def test_muon_is_exact_and_goes_on_from_its_state():
    model, examples = KINDS["gpt2"](dropout=0.1), build_examples("gpt2")
    engines = [
        build_network("gpt2", copy.deepcopy(model), examples, shards=4, optimizer="muon", gradient_accumulation_steps=n)
        for n in (1, 4)
    ]
    for step in engines[0].steps():
        if step.step == 3:
            saved = {name: tensor.clone() for name, tensor in engines[0].optimizer.state().items()}
    engines[1].optimizer.load(saved, 3)
    list(engines[1].steps(3))
    assert digest(engines[0].model) == digest(engines[1].model)


@pytest.fixture(scope="module")
def translator():
    return build_network("marian", KINDS["marian"](dropout=0.1), build_examples("marian"), shards=4)


@settings(max_examples=6)
@given(st.permutations(range(2, 10)))
def test_sides_of_as_many_tokens_in_other_shards_have_the_bits_of_passes_alone(translator, target):
    """Sources are of 2 to 9 tokens, and so are targets."""
    engine = translator
    engine.examples = engine.inputs = examples = build_pairs(list(range(2, 10)), target)
    ordered, offsets = partition_by_tokens(np.arange(8), examples.lengths, 4)
    assert not engine.separation_reason
    batch = task_of("marian").collate(examples, ordered, engine.model)
    _, sources, targets = rows_by_shard(batch.row_counts, offsets)
    assert are_told_apart(batch.row_counts, offsets) == (sources == targets)
    whole = engine.run_pass(ordered, offsets, 5, 0).clone()
    assert torch.equal(whole, tree_sum(engine.run_pass(ordered, offsets[i : i + 2], 5, i).clone() for i in range(4)))


@pytest.mark.parametrize("kind", [kind for kind in WALKED if kind.values[0] in ("marian", "llama", "modernbert")])
def test_gradient_checkpointing_changes_no_bit(kind):
    found = []
    for checkpointing in (False, True):
        model = KINDS[kind](dropout=0.1)
        if checkpointing:
            checkpoint_activations(model)
        found.append(train(kind, model, build_examples(kind), 3, shards=4))
    assert found[0] == found[1]
