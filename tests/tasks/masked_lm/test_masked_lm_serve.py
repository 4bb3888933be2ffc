"""A served masked language model: guesses for what is masked, evaluate's numbers for any other text."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from bonafide.project.errors import InputError
from bonafide.registry.serving.predictor import as_json
from bonafide.tasks.masked_lm import model, serve
from tests.tasks.masked_lm.test_masked_lm_network import SECTION, TEXTS, built, tokenize

PARAMS = {"tokenize": SECTION, "validate": {"min_characters": 2, "max_characters": 200, "personal_data": "mask"}}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params, arrays, _ = tokenize()
        built(params, save=True)
        found = serve.load(Path("saved"), serve.config(PARAMS))
        return found, model.predict(found.model, arrays), str(folder / "saved")


def ask(reader, *texts):
    rows = [{"text": text} for text in texts]
    serve.refuse(reader, rows)
    outputs = serve.predict(reader, rows)
    json.dumps(as_json(outputs))
    return serve.answers(reader, outputs)


def test_texts_get_evaluate_s_numbers_in_any_company(reader):
    served, expected, _ = reader
    found = ask(served, *TEXTS[5:9])
    for name in ("nats", "masked", "hits"):
        assert found[name] == pytest.approx(expected[name][5:9].tolist(), rel=1e-6)
    assert found["guesses"] == [None] * 4


def test_masks_are_filled_as_by_transformers(reader):
    served, _, folder = reader
    text = "a fine <mask>ilm number <mask>"
    found = ask(served, TEXTS[0], text)
    assert found["nats"][1] is None
    [first, second] = found["guesses"][1]
    expected = pipeline("fill-mask", model=folder, top_k=5)(text)
    for guesses, theirs in zip((first, second), expected, strict=True):
        assert [guess["probability"] for guess in guesses] == pytest.approx([one["score"] for one in theirs], rel=1e-4)
        assert [guess["token"] for guess in guesses] == [one["token_str"] for one in theirs]


def test_what_cannot_be_answered_is_named(reader):
    served, *_ = reader
    for texts, words in (
        (["fine", 7], "row 1: "),
        (["a"], "row 0: the text has 1 characters"),
        (["fine", "<mask>" + "x" * 60], "row 1: a text with <mask> may have 38 tokens"),
    ):
        with pytest.raises(InputError, match=words):
            ask(served, *texts)


def test_made_up_rows_can_be_answered_and_kept(reader):
    served, *_ = reader
    rows = serve.examples(served)
    serve.refuse(served, rows)
    assert np.isfinite(serve.predict(served, rows)["nats"]).all()
    serve.signature(served)
