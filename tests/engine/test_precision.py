"""Products in bf16 on a CPU: near those of fp32, and as exact; where the machine has no bf16, those of fp32."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bonafide.engine.shards import matmul_policy
from bonafide.engine.shards.grad_overlap import GradOverlap
from bonafide.engine.shards.matmul_policy import CANDIDATES, find_min_invariant_rows, matmul_dtype
from bonafide.project.environment import CPUINFO
from tests.tiny_engines import build_engine, build_model, build_tokens, digest, random_tokens, train

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("one_thread")

PACKED = ("bert", "distilbert", "roberta", "electra", "modernbert")
CPU_HAS = pytest.mark.parametrize("has", [True, False])


@pytest.fixture
def bf16(monkeypatch):
    """Wherever the tests run: oneDNN imitates what the machine lacks."""
    monkeypatch.setattr(matmul_policy, "_has_bf16", lambda: True)


@CPU_HAS
@pytest.mark.parametrize("is_cuda", [True, False])
def test_bf16_needs_the_params_and_the_machine(monkeypatch, is_cuda, has):
    monkeypatch.setattr(matmul_policy, "_has_bf16", lambda: has)
    expected = torch.bfloat16 if is_cuda or has else torch.float32
    assert matmul_dtype("bf16", is_cuda=is_cuda) == expected
    assert matmul_dtype("fp32", is_cuda=is_cuda) == torch.float32


@pytest.mark.skipif(not CPUINFO.exists(), reason="Linux tells a processor's instructions there")
def test_the_machine_is_asked_rightly():
    flags = CPUINFO.read_text().partition("\n\n")[0].split()
    assert matmul_policy._has_bf16() == ("avx512_bf16" in flags)


def test_a_machine_without_it_has_the_bits_of_fp32(monkeypatch):
    monkeypatch.setattr(matmul_policy, "_has_bf16", lambda: False)
    model, tokens = build_model(dropout=0.1), random_tokens(19)
    assert train(model, tokens, 5, precision="bf16") == train(model, tokens, 5, precision="fp32")


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("longest", [20, 78])
def test_losses_are_near_those_of_fp32_and_weights_stay_fp32(architecture, longest):
    model, tokens = build_model(architecture, dropout=0.1), random_tokens(19, longest=longest)
    (low, losses), (full, expected) = (train(model, tokens, 5, precision=name) for name in ("bf16", "fp32"))
    assert low != full
    assert losses == pytest.approx(expected, abs=0.02)
    engine = build_engine(copy.deepcopy(model), tokens, precision="bf16")
    next(engine.steps())
    assert {p.dtype for p in engine.model.parameters()} == {torch.float32}
    assert engine.reduce_buffer.dtype == torch.float32


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param([2, 3, 5, 8, 13, 17, 19, 30] * 3, id="short"),
        pytest.param([60, 70, 78, 4] * 5, id="longer", marks=pytest.mark.slow),
    ],
)
def test_one_two_and_four_passes_have_the_same_bits(architecture, lengths):
    model, tokens = build_model(architecture, dropout=0.1), build_tokens(lengths)
    first, *others = (
        train(model, tokens, 5, precision="bf16", shards=4, gradient_accumulation_steps=n) for n in (1, 2, 4)
    )
    assert all(first == other for other in others)


@pytest.mark.usefixtures("bf16")
def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_interrupted():
    model, tokens = build_model(dropout=0.1), random_tokens(19)
    whole, half, rest = (build_engine(copy.deepcopy(model), tokens, precision="bf16", shards=4) for _ in range(3))
    for engine, last in ((whole, 5), (half, 2)):
        assert next(step for step in engine.steps() if step.step == last)
    rest.optimizer.load({name: tensor.clone() for name, tensor in half.optimizer.state().items()}, 2)
    assert next(step for step in rest.steps(2) if step.step == 5)
    assert digest(rest.model) == digest(whole.model) != digest(half.model)


def low_precision(model, *, kept=True, done=0, last=5, state=None, **changes):
    """An engine with bf16 products after step `last`; of weights that are kept in bf16, or cast at each use."""
    engine = build_engine(copy.deepcopy(model), random_tokens(19), precision="bf16", **changes)
    if not kept:
        engine.matmul.low_precision_weights = {}
    if state:
        engine.optimizer.load(state, done)
    assert next(step for step in engine.steps(done) if step.step == last)
    return engine


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("architecture", PACKED)
def test_weights_that_are_kept_in_bf16_are_those_cast_at_each_use(architecture):
    model = build_model(architecture, dropout=0.1)
    model.get_input_embeddings().requires_grad_(requires_grad=False)
    kept, cast = (low_precision(model, kept=kept, shards=4) for kept in (True, False))
    assert digest(kept.model) == digest(cast.model)
    low = kept.matmul.low_precision_weights
    linear = {m.weight for m in kept.model.modules() if isinstance(m, torch.nn.Linear)}
    assert linear | {*kept.optimizer.trained.values()} <= low.keys()
    assert all(torch.equal(copied, p.bfloat16()) for p, copied in low.items())


@pytest.mark.usefixtures("bf16")
def test_padded_batches_stay_fp32():
    model, tokens = build_model("deberta-v2"), random_tokens(19)
    assert train(model, tokens, 3, precision="bf16") == train(model, tokens, 3, precision="fp32")


def test_products_of_bf16_are_tried_out_in_bf16(monkeypatch):
    seen, real = set(), torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, **options: seen.add(a.dtype) or real(a, b, **options))
    assert find_min_invariant_rows(torch.nn.Linear(96, 64), 300, GradOverlap(), torch.bfloat16) in (0, *CANDIDATES)
    assert seen == {torch.bfloat16}


GROWTH = """
import stages, torch  # stages sets what all stages run under
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
torch.set_num_threads(1)
weight = torch.ones(1536, 384, dtype=torch.bfloat16)
torch.mm(torch.ones(400, 384, dtype=torch.bfloat16), weight.t())
before = resident()
for rows in range(400, 700):
    torch.mm(torch.ones(rows, 384, dtype=torch.bfloat16), weight.t())
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells a process's memory there")
def test_products_of_many_sizes_take_no_memory_for_good():
    """300 kernels of 0.8 MB, of which 64 are kept; where the machine has no bf16 there are none."""
    done = subprocess.run([sys.executable, "-c", GROWTH], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120e6
