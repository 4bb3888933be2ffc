"""Our beam search writes what transformers' `generate` writes, token for token, in every architecture it is for."""

import numpy as np
import pytest
import torch
import transformers

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

    found = beam.translate(model, sources, beams=beams, length_penalty=1.0, max_new=lambda n: 3 + n, batch=3)

    expected = [stock(model, source, 3 + len(source), beams, 1.0) for source in sources]
    assert [hypothesis.tokens for hypothesis in found] == expected
