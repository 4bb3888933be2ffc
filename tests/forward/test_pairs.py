"""Packed pairs give what the stock model gives of padded ones, and through a mask, in every architecture."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bonafide.forward import pairs as packer
from bonafide.forward import token_losses
from bonafide.forward.batch import PACKED
from bonafide.project.errors import InputError
from tests.tiny_language_models import TRANSLATORS, build_language_model, build_pairs, build_translator, random_pairs

pytestmark = pytest.mark.usefixtures("one_thread")

WALKED = [
    pytest.param(name, marks=[] if name == "marian" else pytest.mark.slow) for name in TRANSLATORS if name != "t5"
]
SOURCE, TARGET = [1, 5, 5, 17, 3, 99], [7, 2, 11, 4, 30, 6]
CLOSE = 2e-5  # of gradients, of sums of losses of 60 tokens


def outcome(model, batch, logits=None):
    """Logits of targets, losses of texts, and gradients."""
    model.zero_grad()
    outputs = model(**batch.inputs) if logits is None else logits
    losses = token_losses.cross_entropy(outputs, batch)
    losses.sum().backward()
    grads = {name: torch.zeros(1) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    return token_losses.counted_logits(outputs, batch).detach(), losses.detach(), grads


def assert_close(found, expected):
    assert found[0].shape == expected[0].shape
    assert (found[0] - expected[0]).abs().max() <= 1e-5
    assert (found[1] - expected[1]).abs().max() <= 1e-4
    for name, grad in expected[2].items():
        assert (found[2][name] - grad).abs().max() <= CLOSE * max(1, float(grad.abs().max())), name


def stock_inputs(pairs, model):
    """As anybody else would make them, of all pairs in their order."""
    sides = []
    for ids, offsets in ((pairs.source_ids, pairs.source_offsets), (pairs.target_ids, pairs.target_offsets)):
        parts = [torch.from_numpy(part.astype(int)) for part in np.split(ids, offsets[1:-1])]
        sides.append(
            (parts, nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=model.config.pad_token_id))
        )
    (sources, source), (targets, target) = sides
    start = torch.full((len(targets), 1), model.config.decoder_start_token_id)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(part) for part in sources], batch_first=True)
    return {"input_ids": source, "attention_mask": mask, "decoder_input_ids": torch.cat([start, target[:, :-1]], 1)}


@pytest.mark.parametrize("architecture", WALKED)
def test_packed_and_padded_pairs_give_the_stock_logits_losses_and_gradients(architecture):
    stock = build_translator(architecture, max_position_embeddings=128).eval()
    mine, pairs = copy.deepcopy(stock), build_pairs(SOURCE, TARGET)
    rows = np.arange(len(pairs))
    padded = packer.make_batch(pairs, rows, mine)
    assert [padded.inputs[name].shape for name in padded.inputs] == [(6, 99), (6, 99), (6, 30)]
    expected = outcome(stock, padded, stock(**stock_inputs(pairs, stock)))
    assert_close(outcome(mine, padded), expected)
    assert packer.enable(mine) == ""
    packed = packer.make_batch(pairs, rows, mine)
    assert packed.inputs["decoder_input_ids"].shape == (1, sum(TARGET))
    assert packed.row_counts == [[1] * len(pairs), SOURCE, TARGET]
    assert_close(outcome(mine, packed), expected)


@pytest.mark.parametrize("architecture", WALKED)
def test_packed_pairs_are_what_a_mask_gives(architecture, monkeypatch):
    """A bool mask of who sees whom, and positions looked up by this test, through torch's attention."""
    stock = build_translator(architecture, max_position_embeddings=256).eval()
    mine, pairs = copy.deepcopy(stock), build_pairs(SOURCE, TARGET)
    assert packer.enable(mine) == ""
    batch = packer.make_batch(pairs, np.arange(len(pairs)), mine)
    source, target = (torch.repeat_interleave(torch.arange(len(pairs)), torch.tensor(n)) for n in (SOURCE, TARGET))
    for side, name in ((stock.get_encoder(), "position_ids"), (stock.get_decoder(), "decoder_position_ids")):
        table, at = side.embed_positions, batch.tensors[name][0]
        weight = table.weights if architecture == "m2m_100" else table.weight
        at = at + (2 if architecture in ("m2m_100", "bart", "mbart") else 0)  # m2m_100: pad_token_id is 1
        monkeypatch.setattr(table, "forward", lambda *_, weight=weight, at=at, **__: weight[at][None])
    seen = (source[:, None] == source, target[:, None] == source, (target[:, None] == target).tril())
    inner, across, causal = (mask[None, None] for mask in seen)
    encoded = stock.get_encoder()(input_ids=batch.tensors["input_ids"], attention_mask=inner)
    outputs = stock(
        encoder_outputs=encoded,
        attention_mask=across,
        decoder_input_ids=batch.tensors["decoder_input_ids"],
        decoder_attention_mask=causal,
        use_cache=False,
    )
    assert_close(outcome(mine, batch), outcome(stock, batch, outputs))


