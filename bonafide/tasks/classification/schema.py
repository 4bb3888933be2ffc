"""What may be wrong with a table of labelled texts."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.quality import class_balance, duplicates, figures, labels, pii, text_faults
from bonafide.quality.checks import Check
from bonafide.quality.expectations import Expectation, expect
from bonafide.quality.figures import Figure
from bonafide.quality.rows import Examined

CAUSES = {
    "unknown_label": "task.labels",
    "too_short": "validate.min_characters",
    "too_long": "validate.max_characters",
    "near_duplicate": "validate.near_duplicate_similarity",
    "personal_data": "validate.personal_data",
}


def examine(table: pa.Table, params: Any) -> Examined:
    """Faults of texts and labels, personal data, and the labels that params and the table do not share."""
    limits = params.validate
    broken = text_faults.undecodable(table["text"])
    texts = text_faults.without(table["text"], broken)
    # a text that is too long anyway is not searched: one of 100 MB would take minutes
    personal = pii.scan(texts, limits.max_characters)
    texts = personal.masked if limits.personal_data == "mask" else texts
    faults = {
        "invalid_utf8": broken,
        **text_faults.text_faults(texts, limits.min_characters, limits.max_characters),
        **labels.faults(table["label"], params.task.labels),
    }
    faults["null_text"] &= ~broken
    found = labels.count(table["label"], params.task.labels)
    checks = [labels.check(found)]
    if limits.personal_data == "fail":
        faults["personal_data"] = personal.any_kind
        checks.append(pii.check(personal, table["id"]))
    identity = duplicates.normalise(texts)
    return Examined(
        table=table.set_column(table.schema.get_field_index("text"), "text", texts),
        faults=faults,
        identity=identity,
        unique=True,
        answers=("label", text_faults.without(table["label"], faults["unknown_label"])),
        near=partial(duplicates.search, identity, limits.near_duplicate_similarity),
        expectations=expectations(limits, params.task.labels, labels.say_others(found)),
        checks=checks,
        causes=CAUSES,
        facts={"Personal data": personal.words()},
        tables=labels.tables(found),
        metrics={f"personal_data/{kind}": n for kind, n in personal.values.items()},
    )


def expectations(limits: Any, declared: Sequence[str], others: str) -> list[Expectation]:
    """What a table must hold; row by row but for the share that quarantine may take (`mostly`).

    `limits` is the `validate` section, `others` names the labels that are not declared.
    """
    mostly: dict[str, Any] = {"mostly": 1 - limits.max_quarantine_fraction}
    low, high = limits.min_characters, limits.max_characters
    lengths = f"every text has {low:,} to {high:,} characters"
    between: dict[str, Any] = {"column": "text", "min_value": low, "max_value": high}
    known: dict[str, Any] = {"column": "label", "value_set": [*declared]}
    return [
        expect("the columns are there", "table_columns_to_match_set", column_set=["text", "label"], exact_match=False),
        expect("every text is a string", "column_values_to_be_of_type", column="text", type_="str"),
        expect("every row has a text", "column_values_to_not_be_null", column="text", **mostly),
        expect("every row has a label", "column_values_to_not_be_null", column="label", **mostly),
        expect(lengths, "column_value_lengths_to_be_between", **between, **mostly),
        expect("every label is a declared one", "column_values_to_be_in_set", others, **known, **mostly),
    ]


def checks(kept: pa.Table, params: Any) -> list[Check]:
    """Enough rows of every class in train, validation and test, in like shares."""
    return class_balance.check(kept, params.task.labels, params.validate)


def show(kept: pa.Table, splits: Sequence[str], params: Any) -> list[Figure]:
    """Shares of labels, and lengths of texts."""
    shares = class_balance.shares(kept, splits, params.task.labels, figures.DRAWN)
    lengths = pc.utf8_length(kept["text"]).to_numpy()
    return [
        figures.grouped_bars("Share of each label in each split", splits, shares),
        figures.histogram("Characters per text", lengths),
    ]
