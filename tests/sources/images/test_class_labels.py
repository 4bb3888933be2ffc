"""bonafide/sources/images/class_labels.py: labels that Hugging Face's datasets keep as numbers."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bonafide.params.sections import Data
from bonafide.sources.columns import arrange, column_kinds, wanted_columns
from bonafide.sources.data_source import read_source
from tests.sources.images.made_images import image, read

NAMES = ["airplane", "cat", "dog"]


def write(path, labels, features, **columns):
    table = pa.table({"image": [image()] * len(labels), "label": labels, **columns})
    metadata = features if isinstance(features, bytes) else json.dumps({"info": {"features": features}}).encode()
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), path)


def feature(names=NAMES, kind="ClassLabel"):
    return {"label": {"names": names, "_type": kind}, "image": {"_type": "Image"}}


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.int8(), pa.uint64()])
def test_numbers_are_spelled_by_their_names(kind):
    write("t.parquet", pa.array([2, 0, None, 1], kind), feature())
    table, found = read("t.parquet")
    assert table["label"].to_pylist() == ["dog", "airplane", None, "cat"]
    assert found.files == [{"file": "t.parquet", "rows": 4, "form": "Parquet, labels by ClassLabel's names"}]
    assert found.columns["label"] == str(kind)


def test_a_number_without_a_name_is_no_label():
    write("t.parquet", pa.array([-1, 3, 2**62, 2], pa.int64()), feature())
    assert read("t.parquet")[0]["label"].to_pylist() == [None, None, None, "dog"]


@pytest.mark.parametrize(
    "features",
    [
        feature(kind="Value"),
        feature(names=None),
        feature(names=[1, 2, 3]),
        {"label": "ClassLabel"},
        {},
        [],
        b"not json",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_numbers_stay_as_they_are_without_names(features):
    write("t.parquet", [0, 1], features)
    table, found = read("t.parquet")
    assert table["label"].to_pylist() == ["0", "1"]
    assert found.files[0]["form"] == "Parquet"


def test_labels_that_are_names_already_stay():
    write("t.parquet", ["dog", "cat"], feature())
    assert read("t.parquet")[0]["label"].to_pylist() == ["dog", "cat"]


def test_only_categories_of_the_task_are_spelled():
    features = feature() | {"grade": {"names": ["low", "high"], "_type": "ClassLabel"}}
    write("t.parquet", [0, 1], features, grade=[1, 0])
    assert read("t.parquet", ["grade"])[0]["grade"].to_pylist() == [1, 0]
    kinds = {"label": "number"}
    data = Data(source="t.parquet", downloads=[], columns={}, sample=1, slices=[], quotes="auto")
    found = read_source(data, wanted_columns(data, kinds), column_kinds(data, kinds))
    assert arrange(found.table, data, kinds)["label"].to_pylist() == [0, 1]


def test_a_mapped_label_is_spelled_too():
    pair = {"fine": {"names": NAMES, "_type": "ClassLabel"}}
    write("t.parquet", [0, 1], pair, fine=[1, 2])
    assert read("t.parquet", label="fine")[0]["label"].to_pylist() == ["cat", "dog"]
