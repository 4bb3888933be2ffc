"""A pruned vocabulary trains to the weights of the whole one."""

import copy

import numpy as np
import pytest
import torch

from bonafide.training.vocabulary_pruning import PrunedVocabulary
from tests.tiny_engines import build_engine, build_model, random_tokens

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_cut_vocabulary_trains_to_the_same_weights_and_moves_no_other_row(accumulation):
    whole, tokens = build_model(dropout=0.1), random_tokens(21, words=40)
    small = copy.deepcopy(whole)
    before = whole.get_input_embeddings().weight.detach().clone()
    vocabulary = PrunedVocabulary(small, [tokens])
    translated = vocabulary.translate(tokens)
    assert len(small.get_input_embeddings().weight) == len(vocabulary.used) < 40
    for model, texts in ((whole, tokens), (small, translated)):
        list(build_engine(model, texts, shards=2, gradient_accumulation_steps=accumulation).steps())
    vocabulary.restore()
    rows = small.get_input_embeddings().weight
    assert rows.shape == before.shape
    assert small.get_input_embeddings().padding_idx == whole.get_input_embeddings().padding_idx
    for (name, p), q in zip(whole.named_parameters(), small.parameters(), strict=True):
        # softmax does not see the bias of keys: its gradient is rounding alone, which AdamW blows up
        assert name.endswith("key.bias") or (p - q).abs().max() <= 1e-6, name
    untouched = np.setdiff1d(np.arange(len(before)), vocabulary.used)
    assert torch.equal(rows[untouched], before[untouched])
    assert not torch.equal(rows[vocabulary.used[1:]], before[vocabulary.used[1:]])
