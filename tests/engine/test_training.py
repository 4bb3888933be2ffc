"""The loop: schedule, order, resumption, learning, what is trained, and equal bits for equal inputs."""

import copy
import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from bonafide.datasets import ragged
from bonafide.engine import finetuning
from bonafide.engine.engine import Engine
from bonafide.engine.optimizer import FlatAdamW
from bonafide.engine.recipe import cut, schedule
from bonafide.engine.vocabulary_pruning import Vocabulary
from bonafide.forward.packing import lay_out
from bonafide.pretrained import tokenizer
from bonafide.project.errors import InputError
from bonafide.project.randomness import generator
from bonafide.tasks.classification import train as training
from tests.tiny_engines import build_engine, build_model, checkpoint_activations, digest, random_tokens
from tests.tiny_model import build_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [f"{'good fine nice' if i % 2 else 'bad awful poor'} thing number {i}" for i in range(64)]
BATCH = {"epochs": 8, "batch_size": 16, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    build_tiny_model(folder, TEXTS)
    return folder


def build(base, dropout=0.1):
    """A classifier, and texts that tell its two classes apart."""
    ids, _ = tokenizer.encode(TEXTS, tokenizer.load(base), 32)
    tokens = ragged.pack(ids, np.arange(64) % 2, [str(i) for i in range(64)])
    torch.manual_seed(0)
    return training.build_model(base, ["negative", "positive"], dropout), tokens


def run(base, **changes):
    engine = build_engine(*build(base), **(BATCH | changes))
    return engine.model, list(engine.steps())


def losses(steps):
    return [float(step.loss) for step in steps]


@given(st.integers(2, 500), st.sampled_from([0.0, 0.06, 0.1, 0.5]))
def test_schedule_rises_to_one_and_falls_towards_zero(steps, warmup_ratio):
    rates = [schedule(step, steps, warmup_ratio) for step in range(1, steps + 1)]
    peak = rates.index(max(rates))
    assert max(rates) == 1
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    assert 0 < rates[-1] <= 1


class Order(Engine):
    """What an engine would train on, without a model."""

    def __init__(self, tokens, **changes):
        model = torch.nn.Linear(1, 1)
        model.config = type("Config", (), {"_attn_implementation": "sdpa", "model_type": "none"})
        model.set_attn_implementation = lambda _name: None
        model.config.get_text_config = lambda: model.config
        model.config.pad_token_id = 0
        engine = build_engine(model, tokens, exact=False, **changes)
        self.__dict__.update(engine.__dict__)
        self.seen = []

    def _gradients(self, rows, key):
        self.seen.append((rows.tolist(), key))
        return torch.zeros(())


@given(st.integers(1, 100), st.integers(1, 40), st.integers(0, 9), st.integers(1, 3))
def test_an_epoch_visits_every_row_once_in_slices_of_a_permutation(n, batch_size, seed, epochs):
    tokens = random_tokens(n)
    order = Order(tokens, batch_size=batch_size, seed=seed, epochs=epochs)
    steps = list(order.steps())
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert sum(step.ends_epoch for step in steps) == epochs
    assert {step.steps for step in steps} == {len(steps)}
    for epoch in range(1, epochs + 1):
        rows = [seen for step, (seen, _) in zip(steps, order.seen, strict=True) if step.epoch == epoch]
        shuffled = generator(seed, epoch).permutation(n)
        assert rows == [shuffled[i : i + batch_size].tolist() for i in range(0, n, batch_size)]
        assert sorted(row for part in rows for row in part) == list(range(n))
        assert sum(s.tokens for s in steps if s.epoch == epoch) == tokens.lengths.sum()
    assert len({key for _, key in order.seen}) == len(steps)  # chance of its own for each step


def test_order_is_a_function_of_seed_and_epoch():
    def seen(**changes):
        order = Order(random_tokens(300), batch_size=300, **changes)
        list(order.steps())
        return order.seen

    (first, _), (second, _) = seen()
    assert seen() == seen()
    assert first != second
    assert first != seen(seed=2)[0][0]


@given(st.integers(0, 14))
def test_starting_at_a_step_sees_what_going_there_sees(done):
    tokens = random_tokens(33)
    whole, tail = (Order(tokens, batch_size=5) for _ in range(2))
    steps = list(whole.steps())
    assert list(tail.steps(done)) == steps[done:]
    assert tail.seen == whole.seen[done:]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 8))
