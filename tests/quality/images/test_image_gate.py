"""The whole gate on tables of images: what is passed on, what is set aside and why, and what the page shows."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bonafide.params.load import load_params
from bonafide.project.errors import InputError
from bonafide.project.paths import FINDINGS, QUARANTINE, RAW_TABLE
from bonafide.tasks.image_classification import schema
from stages.validate import PAGE, validate
from tests.gate_inputs import limits, read_split
from tests.images.files import animation, endless_tiff, noise, png, save

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

ROOT = Path(__file__).parents[3]
LABELS = ["cat", "dog"]


@pytest.fixture(scope="module")
def default():
    params = load_params(ROOT / "recipes/cifar10_mlp.yaml")
    params = replace(params, task=replace(params.task, labels=LABELS))
    return limits(params, min_rows_per_class=1, max_label_shift=0.9, max_quarantine_fraction=0.3)


def picture(seed):
    """Shapes, unlike those of other seeds."""
    return Image.fromarray(noise(8, 8, seed)).resize((32, 32), Image.Resampling.BICUBIC)


def rows(count=60):
    splits = ("train", "train", "test", "validation")
    return [
        {"id": f"r{k}", "image": save(picture(k)), "label": LABELS[k // 4 % 2], "split": splits[k % 4]}
        for k in range(count)
    ]


def write(table):
    RAW_TABLE.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"id": pa.string(), "image": pa.large_binary(), "label": pa.string(), "split": pa.string()}
    pq.write_table(pa.Table.from_pylist(table, pa.schema(kinds)), RAW_TABLE)


def add(table, image, label="cat", split="train"):
    table.append({"id": f"<b>{len(table)}</b>", "image": image, "label": label, "split": split})
    return table[-1]["id"]


def reasons():
    return {row["id"]: set(row["reasons"]) for row in pq.read_table(QUARANTINE).to_pylist()}


def test_every_fault_is_set_aside_by_its_reason_and_nothing_of_the_files_is_on_the_page(default):
    table = rows()
    script = b"<script>alert(document.domain)</script>"
    planted = {
        add(table, None): {"null_image"},
        add(table, b"<svg onload='alert(1)'/>" + script): {"unknown_format"},
        add(table, b"\0\0\0\x18ftypheic" + script): {"unknown_format"},
        add(table, png(60_000, 60_000) + script): {"too_many_pixels"},
        add(table, png(60_000, 1)): {"too_large"},
        add(table, save(Image.fromarray(noise(8, 8)))): {"too_small"},
        add(table, animation("GIF")): {"several_frames"},
        add(table, endless_tiff(10_000)): {"several_frames"},
        add(table, save(picture(901), "JPEG")[:500]): {"damaged"},
        add(table, b"GIF89a\x10\0\x10\0" + script): {"damaged"},
        add(table, save(Image.new("RGB", (32, 32)))): {"constant"},
        add(table, save(picture(902)), label="cow"): {"unknown_label"},
        add(table, save(picture(903)), label=None): {"null_label"},
        add(table, save(picture(2), "BMP"), label=table[2]["label"]): {"duplicate"},
        add(table, save(picture(4), "TIFF"), label="cat"): {"conflicting_label"},
        "r4": {"conflicting_label"},
    }
    polyglot = add(table, save(picture(904)) + script)
    write(table)
    counts = validate(default)
    assert reasons() == planted
    assert counts["validate/quarantined/several_frames"] == 2
    assert polyglot in [row["id"] for row in read_split("train") + read_split("validation")]
    page, facts = PAGE.read_text(), FINDINGS.read_text()
    assert "document.domain" not in page + facts
    assert "<b>" not in page
    assert "&lt;b&gt;60&lt;/b&gt;" in page
    assert "HEIC: save it as JPEG or PNG" in page
    assert page.count("cannot be shown") == 9
    assert "data:image/png;base64," in page
    assert "data:image" not in facts


def test_a_refused_table_names_the_first_rows_and_what_is_wrong_with_each(default):
    table = rows()
    name = add(table, b"\0\0\0\x18ftypheic")
    write(table)
    with pytest.raises(InputError) as caught:
        validate(limits(default, max_quarantine_fraction=0.0))
    lines = str(caught.value).splitlines()
    assert any(f"'{name}': HEIC: save it as JPEG or PNG" in line for line in lines)
    assert any("every image is of a format that is read" in line for line in lines)


def near_rows():
    """Rows of which one of train is darker in test, and mirrored in train."""
    table = rows()
    dark = picture(0).point(lambda value: value * 0.7)
    add(table, save(dark), split="test", label=table[0]["label"])
    add(table, save(picture(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)), label=table[0]["label"])
    return table


def test_near_duplicates_that_are_reported_stay_and_name_their_partner(default):
    table = near_rows()
    write(table)
    counts = validate(default)
    assert reasons() == {}
    assert counts["validate/test/near_duplicates"] == 1
    marked = {row["id"]: row["near_duplicate"] for row in read_split("test")}
    assert marked.pop(table[60]["id"]) in ("r0", table[61]["id"])
    assert set(marked.values()) == {None}
    assert {row["near_duplicate"] for row in read_split("train")} == {None}
    facts = json.loads(FINDINGS.read_text())["facts"]
    assert facts["Near-duplicates of rows of train"] == "validation 0 (0.00%), test 1 (6.25%) (kept, and marked)"
    assert PAGE.read_text().count('class="gallery pairs"') == 1


def test_near_duplicates_that_are_set_aside_leave_train(default):
    table = near_rows()
    write(table)
    counts = validate(limits(default, near_duplicates="set_aside"))
    assert reasons() == {"r0": {"near_duplicate"}, table[61]["id"]: {"near_duplicate"}}
    assert "validate/test/near_duplicates" not in counts
    assert "near_duplicate" not in read_split("test")[0]


def test_a_slice_called_like_our_column_is_refused(default):
    table = pa.table({"id": ["a"], "image": pa.array([b""], pa.large_binary()), "label": ["cat"]})
    with pytest.raises(InputError, match=r"data\.slices: 'near_duplicate' is a column that validate makes"):
        schema.examine(table.append_column("near_duplicate", pa.array(["x"])), default)


def test_what_the_images_measure_is_expected_of_them_by_great_expectations(default):
    write(rows())
    validate(default)
    results = json.loads((PAGE.parent / "great_expectations.json").read_text())
    columns = {result["kwargs"].get("column") for result in results}
    assert columns >= {"bytes", "format", "mean", "pixels", "shorter_side", "longer_side", "deviation", "label"}
    assert all(result["success"] for result in results)
    assert pc.all(pc.is_valid(pq.read_table(RAW_TABLE)["image"])).as_py()
