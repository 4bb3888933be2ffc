"""Recorded passes: the bits of ordinary ones, and none of them where these differ."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn.attention.varlen import varlen_attn as VARLEN  # noqa: N812

from bonafide.engine import cuda_graphs, dropout
from bonafide.engine import engine as training
from bonafide.forward import packed_attention, packing
from tests import recorded, tiny_engines
from tests.tiny_engines import build_engine, build_model, digest, queued_layout, random_tokens

pytestmark = pytest.mark.usefixtures("one_thread")

PACKED = ("bert", "distilbert", "roberta", "electra", "modernbert")
CHANGES = [
    pytest.param({}, marks=pytest.mark.slow),
    pytest.param({"shards": 4}, marks=pytest.mark.slow),
    {"shards": 4, "gradient_accumulation_steps": 2},
]


def kernel(query, key, value, queries, keys, _most, _longest, *, scale, window_size):
    """Varlen attention as one masked product: of its arguments only tensors differ between batches, as on a GPU."""
    rows, columns = (torch.arange(len(x)) for x in (query, key))
    texts, seen = (torch.searchsorted(b, at, right=True) for b, at in ((queries, rows), (keys, columns)))
    mask = texts[:, None] == seen
    for sign, most in zip((1, -1), window_size, strict=True):  # tokens before and after it that one sees
        mask &= (sign * (rows[:, None] - columns) <= most) | (most < 0)
    parts = (x.transpose(0, 1) for x in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask, scale=scale).transpose(0, 1)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(training, "Layout", queued_layout)
    monkeypatch.setattr(packed_attention, "by_length", packed_attention.variable_length)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    monkeypatch.setattr(cuda_graphs, "record", recorded.record)
    monkeypatch.setattr(tiny_engines, "RECIPE", replace(tiny_engines.RECIPE, precision="bf16", epochs=3))


@pytest.fixture
def replays(monkeypatch):
    """How often a recording was replayed."""
    counted, replay = [], recorded.Recording.replay
    monkeypatch.setattr(recorded.Recording, "replay", lambda self: counted.append(1) or replay(self))
    return counted


def start(model, **changes):
    return build_engine(copy.deepcopy(model), random_tokens(60), **changes)


def go(engine, last, done=0):
    """Train to step `last`; the weights' digest, and the losses."""
    losses = []
    for step in engine.steps(done):
        losses.append(float(step.loss))
        assert not engine.layout.by_rows  # so that validation finds the stock model
        if step.step == last:
            break
    return digest(engine.model), losses


def ordinary(model, last, **changes):
    engine = start(model, **changes)
    engine.compute.works = False
    return go(engine, last)


