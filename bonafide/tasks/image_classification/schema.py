"""What may be wrong with a table of labelled images."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from bonafide.images.decode import decode
from bonafide.images.header import BadImageError, Limits
from bonafide.images.thumbnails import data_uri
from bonafide.project.errors import InputError
from bonafide.quality import class_balance, figures, labels, text_faults
from bonafide.quality.checks import Check
from bonafide.quality.expectations import Expectation, expect
from bonafide.quality.figures import Figure
from bonafide.quality.images import image_faults, measures, near_duplicates
from bonafide.quality.rows import NEAR, Examined

CAUSES = {
    "unknown_label": "task.labels",
    "too_many_pixels": "validate.max_pixels",
    "too_many_bytes": "validate.max_pixels",
    "too_small": "validate.min_side",
    "too_large": "validate.max_side",
    "near_duplicate": "validate.near_duplicates",
}


def examine(table: pa.Table, params: Any) -> Examined:
    """Faults of images and labels, what the images measure, and which are the same or nearly so.

    Raises InputError for a slice that is called like a column of ours.
    """
    if NEAR in table.column_names:
        raise InputError(f"params.yaml: data.slices: {NEAR!r} is a column that validate makes; give yours another name")
    rules = params.validate
    limits = Limits(rules.min_side, rules.max_side, rules.max_pixels)
    records = image_faults.examine_images(table["image"], limits)
    faults = {**image_faults.faults(records), **labels.faults(table["label"], params.task.labels)}
    found = labels.count(table["label"], params.task.labels)
    return Examined(
        table=table,
        faults=faults,
        identity=image_faults.identity(records),
        unique=True,
        answers=("label", text_faults.without(table["label"], faults["unknown_label"])),
        near=partial(near_duplicates.find_near, records),
        near_stay=rules.near_duplicates == "report",
        expectations=expectations(rules, params.task.labels, labels.say_others(found)),
        measured=measures.measured(table, records),
        checks=[labels.check(found)],
        causes=CAUSES,
        notes=records["reason"],
        facts=measures.facts(records),
        tables=[*labels.tables(found), *measures.table_of_kinds(records)],
        figures=partial(measures.charts, records),
        picture=partial(picture, table["image"], Limits(max_pixels=rules.max_pixels)),
    )


def expectations(rules: Any, declared: Sequence[str], others: str) -> list[Expectation]:
    """What a table must hold; row by row but for the share that quarantine may take (`mostly`).

    About the columns of quality.images.measures. `rules` is the `validate` section, `others` names the labels that are
    not declared.
    """
    mostly: dict[str, Any] = {"mostly": 1 - rules.max_quarantine_fraction}
    known: dict[str, Any] = {"column": "label", "value_set": [*declared]}
    between, there = "column_values_to_be_between", "column_values_to_not_be_null"
    low, high, most = rules.min_side, rules.max_side, rules.max_pixels
    return [
        expect("the columns are there", "table_columns_to_match_set", column_set=["bytes", "label"], exact_match=False),
        expect("every row has an image", there, column="bytes", **mostly),
        expect("every image is of a format that is read", there, column="format", **mostly),
        expect("every image decodes", there, column="mean", **mostly),
        expect(f"no image has more than {most:,} pixels", between, column="pixels", max_value=most, **mostly),
        expect(
            f"the shorter side has at least {low:,} pixels", between, column="shorter_side", min_value=low, **mostly
        ),
        expect(f"the longer side has at most {high:,} pixels", between, column="longer_side", max_value=high, **mostly),
        expect("no image is all of one colour", between, column="deviation", min_value=0, strict_min=True, **mostly),
        expect("every row has a label", there, column="label", **mostly),
        expect("every label is a declared one", "column_values_to_be_in_set", others, **known, **mostly),
    ]


def picture(images: pa.ChunkedArray, limits: Limits, row: int) -> str:
    """A thumbnail of one of the files (n,), or an empty string where it does not decode."""
    data = images[row].as_py()
    try:
        return "" if data is None else data_uri(decode(data, limits))
    except BadImageError:
        return ""


def checks(kept: pa.Table, params: Any) -> list[Check]:
    """Enough rows of every class in train, validation and test, in like shares."""
    return class_balance.check(kept, params.task.labels, params.validate)


def show(kept: pa.Table, splits: Sequence[str], params: Any) -> list[Figure]:
    """Shares of labels; what the images measure is shown by `examine`."""
    shares = class_balance.shares(kept, splits, params.task.labels, figures.DRAWN)
    by_split = {name: [parts[place] for parts in shares.values()] for place, name in enumerate(splits)}
    return [figures.grouped_bars("Share of each label in each split", [*shares], by_split)]
