"""Gradients are computed by half of the threads: in order, done at the end, and what they raise is heard."""

import threading

import pytest
import torch

from bonafide.engine.shards.grad_overlap import GradOverlap
from tests.tiny_engines import build_engine, build_model, random_tokens


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_work_is_done_in_order_by_another_thread_with_half_of_the_threads(two_threads):
    overlap, seen = GradOverlap(2), []

    def work(number):
        seen.append((number, threading.current_thread().name, torch.get_num_threads(), torch.is_grad_enabled()))

    with overlap.active():
        assert torch.get_num_threads() == 1
        for number in range(20):
            overlap.submit(lambda number=number: work(number))
    assert [entry[0] for entry in seen] == list(range(20))
    assert {entry[1:] for entry in seen} == {("grads_0", 1, False)}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_an_odd_number_is_not_shared(threads):
    overlap, seen = GradOverlap(threads), []
    with overlap.active():
        overlap.submit(lambda: seen.append(threading.current_thread()))
        assert seen == [threading.current_thread()]


def test_outside_of_sharing_work_is_done_at_once(two_threads):
    seen = []
    GradOverlap(2).submit(lambda: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


def test_what_the_other_half_raises_is_raised_at_the_end_and_threads_come_back(two_threads):
    overlap, done = GradOverlap(2), []

    def run(*work):
        with overlap.active():
            for one in work[:-1]:
                overlap.submit(one)
            work[-1]()

    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        run(fail, lambda: done.append(1), lambda: None)
    with pytest.raises(KeyError):
        run(lambda: done.append(2), fail)
    assert done == [1, 2]
    assert torch.get_num_threads() == 2


def test_threads_are_shared_where_the_weights_that_products_pass_are_trained(two_threads):
    """Not of low-rank changes, and not of an architecture whose gradients autograd keeps: a half would only wait."""

    def shares(architecture="bert", frozen=lambda _: False, **changes):
        model = build_model(architecture)
        for name, p in model.named_parameters():
            p.requires_grad_(not frozen(name))
        return build_engine(model, random_tokens(20), **changes).writer.overlap.threads == 2

    assert shares()
    assert shares(frozen=lambda name: "layer.0." in name or "embeddings" in name)
    assert not shares(frozen=lambda name: ".layer." in name and "attention.self.query" not in name)
    assert not shares("deberta-v2", exact=False)


def test_a_training_by_two_halves_repeats_bit_for_bit_and_agrees_with_one_thread(two_threads):
    def train(threads):
        torch.set_num_threads(threads)
        model = build_model("bert", dropout=0.1)
        engine = build_engine(model, random_tokens(40), shards=4)
        assert engine.writer.overlap.threads == threads
        losses = [float(step.loss) for step in engine.steps()]
        return losses, {name: p.detach().clone() for name, p in model.named_parameters()}

    (losses, weights), (again, same), (alone, near) = train(2), train(2), train(1)
    assert losses == again
    assert losses == pytest.approx(alone, abs=1e-4)
    for name, weight in weights.items():
        assert torch.equal(weight, same[name])
        if not name.endswith("key.bias"):  # its gradient is rounding, of which AdamW makes whole steps
            assert torch.allclose(weight, near[name], atol=1e-3), name
