"""The gate for pairs of texts: what it sets aside, and that no split sees a side of another."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.params.load import load_params
from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import FINDINGS, RAW_TABLE
from bonafide.quality.duplicates import normalise
from bonafide.quality.texts import pairs
from stages.validate import validate
from tests.gate_inputs import limits, read_split, reasons, refuse

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")
SPLITS = ("train", "validation", "test")
WORDS = ("dog", "cat", "sees", "big", "small", "house", "river", "red")
MARKS = "狗猫看大小房河红"


@pytest.fixture(scope="module")
def recipe():
    found = load_params(Path(__file__).parents[3] / "recipes/translation.yaml")
    return limits(found, min_rows=5, validation_fraction=0.2, test_fraction=0.2)


def make(rows=300):
    """Pairs of which no two share a side: the number in words of base eight, marks for the words."""
    digits = [[row // 8**place % 8 for place in range(4)] for row in range(rows)]
    return [
        {
            "id": f"r{row}",
            "source": f"{' '.join(WORDS[digit] for digit in found)}.",
            "target": f"{''.join(MARKS[digit] for digit in found)}。",
            "group": None,
            "split": None,
        }
        for row, found in enumerate(digits)
    ]


def write(rows, drop=()):
    RAW_TABLE.parent.mkdir(parents=True, exist_ok=True)
    texts = dict.fromkeys(("source", "target"), pa.large_string())
    kinds = {"id": pa.string(), **texts, "group": pa.string(), "split": pa.string()}
    schema = pa.schema([(name, kind) for name, kind in kinds.items() if name not in drop])
    pq.write_table(pa.Table.from_pylist(rows, schema), RAW_TABLE)


def test_sound_pairs_pass_and_equal_sides_share_a_group(recipe):
    rows = make()
    rows[7]["source"] = rows[3]["source"].upper()  # the same but for case
    rows[9]["target"] = rows[7]["target"]
    write(rows, drop=("group", "split"))
    metrics = validate(recipe)
    kept = [row | {"split": name} for name in SPLITS for row in read_split(name)]
    assert len(kept) == metrics["validate/rows"] == 300
    group = {row["id"]: (row["group"], row["split"]) for row in kept}
    assert group["r3"] == group["r7"] == group["r9"]
    assert len({name for name, _ in group.values()}) == 298
    assert "298, the largest of 3 pairs" in read_json(FINDINGS)["facts"].values()


def test_each_bad_pair_is_set_aside_with_every_reason_and_no_sound_one_is(recipe):
    rows = make()
    rows[0] |= {"target": None}
    rows[1] |= {"source": " "}
    rows[2] |= {"target": "狗" * 501}
    rows[3] |= {"target": "a Latin text of letters"}
    rows[4] |= {"source": "猫看大 ok", "target": "猫看大 OK"}
    rows[5] |= {"source": "un cafe\u0301 s'il vous plait"}
    rows[6] |= {"target": "狗\x07猫看大"}
    rows[7] |= {"source": "a b c d e f g h i j k l m n"}
    rows[8] |= {"source": rows[20]["source"], "target": rows[20]["target"]}
    write(rows)
    validate(recipe)
    assert reasons() == {
        "r0": {"null_text"},
        "r1": {"blank_text"},
        "r2": {"too_long", "ratio_too_high"},
        "r3": {"wrong_script"},
        "r4": {"copied_source"},
        "r5": {"not_composed"},
        "r6": {"control_characters"},
        "r7": {"ratio_too_low"},
        "r20": {"duplicate"},
    }


def test_pairs_of_the_tables_own_splits_that_share_a_side_leave_train(recipe):
    rows = make()
    for number, row in enumerate(rows):
        row["split"] = "test" if number < 50 else "validation" if number < 100 else "train"
    rows[200]["source"] = rows[10]["source"]
    rows[201]["target"] = rows[60]["target"]
    rows[202] |= {"source": rows[203]["source"]}
    rows[203] |= {"target": rows[11]["target"]}  # by which 202 hangs together with a row of test
    rows[70]["target"] = rows[12]["target"]
    write(rows)
    validate(recipe)
    assert reasons() == {row: {"leaked_group"} for row in ("r200", "r201", "r202", "r203", "r70")}


def test_a_row_that_is_set_aside_binds_no_others(recipe):
    rows = make()
    for number, row in enumerate(rows):
        row["split"] = "test" if number < 50 else "validation" if number < 100 else "train"
    rows[200] |= {"source": rows[201]["source"], "target": f"{rows[10]['target']}\x07"}
    write(rows)
    validate(recipe)
    assert reasons() == {"r200": {"control_characters"}}


def test_numerals_are_counted_or_set_aside(recipe):
    rows = make()
    rows[5] |= {"source": "It is 3:30 now.", "target": "现在３点30。"}  # the same, in another width
    rows[6] |= {"source": "I am 30 now.", "target": "我现在三十岁。"}
    write(rows)
    validate(recipe)
    [check] = [check for check in read_json(FINDINGS)["checks"] if check["name"] == "numerals"]
    assert check["detail"].startswith("1 pairs; ")
    assert reasons() == {}
    validate(limits(recipe, numerals="set_aside"))
    assert reasons() == {"r6": {"numerals_differ"}}


def test_personal_data_are_masked_in_both_sides(recipe):
    rows = make()
    rows[5] |= {
        "source": "Please write a letter to bob@ex.io today or tomorrow morning.",
        "target": "请你们今天或者明天早上写一封信寄到 bob@ex.io 那里去",
    }
    write(rows)
    metrics = validate(recipe)
    assert metrics["validate/source/personal_data/email"] == metrics["validate/target/personal_data/email"] == 1
    [row] = [row for name in SPLITS for row in read_split(name) if row["id"] == "r5"]
    assert "[EMAIL]" in row["source"]
    assert "[EMAIL]" in row["target"]
    lines = refuse(limits(recipe, personal_data="fail"))
    assert len(lines) == 2
    assert reasons() == {"r5": {"personal_data"}}


def test_no_script_is_asked_for_where_none_is_named(recipe):
    rows = make()
    rows[3]["target"] = "a Latin text of letters"
    write(rows)
    validate(limits(recipe, target_script=None))
    assert reasons() == {}


def test_too_few_rows_and_an_empty_table_are_refused(recipe):
    write(make(20))
    assert any(
        "train, validation and test have at least 200 rows" in line for line in refuse(limits(recipe, min_rows=200))
    )
    write([])
    assert refuse(recipe)


def test_a_script_that_unicode_has_not_is_named():
    recipe = load_params(Path(__file__).parents[3] / "recipes/translation.yaml")
    with pytest.raises(ValueError, match="target_script: 'Chinese' is no script of Unicode"):
        replace(recipe.validate, target_script="Chinese")


SIDE = st.none() | st.sampled_from("abcdef")


@given(st.lists(st.tuples(st.none() | st.sampled_from("xyz"), SIDE, SIDE), min_size=1))
@settings(max_examples=200, deadline=None)
def test_groups_are_what_hangs_together_and_do_not_depend_on_the_order(rows):
    def groups(found):
        return pairs.link([pa.chunked_array([pa.array(column, pa.string())]) for column in zip(*found, strict=True)])

    names = groups(rows).to_pylist()
    parent = list(range(len(rows)))  # the plain way: join until nothing changes
    for _ in rows:
        for i, one in enumerate(rows):
            for j, other in enumerate(rows):
                if any(a == b is not None for a, b in zip(one, other, strict=True)):
                    parent[i] = parent[j] = min(parent[i], parent[j])
    for i, one in enumerate(rows):
        assert (names[i] is None) == (one == (None, None, None))
        for j in range(i):
            assert (names[i] == names[j] is not None) == (parent[i] == parent[j] and any(one))
    assert groups(rows[::-1]).to_pylist() == names[::-1]


@given(st.lists(st.tuples(SIDE, SIDE, st.sampled_from([None, "train", "test"])), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_normalised_sides_of_a_group_are_in_no_other(rows):
    columns = [pa.chunked_array([pa.array(column, pa.string())]) for column in zip(*rows, strict=True)][:2]
    names = pairs.link([normalise(column) for column in columns]).to_pylist()
    for side in range(2):
        found = {}
        for row, name in zip(rows, names, strict=True):
            assert row[side] is None or found.setdefault(row[side], name) == name


def test_a_component_larger_than_a_split_is_refused(recipe):
    rows = make()
    for row in rows[:100]:
        row["target"] = "好的好的"
    write(rows)
    with pytest.raises(InputError, match="its 100 rows do not fit"):
        validate(recipe)