@pytest.mark.parametrize("architecture", WALKED)
def test_neither_what_comes_after_nor_another_pair_changes_a_bit(architecture):
    model = build_translator(architecture, max_position_embeddings=128).eval()
    assert packer.enable(model) == ""
    pairs, rows = build_pairs(SOURCE, TARGET), np.arange(len(SOURCE))

    def logits(target_ids, source_ids=pairs.source_ids):
        changed = packer.Pairs(source_ids, pairs.source_offsets, target_ids, pairs.target_offsets, pairs.ids)
        with torch.no_grad():
            return model(**packer.make_batch(changed, rows, model).inputs).logits[0]

    before, ends = logits(pairs.target_ids), np.cumsum(TARGET)
    at = ends[1] + 6  # the seventh token of the third target
    later, source = pairs.target_ids.copy(), pairs.source_ids.copy()
    later[at] += 1
    after = logits(later)
    assert torch.equal(after[: at + 1], before[: at + 1])
    assert not torch.equal(after[at + 1 : ends[2]], before[at + 1 : ends[2]])
    assert torch.equal(after[ends[2] :], before[ends[2] :])
    source[pairs.source_offsets[2]] += 1
    after = logits(pairs.target_ids, source)
    changed = (after != before).any(dim=1)
    assert changed[ends[1] : ends[2]].all()
    assert not changed[: ends[1]].any()
    assert not changed[ends[2] :].any()


def test_no_loss_depends_on_the_pairs_beside_it():
    model = build_translator().eval()
    assert packer.enable(model) == ""
    pairs = random_pairs(12)
    with torch.no_grad():
        whole, some = (
            token_losses.cross_entropy(model(**batch.inputs), batch)
            for batch in (packer.make_batch(pairs, rows, model) for rows in (np.arange(12), np.array([7, 2, 9])))
        )
    assert (whole[[7, 2, 9]] - some).abs().max() <= 1e-5


def test_the_loss_at_the_start_is_that_of_a_guess_and_targets_are_not_what_is_read():
    """Of V words, ln V; targets that are not shifted would teach to copy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = type(build_translator())(build_translator().config).eval()
    pairs = random_pairs(64, seed=1)
    batch = packer.make_batch(pairs, np.arange(64), model)
    with torch.no_grad():
        nats = token_losses.cross_entropy(model(**batch.inputs), batch).sum() / pairs.units.sum()
    assert float(nats) == pytest.approx(np.log(model.config.vocab_size), abs=0.05)


def test_a_batch_counts_every_token_of_a_target_and_its_end():
    pairs, model = build_pairs([3, 2], [2, 4]), build_translator()
    batch = packer.make_batch(pairs, np.array([1, 0]), model)
    assert batch.counts == [4, 2]
    assert batch.targets.tolist() == [*pairs.target_ids[2:], *pairs.target_ids[:2]]
    assert batch.tensors["decoder_input_ids"].tolist() == [[0, *pairs.target_ids[2:5]], [0, pairs.target_ids[0], 0, 0]]
    assert batch.counted.tolist() == [0, 1, 2, 3, 4, 5]


def test_pairs_are_taken_in_an_order():
    pairs = build_pairs([3, 2, 4], [2, 4, 3])
    assert (pairs.lengths.tolist(), pairs.units.tolist()) == ([5, 6, 7], [2, 4, 3])
    some = pairs.take([2, 0])
    assert some.ids.tolist() == ["2", "0"]
    assert some.target_ids.tolist() == [*pairs.target_ids[6:], *pairs.target_ids[:2]]
    assert np.diff(some.source_offsets).tolist() == [4, 3]


def test_a_model_that_does_not_say_how_a_translation_begins_is_refused():
    model = build_translator("mbart", decoder_start_token_id=None)
    with pytest.raises(InputError, match=r"config\.json of mbart names no decoder_start_token_id"):
        packer.make_batch(random_pairs(2), np.arange(2), model)


def test_positions_that_run_on_are_noticed(monkeypatch):
    """As the stock model has them: 0.38 off in logits."""
    monkeypatch.setattr(packer, "positions_in_texts", lambda lengths: np.arange(lengths.sum()))
    model = build_translator()
    assert "other logits" in packer.enable(model)
    assert model.config._attn_implementation == model.get_decoder().config._attn_implementation == "sdpa"


def test_a_bias_of_zeros_does_not_make_fp32_of_logits_and_stays_in_the_model():
    model = build_translator()
    assert packer.enable(model) == ""
    batch = packer.make_batch(random_pairs(3), np.arange(3), model)
    with torch.autocast("cpu"):
        assert model(**batch.inputs).logits.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="input_ids"):
        model(**batch.inputs | {"input_ids": None})
    assert torch.equal(model.final_logits_bias, torch.zeros(1, 120))


def test_another_bias_is_added():
    stock = build_translator().eval()
    stock.final_logits_bias += torch.randn(1, 120)
    mine, pairs = copy.deepcopy(stock), random_pairs(3)
    assert packer.enable(mine) == ""
    batch = packer.make_batch(pairs, np.arange(3), mine)
    assert_close(outcome(mine, batch), outcome(stock, packer.make_batch(pairs, np.arange(3), stock)))


def test_t5_is_padded_for_its_bias_by_distance():
    stock = build_translator("t5").eval()
    mine, pairs = copy.deepcopy(stock), random_pairs(5)
    assert packer.enable(mine) == "its attention takes position_bias"
    batch = packer.make_batch(pairs, np.arange(5), mine)
    assert batch.tensors["input_ids"].shape == (5, max(batch.lengths))
    assert_close(outcome(mine, batch), outcome(stock, batch, stock(**stock_inputs(pairs, stock))))


def test_a_model_of_another_kind_is_left_as_it_was():
    model = build_language_model()
    assert packer.enable(model) == "it has no encoder beside its decoder"
    assert model.config._attn_implementation != PACKED
