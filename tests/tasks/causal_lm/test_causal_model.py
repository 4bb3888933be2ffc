"""A language model says of each token what a plain reading of the model says, whatever lies around it."""

import math

import numpy as np
import pytest
import torch

from bonafide.datasets.windows import for_evaluation
from bonafide.tasks.causal_lm import model as own
from tests.tasks.causal_lm.tiny import CONTEXT, arrays, build, lines, processor

KINDS = ("llama", "qwen3", "gpt2")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return processor(tmp_path_factory.mktemp("processor"))


def packed(model):
    assert own.enable(model) == ""
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_at_the_start_is_that_of_knowing_nothing(reader, kind):
    found = own.predict(packed(build(reader, kind)), arrays(lines(30), reader))
    assert found["nats"].sum() / found["tokens"].sum() == pytest.approx(math.log(len(reader)), abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_each_token_is_as_surprising_as_to_a_plain_loop(reader, kind, tied):
    model, examples = build(reader, kind, tied=tied).eval(), arrays(lines(12), reader, end=True)
    windows = for_evaluation(examples)
    expected = plain(model, windows)
    np.testing.assert_allclose(own.surprise(packed(model), windows), expected, atol=1e-5)
    sums = np.add.reduceat(expected, examples["offsets"][:-1])
    found = own.predict(model, examples)
    np.testing.assert_allclose(found["nats"], sums, rtol=1e-5)
    assert found["tokens"].tolist() == np.diff(examples["offsets"]).tolist()


@torch.no_grad()
def plain(model, windows):
    """One window after the other, by the stock model."""
    found = np.zeros(len(windows.input_ids))
    for begin, counted, end in zip(windows.begins, windows.counted, windows.ends, strict=True):
        before = 1 if begin in windows.offsets else int(windows.input_ids[begin - 1])  # 1 is the end token
        ids = torch.tensor([[before, *windows.input_ids[begin : end - 1].tolist()]])
        logs = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        for place in range(counted, end):
            found[place] = -float(logs[place - begin, int(windows.input_ids[place])])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_later_changes_nothing_before_it(reader, kind):
    model, texts = packed(build(reader, kind)), lines(8)
    first, other = (own.surprise(model, for_evaluation(arrays(made, reader))) for made in (texts, changed(texts)))
    offsets, ends = np.cumsum([0, *map(len, texts)]), np.cumsum([*map(len, texts)])
    for start, end in zip(offsets[:-1], ends, strict=True):
        np.testing.assert_allclose(first[start : end - 1], other[start : end - 1], atol=1e-5)
        assert abs(first[end - 1] - other[end - 1]) > 1e-4


def changed(texts):
    """The same with other last letters."""
    return [text[:-1] + ("k" if text[-1] != "k" else "t") for text in texts]


def test_packed_windows_are_as_padded_ones(reader):
    model, examples = build(reader).eval(), arrays(lines(20), reader)
    padded = own.predict(model, examples)
    found = own.predict(packed(model), examples)
    for name in own.FIELDS:
        np.testing.assert_allclose(found[name], padded[name], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_is_the_same_and_has_no_dropout_left(reader, kind, tmp_path):
    model, examples = build(reader, kind, dropout=0.5), arrays(lines(10), reader)
    model.save_pretrained(tmp_path)
    again = own.load(tmp_path)
    expected = own.predict(packed(model), examples)
    assert own.predict(again, examples).tolist() == expected.tolist()
    assert again.config.bos_token_id == again.config.eos_token_id == 1 < len(reader)


def test_dropout_falls_on_what_attention_and_feed_forward_add(reader):
    model = build(reader, dropout=0.5)
    ids = torch.arange(67, 67 + CONTEXT)[None]
    model.train()
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    model.eval()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
