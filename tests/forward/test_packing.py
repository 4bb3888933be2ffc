"""A packed batch gives what the stock padded model gives, of logits and gradients, in every architecture."""

import copy

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bonafide.forward import packed_attention, packing
from bonafide.forward.token_pooling import pool_first_token
from bonafide.training.vocabulary_pruning import PrunedVocabulary
from tests.tiny_engines import DECODERS, ENCODERS, build_model, build_tokens

pytestmark = pytest.mark.usefixtures("one_thread")

PACKED = (*ENCODERS, *DECODERS)
PADDED = ("deberta-v2",)
SHAPES = ({}, {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40})


def stock_inputs(tokens, rows, padding):
    """Ids and mask as anybody else would make them."""
    parts = [torch.from_numpy(tokens.input_ids[tokens.offsets[i] : tokens.offsets[i + 1]].astype(int)) for i in rows]
    ids = nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=padding)
    return {
        "input_ids": ids,
        "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(p) for p in parts], batch_first=True),
    }


def outcome(model, inputs, labels):
    model.zero_grad()
    logits = model(**inputs).logits
    nn.functional.cross_entropy(logits, labels).backward()
    return logits.detach(), {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def assert_close(mine, stock, tolerance=1e-5):
    assert mine[0].shape == stock[0].shape
    assert (mine[0] - stock[0]).abs().max() <= tolerance
    for name, expected in stock[1].items():
        found = mine[1][name]
        if expected is None or found is None:
            assert all(g is None or not g.any() for g in (found, expected)), name
        else:
            assert (found - expected).abs().max() <= tolerance, name


def by_length(tokens):
    return np.argsort(tokens.lengths, kind="stable")


def check(architecture, tokens, seed=0, **shape):
    """Packed and padded against the stock model."""
    stock = build_model(architecture, seed=seed, **shape).eval()
    mine = copy.deepcopy(stock)
    rows = by_length(tokens)
    labels = torch.from_numpy(tokens.labels[rows])
    expected = outcome(stock, stock_inputs(tokens, rows, stock.config.pad_token_id), labels)
    assert_close(outcome(mine, packing.make_batch(tokens, rows, mine).inputs, labels), expected)  # padded
    assert packing.enable(mine)
    batch = packing.make_batch(tokens, rows, mine)
    assert batch.tensors["input_ids"].shape == (1, tokens.lengths.sum())
    assert batch.labels.tolist() == labels.tolist()
    assert_close(outcome(mine, batch.inputs, labels), expected)
    with pytest.raises(AssertionError, match="keyword arguments"), torch.no_grad():  # never misread
        mine(**packing.pad(tokens, rows, mine).inputs)


@pytest.mark.parametrize("shape", SHAPES, ids=["2 layers", "3 layers"])
@pytest.mark.parametrize("architecture", PACKED)
def test_packed_and_padded_batches_give_the_stock_logits_and_gradients(architecture, shape):
    lengths = np.random.default_rng(len(shape)).integers(2, 60, 9)
    check(architecture, build_tokens([*lengths, 1, 30, 30]), seed=len(shape), **shape)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=7))
def test_whatever_the_lengths(lengths):
    check("bert", build_tokens(lengths))


@pytest.mark.parametrize("architecture", PACKED)
def test_only_the_row_that_is_read_leaves_the_base_and_equals_the_whole(architecture):
    model = build_model(architecture).eval()
    tokens, rows = build_tokens([2, 3, 3, 20, 40]), np.arange(5)
    whole = copy.deepcopy(model)
    whole.set_attn_implementation(packed_attention.PACKED)
    whole_batch = packing.pack(tokens, rows, whole)
    every = whole.base_model(**whole_batch.inputs).last_hidden_state
    assert every.shape[:2] == (1, tokens.lengths.sum())
    assert packing.enable(model)
    batch = packing.pack(tokens, rows, model)
    kept = model.base_model(**batch.inputs).last_hidden_state
    assert kept.shape[:2] == (5, 1)
    assert (batch.last is not None) == (architecture in DECODERS)
    assert (kept[:, 0] - every[0, batch.first if batch.last is None else batch.last]).abs().max() <= 1e-5


