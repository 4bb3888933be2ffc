"""The loop: schedule, order, learning, and equal bits for equal inputs."""

import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bonafide import ragged
from bonafide.params import Train
from bonafide.training import batches, build_optimizer, fit, schedule
from tasks import classification
from tests.tiny_model import build_tiny_model

TEXTS = [f"{'good fine nice' if i % 2 else 'bad awful poor'} thing number {i}" for i in range(64)]
PARAMS = Train(
    epochs=8,
    batch_size=16,
    learning_rate=5e-3,
    warmup_ratio=0.1,
    weight_decay=0.01,
    max_grad_norm=1.0,
    dropout=0.1,
    patience=1,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    build_tiny_model(folder, TEXTS)
    return folder


def run(base, **changes):
    processor = classification.load_processor(base)
    ids, _ = classification.encode(TEXTS, processor, 32)
    tokens = ragged.pack(ids, np.arange(64) % 2, [str(i) for i in range(64)])
    torch.manual_seed(0)
    model = classification.build_model(base, ["negative", "positive"], 0.1)
    params = Train(**({name: getattr(PARAMS, name) for name in PARAMS.__dataclass_fields__} | changes))
    return model, list(fit(model, tokens, classification.collate(processor), params, seed=1))


@given(st.integers(2, 500), st.sampled_from([0.0, 0.06, 0.1, 0.5]))
def test_schedule_rises_to_one_and_falls_towards_zero(steps, warmup_ratio):
    rates = [schedule(step, steps, warmup_ratio) for step in range(1, steps + 1)]
    peak = rates.index(max(rates))
    assert max(rates) == 1
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    assert 0 < rates[-1] <= 1


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 9), st.integers(1, 9))
def test_an_epoch_visits_every_row_once(n, batch_size, seed, epoch):
    lengths = np.arange(n) % 17 + 1
    parts = batches(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert sum(len(part) < batch_size for part in parts) <= 1


def test_order_is_a_function_of_seed_and_epoch():
    lengths = np.arange(300) % 17 + 1
    first = np.concatenate(batches(lengths, 8, 1, 1))
    assert (first == np.concatenate(batches(lengths, 8, 1, 1))).all()
    assert (first != np.concatenate(batches(lengths, 8, 1, 2))).any()
    assert (first != np.concatenate(batches(lengths, 8, 2, 1))).any()


def test_loss_starts_near_chance_and_falls(base):
    _, steps = run(base)
    assert steps[0].loss == pytest.approx(math.log(2), abs=0.15)
    assert np.mean([step.loss for step in steps[-4:]]) < 0.3
    assert [step.step for step in steps] == list(range(1, 33))
    assert sum(step.ends_epoch for step in steps) == 8


def test_equal_seeds_give_equal_bits(base):
    one, first = run(base, epochs=2)
    two, second = run(base, epochs=2)
    assert [step.loss for step in first] == [step.loss for step in second]
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_dropout_depends_on_the_step_and_not_on_history(base):
    torch.manual_seed(99)
    _, steps = run(base, epochs=1)
    assert steps[0].loss == run(base, epochs=1)[1][0].loss


def test_decay_spares_biases_and_norms(base):
    optimizer = build_optimizer(classification.build_model(base, ["a", "b"], 0.0), 0.5)
    decayed, spared = optimizer.param_groups
    assert decayed["weight_decay"] == 0.5
    assert all(p.ndim == 1 for p in spared["params"])
    assert spared["weight_decay"] == 0


def test_no_class_in_transformers_is_an_input_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(classification.InputError, match="vit has no classifier"):
        classification.build_model(tmp_path, ["a", "b"], 0.1)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=5), st.integers(4, 12))
def test_encoding_cuts_to_max_length_and_counts_what_it_cut(base, texts, max_length):
    processor = classification.load_processor(base)
    cut, lengths = classification.encode(texts, processor, max_length)
    whole, same = classification.encode(texts, processor, 10_000)
    assert all(len(ids) <= max_length for ids in cut)
    assert lengths.tolist() == same.tolist() == [len(ids) for ids in whole]
    assert all(c[-1] == w[-1] and c[:-1] == w[: len(c) - 1] for c, w in zip(cut, whole, strict=True))


def test_weights_of_another_architecture_are_refused(base, tmp_path):
    shutil.copytree(base, tmp_path / "other")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "other/config.json").write_text(json.dumps(config | {"model_type": "distilbert"}))
    with pytest.raises(classification.InputError, match="not the weights of a distilbert"):
        classification.build_model(tmp_path / "other", ["a", "b"], 0.1)
