"""The gate as a whole: the real stage function on real Parquet files."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import FINDINGS, RAW_TABLE
from stages.validate import PAGE, RESULTS, validate
from tests.gate_inputs import default_params, limits, make, read_split, reasons, refuse, write

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

SECRET = "AKIAIOSFODNN7EXAMPLE"  # noqa: S105 - AWS's own example
HOSTILE = '"><script>alert(1)</script>\u202e'


@pytest.fixture(scope="module")
def default():
    return default_params()


def test_sound_rows_pass_in_their_order_with_all_their_columns(default):
    rows = make()
    write(rows)
    metrics = validate(default)
    out = {name: read_split(name) for name in ("train", "validation", "test")}
    assert sum(map(len, out.values())) == metrics["validate/rows"] == 600
    place = {row["id"]: i for i, row in enumerate(rows)}
    for name, kept in out.items():
        assert metrics[f"validate/{name}/rows"] == len(kept) > 20
        assert [place[row["id"]] for row in kept] == sorted(place[row["id"]] for row in kept)
        assert all({k: v for k, v in rows[place[r["id"]]].items() if k != "split"} == r for r in kept)
    assert reasons() == {}


def test_a_table_without_groups_and_splits_gets_them(default):
    write(make(), drop=("group", "split"))
    validate(default)
    assert all(row["group"] == row["id"] for row in read_split("test"))


def test_each_bad_row_is_set_aside_with_every_reason_and_no_sound_one_is(default):
    rows = make()
    other = {"negative": "positive", "positive": "negative"}
    for row in rows[:12]:
        row["group"] = row["id"]
    rows[0] |= {"text": None}
    rows[1] |= {"text": " \n"}
    rows[2] |= {"label": None, "text": "x" * 2001}
    rows[3] |= {"label": "meh"}
    rows[4] |= {"text": "cafÃ© \u0007"}
    rows[6] |= {"text": rows[20]["text"].upper(), "label": rows[20]["label"], "split": None}
    rows[7] |= {"text": rows[21]["text"], "label": other[rows[21]["label"]]}
    write(rows)
    validate(default)
    found = reasons()
    twin = found.pop("r6", None) or found.pop("r20")
    assert twin == {"duplicate"}
    assert found == {
        "r0": {"null_text"},
        "r1": {"blank_text"},
        "r2": {"null_label", "too_long"},
        "r3": {"unknown_label"},
        "r4": {"mojibake", "control_characters"},
        "r7": {"conflicting_label"},
        "r21": {"conflicting_label"},
    }


def test_between_splits_the_training_row_goes(default):
    rows = make()
    for i, row in enumerate(rows):
        row["split"] = "test_b" if i < 50 else "test" if i < 150 else "validation" if i < 300 else "train"
        row["group"] = row["id"]
    rows[400] |= {"text": rows[100]["text"], "label": rows[100]["label"]}
    rows[402] |= {"text": rows[200]["text"] + " x"}
    rows[250] |= {"text": rows[104]["text"] + " x"}
    rows[404] |= {"group": rows[10]["group"]}
    rows[20] |= {"text": rows[120]["text"] + " x"}
    write(rows)
    metrics = validate(default)
    assert reasons() == {
        "r400": {"duplicate"}, "r402": {"near_duplicate"}, "r250": {"near_duplicate"}, "r404": {"leaked_group"},
    }  # fmt: skip
    assert metrics["validate/near_duplicates_between_tests"] == 1
    assert len(read_split("test_b")) == 50


def test_a_row_that_is_not_utf8_is_set_aside(default):
    rows = make()
    write(rows)
    table = pq.read_table(RAW_TABLE)
    texts = [b"caf\xe9" if i == 5 else row["text"].encode() for i, row in enumerate(rows)]
    broken = pa.Array.from_buffers(pa.string(), len(rows), pa.array(texts, pa.binary()).buffers())
    pq.write_table(table.set_column(1, "text", broken), RAW_TABLE)
    validate(default)
    assert reasons() == {"r5": {"invalid_utf8"}}


def test_personal_data_are_masked_counted_or_refused_and_never_written_elsewhere(default):
    rows = make()
    rows[5]["text"] += f" key {SECRET} bob@example.com"
    write(rows)
    metrics = validate(default)
    assert metrics["validate/personal_data/api_key"] == metrics["validate/personal_data/email"] == 1
    [text] = [r["text"] for name in ("train", "validation", "test") for r in read_split(name) if r["id"] == "r5"]
    assert text.endswith("key [API_KEY] [EMAIL]")
    written = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file() and path != RAW_TABLE)
    assert SECRET.encode() not in written
    validate(limits(default, personal_data="report"))
    [text] = [r["text"] for name in ("train", "validation", "test") for r in read_split(name) if r["id"] == "r5"]
    assert SECRET in text
    [line] = refuse(limits(default, personal_data="fail"))
    assert "1 of 600 rows do: 'r5'; mask hides it" in line
    assert "; validate.personal_data: fail decides; see" in line
    assert SECRET not in line
    assert reasons() == {"r5": {"personal_data"}}


def test_too_many_bad_rows_stop_the_pipeline_with_a_line_per_broken_expectation(default):
    rows = make()
    for row in rows[:40]:
        row["text"] = None
    write(rows)
    lines = refuse(default)
    assert [line.split(",")[0] for line in lines] == ["expect_column_values_to_not_be_null(text)", "quarantined"]
    assert all("40 of 600 fail (5.00% may)" in line for line in lines)
    offer = "validate.max_quarantine_fraction: 0.05 decides, 0.0667 would let these data pass"
    assert all(f"; {offer}; see" in line for line in lines)
    assert ": 40 null text; " in lines[1]
    assert offer in PAGE.read_text(encoding="utf-8")
    assert len(reasons()) == 40


def test_a_failing_gate_removes_the_splits_of_an_earlier_passing_one(default):
    write(make())
    validate(default)
    write(make()[:30])
    refuse(default)


def test_all_rows_null_one_class_and_a_class_with_one_row_are_named(default):
    rows = make()
    write([row | {"text": None} for row in rows])
    assert any("600 of 600 fail" in line for line in refuse(default))
    write([row | {"label": "positive"} for row in rows])
    assert any("train has 0 of 'negative'" in line for line in refuse(default))
    write([row | {"label": "positive" if i else "negative"} for i, row in enumerate(rows)])
    assert any("test has 0 of 'negative'" in line for line in refuse(default))


def test_an_empty_table_is_refused(default):
    write([])
    assert any("train has 0 of 'negative'" in line for line in refuse(default))


def test_splits_whose_labels_differ_beyond_chance_are_refused_and_name_the_label(default):
    rows = make(900)
    for i, row in enumerate(rows):
        row["split"] = "test" if i < 200 else "validation" if i < 400 else "train"
        row["group"] = None
        row["label"] = "positive" if i < 150 or i % 2 else "negative"
    write(rows)
    lines = refuse(default)
    assert len(lines) == 1
    assert lines[0].startswith("label_balance, test:")
    assert "'negative' differs by" in lines[0]
    assert "; validate.max_label_shift: 0.1 decides, 0.2917 would let these data pass; see" in lines[0]


def test_duplicate_ids_are_refused(default):
    rows = make()
    rows[3]["id"] = rows[4]["id"]
    write(rows)
    assert any(line.startswith("expect_column_values_to_be_unique(id)") for line in refuse(default))


def test_a_group_larger_than_a_split_and_a_bad_split_name_are_named(default):
    write([row | {"group": "big" if i < 100 else row["group"]} for i, row in enumerate(make())])
    with pytest.raises(InputError, match="group 'big': its 100 rows"):
        validate(default)
    write([row | {"split": "../up" if i == 7 else None} for i, row in enumerate(make())])
    with pytest.raises(InputError, match=r"split '\.\./up'"):
        validate(default)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()
        self.attributes = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_ids_labels_and_values_are_inert_on_the_page_and_texts_are_nowhere(default):
    rows = make()
    for i, row in enumerate(rows):
        row |= {"id": f"{HOSTILE}{i}", "domain": HOSTILE, "label": f"{HOSTILE}{row['label']}"}
    rows[0]["text"] = "unmistakable words \ufffd"
    write(rows)
    labels = [f"{HOSTILE}negative", f"{HOSTILE}positive"]
    validate(replace(default, task=replace(default.task, labels=labels)))
    page = PAGE.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.seen
    assert not any(name.startswith("on") for name in tags.attributes)
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") > 3
    assert all("unmistakable" not in path.read_text(encoding="utf-8") for path in (PAGE, FINDINGS, RESULTS))


def test_great_expectations_results_are_numbers_without_values(default):
    write(make())
    validate(default)
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert {r["expectation"] for r in results} >= {
        "expect_column_values_to_not_be_null", "expect_column_value_lengths_to_be_between",
        "expect_column_values_to_be_in_set", "expect_column_values_to_be_unique",
    }  # fmt: skip
    values = [v for r in results for part in (r["kwargs"], r["result"]) for v in part.values()]
    assert {v for v in values if isinstance(v, str)} <= {"id", "text", "label", "rows", "str"}


def test_the_same_table_gives_the_same_bytes(default):
    write(make())
    validate(default)
    first = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    validate(default)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == first


def test_the_page_lists_at_most_200_rows_and_counts_all(default):
    rows = make(1200)
    for row in rows[:300]:
        row["text"] += "\ufffd"
    write(rows)
    validate(limits(default, max_quarantine_fraction=0.3))
    page = PAGE.read_text(encoding="utf-8")
    assert "The first 200 of 300 rows" in page
    assert page.count("<td>replacement character</td>") == 200
    assert len(reasons()) == 300
    assert read_json(FINDINGS)["quarantine"] == {"replacement character": 300}
