"""What is chosen is trained, and all else stays as it is."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from bonafide.forward.packing import make_batch
from bonafide.project.errors import InputError
from bonafide.training import finetuning
from bonafide.training.vocabulary_pruning import PrunedVocabulary
from tests.tiny_engines import build_engine, build_model, random_tokens

pytestmark = pytest.mark.usefixtures("one_thread")


def test_layers_that_share_their_weights_cannot_be_frozen_apart():
    with pytest.raises(InputError, match=r"train\.frozen_layers: albert has no list of layers of its own"):
        finetuning.choose_trainable(build_model("albert"), "all", 8, 1)


def changed(before, model):
    return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_a_head_is_trained_alone(architecture, shards):
    model = finetuning.choose_trainable(build_model(architecture, dropout=0.1), "head", 4, 0)
    before, encoder = weights(model), f"{model.base_model_prefix}."
    list(build_engine(model, random_tokens(9), shards=shards).steps())
    assert changed(before, model) == {name for name in before if not name.startswith(encoder)}


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "electra", "modernbert"])
def test_frozen_layers_do_not_move(architecture, shards):
    model = finetuning.choose_trainable(build_model(architecture, dropout=0.1, num_hidden_layers=3), "all", 4, 2)
    before = weights(model)
    list(build_engine(model, random_tokens(9), shards=shards).steps())
    still = ("embeddings.", "embeddings_project.", "layer.0.", "layer.1.", "layers.0.", "layers.1.")
    expected = {name for name in before if not any(part in name for part in still)}
    assert 10 < len(expected) < len(before) - 10
    # softmax does not see a key's bias: what moves it is rounding alone, or nothing
    rounding = {name for name in expected if name.endswith(("key.bias", "k_lin.bias"))}
    assert changed(before, model) | rounding == expected


def test_more_frozen_layers_than_there_are_is_an_input_error():
    with pytest.raises(InputError, match=r"train\.frozen_layers: 3, but the encoder has 2"):
        finetuning.choose_trainable(build_model(), "all", 4, 3)


PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # its business


@PEFT
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_beside_low_rank_changes_the_whole_head_is_trained(architecture):
    """Its weights are fresh: low-rank changes to noise are noise."""
    model = build_model(architecture)
    encoder = f"{model.base_model_prefix}."
    head = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(encoder))
    trained = [
        (n, p) for n, p in finetuning.choose_trainable(model, "lora", 4, 0).named_parameters() if p.requires_grad
    ]
    assert sum(p.numel() for name, p in trained if "lora_" not in name) == head
    assert all(f".{encoder}" in name for name, _ in trained if "lora_" in name)


@PEFT
@pytest.mark.parametrize("cut_vocabulary", [False, True])
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_low_rank_changes_train_themselves_and_the_head_and_merge(tmp_path, architecture, shards, cut_vocabulary):
    tokens = texts = random_tokens(9)
    model = finetuning.choose_trainable(build_model(architecture, dropout=0.1), "lora", 4, 0)
    vocabulary = PrunedVocabulary(model, [tokens]) if cut_vocabulary else None
    if vocabulary:
        texts = vocabulary.translate(tokens)
    before = weights(model)
    engine = build_engine(model, texts, shards=shards)
    assert engine.packed
    list(engine.steps())
    moved = changed(before, model)
    assert moved == set(engine.optimizer.trained)
    assert all("lora_" in name or "modules_to_save" in name for name in moved)
    if vocabulary:
        vocabulary.restore()
    model.eval()
    rows = np.argsort(tokens.lengths, kind="stable")
    with torch.no_grad():
        expected = model(**make_batch(tokens, rows, model).inputs).logits
    whole = finetuning.merge_lora(model)
    whole.set_attn_implementation("sdpa")
    whole.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(loaded).__module__.startswith("transformers.")
    with torch.no_grad():
        found = loaded(**make_batch(tokens, rows, loaded).inputs).logits
    assert (found - expected).abs().max() <= 1e-5
