"""Packed language models give what stock ones give of padded texts, and through a mask, of the rows that count."""

import copy

import numpy as np
import pytest
import torch

from bonafide.forward import language_modelling, token_losses
from bonafide.forward.packing import positions_in_texts
from tests.tiny_language_models import build_language_model, build_translator

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = (("llama", "CausalLM"), ("bert", "PreTraining"))
SLOW = [(name, "CausalLM") for name in ("gpt2", "qwen3", "gpt_neox", "gemma3_text", "opt")]
SLOW += [(name, "MaskedLM") for name in ("bert", "roberta", "modernbert", "distilbert", "electra", "albert")]
MODELS = [pytest.param(*pair, id="-".join(pair)) for pair in FAST]
MODELS += [pytest.param(*pair, id="-".join(pair), marks=pytest.mark.slow) for pair in SLOW]
LENGTHS = np.array([1, 2, 5, 5, 9, 33, 99])
OFFSETS = np.append(0, np.cumsum(LENGTHS))


def texts(seed=0, share=0.4):
    """Ids, which rows count, and their targets."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 120, LENGTHS.sum())
    counts = rng.random(len(ids)) < share
    return ids, counts, rng.integers(5, 120, counts.sum())


def batch_of(model, ids, counts, targets):
    """With types of tokens, where the model has them, and the labels of next sentences."""
    more = (
        {"token_type_ids": np.arange(len(ids)) % 2} if model.config.model_type in ("bert", "electra", "albert") else {}
    )
    return language_modelling.make_batch(model, ids, LENGTHS, counts, targets, more=more, labels=LENGTHS % 2)


def outcome(model, batch, outputs=None):
    """Logits of rows that count, losses of texts, with those of next sentences, and gradients."""
    model.zero_grad()
    outputs = model(**batch.inputs) if outputs is None else outputs
    losses = token_losses.cross_entropy(outputs, batch)
    if "seq_relationship_logits" in outputs:
        of_texts = outputs.seq_relationship_logits
        losses = losses + torch.nn.functional.cross_entropy(of_texts, batch.labels, reduction="none")
    losses.sum().backward()
    grads = {name: torch.zeros(1) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    return token_losses.counted_logits(outputs, batch).detach(), losses.detach(), grads


def assert_close(found, expected):
    assert found[0].shape == expected[0].shape
    assert (found[0] - expected[0]).abs().max() <= 1e-5
    assert (found[1] - expected[1]).abs().max() <= 1e-4
    for name, grad in expected[2].items():
        assert (found[2][name] - grad).abs().max() <= 2e-5 * max(1, float(grad.abs().max())), name


def build(architecture, kind, **changes):
    return build_language_model(architecture, kind, max_position_embeddings=128, **changes).eval()


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_packed_texts_have_the_logits_losses_and_gradients_of_padded_ones(architecture, kind, share):
    stock = build(architecture, kind)
    mine = copy.deepcopy(stock)
    assert language_modelling.enable(mine) == ""
    ids, counts, targets = texts(share=share)
    batch, padded = (batch_of(model, ids, counts, targets) for model in (mine, stock))
    assert batch.tensors["input_ids"].shape == (1, LENGTHS.sum())
    assert padded.tensors["input_ids"].shape == (7, 99)
    assert batch.row_counts == [[1] * 7, LENGTHS.tolist(), batch.counts]
    assert sum(batch.counts) == counts.sum()
    assert_close(outcome(mine, batch), outcome(stock, padded))


def mask_of(model, kind):
    """(1, 1, tokens, tokens) who sees whom; one for each type of layer where some see through a window."""
    of = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    ahead = torch.arange(len(of))[:, None] - torch.arange(len(of))
    seen = (of[:, None] == of) & ((ahead >= 0) | (kind != "CausalLM"))
    window = {"modernbert": 4, "gemma3_text": 5}.get(model.config.model_type)  # to each side, itself not among them
    types = {"full_attention": seen, "sliding_attention": seen & (ahead.abs() <= (window or 0))}
    masks = {name: mask[None, None] for name, mask in types.items()}
    return masks if window else masks["full_attention"]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_packed_texts_are_what_a_mask_gives(architecture, kind):
    """A bool mask of who sees whom, through torch's attention."""
    stock = build(architecture, kind)
    mine = copy.deepcopy(stock)
    assert language_modelling.enable(mine) == ""
    ids, counts, targets = texts()
    batch = batch_of(mine, ids, counts, targets)
    more = {"use_cache": False} if kind == "CausalLM" else {}
    outputs = stock(**batch.tensors, **more, attention_mask=mask_of(stock, kind), output_hidden_states=True)
    if kind == "PreTraining":
        firsts = outputs.hidden_states[-1][0, batch.first][:, None]
        outputs.seq_relationship_logits = stock.cls.seq_relationship(stock.bert.pooler(firsts))
    assert_close(outcome(mine, batch), outcome(stock, batch, outputs))


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_neither_what_comes_after_nor_another_text_changes_a_bit(architecture, kind):
    model = build(architecture, kind)
    assert language_modelling.enable(model) == ""
    ids, counts, targets = texts(share=1.0)

    def logits(ids):
        batch = batch_of(model, ids, counts, targets)
        with torch.no_grad():
            return token_losses.counted_logits(model(**batch.inputs), batch)

    before, at = logits(ids), OFFSETS[3] + 3  # the fourth of five tokens
    ids[at] += 1
    changed = (logits(ids) != before).any(dim=1)
    assert changed[at : at + 1].all()
    assert changed[OFFSETS[3] : at].any() == (kind != "CausalLM")
    assert not changed[: OFFSETS[3]].any()
    assert not changed[OFFSETS[4] :].any()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3", "gpt_neox"])
