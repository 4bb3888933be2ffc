"""The served model reads image files as evaluate reads prepared ones; and what it does not read it names."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.models.utils import _enforce_schema
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json
from PIL import Image

from bonafide.images.decode import decode
from bonafide.images.header import BadImageError
from bonafide.images.resize import fit
from bonafide.project.errors import InputError
from bonafide.registry.serving.predictor import DRIFT, as_json, load
from bonafide.tasks.image_classification import model as own
from bonafide.tasks.image_classification import serve
from bonafide.vision.mlp import MlpConfig, MlpForImageClassification
from tests.tasks.image_classification.pictures import LABELS, images

LIMITS = {"min_side": 4, "max_side": 64, "max_pixels": 3000}
CONFIG = {"task": "image_classification", "size": 8, "fit": "crop", **LIMITS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier as train leaves it."""
    torch.manual_seed(0)
    config = MlpConfig(image_size=8, hidden_sizes=[16])
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: index for index, label in enumerate(LABELS)}
    config.image_mean, config.image_std, config.mirror = [0.5] * 3, [0.2] * 3, True
    folder = tmp_path_factory.mktemp("model")
    MlpForImageClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reader(folder, one_thread):
    return load(folder, CONFIG)


def png(pixels):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def files(rows, shape=(8, 8)):
    return [png(fit(pixels, max(shape), "stretch")[: shape[0], : shape[1]]) for pixels in images(rows)[0]]


def coded(data):
    return base64.b64encode(data).decode()


FORMS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "base64": coded,
    "lines of base64": lambda data: base64.encodebytes(data).decode(),
    "data URI": lambda data: f"data:image/png;base64,{coded(data)}",
    "data URI in capitals": lambda data: f"DATA:image/PNG;name=a.png;BASE64,{coded(data)}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(8, 8), (20, 12)])
def test_files_get_the_bits_that_evaluate_gives(folder, reader, form, shape):
    given = files(12, shape)
    pixels = np.stack([fit(decode(data), 8, "crop") for data in given])
    arrays = {"pixels": pixels, "labels": np.zeros(12, dtype=np.int64), "ids": np.array(["x"] * 12)}
    rows = [{"image": FORMS[form](data)} for data in given]
    reader.refuse(rows)
    assert (reader.predict(rows) == own.predict(own.load(folder), arrays)).all()


def test_an_answer_has_a_label_and_all_probabilities(reader):
    outputs = reader.predict([{"image": data} for data in files(3)])
    answers = reader.answers(outputs)
    assert [*answers["probabilities"][0]] == [*LABELS]
    for label, found in zip(answers["label"], answers["probabilities"], strict=True):
        assert sum(found.values()) == pytest.approx(1)
        assert label == max(found, key=found.get)


ADDRESSED = "no base64 of an image's file; addresses and paths are not fetched"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("https://example.com/cat.png", ADDRESSED),
        ("file:///etc/passwd", ADDRESSED),
        ("../../images/cat.jpeg", ADDRESSED),
        ("C:\\cat.png", ADDRESSED),
        ("data:image/png,abc", ADDRESSED),
        ("data:image/png;base64,a*b", ADDRESSED),
        ("aaa", ADDRESSED),
        ("ä", ADDRESSED),
        ("", "no bytes at all"),
        (None, "an image is wanted, as base64 of its file, not null"),
        (float("nan"), "an image is wanted, as base64 of its file, not float"),
        ([1, 2], "an image is wanted, as base64 of its file, not list"),
        ("aaaa", "no image format that is read"),
        (coded(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "SVG"),
        (png(np.zeros((3, 8, 3), dtype=np.uint8)), "of at least 4 a side"),
        (png(np.zeros((65, 8, 3), dtype=np.uint8)), "of at most 64 a side"),
        (png(np.zeros((60, 60, 3), dtype=np.uint8)), "of at most 3,000 in all"),
        (files(1)[0][:60], "PNG"),
    ],
)
def test_what_is_no_image_is_named(reader, image, says):
    with pytest.raises(InputError) as refused:
        reader.refuse([{"image": files(1)[0]}, {"image": image}])
    words = str(refused.value)
    assert words.startswith("row 1: ")
    assert says in words
    assert words.isprintable()


@given(st.one_of(st.text(), st.none(), st.integers(), st.floats(), st.lists(st.text()), st.binary()))
def test_whatever_comes_is_bytes_or_named(image):
    try:
        found = serve.to_bytes(image)
    except BadImageError as error:
        found = str(error)
    assert isinstance(found, bytes) or found.isprintable()


def test_a_request_has_an_end(reader, monkeypatch):
    rows = [{"image": data} for data in files(3)]
    monkeypatch.setattr(serve, "IMAGES", 2)
    with pytest.raises(InputError, match=r"^3 images are more than the 2 of a request"):
        reader.refuse(rows)
    monkeypatch.setattr(serve, "PIXELS", 100)
    with pytest.raises(InputError, match=r"^more than 100 pixels"):
        reader.refuse(rows[:2])


def test_a_made_up_image_is_the_same_again_and_shows_another_fit(folder, reader):
    made = reader.role.examples(reader.model)
    assert made == load(folder, CONFIG).role.examples(reader.model)
    reader.refuse(made)
    expected = json.loads(json.dumps(as_json(reader.predict(made))))
    assert reader.drift(json.loads(json.dumps(made)), expected) == 0
    other = [{"image": png(np.rot90(decode(serve.to_bytes(row["image"]))))} for row in made]
    assert reader.drift(other, expected) > DRIFT


@pytest.mark.parametrize(
    "limits", [LIMITS, {"min_side": 32, "max_side": 64, "max_pixels": 1024}, {**LIMITS, "max_side": 6}]
)
def test_made_up_images_are_within_the_limits(folder, limits):
    other = load(folder, CONFIG | limits)
    other.refuse(other.role.examples(other.model))


def test_config_is_read_from_params():
    params = {"validate": {**LIMITS, "more": 1}, "tokenize": {"size": 8, "fit": "pad", "normalise": "none"}}
    assert serve.config(params) == {"size": 8, "fit": "pad", **LIMITS}
    with pytest.raises(KeyError):
        serve.config({"validate": {}, "tokenize": {"size": 8, "fit": "pad"}})


def test_mlflow_passes_images_on_as_they_are(reader):
    """Its server and its Python interface, by the signature: base64, data URIs and bytes."""
    inputs, outputs = serve.signature(reader.model)
    signature = ModelSignature(inputs, outputs)
    assert json.dumps(signature.to_dict())
    data = files(2)
    sent = [coded(data[0]), f"data:image/png;base64,{coded(data[1])}"]
    records = [{"image": image} for image in sent]
    frame = dataframe_from_parsed_json(records, pandas_orient="records", schema=inputs)
    through = _enforce_schema(frame, inputs).to_dict("records")
    assert [serve.to_bytes(row["image"]) for row in through] == data
    raw = _enforce_schema(pd.DataFrame({"image": data}), inputs).to_dict("records")
    assert [serve.to_bytes(row["image"]) for row in raw] == data
    mixed = _enforce_schema(pd.DataFrame({"image": [data[0], bytearray(data[1])]}), inputs).to_dict("records")
    assert [serve.to_bytes(row["image"]) for row in mixed] == data


def test_a_model_that_wants_to_run_code_is_refused(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(InputError, match="auto_map"):
        load(tmp_path / "model", CONFIG)
