"""The served model reads raw texts as evaluate reads tokenized ones; and what it does not read it names."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bonafide.datasets import ragged
from bonafide.forward import packing
from bonafide.forward.inference import load as load_model
from bonafide.forward.inference import predict_all
from bonafide.pretrained import tokenizer
from bonafide.project.errors import InputError
from bonafide.quality import pii
from bonafide.quality.texts.requests import REQUEST, fault, mask
from bonafide.registry.serving.predictor import load
from bonafide.tasks.classification import model as classifier
from bonafide.tasks.classification import train as training
from bonafide.tasks.classification.serve import Reader, refuse
from tests.tiny_model import build_tiny_model

CONFIG = {"task": "classification", "max_length": 8, "min_characters": 1, "max_characters": 200, "mask": True}
TEXTS = ["good film", "a bad phone and a very very long tail of words", "awful", "fine meal good trip bad song"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier with its tokenizer, as train leaves it."""
    made = tmp_path_factory.mktemp("model")
    build_tiny_model(made / "base", TEXTS)
    model = training.build_model(made / "base", ["no", "yes"], 0.0)
    model.save_pretrained(made / "model")
    AutoTokenizer.from_pretrained(made / "base").save_pretrained(made / "model")
    return made / "model"


@pytest.fixture(scope="module")
def reader(folder, one_thread):
    return load(folder, CONFIG)


def rows(texts):
    return [{"text": text} for text in texts]


def test_raw_texts_get_the_bits_that_evaluate_gives(folder, reader):
    processor = tokenizer.load(folder)
    ids, _ = tokenizer.encode(TEXTS, processor, 8)
    tokens = ragged.pack(ids, np.zeros(len(ids), dtype=np.int64), ["a", "b", "c", "d"])
    model = load_model(AutoModelForSequenceClassification, folder)
    packing.enable(model)
    assert (reader.predict(rows(TEXTS)) == predict_all(model, tokens, classifier.probabilities)).all()
    assert reader.model.labels == ["no", "yes"]


def test_personal_data_is_read_as_its_kind_and_only_where_validate_masks_it(folder, reader):
    mail, kind = ["film ann@example.com"], ["film [EMAIL]"]
    assert (reader.predict(rows(mail)) == reader.predict(rows(kind))).all()
    plain = load(folder, CONFIG | {"mask": False})
    assert not (plain.predict(rows(mail)) == plain.predict(rows(kind))).all()


PIECES = ["ann@example.com", "93.184.216.34", "4111 1111 1111 1111", "+44 20 7946 0958", "sk-abcdef1234567890abcdef12"]
PIECES += ["GB82 WEST 1234 5698 7654 32", "11010519491231002X", "2001:db8::1", "1.2.3.4", " ", "é", "@", "-", "7", "::"]


@given(st.lists(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=6).map("".join), min_size=1))
def test_texts_are_masked_as_validate_masks_a_table(texts):
    scanned = pii.scan(pa.chunked_array([pa.array(texts, pa.large_string())]), 1000, processes=1)
    assert mask(texts) == scanned.masked.to_pylist()


def test_masking_what_is_masked_changes_nothing():
    """So a validated text, which is masked already, reads the same as the raw one."""
    values = {
        "email": "ann@example.com",
        "ip": "93.184.216.34",
        "card": "4111 1111 1111 1111",
        "phone": "+44 20 7946 0958",
    }
    for kind, value in values.items():
        once, count = pii.mask_text(f"call {value} now", kind)
        assert count == 1
        assert all(pii.mask_text(once, other) == (once, 0) for other in pii.KINDS)


def test_a_made_up_text_is_the_same_again_and_shows_another_cut(folder, reader):
    made = reader.role.examples(reader.model)
    assert made == load(folder, CONFIG).role.examples(reader.model)
    expected = reader.predict(made).tolist()
    assert reader.drift(made, expected) == 0
    assert load(folder, CONFIG | {"max_length": 4}).drift(made, expected) > 0


def test_a_model_that_wants_to_run_code_is_refused(folder, tmp_path):
    import json
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(InputError, match="auto_map"):
        load(tmp_path / "model", CONFIG)


@given(st.one_of(st.text(), st.none(), st.integers(), st.floats(), st.lists(st.text()), st.binary()))
def test_every_value_is_read_or_named(text):
    reason = fault(text, 2, 20)
    readable = isinstance(text, str) and text.strip() and 2 <= len(text) <= 20
    assert bool(reason) != bool(readable)
    assert reason.isprintable()


def test_half_a_surrogate_pair_is_named():
    assert fault("a \ud800", 1, 9) == "half of a surrogate pair is no character"


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["a", None], "^row 1: a text is wanted, not null$"),
        (["a" * 200_000] * (REQUEST // 200_000) + ["a"], "^1,000,001 characters"),
    ],
)
def test_a_request_is_refused_in_one_line(texts, says):
    reader = Reader(None, None, [], {"min_characters": 1, "max_characters": 1_000_000})
    with pytest.raises(InputError, match=says):
        refuse(reader, rows(texts))
