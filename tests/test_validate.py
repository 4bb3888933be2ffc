"""The gate as a whole: the real stage function on real Parquet files."""

import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bonafide.errors import InputError
from bonafide.files import read_json
from bonafide.params import load_params
from bonafide.paths import FINDINGS, QUARANTINE, RAW_TABLE, VALIDATED
from stages.validate import PAGE, RESULTS, validate

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=3 + i % 6)) for i in range(3000)]
SECRET = "AKIAIOSFODNN7EXAMPLE"  # noqa: S105 - AWS's own example
HOSTILE = '"><script>alert(1)</script>\u202e'


@pytest.fixture(scope="module")
def default():
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    return replace(params, data=replace(params.data, slices=["domain", "rating"]))


def limits(params, **changes):
    return replace(params, validate=replace(params.validate, **changes))


def make(rows=600, seed=0):
    chance = random.Random(seed)
    return [
        {
            "id": f"r{i}", "text": " ".join(chance.choices(WORDS, k=12)), "label": ("negative", "positive")[i % 2],
            "group": f"g{i // 2}", "split": None, "domain": ("films", "phones")[i % 3 == 0], "rating": i / 10,
        }
        for i in range(rows)
    ]  # fmt: skip


def write(rows, drop=()):
    RAW_TABLE.parent.mkdir(parents=True, exist_ok=True)
    kinds = dict.fromkeys(("id", "text", "label", "group", "split", "domain"), pa.string()) | {"rating": pa.float64()}
    schema = pa.schema([(name, kind) for name, kind in kinds.items() if name not in drop])
    pq.write_table(pa.Table.from_pylist(rows, schema), RAW_TABLE)


def reasons():
    return {
        row["id"]: set(row["reasons"])
        for row in pq.read_table(QUARANTINE if QUARANTINE.exists() else FINDINGS.with_name(QUARANTINE.name)).to_pylist()
    }


def read_split(name):
    return pq.read_table(VALIDATED / f"{name}.parquet").to_pylist()


def refuse(params):
    with pytest.raises(InputError) as error:
        validate(params)
    assert not VALIDATED.exists()
    assert not read_json(FINDINGS)["passed"]
    assert all(str(PAGE) in line for line in str(error.value).splitlines())
    return str(error.value).splitlines()


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
    validate(replace(default, data=replace(default.data, labels=labels)))
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


def relabel(rows, names):
    return [row | {"label": names[i % len(names)]} for i, row in enumerate(rows)]


def test_labels_that_are_spelled_otherwise_are_named_with_their_counts_in_one_line_and_on_the_page(default):
    write(relabel(make(), ["1", "2"]))
    lines = refuse(replace(default, data=replace(default.data, labels=["01", "2.0"])))
    assert lines[0] == (
        "declared_labels, rows as they came: expected that every declared label is in the table; data.labels: "
        "'01' is in no row: did you mean '1' (300 rows)?; '2.0' is in no row: did you mean '2' (300 rows)?; "
        f"not declared: '1' in 300 rows, '2' in 300 rows; see {PAGE}"
    )
    assert "would let" not in "".join(lines)
    assert read_json(FINDINGS)["labels"] == [
        {"label": "'01'", "declared": True, "rows": 0, "nearest": "'1'"},
        {"label": "'2.0'", "declared": True, "rows": 0, "nearest": "'2'"},
        {"label": "'1'", "declared": False, "rows": 300, "nearest": "'01'"},
        {"label": "'2'", "declared": False, "rows": 300, "nearest": "'2.0'"},
    ]
    page = PAGE.read_text(encoding="utf-8")
    assert "Labels that params.yaml and the table do not share" in page
    assert page.count("&#39;01&#39;") >= 2
    assert page.count('<td class="num">300</td>') == 2


def test_a_label_that_is_not_declared_is_named_where_it_is_let_through_and_where_it_is_not(default, capsys):
    rows = make()
    for row in rows[:20]:
        row["label"] = "Negative"
    write(rows)
    validate(default)
    assert f"data.labels: not declared: 'Negative' in 20 rows; see {PAGE}" in capsys.readouterr().err
    page = PAGE.read_text(encoding="utf-8")
    assert "20 of 600 are not (5.00% may): not declared: &#39;Negative&#39; in 20 rows" in page
    assert "<td>data.labels</td>" in page
    for row in rows[:60]:
        row["label"] = "Negative"
    write(rows)
    line, other = refuse(default)
    assert "; 60 of 600 are not (5.00% may): not declared: 'Negative' in 60 rows; validate.max_q" in line
    assert ": 60 unknown label (data.labels); validate.max_quarantine_fraction: 0.05 decides, 0.1 would" in other


def test_few_rows_of_a_class_are_named_with_the_value_that_lets_them_pass(default):
    write(relabel(make(900), ["a", "b", "c", *"ab" * 14]))
    kinds = replace(default, data=replace(default.data, labels=["a", "b", "c"]))
    [line] = refuse(kinds)
    offered = re.search(r"validate.min_rows_per_class: 20 decides, (\d+) would let these data pass", line)
    fewest = int(re.search(r"has (\d+) of 'c'", line)[1])
    assert 0 < int(offered[1]) == fewest < 20
    validate(limits(kinds, min_rows_per_class=fewest))
    write([*relabel(make(900), ["a", "b"]), make(901)[-1] | {"label": "c"}])
    [line] = refuse(kinds)
    assert "; 1 of 3 labels lack rows in a split: bring more, or leave such a label out of data.labels; " in line
    assert "validate.min_rows_per_class: 20 decides; see" in line


TEXTS = [
    "ok",
    "bad",
    "fine",
    "x" * 300,
    "",
    None,
    "caf\ufffd",
    "ann@example.com",
    *(" ".join(WORDS[i : i + 6]) for i in range(60)),
]


@st.composite
def tables(draw):
    """Rows of many faults, of two to four classes, with or without splits of their own."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    kinds = "abcd"[: draw(st.integers(2, 4))]
    faulty, own, known = draw(st.sampled_from([0, 0.1, 0.5])), draw(st.booleans()), draw(st.sampled_from([1, 0.9, 0.6]))
    rows = []
    for i in range(draw(st.integers(30, 300))):
        text = chance.choice(TEXTS) if chance.random() < faulty else " ".join(chance.choices(WORDS, k=8))
        label = chance.choices(kinds, weights=[4**n for n in range(len(kinds))])[0] if chance.random() < known else None
        label = "e" if label and chance.random() > known else label
        split = chance.choice(["train", "train", "validation", "test"]) if own else None
        rows.append({"id": f"r{i}", "text": text, "label": label, "split": split, "domain": "d", "rating": 1.0})
    return rows, list(kinds)


@settings(max_examples=15)
@given(tables())
def test_the_values_that_are_offered_let_the_table_pass(default, made):
    rows, kinds = made
    write(rows)
    params = replace(default, data=replace(default.data, labels=kinds))
    params = limits(params, max_characters=100, max_label_shift=0.01, min_rows_per_class=15)
    try:
        validate(params)
    except InputError:
        broken = [check for check in read_json(FINDINGS)["checks"] if not check["passed"]]
        offers = {check["key"].removeprefix("validate."): check["passing"] for check in broken if check["passing"]}
        event(f"{len(offers)} offers")
        if offers:
            assert all(check["passing"] for check in broken)
            validate(limits(params, **offers))
        else:
            splits = [read_json(FINDINGS)["splits"].get(name, {}) for name in ("train", "validation", "test")]
            assert any(not split.get(kind) for split in splits for kind in kinds)
