"""Short texts in blocks: the attention of every text alone, and the same bits in whatever company."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from bonafide.forward import block_attention
from bonafide.forward.batch import Batch
from bonafide.forward.block_attention import SHORT, STEP, Blocks, attend, is_batch_invariant
from bonafide.forward.packed_attention import AttentionInputs, attend_by_run, attend_short_in_blocks

lengths_of = st.lists(st.integers(1, SHORT), min_size=1, max_size=9).map(sorted)


def tensors(lengths, heads, width, firsts, seed=0):
    rng = torch.Generator().manual_seed(seed)
    rows = [len(lengths) if firsts else sum(lengths), sum(lengths), sum(lengths)]
    return [torch.randn(n, heads, width, generator=rng).requires_grad_() for n in rows]


def alone(query, key, value, lengths, scale):
    """The same by torch, a text at a time."""
    firsts = len(query) == len(lengths) != sum(lengths)
    outs = []
    queries = torch.split(query, [1] * len(lengths) if firsts else lengths)
    for q, k, v in zip(queries, torch.split(key, lengths), torch.split(value, lengths), strict=True):
        out = scaled_dot_product_attention(*(x.transpose(0, 1) for x in (q, k, v)), scale=scale)
        outs.append(out.transpose(0, 1))
    return torch.cat(outs)


@settings(max_examples=25)
@given(lengths_of, st.sampled_from([(1, 4), (3, 8)]), st.booleans(), st.sampled_from([None, 0.3]))
def test_values_and_gradients_are_those_of_each_text_alone(lengths, shape, firsts, scale):
    mine, stock = (tensors(lengths, *shape, firsts) for _ in range(2))
    found, expected = attend(*mine, Blocks(lengths, shape[0]), scale), alone(*stock, lengths, scale)
    assert (found - expected).abs().max() <= 1e-5
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    for out in (found, expected):
        (out * weights).sum().backward()
    for p, q in zip(mine, stock, strict=True):
        assert (p.grad - q.grad).abs().max() <= 1e-5


@settings(max_examples=25)
@given(lengths_of, st.data())
def test_a_text_has_the_same_bits_among_any_others(lengths, data):
    """A process may hold a part of the batch; it must not show, or this machine says that it would."""
    chosen = sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1)))
    q, k, v = tensors(lengths, 2, 8, firsts=False)
    whole = attend(q, k, v, Blocks(lengths, 2), None)
    whole.sum().backward()
    rows = torch.cat([torch.arange(sum(lengths[:i]), sum(lengths[: i + 1])) for i in chosen])
    parts = [x.detach()[rows].requires_grad_() for x in (q, k, v)]
    some = attend(*parts, Blocks([lengths[i] for i in chosen], 2), None)
    some.sum().backward()
    assert not is_batch_invariant(2, 8) or torch.equal(some, whole[rows])
    for part, x in zip(parts, (q, k, v), strict=True):
        assert not is_batch_invariant(2, 8) or torch.equal(part.grad, x.grad[rows])


@given(lengths_of, st.integers(1, 4))
def test_what_is_gathered_comes_back(lengths, heads):
    block_attention = Blocks(lengths, heads)
    x = torch.randn(sum(lengths), heads, 3)
    assert torch.equal(block_attention.scatter(block_attention.gather(x)), x)
    rows = heads * sum(-(-length // STEP) * STEP for length in lengths)
    assert len(block_attention.source) == rows == sum(n * width for n, width in block_attention.shapes)
    assert len(block_attention.padding) == rows - heads * sum(lengths)


def test_texts_of_like_length_share_a_block():
    assert Blocks([1, 7, 8, 9, 16, 30], 2).shapes == [(6, 8), (4, 16), (2, 32)]


@pytest.mark.parametrize("lengths", [[SHORT], [SHORT - 1, SHORT, SHORT + 1, 130], [SHORT + 1]])
def test_long_texts_go_another_way_and_agree(lengths):
    q, k, v = tensors(lengths, 2, 8, firsts=False)
    batch = Batch({}, torch.zeros(len(lengths)), lengths, torch.from_numpy(np.cumsum([0, *lengths[:-1]])))
    found, expected = (way(AttentionInputs(q, k, v), batch) for way in (attend_short_in_blocks, attend_by_run))
    assert (found - expected).abs().max() <= 1e-5


def test_where_company_changes_the_bits_the_kernel_is_taken(monkeypatch):
    """As it is with heads of one number on Zen 3: a product of such matrices is another kernel's."""
    lengths = [3, 7, 7, 20]
    q, k, v = tensors(lengths, 2, 8, firsts=False)
    batch = Batch({}, torch.zeros(4), lengths, torch.from_numpy(np.cumsum([0, *lengths[:-1]])))
    monkeypatch.setattr(block_attention, "is_batch_invariant", lambda _heads, _width: False)
    inputs = AttentionInputs(q, k, v)
    assert torch.equal(attend_short_in_blocks(inputs, batch), attend_by_run(inputs, batch))
    assert not batch.block_layouts


def test_company_that_changes_the_bits_is_found_out(monkeypatch):
    assert is_batch_invariant(3, 8) in (True, False)
    real = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b, **to: real(a, b * (1 + 1e-6 * len(a)), **to))
    assert not is_batch_invariant.__wrapped__(3, 8)
