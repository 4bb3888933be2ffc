"""What only a GPU can show; needs torch, transformers and pytest alone: `pytest -m gpu -o filterwarnings=default`."""

import copy
import os
from dataclasses import replace

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS begins

import numpy as np
import pytest
import torch

from bonafide.engine import dropout
from bonafide.engine.gradients import sum_by_id
from bonafide.engine.step_context import tree_sum
from bonafide.forward import packed_attention
from bonafide.forward.inference import predict_all
from bonafide.forward.packing import enable, pack
from tests import tiny_engines
from tests.tiny_engines import build_engine, build_model, build_tokens, random_tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
PACKED = ("bert", "distilbert", "roberta", "electra", "modernbert")
CHANGES = [{}, {"shards": 4}, {"shards": 4, "gradient_accumulation_steps": 2}]
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


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize(("window", "firsts_only"), [(None, False), (16, False), (None, True)])
def test_the_kernel_gives_what_runs_give(width, window, firsts_only):
    packed = pack(build_tokens([1, 2, 2, 30, 90, 128, 300, 512]), np.arange(8), build_model().to(CUDA))
    q, k, v = torch.randn(3, sum(packed.lengths), 4, width, device=CUDA).bfloat16().unbind()
    if firsts_only:
        q, packed = q[packed.first], replace(packed, hidden=q)
    weights, found = torch.randn(q.shape, device=CUDA), []
    for attend, dtype in (
        (packed_attention.variable_length, torch.bfloat16),
        (packed_attention.by_runs, torch.float32),
    ):
        inputs = [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in (q, k, v)]
        out = attend(packed_attention.Reads(*inputs, window=window), packed)
        (out.float() * weights).sum().backward()
        found.append([out.detach().float(), *(tensor.grad.float() for tensor in inputs)])
    for mine, expected in zip(*found, strict=True):
        assert (mine - expected).abs().max() < 0.03 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_chance_is_the_cpu_s(p):
    x = torch.randn(77, 37)
    found = [dropout.drop(x.to(d), p, dropout.row_words([30, 47], 2**63 - 1, 2, d), 5).cpu() for d in (CPU, CUDA)]
    assert torch.equal(*found)


@pytest.mark.parametrize("words", [2, 40, 40_000])
def test_sums_by_id_are_those_of_the_cpu(words):
    ids, g, sizes = torch.randint(0, words, (5000,)), torch.randn(5000, 64), [4000, 0, 1, 999]
    found = torch.full((words, 64), torch.nan, device=CUDA)
    sum_by_id(ids.to(CUDA), g.to(CUDA), sizes, found)
    parts = zip(torch.split(ids, sizes), torch.split(g, sizes), strict=True)
    expected = tree_sum(torch.zeros(words, 64).index_add_(0, at, part) for at, part in parts)
    assert (found.cpu() - expected).abs().max() < 1e-3


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
def test_weights_that_stay_lowered_are_those_cast_each_time(shards):
    stays, cast = start(shards=shards), start(shards=shards)
    cast.layout.lowered = {}
    assert equal(go(stays, 6), go(cast, 6))


def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_interrupted():
    whole, half, rest = (start(shards=4) for _ in range(3))
    go(half, 4)
    rest.optimizer.load({name: tensor.cpu() for name, tensor in half.optimizer.state().items()}, 4)
    assert equal((go(rest, 8, done=4)[0], []), (go(whole, 8)[0], []))


@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_graphs_have_the_bits_of_ordinary_passes(architecture, changes):
    replayed, ordinary = (start(architecture, **changes, epochs=5) for _ in range(2))
    ordinary.compute.works = False
    assert equal(go(replayed, 36), go(ordinary, 36))
    assert sum(graph.held for graph in replayed.compute.known.values()) > 1


def test_graphs_have_the_bits_of_ordinary_passes_above_frozen_layers():
    engines = []
    for _ in range(2):
        model = build_model(num_hidden_layers=3).to(CUDA)
        for part in (model.bert.embeddings, model.bert.encoder.layer[0]):
            part.requires_grad_(requires_grad=False)
        engines.append(build_engine(model, random_tokens(60), epochs=5))
    assert engines[0].inputs.prefix_activations is not None
    engines[1].compute.works = False
    assert equal(*(go(engine, 36) for engine in engines))
    assert any(graph.held for graph in engines[0].compute.known.values())


@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("replays", [True, False])
def test_no_step_waits_for_the_device(architecture, changes, replays):
    """Once its shape is known: the first two of each are recorded and compared."""
    model, texts = build_model(architecture, dropout=0.1).to(CUDA), build_tokens([12] * 64)
    engine = build_engine(model, texts, **changes)
    engine.compute.works = replays
    steps = engine.steps()
    for _ in range(3):
        next(steps)
    assert any(graph.held for graph in engine.compute.known.values()) == replays
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            next(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("architecture", PACKED)
def test_losses_are_near_those_of_the_cpu(architecture):
    model = build_model(architecture)  # without dropout, whose chance is another's
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