@pytest.mark.parametrize("architecture", [*PACKED, "gpt2", "llama"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_replayed_passes_have_the_bits_of_ordinary_ones(architecture, changes, replays):
    model = build_model(architecture, dropout=0.1)
    engine = start(model, **changes)
    assert go(engine, 20) == ordinary(model, 20, **changes)
    held = [graph for graph in engine.compute.known.values() if graph.held]
    assert held
    assert len(replays) > len(held)  # more than those that were held to ordinary passes


def test_one_that_goes_on_from_a_checkpoint_has_the_bits_of_one_that_was_not_interrupted(replays):
    """It meets its shapes in another order: which passes are replayed changes nothing."""
    model = build_model(dropout=0.1)
    whole, half, rest = (start(model, shards=4) for _ in range(3))
    go(half, 9)
    rest.optimizer.load({name: tensor.clone() for name, tensor in half.optimizer.state().items()}, 9)
    before = len(replays)
    assert go(rest, 20, done=9)[0] == go(whole, 20)[0]
    assert len(replays) > before


def test_what_frozen_layers_give_is_read_from_each_batch():
    model = build_model(num_hidden_layers=3)
    model.bert.embeddings.requires_grad_(requires_grad=False)
    model.bert.encoder.layer[0].requires_grad_(requires_grad=False)
    engine = start(model)
    assert engine.inputs.prefix_activations is not None
    assert go(engine, 20) == ordinary(model, 20)
    assert any(graph.held for graph in engine.compute.known.values())


def test_frozen_layers_are_computed_in_the_dtype_of_products():
    model = build_model(num_hidden_layers=3)
    model.bert.embeddings.requires_grad_(requires_grad=False)
    model.bert.encoder.layer[0].requires_grad_(requires_grad=False)
    low, full, other = (start(model, precision=name).inputs.prefix_activations for name in ("bf16", "fp32", "fp32"))
    assert (full == other).all()
    assert 1e-4 < abs(low - full).max() < 0.1


def test_a_pass_that_depends_on_more_than_its_tensors_is_not_replayed(monkeypatch):
    """Attention by runs, whose sizes are numbers of the batch that was recorded."""
    monkeypatch.setattr(packed_attention, "by_length", packed_attention.by_runs)
    model = build_model()
    engine = start(model)
    with pytest.warns(UserWarning, match="without CUDA graphs: a replayed pass differs from an ordinary one"):
        found = go(engine, 20)
    assert found == ordinary(model, 20)
    assert not engine.compute.known


def test_a_pass_that_cannot_be_recorded_is_not(monkeypatch):
    def refuse(work):
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(cuda_graphs, "record", refuse)
    model = build_model(dropout=0.1)
    with pytest.warns(UserWarning, match="graphs: operation not permitted when stream is capturing$") as warned:
        found = go(start(model, shards=4), 8)
    assert len(warned) == 1
    assert found == ordinary(model, 8, shards=4)


def test_memory_that_graphs_take_is_given_back_where_it_lacks(monkeypatch):
    """From three graphs on no other pass finds any."""
    model = build_model(dropout=0.1)
    engine, asked = start(model, shards=4), []
    compute = engine.compute.ordinary

    def ordinary_pass(batch):
        asked.append(len(engine.compute.known))
        if asked[-1] == 3:
            raise torch.OutOfMemoryError
        return compute(batch)

    monkeypatch.setattr(engine.compute, "ordinary", ordinary_pass)
    with pytest.warns(UserWarning, match="without CUDA graphs: they leave too little memory$"):
        found = go(engine, 20)
    assert found == ordinary(model, 20, shards=4)
    assert asked[asked.index(3) :][:2] == [3, 0]


def test_a_recording_without_a_message_is_named_by_its_kind(monkeypatch):
    def refuse(_work):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(cuda_graphs, "record", refuse)
    with pytest.warns(UserWarning, match="graphs: OutOfMemoryError$"):
        go(start(build_model()), 2)


def test_memory_that_lacks_without_graphs_is_an_error(monkeypatch):
    engine = start(build_model())

    def losses(_batch):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine, "_losses", losses)
    with pytest.raises(torch.OutOfMemoryError):
        next(engine.steps())


def test_shapes_beyond_the_limit_are_not_recorded(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 1)
    model = build_model(dropout=0.1)
    engine = start(model)
    assert go(engine, 20) == ordinary(model, 20)
    assert len(engine.compute.known) == 1


META = torch.device("meta")


def move(monkeypatch, architecture):
    """A packed model on a device that has no values: a tensor of the host's there, or a look at one, is an error.

    It takes the real kernel, whose shapes are checked, and has no autocast: our products are told that they are in one.
    """
    model = build_model(architecture, dropout=0.1)
    assert packing.enable(model)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", VARLEN)
    for name in ("obstacle", "settle"):  # they compare values
        monkeypatch.setattr(training, name, lambda _: "")
    monkeypatch.setattr(cuda_graphs, "alike", lambda _mine, _expected: True)
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _device: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _device: torch.bfloat16)
    for module in (dropout, packing, training):
        monkeypatch.setattr(module, "send", lambda array, device: torch.from_numpy(array.copy()).to(device))
    return model.to(META)


@pytest.mark.parametrize("architecture", [*PACKED, "gpt2", "mistral"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_all_of_a_step_is_on_the_device(architecture, changes, monkeypatch, replays):
    engine = build_engine(move(monkeypatch, architecture), random_tokens(60), **changes)
    losses = [step.loss for step, _ in zip(engine.steps(), range(5), strict=False)]
    assert {loss.device for loss in losses} == {META}
    assert {p.device for p in engine.model.parameters()} == {META}
    assert replays


def test_a_tensor_of_the_host_in_a_step_is_caught(monkeypatch):
    engine = build_engine(move(monkeypatch, "bert"), random_tokens(60))
    monkeypatch.setattr(training, "send", lambda array, _device: torch.from_numpy(array))
    with pytest.raises(RuntimeError, match="device"):
        next(engine.steps())


@pytest.mark.parametrize(("strict", "held"), [(True, False), (False, True)])
def test_bits_may_differ_only_where_algorithms_may(strict, held):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(strict)
    try:
        x = torch.ones(9)
        assert cuda_graphs.alike(x, x)
        assert cuda_graphs.alike(x + 1e-4, x) == held
        assert not cuda_graphs.alike(x + 0.1, x)
        assert not cuda_graphs.alike(x * torch.nan, x)
    finally:
        torch.use_deterministic_algorithms(before)


def test_fp32_has_no_graphs():
    assert start(build_model(), precision="fp32").compute.__name__ == "_compute"