@pytest.mark.parametrize("early", [True, False])
def test_first_rows_are_kept_by_hooks_that_can_be_taken_away(early):
    model = build_model().eval()
    tokens = build_tokens([2, 3, 3, 20, 40])
    model.set_attn_implementation(packed_attention.PACKED)
    batch = packing.pack(tokens, np.arange(5), model)
    whole = model.base_model(**batch.inputs).last_hidden_state
    hooks = pool_first_token(model, early=early)
    first = model.base_model(**packing.pack(tokens, np.arange(5), model).inputs).last_hidden_state
    assert (first[:, 0] - whole[0, batch.first]).abs().max() <= 1e-5
    for hook in hooks:
        hook.remove()
    assert torch.equal(model.base_model(**packing.pack(tokens, np.arange(5), model).inputs).last_hidden_state, whole)


def test_decoders_read_the_last_token_that_is_no_padding():
    """As stock heads do, whose texts may end in it: GPT-2's end of text is often taken for padding too."""
    stock = build_model("gpt2").eval()
    tokens = build_tokens([3, 4, 6])
    for at in (2, 5, 6):  # the last of the first text, the last two of the second; a text of nothing else
        tokens.input_ids[at] = 0
    tokens.input_ids[7:13] = 0
    mine = copy.deepcopy(stock)
    assert packing.enable(mine)
    batch = packing.pack(tokens, np.arange(3), mine)
    assert batch.last.tolist() == [1, 4, 7]
    with torch.no_grad():
        expected = stock(**stock_inputs(tokens, range(3), 0)).logits
        assert (mine(**batch.inputs).logits - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3_text", "modernbert"])
def test_a_window_that_is_wider_than_the_model_s_is_noticed(architecture, monkeypatch):
    """The probe has a text that is longer than the window."""
    real = packed_attention.packed_attention

    def wide(*args, sliding_window=None, **kwargs):
        return real(*args, sliding_window=sliding_window and sliding_window + 1, **kwargs)

    monkeypatch.setitem(packed_attention.AttentionInterface._global_mapping, packed_attention.PACKED, wide)
    assert "other logits" in packing.try_packing(build_model(architecture, num_hidden_layers=3))


@pytest.mark.parametrize("argument", [{"s_aux": torch.ones(2)}, {"position_bias": torch.ones(1)}, {"unheard_of": 2.0}])
def test_what_attention_does_not_know_keeps_a_model_from_being_packed(argument, monkeypatch):
    real = packed_attention.packed_attention
    monkeypatch.setitem(
        packed_attention.AttentionInterface._global_mapping,
        packed_attention.PACKED,
        lambda *a, **k: real(*a, **k | argument),
    )
    model = build_model("llama")
    assert packing.try_packing(model) == f"its attention takes {next(iter(argument))}"
    assert model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_why_a_model_is_padded_is_one_line_that_is_true():
    config = transformers.BartConfig(
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 1), d_model=16, vocab_size=20
    )
    bart = transformers.BartForSequenceClassification(config)
    assert packing.try_packing(bart) == "its decoder looks at the texts of its encoder"
    bert = build_model("bert")
    bert.classifier = nn.Linear(7, 3)
    assert packing.try_packing(bert).startswith("a trial ends in: mat1 and mat2 shapes cannot be multiplied")


def test_a_causal_model_taken_for_another_is_noticed(monkeypatch):
    real = packed_attention.packed_attention
    monkeypatch.setitem(
        packed_attention.AttentionInterface._global_mapping,
        packed_attention.PACKED,
        lambda *a, **k: real(*a, **k | {"is_causal": False}),
    )
    assert "other logits" in packing.try_packing(build_model("llama"))


