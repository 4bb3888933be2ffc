"""A masked language model as a network: what it begins with, what it says of hidden tokens, and what it hands on."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from bonafide.datasets import ragged
from bonafide.datasets.masked_texts import SHOWN, for_evaluation
from bonafide.forward import packing
from bonafide.project.errors import InputError
from bonafide.project.paths import BASE_MODEL, MODEL, TOKENIZED
from bonafide.protocol import Split
from bonafide.tasks.classification import base as classification_base
from bonafide.tasks.classification.train import build_model
from bonafide.tasks.masked_lm import base, encode, model, panels, train
from bonafide.tasks.masked_lm.params import Architecture, Tokenize
from tests.project import reviews
from tests.tiny_model import build_tiny_model

TEXTS = [f"{row['text']}. It is {row['domain']}." for row in reviews(40)]
SECTION = {
    "vocabulary": "characters",
    "vocabulary_size": 300,
    "max_length": 40,
    "mlm_probability": 0.3,
    "mask_replace_prob": 0.8,
    "random_replace_prob": 0.1,
    "evaluated": 0.3,
    "next_sentence": False,
}
SIZES = {"width": 64, "layers": 2, "heads": 2, "feed_forward": 128, "positions": 64}
BERT, MODERN = (Architecture(kind=kind, **SIZES) for kind in ("bert", "modernbert"))


def tokenize(texts=TEXTS, **changes):
    """data/tokenized of some texts, by the base model's tokenizer if there is one; the params of a training."""
    params = SimpleNamespace(
        tokenize=Tokenize(**SECTION | changes), train=SimpleNamespace(architecture=MODERN, dropout=0.0)
    )
    table = pa.table({"id": [f"row {number}" for number in range(len(texts))], "text": texts})
    processor = encode.prepare(BASE_MODEL, table, params, TOKENIZED)
    arrays, _ = encode.encode(table, processor, params)
    for split in ("train", "validation"):
        ragged.write(TOKENIZED / split, arrays)
    return params, arrays, processor


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny():
    build_tiny_model(BASE_MODEL, TEXTS)
    return BASE_MODEL


def built(params, *, save=False):
    torch.manual_seed(1)
    made = train.build(params).eval()
    if save:
        made.save_pretrained("saved")
        for path in (TOKENIZED / "processor").glob("tokenizer*"):
            shutil.copy(path, "saved")
    return made


def mean_loss(made, texts):
    batch = model.collate(texts, np.argsort(texts.lengths, kind="stable"), made)
    with torch.no_grad():
        return float(train.loss(made(**batch.inputs), batch).sum() / texts.units.sum())


@pytest.mark.parametrize("architecture", [BERT, MODERN])
@pytest.mark.parametrize("packed", [True, False])
def test_the_loss_begins_at_the_logarithm_of_the_vocabulary(architecture, packed):
    params, _, processor = tokenize()
    params.train.architecture = architecture
    made = built(params)
    if packed:
        assert train.enable(made) == ""
    texts = train.at_epoch(train.examples(TOKENIZED / "train"), 1, 1)
    assert mean_loss(made, texts) == pytest.approx(np.log(len(processor)), rel=0.02)


def test_a_pair_adds_the_logarithm_of_two():
    params, _, processor = tokenize(next_sentence=True)
    params.train.architecture = BERT
    texts = train.at_epoch(train.examples(TOKENIZED / "train"), 1, 1)
    assert (texts.labels != SHOWN).mean() > 0.2
    made = built(params)
    asked = texts.units[texts.labels != SHOWN].sum() / texts.units.sum()
    assert mean_loss(made, texts) == pytest.approx(np.log(len(processor)) + asked * np.log(2), rel=0.02)


@pytest.mark.parametrize(("architecture", "pairs"), [(MODERN, False), (BERT, True)])
def test_a_classifier_of_the_result_lacks_its_own_last_layer_alone(architecture, pairs):
    params, _, _ = tokenize(next_sentence=pairs)
    params.train.architecture = architecture
    built(params, save=True)
    _, info = AutoModelForSequenceClassification.from_pretrained("saved", output_loading_info=True)
    assert {name.partition(".")[0] for name in info["missing_keys"]} == {"classifier"}
    assert not info["mismatched_keys"]


@pytest.mark.parametrize("architecture", [MODERN, BERT])
def test_the_result_is_a_base_model_of_the_classification_task(architecture):
    params, _, _ = tokenize(next_sentence=architecture == BERT)
    params.train.architecture = architecture
    made = built(params, save=True)
    classification_base.check(Path("saved"))
    classifier = build_model(Path("saved"), ["no", "yes"], 0.1)
    assert not packing.try_packing(classifier)
    found = dict(classifier.base_model.named_parameters())
    assert all(torch.equal(tensor, found[name]) for name, tensor in made.base_model.named_parameters())