def test_transformers_packs_causal_models_without_a_cache_only(architecture):
    """By default it makes one, looks for no texts in `position_ids` then, and they see each other: without a word."""
    model, (ids, *_) = build(architecture, "CausalLM"), texts()
    inputs = {"input_ids": torch.tensor(ids)[None], "position_ids": torch.tensor(positions_in_texts(LENGTHS))[None]}
    with torch.no_grad():
        expected = torch.cat(
            [model(input_ids=part[None]).logits[0] for part in inputs["input_ids"][0].split([*LENGTHS])]
        )
        without, by_default = (model(**inputs, **more).logits[0] for more in ({"use_cache": False}, {}))
    assert (without - expected).abs().max() <= 1e-5
    assert (by_default - expected).abs().max() >= 1e-2


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_transformers_never_packs_masked_models(architecture):
    model, (ids, *_) = build(architecture, "MaskedLM"), texts()
    inputs = {"input_ids": torch.tensor(ids)[None], "position_ids": torch.tensor(positions_in_texts(LENGTHS))[None]}
    with torch.no_grad():
        expected = torch.cat(
            [model(input_ids=part[None]).logits[0] for part in inputs["input_ids"][0].split([*LENGTHS])]
        )
        assert (model(**inputs).logits[0] - expected).abs().max() >= 1e-2


def test_a_head_is_computed_for_rows_that_count_alone():
    model = build("bert", "PreTraining")
    assert language_modelling.enable(model) == ""
    ids, counts, targets = texts()
    seen = []
    model.cls.predictions.register_forward_pre_hook(lambda _module, args: seen.append(args[0].shape))
    outputs = model(**batch_of(model, ids, counts, targets).inputs)
    assert seen == [(1, counts.sum(), 32)]
    assert outputs.prediction_logits.shape == (1, counts.sum(), 120)
    assert outputs.seq_relationship_logits.shape == (7, 2)


def test_roberta_counts_positions_from_its_padding_id():
    """From 0, logits are 0.33 off."""
    model = build("roberta", "MaskedLM", pad_token_id=3)
    assert language_modelling.enable(model) == ""
    ids, counts, targets = texts()
    found = batch_of(model, ids, counts, targets).tensors["position_ids"][0]
    assert found.tolist() == (positions_in_texts(LENGTHS) + 4).tolist()


def test_the_loss_at_the_start_is_that_of_a_guess():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = type(build("llama", "CausalLM"))(build("llama", "CausalLM").config).eval()
    batch = batch_of(model, *texts())
    with torch.no_grad():
        nats = token_losses.cross_entropy(model(**batch.inputs), batch).sum() / sum(batch.counts)
    assert float(nats) == pytest.approx(np.log(120), abs=0.1)


def test_a_model_with_an_encoder_is_left_as_it_was():
    assert language_modelling.enable(build_translator()) == "its decoder looks at the texts of its encoder"


def test_a_head_that_reads_all_rows_is_given_them():
    """OPT's base model is not called: its decoder is."""
    model = build("opt", "CausalLM")
    assert language_modelling.enable(model) == ""
    ids, counts, targets = texts()
    batch = batch_of(model, ids, counts, targets)
    outputs = model(**batch.inputs)
    assert outputs.logits.shape == (1, len(ids), 120)
    assert torch.equal(token_losses.counted_logits(outputs, batch), outputs.logits[0, counts])
