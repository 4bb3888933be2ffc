"""What is measured, by hand; what it is compared with; what a page shows; which params contradict each other."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from bonafide.datasets.windows import for_evaluation
from bonafide.project.errors import InputError
from bonafide.protocol import Split
from bonafide.tasks.causal_lm import baselines, panels, params, score, serve
from bonafide.tasks.causal_lm import model as own
from tests.project import ROOT
from tests.tasks.causal_lm.tiny import CONTEXT, arrays, build, lines, processor

NOTHING = ["\n".join(random.Random(0).choices("abcdefgh", k=20000))]


def outputs(rows):
    return np.array(rows, dtype=[(name, np.float64) for name in score.FIELDS])


def test_metrics_by_hand():
    texts = np.array(["abcd", "明月"], dtype=object)
    sums = score.row_sums(texts, outputs([(4 * math.log(2), 4, 1), (8 * math.log(2), 2, 1)]), {})
    found = score.metrics(sums.sum(axis=0), {})
    assert found["bits_per_character"] == pytest.approx(2)
    assert found["bits_per_byte"] == pytest.approx(12 / 10)
    assert found["nats_per_token"] == pytest.approx(2 * math.log(2))
    assert found["token_accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "wrong", [outputs([(math.nan, 1, 0)]), outputs([(-1.0, 1, 0)]), outputs([(1, 0, 0)]), np.ones(1)]
)
def test_what_is_no_surprise_at_a_text_is_refused(wrong):
    with pytest.raises(ValueError, match="no surprise"):
        score.row_sums(np.array(["a"], dtype=object), wrong, {})


def test_a_system_without_a_first_guess_has_no_accuracy():
    sums = score.row_sums(np.array(["a"], dtype=object), outputs([(1, 1, math.nan)]), {})
    assert np.isnan(score.metrics(sums[0], {})["token_accuracy"])


@pytest.fixture
def splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = {"train": lines(200), "validation": lines(20, 1), "test": lines(30, 2)}
    reader = processor(tmp_path / "data/tokenized/processor", texts["train"])
    return {name: Split(pa.table({"text": made}), arrays(made, reader)) for name, made in texts.items()}


def test_what_knows_more_is_surprised_less(splits):
    found = baselines.predict(splits, SimpleNamespace(evaluate=SimpleNamespace(max_order=5)))
    assert list(found) == [system.name for system in baselines.BASELINES[1:]]
    targets = np.array(splits["test"].table["text"].to_pylist(), dtype=object)
    bits = {
        name: float(score.metrics(score.row_sums(targets, by["test"], {}).sum(axis=0), {})["bits_per_character"])
        for name, by in found.items()
    }
    assert bits["kneser_ney"] < bits["unigram"] < bits["uniform"]
    assert 0 < bits["bz2"] < bits["unigram"]
    known = len(np.unique(splits["train"].examples["input_ids"]))
    assert bits["uniform"] == pytest.approx(math.log2(known + 1))
    assert bits["kneser_ney"] < 1.5


def test_a_compressor_pays_little_for_what_it_knows_and_all_for_what_it_does_not():
    known = NOTHING[0].encode()
    again, new = baselines.compressed(known, [NOTHING[0][:4000], "".join(random.Random(1).choices("abcdefgh", k=4000))])
    assert again / math.log(2) / 4000 < 1.5  # each symbol stands beside its first self, once sorted
    assert new / math.log(2) / 4000 > 2.5


def test_what_stands_in_train_is_counted_in_characters():
    train = "to be or not to be that is the question"
    assert panels.longest_known("xx not to be thxx", train) == len(" not to be th")
    assert panels.longest_known("", train) == 0
    assert panels.share_known(train[3:30] + "zzzzz", train) == pytest.approx(8 / 13)


def test_each_token_has_the_context_that_its_window_has(tmp_path):
    reader = processor(tmp_path)
    windows = for_evaluation(arrays(["abc", "a" * 40], reader))
    sizes = panels.context_sizes(windows)
    assert sizes[:3].tolist() == [0, 1, 2]
    assert sizes[3 : 3 + CONTEXT].tolist() == list(range(CONTEXT))
    assert (sizes[3 + CONTEXT :] >= CONTEXT // 2).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenize__vocabulary": "base"}, "tokenize.vocabulary"),
        ({"train__architecture": None}, "train.architecture"),
        ({"train__architecture__heads": 3}, "heads: 3"),
        ({"train__architecture__key_value_heads": 3}, "key_value_heads"),
        ({"train__shards": 4, "machine__processes": 3}, "shards"),
        ({"evaluate__samples__seeds": [], "evaluate__samples__served": True}, "served"),
    ],
)
def test_params_that_contradict_each_other_are_named(changes, words, tmp_path, monkeypatch):
    from ruamel.yaml import YAML

    from bonafide.params.load import load_params

    yaml = YAML(typ="safe", pure=True)
    tree = yaml.load((ROOT / "recipes/gpt_shakespeare.yaml").read_text())
    for name, value in changes.items():
        *sections, key = name.split("__")
        inner = tree
        for section in sections:
            inner = inner[section]
        inner[key] = value
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(tree, file)
    with pytest.raises(InputError, match=words):
        load_params(tmp_path / "params.yaml")


CONFIG = {"context": CONTEXT, "end": True, "min_characters": 2, "max_characters": 500, "mask": False}
SAMPLES = {"seed": 1, "tokens": 8, "temperature": 0.8, "top_p": 1.0}


@pytest.fixture
def folder(tmp_path):
    build(processor(tmp_path)).save_pretrained(tmp_path)
    return tmp_path


def test_a_service_gives_evaluates_numbers_and_goes_on_with_a_text_whatever_is_beside_it(folder):
    reader = serve.load(folder, {**CONFIG, "samples": SAMPLES})
    rows = [{"text": text} for text in lines(6)]
    found = serve.predict(reader, rows)
    expected = own.predict(reader.model, arrays([row["text"] for row in rows], reader.processor, end=True))
    for name in own.FIELDS:
        assert found[name].tolist() == expected[name].tolist()
    answers = serve.answers(reader, found)
    assert answers["bits_per_character"][0] == pytest.approx(found["nats"][0] / math.log(2) / len(rows[0]["text"]))
    assert answers["continuation"] == [
        serve.answers(reader, serve.predict(reader, [row]))["continuation"][0] for row in rows
    ]


def test_a_service_goes_on_with_nothing_unless_params_say_so(folder):
    reader = serve.load(folder, {**CONFIG, "samples": None})
    assert "continuation" not in serve.answers(reader, serve.predict(reader, serve.examples(reader)))
    assert serve.signature(reader)[1].input_names() == ["bits_per_character", *own.FIELDS]


@pytest.mark.parametrize("text", [None, 3, "  ", "a", "a" * 501, "\ud800b"])
def test_what_is_no_text_of_the_length_is_refused_by_its_row(folder, text):
    reader = serve.load(folder, {**CONFIG, "samples": None})
    with pytest.raises(InputError, match="row 1: "):
        serve.refuse(reader, [{"text": "all is well"}, {"text": text}])


def test_the_task_has_one_column():
    assert params.Task(name="causal_lm").columns == {"text": "text"}
