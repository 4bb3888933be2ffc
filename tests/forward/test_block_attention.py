"""Short texts in blocks: the attention of every text alone, and the same bits in whatever company."""

from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from bonafide.forward import block_attention
from bonafide.forward.block_attention import SHORT, STEP, Blocks, attend, is_batch_invariant
from bonafide.forward.packed_attention import AttentionInputs, attend_by_run, attend_short_in_blocks
from bonafide.forward.spans import Spans

lengths_of = st.lists(st.integers(1, SHORT), min_size=1, max_size=9)
KINDS = ("self", "causal", "first", "cross")


@st.composite
def spans_of(draw, lengths=lengths_of, kinds=KINDS):
    """(queries, keys, causal) of each text: its own, before it, of its first token, or a translation's."""
    keys, kind = draw(lengths), draw(st.sampled_from(kinds))
    if kind == "first":
        return [1] * len(keys), keys, False
    queries = draw(st.lists(st.integers(1, SHORT), min_size=len(keys), max_size=len(keys))) if kind == "cross" else keys
    return queries, keys, kind == "causal"


def tensors(queries, keys, heads, width, seed=0):
    rng = torch.Generator().manual_seed(seed)
    rows = [sum(queries), sum(keys), sum(keys)]
    return [torch.randn(n, heads, width, generator=rng).requires_grad_() for n in rows]


def alone(query, key, value, spans, scale=None):
    """The same by torch, a text at a time."""
    queries, keys, causal = spans
    outs = []
    for q, k, v in zip(torch.split(query, queries), torch.split(key, keys), torch.split(value, keys), strict=True):
        heads_first = (x.transpose(0, 1) for x in (q, k, v))
        outs.append(scaled_dot_product_attention(*heads_first, scale=scale, is_causal=causal).transpose(0, 1))
    return torch.cat(outs)


def assert_close_forward_and_backward(found, expected, mine, stock):
    assert (found - expected).abs().max() <= 1e-5
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    for out in (found, expected):
        (out * weights).sum().backward()
    for p, q in zip(mine, stock, strict=True):
        assert (p.grad - q.grad).abs().max() <= 1e-5


@settings(max_examples=25)
@given(spans_of(), st.sampled_from([(1, 4), (3, 8)]), st.sampled_from([None, 0.3]))
def test_values_and_gradients_are_those_of_each_text_alone(spans, shape, scale):
    queries, keys, causal = spans
    mine, stock = (tensors(queries, keys, *shape) for _ in range(2))
    found = attend(*mine, Blocks(queries, keys, shape[0], causal=causal), scale)
    assert_close_forward_and_backward(found, alone(*stock, spans, scale), mine, stock)


@settings(max_examples=20)
@given(spans_of(), st.sampled_from([torch.float32, torch.bfloat16]), st.data())
def test_a_text_has_the_same_bits_among_any_others(spans, dtype, data):
    """A process may hold a part of the batch; it must not show, or this machine says that it would."""
    queries, keys, causal = spans
    chosen = sorted(data.draw(st.sets(st.integers(0, len(keys) - 1), min_size=1)))
    whole = tensors(queries, keys, 2, 8)
    out = attend(*whole, Blocks(queries, keys, 2, causal=causal, dtype=dtype), None)
    out.sum().backward()
    of_queries, of_keys = (
        torch.cat([torch.arange(sum(n[:i]), sum(n[: i + 1])) for i in chosen]) for n in (queries, keys)
    )
    rows = (of_queries, of_keys, of_keys)
    parts = [x.detach()[at].requires_grad_() for x, at in zip(whole, rows, strict=True)]
    lengths = ([n[i] for i in chosen] for n in (queries, keys))
    some = attend(*parts, Blocks(*lengths, 2, causal=causal, dtype=dtype), None)
    some.sum().backward()
    invariant = is_batch_invariant(2, 8, dtype, cross=queries != keys)
    assert not invariant or torch.equal(some, out[of_queries])
    for part, x, at in zip(parts, whole, rows, strict=True):
        assert not invariant or torch.equal(part.grad, x.grad[at])


