"""Losses of tokens are summed by text, in fp64, and no sum depends on the texts beside it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy as cross_entropy_of_torch

from bonafide.forward import token_losses
from bonafide.forward.batch import Batch
from bonafide.forward.token_losses import counted_logits, cross_entropy, nats_and_hits, sum_by_text

counts_of = st.lists(st.integers(0, 40), min_size=1, max_size=12)


@given(counts_of, st.integers(0, 9))
def test_sums_are_exact_and_those_of_each_text_alone(counts, seed):
    values = torch.randn(sum(counts), generator=torch.Generator().manual_seed(seed)) * 1e4
    sums = sum_by_text(values, counts)
    parts = torch.split(values, counts)
    assert sums.tolist() == [float(np.float32(math.fsum(part.tolist()))) for part in parts]
    assert torch.equal(sums, torch.cat([sum_by_text(part, [len(part)]) for part in parts]))


def test_gradients_of_sums_are_those_of_their_texts():
    values = torch.randn(5, requires_grad=True)
    (sum_by_text(values, [2, 0, 3]) * torch.tensor([1.0, 5.0, 0.1])).sum().backward()
    assert torch.equal(values.grad, torch.tensor([1.0, 1.0, 0.1, 0.1, 0.1]))


def padded(logits, counted, targets, counts):
    batch = Batch({}, torch.zeros(0), [2, 2], torch.tensor([0, 2]), targets=targets, counts=counts, counted=counted)
    return SimpleNamespace(logits=logits), batch


def test_rows_that_count_are_selected_from_padded_batches():
    logits = torch.arange(12.0).view(2, 2, 3)
    outputs, batch = padded(logits, torch.tensor([0, 3]), torch.tensor([2, 0]), [1, 1])
    assert counted_logits(outputs, batch).tolist() == [[0, 1, 2], [9, 10, 11]]
    expected = [-math.log(math.e ** (2 - k) / (1 + math.e + math.e**2)) for k in (0, 2)]
    assert cross_entropy(outputs, batch).tolist() == pytest.approx(expected, abs=1e-6)
    found = nats_and_hits(outputs, batch)
    assert found.dtype == np.float64
    assert found[:, 1].tolist() == [1, 0]
    assert found[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_smoothed_targets_are_a_share_of_all_words():
    logits = torch.randn(2, 2, 3)
    outputs, batch = padded(logits, torch.tensor([0, 3]), torch.tensor([2, 0]), [1, 1])
    log_p = counted_logits(outputs, batch).log_softmax(-1)
    expected = [-(0.9 * log_p[i, t] + 0.1 * log_p[i].mean()).item() for i, t in enumerate((2, 0))]
    assert cross_entropy(outputs, batch, 0.1).tolist() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(2, 70), st.sampled_from([0.0, 0.1]), st.integers(1, 300))
def test_losses_and_gradients_are_torchs(rows, words, smoothing, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_losses, "VALUES", at_once)
        mine = torch.randn(1, rows, words, generator=torch.Generator().manual_seed(rows)).requires_grad_()
        stock, targets = mine.detach().clone().requires_grad_(), torch.arange(rows) % words
        outputs, batch = padded(mine, None, targets, [1] * rows)
        found = cross_entropy(outputs, batch, smoothing)
        expected = cross_entropy_of_torch(stock[0], targets, reduction="none", label_smoothing=smoothing)
        weights = torch.linspace(-1, 2, rows)
        grads = [
            torch.autograd.grad((losses * weights).sum(), x)[0] for losses, x in ((found, mine), (expected, stock))
        ]
        assert (found - expected).abs().max() <= 1e-5
        assert (grads[0] - grads[1]).abs().max() <= 1e-6


@pytest.mark.parametrize("words", [7, 100, 8000])
def test_no_row_s_loss_or_gradient_has_other_bits_among_others(words):
    logits = torch.randn(1, 200, words).bfloat16()
    targets, some = torch.arange(200) % words, torch.tensor([3, 60, 61, 150])

    def bits(rows):
        x = logits[:, rows].clone().requires_grad_()
        losses = cross_entropy(*padded(x, None, targets[rows], [1] * len(rows)), 0.1)
        return losses.detach(), torch.autograd.grad(losses.sum(), x)[0]

    (losses, grads), (few, few_grads) = bits(torch.arange(200)), bits(some)
    assert torch.equal(losses[some], few)
    assert torch.equal(grads[:, some], few_grads)