def test_shards_are_neighbours_by_length_of_about_equal_tokens(lengths, shards):
    lengths = np.array(lengths)
    rows, cuts = cut(np.arange(len(lengths)), lengths, shards)
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) >= 0).all()
    assert (cuts[0], cuts[-1], len(cuts)) == (0, len(lengths), shards + 1)
    assert (np.diff(cuts) >= 0).all()
    sizes = [lengths[rows[a:b]].sum() for a, b in pairwise(cuts)]
    assert max(sizes) <= lengths.sum() / shards + lengths.max()


def test_loss_starts_near_chance_and_falls(base):
    _, steps = run(base)
    found = losses(steps)
    assert found[0] == pytest.approx(math.log(2), abs=0.15)
    assert np.mean(found[-4:]) < 0.3
    assert [step.step for step in steps] == list(range(1, 33))
    assert sum(step.ends_epoch for step in steps) == 8


def test_the_loss_is_the_mean_over_the_batch(base):
    model, tokens = build(base, dropout=0.0)
    engine = build_engine(model, tokens, shards=4, batch_size=64, epochs=1)
    rows = np.argsort(tokens.lengths, kind="stable")
    batch = lay_out(tokens, rows, model)
    with torch.no_grad():
        expected = float(torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels))
    assert float(next(engine.steps()).loss) == pytest.approx(expected, abs=1e-6)


def test_equal_seeds_give_equal_bits(base):
    one, first = run(base, epochs=2)
    two, second = run(base, epochs=2)
    assert losses(first) == losses(second)
    assert digest(one) == digest(two)
    assert digest(one) != digest(run(base, epochs=2, seed=2)[0])


def test_dropout_depends_on_the_step_and_not_on_history(base):
    torch.manual_seed(99)
    _, steps = run(base, epochs=1)
    assert losses(steps) == losses(run(base, epochs=1)[1])


@pytest.fixture(scope="module")
def uninterrupted():
    model, tokens = build_model(dropout=0.1), random_tokens(21)
    engine = build_engine(copy.deepcopy(model), tokens, shards=2)
    saved = []
    for step in engine.steps():
        held = {name: tensor.clone() for name, tensor in engine.optimizer.state().items()}
        saved.append((held, float(step.loss)))
    return model, tokens, saved


@settings(max_examples=12)
@given(done=st.integers(1, 5), fresh=st.booleans())
def test_going_on_from_a_step_ends_in_the_same_bits(uninterrupted, done, fresh):
    """From the saved weights alone: whatever else the process holds, the model it starts from included."""
    model, tokens, saved = uninterrupted
    assert len(saved) == 6
    engine = build_engine(build_model(dropout=0.1, seed=3) if fresh else copy.deepcopy(model), tokens, shards=2)
    engine.optimizer.load(saved[done - 1][0], done)
    assert [float(step.loss) for step in engine.steps(done)] == [loss for _, loss in saved[done:]]
    found = engine.optimizer.state()
    assert found.keys() == saved[-1][0].keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in saved[-1][0].items())