def products(query, key, value, grad, lengths, scale):
    """Attention and its gradients by the products that trained models' bytes rest on, a width at a time."""
    heads, results, first = query.shape[1], [], 0
    for width, equal in groupby(lengths, lambda length: -(-length // STEP) * STEP):
        real = list(equal)
        starts = first + np.cumsum([0, *real[:-1]])
        rows = torch.tensor(
            np.stack([s + np.minimum(np.arange(width), n - 1) for s, n in zip(starts, real, strict=True)])
        )
        q, k, v, g = (x.detach()[rows].transpose(1, 2).flatten(0, 1).contiguous() for x in (query, key, value, grad))
        is_token = (torch.arange(width) < torch.tensor(real)[:, None]).repeat_interleave(heads, 0)
        g = g * is_token[..., None]
        mask = torch.zeros(len(q), 1, width).masked_fill(~is_token[:, None], -torch.inf)
        weight = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale).softmax(-1)
        score = torch._softmax_backward_data(torch.bmm(g, v.transpose(1, 2)), weight, -1, torch.float32).mul_(scale)
        outs = (weight @ v, score @ k, score.transpose(1, 2) @ q, weight.transpose(1, 2) @ g)
        back = [x.view(len(real), heads, width, -1).transpose(1, 2)[is_token[::heads]] for x in outs]
        results.append(back)
        first += sum(real)
    return [torch.cat(parts) for parts in zip(*results, strict=True)]


def test_texts_ascending_in_length_have_the_bits_that_they_always_had():
    lengths = [2, 3, 8, 8, 9, 15, 16, 40, 40, 47, 95, 96]
    query, key, value = tensors(lengths, lengths, 12, 32)
    grad = torch.randn(sum(lengths), 12, 32)
    found = attend(query, key, value, Blocks(lengths, lengths, 12), None)
    grads = torch.autograd.grad(found, (query, key, value), grad)
    expected = products(query, key, value, grad, lengths, 32**-0.5)
    assert all(torch.equal(a, b) for a, b in zip((found, *grads), expected, strict=True))


@settings(max_examples=20)
@given(spans_of(), st.integers(1, 4))
def test_what_is_gathered_comes_back(spans, heads):
    queries, keys, causal = spans
    blocks = Blocks(queries, keys, heads, causal=causal)
    for side, lengths in ((blocks.queries, queries), (blocks.keys, keys)):
        x = torch.randn(sum(lengths), heads, 3)
        assert torch.equal(side.scatter(side.gather(x)), x)
        assert len(side.padding) == len(side.source) - heads * sum(lengths)
    assert len(blocks.queries.source) == sum(n * width for n, width, _ in blocks.shapes)
    assert len(blocks.keys.source) == sum(n * width for n, _, width in blocks.shapes)


def test_texts_of_like_lengths_share_a_block():
    assert Blocks(*[[1, 7, 8, 9, 16, 30]] * 2, 2).shapes == [(2, 1, 8), (4, 8, 8), (4, 16, 16), (2, 32, 32)]
    assert Blocks([30, 7, 20, 8], [3, 9, 8, 10], 1).shapes == [(2, 8, 16), (1, 24, 8), (1, 32, 8)]


@settings(max_examples=25)
@given(spans_of(st.lists(st.sampled_from([3, 40, SHORT, SHORT + 1, 130]), min_size=1, max_size=5)))
def test_long_texts_go_another_way_and_agree_in_any_order(spans):
    queries, keys, causal = spans
    mine, stock = (tensors(queries, keys, 2, 8) for _ in range(2))
    found = attend_short_in_blocks(AttentionInputs(*mine, causal=causal), Spans(queries, keys))
    assert_close_forward_and_backward(found, alone(*stock, spans), mine, stock)
    by_run = attend_by_run(AttentionInputs(*stock, causal=causal), Spans(queries, keys))
    assert (found - by_run).abs().max() <= 1e-5


@pytest.mark.parametrize("low_precision", [False, True])
def test_products_are_in_bf16_where_trained_bytes_do_not_rest_on_fp32(low_precision, monkeypatch):
    """So are those of texts of up to 512 tokens, where fp32 leaves those above 96 to torch."""
    seen, real = [], torch.bmm
    monkeypatch.setattr(block_attention, "is_batch_invariant", lambda *_, cross: not cross)
    monkeypatch.setattr(torch, "bmm", lambda a, b, **to: seen.append((a.dtype, a.shape[1])) or real(a, b, **to))
    keys = [40, SHORT + 1]
    exact = tensors(keys, keys, 2, 8)
    query, key, value = (x.detach().bfloat16() for x in exact)
    inputs = AttentionInputs(query.float(), key, value, causal=True)  # as rotary embeddings make queries of it
    with torch.autocast("cpu"):
        found = attend_short_in_blocks(inputs, Spans(keys, keys, low_precision=low_precision))
    expected = alone(*exact, (keys, keys, True))
    assert (found - expected).norm() <= 0.01 * expected.norm()
    assert seen == ([(torch.bfloat16, 40), (torch.bfloat16, 104)] if low_precision else [(torch.float32, 40)])


@pytest.mark.parametrize("queries", [[3, 7, 7, 20], [9, 2, 7, 30]])
def test_where_company_changes_the_bits_the_kernel_is_taken(queries, monkeypatch):
    """As it is with heads of one number on Zen 3: a product of such matrices is another kernel's."""
    spans, asked = Spans(queries, [3, 7, 7, 20]), []
    inputs = AttentionInputs(*tensors(spans.queries, spans.keys, 2, 8))
    monkeypatch.setattr(block_attention, "is_batch_invariant", lambda *_, cross: asked.append(cross))
    assert torch.equal(attend_short_in_blocks(inputs, spans), attend_by_run(inputs, spans))
    assert asked == [queries != spans.keys]


@pytest.mark.parametrize("cross", [False, True])
def test_company_that_changes_the_bits_is_found_out(cross, monkeypatch):
    assert is_batch_invariant(3, 8, cross=cross) in (True, False)
    real = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b, **to: real(a, b * (1 + 1e-6 * len(a)), **to))
    assert not is_batch_invariant.__wrapped__(3, 8, cross=cross)
