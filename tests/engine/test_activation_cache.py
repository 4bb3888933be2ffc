"""Each step begins at the lowest trained layer, and ends in the weights that it had without that."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForSequenceClassification

from bonafide.engine import activation_cache
from bonafide.engine.activation_cache import ActivationCache
from bonafide.forward.inference import predict_all
from bonafide.forward.packed_attention import layers
from bonafide.forward.packing import enable, make_batch
from bonafide.monitoring.monitor import computed
from bonafide.monitoring.performance import flops_per_token
from bonafide.tasks.classification import model as classifier
from bonafide.training import finetuning
from bonafide.training.vocabulary_pruning import PrunedVocabulary
from tests.process_groups import in_threads
from tests.tiny_engines import build_engine, build_model, checkpoint_activations, digest, random_tokens, train

pytestmark = pytest.mark.usefixtures("one_thread")

PACKED = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "modernbert")
STILL = {"1 layer": ("all", 1), "2 layers": ("all", 2), "all layers": ("all", 3), "all but the head": ("head", 0)}
REST = ("modernbert", "llama")  # of another normalisation and rotary positions: each some 3 s
PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # its business


def build(architecture="bert", mode="all", n=2, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return finetuning.choose_trainable(
            build_model(architecture, dropout=0.1, num_hidden_layers=3, **changes), mode, 4, n
        )


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def engines(model, monkeypatch, **changes):
    """One that begins above the frozen layers, and one that computes them."""
    tokens = random_tokens(21)
    cached = build_engine(copy.deepcopy(model), tokens, **changes)
    monkeypatch.setattr(activation_cache, "BUDGET", 0)
    return cached, build_engine(copy.deepcopy(model), tokens, **changes)


@torch.no_grad()
def farthest(mine, other):
    """Largest difference of a weight; softmax does not see a key's bias, which rounding alone moves."""
    pairs = zip(mine.named_parameters(), other.parameters(), strict=True)
    return max(float((p - q).abs().max()) for (name, p), q in pairs if not name.endswith(("key.bias", "k_lin.bias")))


@pytest.mark.parametrize("still", STILL)
@pytest.mark.parametrize("architecture", [*PACKED, "llama"])
def test_weights_are_those_of_whole_steps(architecture, still, monkeypatch):
    model = build(architecture, *STILL[still])
    cached, whole = engines(model, monkeypatch, shards=2)
    assert cached.inputs.prefix_activations.dtype == np.float32
    assert whole.inputs is whole.examples
    for mine, other in zip(cached.steps(), whole.steps(), strict=True):
        assert float(mine.loss) == pytest.approx(float(other.loss), abs=1e-5)
        assert (mine.tokens, mine.learning_rate) == (other.tokens, other.learning_rate)
    assert farthest(cached.model, whole.model) <= 1e-5
    assert farthest(cached.model, model) > 1e-2  # or this says nothing
    for name, p in model.named_parameters():
        assert p.requires_grad or torch.equal(p, cached.model.get_parameter(name)), name


@pytest.mark.parametrize("still", STILL)
@pytest.mark.parametrize("architecture", PACKED)
def test_a_step_runs_nothing_below_the_lowest_trained_layer(architecture, still, monkeypatch):
    cached, whole = engines(build(architecture, *STILL[still]), monkeypatch)
    for engine, ran in ((cached, set()), (whole, set())):
        parts = [
            part
            for block in (*engine.activation_cache.embeddings, *engine.activation_cache.layers)
            for part in block.children()
        ]
        assert len(parts) > len(engine.activation_cache.layers)
        for part in parts:
            part.register_forward_pre_hook(lambda part, _args, ran=ran: ran.add(part))
        next(engine.steps())
        assert bool(ran) == (engine is whole)


