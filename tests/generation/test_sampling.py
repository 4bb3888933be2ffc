"""A sampled text depends on its prompt and its seed, and on nothing else that is sampled with it."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from bonafide.generation import sampling

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = 30
SHAPES = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
ARCHITECTURES = {
    "Llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "Qwen3": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
}
ARCHITECTURES["Qwen3"] |= {"num_key_value_heads": 2, "head_dim": 8}


def build(name, seed=0):
    config = getattr(transformers, f"{name}Config")(**SHAPES, **ARCHITECTURES[name], initializer_range=0.3)
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, name + head)(config).eval()


def random_prompts(rng, count):
    return [rng.integers(2, VOCABULARY, rng.integers(1, 6)).tolist() for _ in range(count)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_text_is_that_of_generate(name):
    model, prompts = build(name), random_prompts(np.random.default_rng(0), 5)
    model.generation_config.suppress_tokens = [0, 7]

    found = sampling.sample(model, prompts, seeds=[0] * 5, tokens=20, context=64, temperature=0)

    for prompt, text in zip(prompts, found, strict=True):
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)[0, len(prompt) :].tolist()
        assert text == (expected[: expected.index(1)] if 1 in expected else expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_text_alone_is_text_in_batch(name):
    model, prompts = build(name), random_prompts(np.random.default_rng(1), 9)
    options = {"tokens": 25, "context": 12, "temperature": 0.8, "top_p": 0.9}

    together = sampling.sample(model, prompts, seeds=range(9), **options)

    alone = [sampling.sample(model, [p], seeds=[seed], **options)[0] for seed, p in enumerate(prompts)]
    assert together == alone
    assert together != sampling.sample(model, prompts, seeds=range(1, 10), **options)


def test_text_past_context_goes_on_from_its_last_half():
    model, prompt = build("Llama"), [5, 6, 7]
    model.generation_config.suppress_tokens = [1]
    whole = sampling.sample(model, [prompt], seeds=[3], tokens=12, context=8)[0]

    text = [*prompt]
    for step, number in enumerate(sampling.generator(3, "sample").random(12)):
        first = 0 if len(text) <= 8 else (len(text) - 4) // 5 * 5
        logits = model(torch.tensor([text[first:]])).logits[:, -1].double().detach()
        logits[:, [0, 1]] = -torch.inf
        text.append(int(sampling.draw(logits, torch.tensor([number], dtype=torch.float64), 1.0, 1.0)))
        assert text[3:] == whole[: step + 1]


@given(st.integers(0, 2**32), st.sampled_from([0.3, 1.0, 2.0]), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_draws_have_the_probabilities_of_the_fewest_tokens_that_sum_to_top_p(seed, temperature, top_p):
    logits = np.random.default_rng(seed).normal(size=6)
    p = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    ranked = np.argsort(-p)
    kept = ranked[: int(np.searchsorted(np.cumsum(p[ranked]), top_p * (1 - 1e-12)) + 1)]

    grid = torch.arange(1000, dtype=torch.float64) / 1000
    drawn = sampling.draw(torch.from_numpy(logits).expand(1000, 6), grid, temperature, top_p).numpy()

    shares = np.bincount(drawn, minlength=6) / 1000
    expected = np.where(np.isin(np.arange(6), kept), p, 0) / p[kept].sum()
    assert np.abs(shares - expected).max() <= 0.0021
