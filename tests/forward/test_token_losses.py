"""Losses of tokens are summed by text, in fp64, and no sum depends on the texts beside it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
