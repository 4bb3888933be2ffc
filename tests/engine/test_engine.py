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

from bonafide.datasets import ragged
from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import partition_by_tokens, schedule
from bonafide.forward.packing import make_batch
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


@given(st.integers(2, 500), st.sampled_from([0.0, 0.06, 0.1, 0.5]), st.sampled_from(["linear", "cosine"]))
def test_schedule_rises_to_one_and_falls_towards_zero(steps, warmup_ratio, kind):
    rates = [schedule(step, steps, warmup_ratio, kind) for step in range(1, steps + 1)]
    assert [schedule(step, steps, warmup_ratio, "constant") for step in range(1, steps + 1)][rates.index(1) :] == [
        1.0
    ] * (steps - rates.index(1))
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

    def _compute_gradients(self, rows, key):
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
    rows, offsets = partition_by_tokens(np.arange(len(lengths)), lengths, shards)
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) >= 0).all()
    assert (offsets[0], offsets[-1], len(offsets)) == (0, len(lengths), shards + 1)
    assert (np.diff(offsets) >= 0).all()
    sizes = [lengths[rows[a:b]].sum() for a, b in pairwise(offsets)]
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
    batch = make_batch(tokens, rows, model)
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
    with pytest.raises(InputError, match="vit has no sequence classification"):
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
