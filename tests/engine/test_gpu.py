"""What only a GPU can show; needs torch, transformers and pytest alone: `pytest -m gpu -o filterwarnings=default`."""

import copy
import os
from dataclasses import replace

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS begins

import numpy as np
import pytest
import torch

from bonafide.engine.shards.dropout import dropout_mask
from bonafide.engine.shards.grad_writer import sum_rows
from bonafide.engine.shards.shard_context import tree_sum
from bonafide.forward.inference import predict_all
from bonafide.forward.packing import enable
from tests import tiny_engines
from tests.shard_inputs import sharded
from tests.tiny_engines import build_engine, build_model, random_tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
PACKED = ("bert", "distilbert", "roberta", "electra", "modernbert")
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _as_in_params(monkeypatch):
    monkeypatch.setattr(tiny_engines, "RECIPE", replace(tiny_engines.RECIPE, precision="bf16"))


@pytest.fixture(scope="module", autouse=True)
def _strict():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    yield
    torch.use_deterministic_algorithms(before)


def start(architecture="bert", device=CUDA, rows=60, **changes):
    return build_engine(build_model(architecture, dropout=0.1).to(device), random_tokens(rows), **changes)


def go(engine, last, done=0):
    """Train to step `last`; the weights, on the CPU, and the losses."""
    losses = []
    for step in engine.steps(done):
        losses.append(float(step.loss))
        if step.step == last:
            break
    return [p.detach().cpu() for p in engine.model.parameters()], losses


def equal(mine, other):
    return mine[1] == other[1] and all(map(torch.equal, mine[0], other[0]))


@pytest.mark.parametrize("architecture", PACKED)
def test_batches_are_packed(architecture):
    assert start(architecture).packed


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_masks_are_the_cpu_s(p):
    x = torch.randn(19, 37)
    with sharded(rng_key=2**63 - 1, first_shard=2) as context:
        assert torch.equal(*(dropout_mask(x.to(device), p, 5, context).cpu() for device in (CPU, CUDA)))


@pytest.mark.parametrize("words", [2, 40, 40_000])
def test_sums_by_id_are_those_of_the_cpu(words):
    ids, g, sizes = torch.randint(0, words, (5000,)), torch.randn(5000, 64), [4000, 0, 1, 999]
    used, found = sum_rows([(ids.to(CUDA), g.to(CUDA), sizes)])
    parts = zip(torch.split(ids, sizes), torch.split(g, sizes), strict=True)
    expected = tree_sum(torch.zeros(words, 64).index_add_(0, at, part) for at, part in parts)
    assert used.tolist() == ids.unique().tolist()
    assert (found.cpu() - expected[used.cpu()]).abs().max() < 1e-3


@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("shards", [1, 4])
def test_three_runs_have_the_same_bits(architecture, shards):
    first, *others = (go(start(architecture, shards=shards), 6) for _ in range(3))
    assert all(equal(first, other) for other in others)
    assert not equal(first, go(start(architecture, shards=shards, seed=2), 6))


@pytest.mark.parametrize("architecture", PACKED)
def test_one_two_and_four_passes_have_the_same_bits(architecture):
    """19 texts of 8 a batch: the last batch has 3, and a shard none."""
    first, *others = (go(start(architecture, rows=19, shards=4, gradient_accumulation_steps=n), 6) for n in (1, 2, 4))
    assert all(equal(first, other) for other in others)


@pytest.mark.parametrize("shards", [1, 4])
def test_weights_that_are_kept_in_bf16_are_those_cast_at_each_use(shards):
    kept, cast = start(shards=shards), start(shards=shards)
    cast.matmul.low_precision_weights = {}
    assert equal(go(kept, 6), go(cast, 6))


def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_interrupted():
    whole, half, rest = (start(shards=4) for _ in range(3))
    go(half, 4)
    rest.optimizer.load({name: tensor.cpu() for name, tensor in half.optimizer.state().items()}, 4)
    assert equal((go(rest, 8, done=4)[0], []), (go(whole, 8)[0], []))


@pytest.mark.parametrize("architecture", PACKED)
def test_losses_are_near_those_of_the_cpu(architecture):
    model = build_model(architecture, dropout=0.1)
    low, full = (go(build_engine(copy.deepcopy(model).to(d), random_tokens(60), shards=4), 6)[1] for d in (CUDA, CPU))
    assert low == pytest.approx(full, abs=0.03)


@pytest.mark.parametrize("architecture", PACKED)
def test_predictions_are_near_those_of_the_cpu_and_come_again(architecture):
    model, tokens = build_model(architecture), random_tokens(300, longest=70)

    def predict(device):
        mine = copy.deepcopy(model).to(device)
        assert enable(mine)
        return predict_all(mine, tokens, lambda m, batch: m(**batch.inputs).logits.double().cpu().numpy())

    first, again, full = predict(CUDA), predict(CUDA), predict(CPU)
    assert (first == again).all()
    assert np.abs(first - full).max() < 0.05
