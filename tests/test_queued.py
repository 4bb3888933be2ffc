"""What the engine does on a GPU, done on the CPU: bf16 products, chance of the device's, and nothing to wait for."""

import copy

import pytest
import torch

from bonafide import batch, training
from bonafide.shards import Layout
from tests.tiny_engines import build_engine, build_model, digest, random_tokens, train


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    def build(device):
        layout = Layout(device)
        layout.queued = True
        return layout

    monkeypatch.setattr(training, "Layout", build)
    monkeypatch.setattr(batch, "SHORT", 0)  # blocks are fp32's


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


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "roberta", "electra", "modernbert"])
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
    found = [train(model, random_tokens(19), 5, shards=4, accumulation=n) for n in (1, 2, 4)]
    assert found[0] == found[1] == found[2]
    assert found[0] != train(model, random_tokens(19), 5, shards=4, seed=2)


def test_bf16_and_other_chance_change_the_loss_little(monkeypatch):
    model = build_model()
    low = train(model, random_tokens(19), 5)[1]
    monkeypatch.setattr(training, "Layout", Layout)
    assert low == pytest.approx(train(model, random_tokens(19), 5)[1], abs=0.02)
