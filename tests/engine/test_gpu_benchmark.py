"""The GPU's benchmark in miniature, on the CPU."""

import pytest
import torch

from benchmarks import gpu

TINY = gpu.Case("tiny", 6, 4, 9)


@pytest.fixture(autouse=True)
def _as_it_was():
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(gpu, "WORDS", 1050)
    return gpu.build((32, 2, 2, 48))


@pytest.mark.slow
def test_all_arms_train_the_same_model_and_cost_something(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = gpu.rounds(model, TINY, steps=2, repeats=3)  # an odd number: all medians are of one round
    assert list(found) == list(gpu.ARMS)
    assert found["fast loose"]["price"] == 1
    losses = [figures["first_loss"] for figures in found.values()]
    assert losses == pytest.approx([losses[0]] * len(gpu.ARMS), abs=0.05)  # four shards have other dropout than one
    tokens = [figures["tokens_per_second"] * figures["ms"] / 1e3 for figures in found.values()]
    assert tokens == pytest.approx([tokens[0]] * len(gpu.ARMS))
    assert TINY.texts * TINY.shortest < tokens[0] < TINY.texts * TINY.longest
    assert all(figures["price"] > 0 for figures in found.values())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_an_arm_sets_how_strict_torch_is(model):
    for arm, (_, strict) in gpu.ARMS.items():
        gpu.measure(model, TINY, arm, 1)
        assert torch.are_deterministic_algorithms_enabled() == strict


def test_batches_are_as_large_as_they_say():
    found = {case.name: case for case in gpu.cases()}
    assert len(found) == 16
    for tokens, texts in ((8448, 32), (16_384, 62), (65_536, 248)):
        case = gpu.Case("bert-base", texts, 16, 512)
        assert found[case.name] == case
        made = gpu.make_texts(case, 30)
        assert made.lengths.sum() / 30 == pytest.approx(tokens, rel=0.1)
        assert 16 <= made.lengths.min() < 20
        assert 508 < made.lengths.max() <= 512
