"""Our beam search writes what transformers' `generate` writes, token for token, in every architecture it is for."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.generation import beam

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY, PAD, END = 40, 0, 1
SIZES = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "init_std": 0.4,
}
T5_SIZES = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "initializer_factor": 3.0,
}
TOKENS = {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 2, "tie_word_embeddings": False}
ARCHITECTURES = {
    "Marian": SIZES | {"decoder_start_token_id": PAD},
    "Bart": SIZES | {"decoder_start_token_id": END},
    "MBart": SIZES | {"decoder_start_token_id": END, "forced_bos_token_id": 5},
    "M2M100": SIZES | {"decoder_start_token_id": END, "forced_bos_token_id": 6},
    "Pegasus": SIZES | {"decoder_start_token_id": PAD},
    "T5": T5_SIZES | {"decoder_start_token_id": PAD},
}


def build(name, seed=0, end_bias=1.0):
    """A tiny model with random weights, whose sentences have ends."""
    head = "MTModel" if name == "Marian" else "ForConditionalGeneration"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = getattr(transformers, f"{name}Config")(**TOKENS, **ARCHITECTURES[name], forced_eos_token_id=None)
        model = getattr(transformers, name + head)(config).eval()
        bias = torch.randn(VOCABULARY)
    bias[END] += end_bias
    model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + bias)
    model.generation_config.suppress_tokens = [PAD, 7, 8]
    return model


def random_sources(rng, count, longest=9):
    return [[*rng.integers(9, VOCABULARY, rng.integers(1, longest)).tolist(), END] for _ in range(count)]


def stock(model, source, most, beams, length_penalty):
    """What `generate` writes of one source alone, its start token and its end token left off."""
    written = model.generate(
        torch.tensor([source]),
        num_beams=beams,
        early_stopping=beams > 1,
        length_penalty=length_penalty,
        max_new_tokens=most,
        do_sample=False,
    )[0].tolist()[1:]
    return written[: written.index(END)] if END in written else written


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("beams", [1, 4])
def test_tokens_are_those_of_generate(name, beams):
    model, sources = build(name), random_sources(np.random.default_rng(0), 7)

    searched = beam.search(model, sources, beams=beams, max_new=lambda n: 3 + n, batch=3)
    found = [beam.best(hypotheses, 1.0) for hypotheses in searched]

    expected = [stock(model, source, 3 + len(source), beams, 1.0) for source in sources]
    assert [hypothesis.tokens for hypothesis in found] == expected


@given(
    st.sampled_from(sorted(ARCHITECTURES)),
    st.integers(0, 2**16),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    st.sampled_from([-2.0, 1.0, 3.0]),
)
@settings(max_examples=12)
def test_tokens_are_those_of_generate_whatever_the_weights(name, seed, beams, length_penalty, end_bias):
    check_against_generate(name, seed, beams, length_penalty, end_bias)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(ARCHITECTURES)),
    st.integers(0, 2**16),
    st.integers(1, 8),
    st.floats(0, 3),
    st.floats(-3, 5),
)
@settings(max_examples=300)
def test_tokens_are_those_of_generate_of_many(name, seed, beams, length_penalty, end_bias):
    check_against_generate(name, seed, beams, length_penalty, end_bias)


def check_against_generate(name, seed, beams, length_penalty, end_bias):
    """Equal tokens, or a score that is as good to 1e-5 (a tie that rounding decides)."""
    model, rng = build(name, seed, end_bias), np.random.default_rng(seed)
    sources, most = random_sources(rng, 3), int(rng.integers(1, 12))

    found = beam.search(model, sources, beams=beams, max_new=lambda _: most, batch=2)

    for source, hypotheses in zip(sources, found, strict=True):
        expected = stock(model, source, most, beams, length_penalty)
        chosen = beam.best(hypotheses, length_penalty)
        tied = [h.tokens for h in hypotheses if abs(h.score(length_penalty) - chosen.score(length_penalty)) < 1e-5]
        assert expected in tied


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_hypotheses_alone_are_those_in_any_batch_to_the_bit(name):
    model, sources = build(name), random_sources(np.random.default_rng(1), 9, longest=20)
    options = {"beams": 3, "max_new": lambda n: 4 + n}

    together = beam.search(model, sources, **options, batch=64)

    assert beam.search(model, sources, **options, batch=2) == together
    assert [beam.search(model, [source], **options, batch=64)[0] for source in sources] == together


def test_log_probability_is_that_of_teacher_forcing():
    model, sources = build("Marian"), random_sources(np.random.default_rng(2), 5)

    found = beam.search(model, sources, beams=4, max_new=lambda _: 8, batch=8)

    for source, hypotheses in zip(sources, found, strict=True):
        assert len(hypotheses) >= 4
        for tokens, log_probability, ended in hypotheses:
            target = [*tokens, *[END] * ended]
            labels = torch.tensor([target])
            logits = model(torch.tensor([source]), decoder_input_ids=torch.tensor([[PAD, *target[:-1]]])).logits
            expected = logits.log_softmax(-1).gather(2, labels[..., None]).sum().item()
            assert log_probability == pytest.approx(expected, abs=1e-4)
            assert ended or len(tokens) == 8
            assert not {PAD, END, 7, 8} & set(tokens)


def test_length_penalty_weighs_the_same_hypotheses():
    short, long = beam.Hypothesis([3], -2.0, ended=True), beam.Hypothesis([3, 4, 5], -3.0, ended=True)

    assert beam.best([short, long], 0.0) == short
    assert beam.best([short, long], 1.0) == long
    assert long.score(2.0) == -3 / 16


@given(st.integers(0, 2**16), st.integers(1, 4), st.integers(2, 700), st.integers(1, 12))
def test_largest_is_topk(seed, rows, columns, count):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.integers(0, 50, (rows, columns)).astype(np.float32))  # with ties
    count = min(count, columns)

    values, at = beam.largest(x, count)

    assert torch.equal(values, x.topk(count).values)
    assert torch.equal(x.gather(1, at), values)
    assert all(len(set(row)) == count for row in at.tolist())


def test_model_is_left_as_it_was():
    model = build("Marian")
    model.set_attn_implementation("eager")
    before = model.model.encoder.layers[0].fc1.forward

    beam.search(model, [[5, END]], beams=2, max_new=lambda _: 3, batch=1)

    assert model.config._attn_implementation == "eager"
    assert model.model.encoder.layers[0].fc1.forward == before