@pytest.mark.parametrize("architecture", PACKED)
def test_a_text_does_not_see_its_neighbours(architecture):
    model = build_model(architecture).eval()
    assert packing.enable(model)
    tokens = build_tokens([4, 9, 9, 15, 31])
    others = build_tokens([4, 9, 9, 15, 31], seed=7)  # other words
    others.input_ids[others.offsets[2] : others.offsets[3]] = tokens.input_ids[tokens.offsets[2] : tokens.offsets[3]]
    with torch.no_grad():
        alone, among, elsewhere, fewer = (
            model(**packing.pack(source, np.array(rows), model).inputs).logits[at]
            for source, rows, at in (
                (tokens, [2], 0),
                (tokens, [0, 1, 2, 3, 4], 2),
                (others, [0, 1, 2, 3, 4], 2),
                (tokens, [0, 2, 4], 1),
            )
        )
        spread = model(**packing.pack(tokens, np.arange(5), model).inputs).logits
    assert (among - elsewhere).abs().max() <= 1e-6
    assert (among - alone).abs().max() <= 1e-5
    assert (among - fewer).abs().max() <= 1e-5
    assert (spread - spread[2]).abs().max() > 1e-3  # or the above would say nothing


@pytest.mark.parametrize("architecture", PADDED)
def test_an_architecture_that_cannot_be_packed_is_padded_and_left_as_it_was(architecture):
    stock = build_model(architecture).eval()
    mine = copy.deepcopy(stock).train()
    assert packing.try_packing(mine) == "its attention does not go through transformers' AttentionInterface"
    assert mine.training
    assert mine.config._attn_implementation == stock.config._attn_implementation
    mine.eval()
    tokens = build_tokens([3, 20, 7, 7])
    rows = by_length(tokens)
    labels = torch.from_numpy(tokens.labels[rows])
    batch = packing.make_batch(tokens, rows, mine)
    assert batch.tensors["input_ids"].shape == (4, 20)
    assert batch.lengths == [20] * 4
    expected = outcome(stock, stock_inputs(tokens, rows, stock.config.pad_token_id), labels)
    assert_close(outcome(mine, batch.inputs, labels), expected)


def test_a_model_that_attends_across_texts_is_not_taken_for_a_packed_one(monkeypatch):
    def across(_module, query, key, value, _mask, **_):
        return nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2), None

    monkeypatch.setitem(packed_attention.AttentionInterface._global_mapping, packed_attention.PACKED, across)
    model = build_model("modernbert")
    assert not packing.enable(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_enable_draws_no_chance_and_leaves_the_mode():
    model = build_model("bert", dropout=0.1)
    before = torch.get_rng_state()
    model.train()
    assert packing.enable(model)
    assert model.training
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("padding", [1, 3])
def test_roberta_counts_positions_from_its_padding_id(padding):
    model = build_model("roberta", pad_token_id=padding).eval()
    stock = copy.deepcopy(model)
    assert packing.enable(model)
    tokens = build_tokens([2, 4])
    batch = packing.pack(tokens, np.arange(2), model)
    assert batch.tensors["position_ids"][0].tolist() == [padding + at for at in (1, 2, 1, 2, 3, 4)]
    assert packing.pad(tokens, np.arange(2), stock).tensors["input_ids"][0, 2:].tolist() == [padding] * 2
    with torch.no_grad():
        expected = stock(**stock_inputs(tokens, range(2), padding)).logits
        assert (model(**batch.inputs).logits - expected).abs().max() <= 1e-5


def test_bert_counts_positions_from_zero():
    batch = packing.pack(build_tokens([2, 3]), np.arange(2), build_model("bert"))
    assert batch.tensors["position_ids"][0].tolist() == [0, 1, 0, 1, 2]
    assert batch.first.tolist() == [0, 2]
    assert batch.texts.runs == [(1, 2, 2), (1, 3, 3)]


@pytest.mark.parametrize("architecture", [*PACKED, *PADDED])
@pytest.mark.parametrize("padding", [0, 1, 119])
def test_a_cut_vocabulary_is_laid_out_like_the_whole(architecture, padding):
    """ModernBERT's padding id is 50283 of 50368: it lies behind the cut table."""
    model = build_model(architecture, pad_token_id=padding, max_position_embeddings=200).eval()
    stock = copy.deepcopy(model)
    tokens = build_tokens([3, 5, 12], words=25)
    rows = np.arange(3)
    with torch.no_grad():
        expected = stock(**stock_inputs(tokens, rows, padding)).logits
    vocabulary = PrunedVocabulary(model, [tokens])
    assert packing.enable(model) == (architecture in PACKED)
    with torch.no_grad():
        found = model(**packing.make_batch(vocabulary.translate(tokens), rows, model).inputs).logits
    assert (found - expected).abs().max() <= 1e-5
