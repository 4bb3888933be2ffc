"""Causal and masked language models train to the same bytes however their shards are shared out."""

import copy

import numpy as np
import pytest
import torch

from tests.process_groups import in_threads
from tests.tiny_language_models import KINDS, build_corpus, build_engine, build_model, collate, loss, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_bitwise_equal_in_any_number_of_parts_and_played_groups(kind):
    model, corpus = build_model(kind, dropout=0.1), build_corpus(kind)
    expected = train(model, corpus, 3, shards=4)
    assert [train(model, corpus, 3, shards=4, gradient_accumulation_steps=n) for n in (2, 4)] == [expected] * 2
    assert in_threads(2, lambda group: train(model, corpus, 3, group, shards=4)) == [expected] * 2
    assert in_threads(4, lambda group: train(model, corpus, 3, group, shards=4)) == [expected] * 4
    assert expected != train(model, corpus, 3, shards=4, seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_share_a_pass_and_gradients_are_autograds(kind):
    model, corpus = build_model(kind), build_corpus(kind)
    stock = copy.deepcopy(model)
    engine = build_engine(model, corpus, shards=4)
    assert engine.describe() == "packed texts, exact sums"
    assert not engine.writer.shared
    assert not engine.writer.copied
    assert len(engine.writer.lookup_grads) == (kind != "llama, untied")
    rows = np.arange(8)[np.argsort(corpus.lengths[:8], kind="stable")]
    value = engine._compute_gradients(rows, 1)
    stock.set_attn_implementation("packed")
    stock.train()
    batch = collate(corpus, rows, stock)
    expected = loss(stock(**batch.inputs), batch).sum() / int(corpus.units[rows].sum())
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), abs=1e-5)
    for (name, p), mine in zip(stock.named_parameters(), engine.model.parameters(), strict=True):
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        assert (mine.grad - grad).abs().max() <= 2e-5, name