def test_a_state_is_not_changed_by_those_who_go_on_from_it(uninterrupted):
    model, tokens, saved = uninterrupted
    before = {name: tensor.clone() for name, tensor in saved[1][0].items()}
    engine = build_engine(copy.deepcopy(model), tokens, shards=2)
    engine.optimizer.load(saved[1][0], 2)
    list(engine.steps(2))
    assert all(torch.equal(saved[1][0][name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_decay_spares_biases_norms_and_embeddings(architecture):
    model = build_model(architecture)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = FlatAdamW(model, 0.5)
    optimizer.step(0.1, 1.0)  # without a gradient, decay alone moves a weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    assert tables
    for name, p in model.named_parameters():
        spared = p.ndim == 1 or id(p) in tables
        assert torch.equal(p, before[name] if spared else before[name] * (1 - 0.1 * 0.5)), name


@pytest.mark.parametrize("norm", [0.01, 1e6], ids=["clipped", "not clipped"])
def test_an_update_is_torchs_clipping_and_adamw(norm):
    mine = build_model()
    stock = copy.deepcopy(mine)
    optimizer = FlatAdamW(mine, 0.1)
    groups = [
        {"params": [p for p in stock.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in stock.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    rows = [module.weight for module in stock.modules() if isinstance(module, torch.nn.Embedding)]
    groups[0]["params"] = [p for p in groups[0]["params"] if all(p is not row for row in rows)]
    groups[1]["params"] += rows
    reference = torch.optim.AdamW(groups, lr=1.0)
    rng = torch.Generator().manual_seed(5)
    for rate in (1e-3, 2e-3, 5e-4):
        for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
            p.grad.copy_(torch.randn(p.shape, generator=rng))
            q.grad = p.grad.clone()
        torch.nn.utils.clip_grad_norm_(stock.parameters(), norm)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        optimizer.gradient[optimizer.tail] = 1e9  # a loss beside them counts for nothing
        optimizer.step(rate, norm)
    for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
        assert (p - q).abs().max() <= 1e-6


def test_layers_that_share_their_weights_cannot_be_frozen_apart():
    with pytest.raises(InputError, match=r"train\.frozen_layers: albert has no list of layers of its own"):
        finetuning.choose(build_model("albert"), "all", 8, 1)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_cut_vocabulary_trains_to_the_same_weights_and_moves_no_other_row(accumulation):
    whole, tokens = build_model(dropout=0.1), random_tokens(21, words=40)
    small = copy.deepcopy(whole)
    before = whole.get_input_embeddings().weight.detach().clone()
    vocabulary = Vocabulary(small, [tokens], 0)
    translated = vocabulary.translate(tokens)
    assert len(small.get_input_embeddings().weight) == len(vocabulary.used) < 40
    for model, texts in ((whole, tokens), (small, translated)):
        list(build_engine(model, texts, shards=2, accumulation=accumulation).steps())
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


def changed(before, model):
    return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_a_head_is_trained_alone(architecture, shards):
    model = finetuning.choose(build_model(architecture, dropout=0.1), "head", 4, 0)
    before, encoder = weights(model), f"{model.base_model_prefix}."
    list(build_engine(model, random_tokens(9), shards=shards).steps())
    assert changed(before, model) == {name for name in before if not name.startswith(encoder)}


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "electra", "modernbert"])
def test_frozen_layers_do_not_move(architecture, shards):
    model = finetuning.choose(build_model(architecture, dropout=0.1, num_hidden_layers=3), "all", 4, 2)
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
        finetuning.choose(build_model(), "all", 4, 3)


PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # its business


@PEFT
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_beside_low_rank_changes_the_whole_head_is_trained(architecture):
    """Its weights are fresh: low-rank changes to noise are noise."""
    model = build_model(architecture)
    encoder = f"{model.base_model_prefix}."
    head = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(encoder))
    trained = [(n, p) for n, p in finetuning.choose(model, "lora", 4, 0).named_parameters() if p.requires_grad]
    assert sum(p.numel() for name, p in trained if "lora_" not in name) == head
    assert all(f".{encoder}" in name for name, _ in trained if "lora_" in name)


@PEFT
@pytest.mark.parametrize("cut_vocabulary", [False, True])
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_low_rank_changes_train_themselves_and_the_head_and_merge(tmp_path, architecture, shards, cut_vocabulary):
    tokens = texts = random_tokens(9)
    model = finetuning.choose(build_model(architecture, dropout=0.1), "lora", 4, 0)
    vocabulary = Vocabulary(model, [tokens], model.config.pad_token_id) if cut_vocabulary else None
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
        expected = model(**lay_out(tokens, rows, model).inputs).logits
    whole = finetuning.merge(model)
    whole.set_attn_implementation("sdpa")
    whole.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(loaded).__module__.startswith("transformers.")
    with torch.no_grad():
        found = loaded(**lay_out(tokens, rows, loaded).inputs).logits
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2"])
def test_gradient_checkpointing_changes_no_bit(architecture, shards):
    found = []
    for checkpointing in (False, True):
        model = build_model(architecture, dropout=0.1, num_hidden_layers=3)
        if checkpointing:
            checkpoint_activations(model)
        engine = build_engine(model, random_tokens(12), shards=shards)
        found.append((losses(engine.steps()), digest(engine.model)))
    assert found[0] == found[1]


def test_no_class_in_transformers_is_an_input_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(InputError, match="vit has no classifier"):
        training.build_model(tmp_path, ["a", "b"], 0.1)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=5), st.integers(4, 12))
def test_encoding_cuts_to_max_length_and_counts_what_it_cut(base, texts, max_length):
    processor = tokenizer.load(base)
    cut, lengths = tokenizer.encode(texts, processor, max_length)
    whole, same = tokenizer.encode(texts, processor, 10_000)
    assert all(len(ids) <= max_length for ids in cut)
    assert lengths.tolist() == same.tolist() == [len(ids) for ids in whole]
    assert all(c[-1] == w[-1] and c[:-1] == w[: len(c) - 1] for c, w in zip(cut, whole, strict=True))


def test_weights_of_another_architecture_are_refused(base, tmp_path):
    shutil.copytree(base, tmp_path / "other")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "other/config.json").write_text(json.dumps(config | {"model_type": "distilbert"}))
    with pytest.raises(InputError, match="not the weights of a distilbert"):
        training.build_model(tmp_path / "other", ["a", "b"], 0.1)