def test_a_base_model_s_pooler_and_encoder_are_handed_on(tiny, capsys):
    base.check(tiny)
    params, _, _ = tokenize(vocabulary="base")
    made = built(params, save=True)
    assert "has no head for hidden tokens" in capsys.readouterr().err
    before = AutoModelForSequenceClassification.from_pretrained(tiny).state_dict()
    after, info = AutoModelForSequenceClassification.from_pretrained("saved", output_loading_info=True)
    assert {name.partition(".")[0] for name in info["missing_keys"]} == {"classifier"}
    assert all(torch.equal(before[name], tensor) for name, tensor in after.state_dict().items() if "bert." in name)
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight


def test_a_base_model_that_names_no_mask_is_refused(tiny):
    path = tiny / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"mask_token": "[MASK]"', '"mask_token": null'))
    with pytest.raises(InputError, match="names no mask_token"):
        base.check(tiny)


@pytest.mark.parametrize("kind", ["base", "characters"])
def test_each_document_has_the_nats_that_transformers_gives_its_texts_one_by_one(kind, tiny):
    if kind == "characters":
        for path in tiny.iterdir():
            path.unlink()
    params, arrays, _ = tokenize(vocabulary=kind)
    built(params, save=True)
    found = model.predict(model.load(Path("saved")), arrays)
    stock, texts = AutoModelForMaskedLM.from_pretrained("saved").eval(), for_evaluation(arrays)
    nats, hits = np.zeros(len(TEXTS)), np.zeros(len(TEXTS))
    for row in range(len(texts)):
        at = slice(texts.offsets[row], texts.offsets[row + 1])
        ids, targets = (torch.from_numpy(part[at].astype(np.int64)) for part in (texts.input_ids, texts.targets))
        with torch.no_grad():
            logits = stock(input_ids=ids[None]).logits[0].double().log_softmax(-1)
        told = targets != SHOWN
        nats[texts.documents[row]] -= float(logits[told].gather(1, targets[told][:, None]).sum())
        hits[texts.documents[row]] += int((logits[told].argmax(-1) == targets[told]).sum())
    assert found["nats"] == pytest.approx(nats, rel=1e-5)
    assert found["hits"].tolist() == hits.tolist()
    assert found["masked"].sum() == len(arrays["hidden"])
    told = model.tell(model.load(Path("saved")), texts)
    assert told.nats.sum() == pytest.approx(nats.sum(), rel=1e-5)
    assert told.hits.sum() == hits.sum()


def test_pairs_are_counted_beside_the_tokens():
    params, arrays, _ = tokenize(next_sentence=True)
    params.train.architecture = BERT
    built(params, save=True)
    found = model.predict(model.load(Path("saved")), arrays)
    texts = for_evaluation(arrays)
    assert found["next_pairs"].sum() == (texts.labels != SHOWN).sum() > 10
    assert 0 < found["next_hits"].sum() < found["next_pairs"].sum()
    metrics = train.validation_metrics(texts, np.array(found.tolist()))
    assert metrics["next_accuracy"] == pytest.approx(found["next_hits"].sum() / found["next_pairs"].sum())


@pytest.mark.parametrize("pairs", [False, True])
def test_examples_show_what_was_hidden_and_what_was_guessed(pairs):
    params, arrays, _ = tokenize(TEXTS[:12], next_sentence=pairs)
    params.train.architecture = BERT if pairs else MODERN
    built(params, save=True)
    shutil.copytree("saved", MODEL)
    outputs = model.predict(model.load(MODEL), arrays)
    table = pa.table({"id": arrays["ids"], "text": TEXTS[:12]})
    *tables, some, hardest = panels.panels(Split(table, arrays), outputs, None, params)
    hidden = {panel["title"]: sum(row[1] for row in panel["rows"]) for panel in tables}
    assert set(hidden.values()) == {len(arrays["hidden"])}
    assert sorted(some["ids"]) == sorted(arrays["ids"].tolist())
    each = outputs["nats"] / outputs["masked"]
    assert [row[-1] for row in hardest["rows"]] == sorted(each.tolist(), reverse=True)
    for shown in some["rows"]:
        text, truth, guesses, _ = shown
        document = int(some["ids"][some["rows"].index(shown)].removeprefix("row "))
        filled = iter(truth.replace("␣", " ").split(" · "))
        start = "".join(next(filled) if mark == "▢" else mark for mark in text)
        assert TEXTS[document].startswith(start.replace("‖", ""))
        assert len(guesses.split(" · ")) == text.count("▢")