@settings(max_examples=10)
@given(st.permutations(range(12)), st.integers(1, 12), st.sampled_from(PACKED))
def test_rows_are_what_the_layer_reads_in_any_batch(permutation, n, architecture):
    engine = build_engine(build(architecture), random_tokens(12))
    rows = np.array(permutation[:n])
    rows = rows[np.argsort(engine.examples.lengths[rows], kind="stable")]
    read = []
    layer = layers(engine.model)[2]
    layer.register_forward_pre_hook(
        lambda _layer, args, kwargs: read.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        for tokens in (engine.inputs, engine.examples):
            engine.model(**make_batch(tokens, rows, engine.model).inputs)
    assert read[0].shape == read[1].shape
    assert (read[0] - read[1]).abs().max() <= 1e-5


@pytest.mark.parametrize("still", STILL)
@pytest.mark.parametrize("architecture", ["bert", *(pytest.param(kind, marks=pytest.mark.slow) for kind in REST)])
def test_weights_are_bitwise_equal_in_any_number_of_parts_and_played_groups(architecture, still):
    model, tokens = build(architecture, *STILL[still]), random_tokens(19)
    expected = train(model, tokens, 5, shards=4)
    assert [train(model, tokens, 5, shards=4, gradient_accumulation_steps=n) for n in (2, 4)] == [expected] * 2
    assert in_threads(2, lambda group: train(model, tokens, 5, group, shards=4)) == [expected] * 2
    assert expected != train(model, tokens, 5, shards=4, seed=2)


@pytest.mark.parametrize("still", STILL)
def test_going_on_from_a_step_ends_in_the_same_bits(still):
    model, tokens = build("bert", *STILL[still]), random_tokens(19)
    whole, rest = (build_engine(copy.deepcopy(model), tokens, shards=2) for _ in range(2))
    for step in whole.steps():
        if step.step == 3:
            saved = {name: tensor.clone() for name, tensor in whole.optimizer.state().items()}
    rest.optimizer.load(saved, 3)
    list(rest.steps(3))
    assert digest(rest.model) == digest(whole.model)


def test_gradient_checkpointing_changes_no_bit():
    found = []
    for checkpointing in (False, True):
        model = build("bert", "all", 1)
        if checkpointing:
            checkpoint_activations(model)
        engine = build_engine(model, random_tokens(12), shards=2)
        assert engine.inputs.prefix_activations is not None
        list(engine.steps())
        found.append(digest(model))
    assert found[0] == found[1]


@pytest.mark.parametrize(("still", "rows"), [("2 layers", "tokens"), ("all but the head", "texts")])
def test_what_does_not_fit_is_not_kept(still, rows, monkeypatch):
    model, tokens = build("bert", *STILL[still]), random_tokens(9)
    size = 4 * 32 * (len(tokens) if rows == "texts" else len(tokens.input_ids))
    for budget, fits in ((size, True), (size - 1, False)):
        monkeypatch.setattr(activation_cache, "BUDGET", budget)
        below = build_engine(copy.deepcopy(model), tokens).inputs.prefix_activations
        assert (below is not None) == fits
        assert below is None or below.nbytes == size


@PEFT
@pytest.mark.parametrize(
    ("architecture", "mode", "n"), [("bert", "all", 0), ("bert", "lora", 0), ("deberta-v2", "all", 2)]
)
def test_where_the_lowest_layer_is_trained_or_texts_are_padded_nothing_is_kept(architecture, mode, n):
    engine = build_engine(build(architecture, mode, n), random_tokens(9))
    assert engine.inputs is engine.examples
    assert not engine.activation_cache.layers
    list(engine.steps())


@PEFT
@pytest.mark.parametrize("architecture", ["bert", "electra", "modernbert"])
def test_low_rank_changes_above_frozen_layers_train_and_merge(architecture, monkeypatch):
    cached, whole = engines(build(architecture, "lora", 1), monkeypatch, shards=2)
    assert len(cached.activation_cache.layers) == 1
    list(cached.steps())
    list(whole.steps())
    assert farthest(cached.model, whole.model) <= 1e-5
    assert farthest(finetuning.merge_lora(cached.model), finetuning.merge_lora(whole.model)) <= 1e-5


def add_below(model, tensor):
    model.bert.embeddings.register_forward_hook(lambda _module, _args, output: output + tensor)
    return model


@pytest.mark.parametrize("trained", [False, True])
def test_what_lies_below_unseen_is_found_by_the_probe(trained):
    """A step between the embeddings and the layers is taken twice; a trained one would never learn."""
    model = build()
    if trained:
        model.bert.unseen = nn.Parameter(torch.zeros(32))
    engine = build_engine(add_below(model, model.bert.unseen if trained else 0.1), random_tokens(9), exact=False)
    assert engine.activation_cache.layers
    assert engine.inputs is engine.examples
    list(engine.steps())
    assert not trained or model.bert.unseen.any()


def test_layers_that_give_something_else_than_their_output_are_computed(monkeypatch):
    model = build()
    assert enable(model)
    monkeypatch.setattr(type(layers(model)[1]), "forward", lambda _self, hidden, *_args, **_kwargs: (hidden,))
    tokens = random_tokens(9)
    assert ActivationCache(model, tokens, packed=True).add_to(tokens) is tokens
    assert not any(module._forward_hooks for module in layers(model)[1].modules())


def test_frozen_layers_that_drop_are_computed():
    model = build()
    next(m for m in layers(model)[1].modules() if isinstance(m, nn.Dropout)).p = 0.1
    assert enable(model)
    assert len(ActivationCache(model, random_tokens(4), packed=True).layers) == 1


@pytest.mark.parametrize("still", STILL)
@pytest.mark.parametrize("architecture", PACKED)
def test_a_split_is_scored_as_if_it_had_gone_the_whole_way(architecture, still):
    engine = build_engine(build(architecture, *STILL[still]), random_tokens(9))
    list(engine.steps())
    validation = random_tokens(150, seed=3)
    cached = engine.activation_cache.add_to(validation)
    assert cached.prefix_activations is not None
    assert cached.labels is validation.labels
    found, expected = (predict_all(engine.model, split, classifier.probabilities) for split in (cached, validation))
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize("still", ["2 layers", "all but the head"])
@pytest.mark.parametrize("architecture", PACKED)
def test_the_saved_model_is_whole(tmp_path, architecture, still):
    model, tokens = build(architecture, *STILL[still]), random_tokens(9, words=40)
    before = weights(model)
    vocabulary = PrunedVocabulary(model, [tokens])
    engine = build_engine(model, vocabulary.translate(tokens))
    assert engine.inputs.prefix_activations is not None
    list(engine.steps())
    vocabulary.restore()
    model.set_attn_implementation("sdpa")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert [name for name, _ in loaded.named_parameters()] == list(before)
    still = {name for name in before if not model.get_parameter(name).requires_grad}
    assert all(torch.equal(before[name], loaded.get_parameter(name)) for name in still)
    assert 5 < len(still) < len(before)
    rows = np.argsort(tokens.lengths, kind="stable")
    with torch.no_grad():
        found, expected = (m(**make_batch(tokens, rows, m).inputs).logits for m in (loaded, model.eval()))
    assert (found - expected).abs().max() <= 1e-5


def test_what_is_not_computed_is_not_counted(monkeypatch):
    cached, whole = engines(build(), monkeypatch)
    assert computed(cached) == 6 * sum(p.numel() for p in cached.optimizer.trained.values())
    assert computed(whole) == flops_per_token(whole.model) > computed(cached)


def test_a_head_is_counted_once_a_text():
    engine = build_engine(build("bert", "head", 0), random_tokens(9))
    pooler, head = (sum(p.numel() for p in m.parameters()) for m in (engine.model.bert.pooler, engine.model.classifier))
    tokens_per_text = engine.examples.lengths.mean()
    assert computed(engine) * tokens_per_text == pytest.approx(2 * pooler + 6 * head)
