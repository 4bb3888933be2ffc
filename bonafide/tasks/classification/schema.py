"""The columns of a table of labelled texts, and what may be wrong with them."""

from collections.abc import Mapping, Sequence
from typing import Any


def columns(task: Any) -> Mapping[str, str]:  # noqa: ARG001
    """A text and its label."""
    return {"text": "text", "label": "category"}


def expectations(params: Any, labels: Sequence[str]) -> list[dict[str, Any]]:
    """What a table must hold; `params` is the `validate` section.

    Row-level expectations tolerate the share of rows that quarantine may take (`mostly`); validate runs them again
    on the rows it passes on, without tolerance.
    """
    low, high = params.min_characters, params.max_characters
    mostly = {"mostly": 1 - params.max_quarantine_fraction}
    return [
        _expect("the columns are there", "table_columns_to_match_set", column_set=["text", "label"], exact_match=False),
        _expect("every text is a string", "column_values_to_be_of_type", column="text", type_="str"),
        _expect("every row has a text", "column_values_to_not_be_null", column="text", **mostly),
        _expect("every row has a label", "column_values_to_not_be_null", column="label", **mostly),
        _expect(
            f"every text has {low:,} to {high:,} characters",
            "column_value_lengths_to_be_between",
            column="text",
            min_value=low,
            max_value=high,
            **mostly,
        ),
        _expect(
            "every label is a declared one", "column_values_to_be_in_set", column="label", value_set=[*labels], **mostly
        ),
    ]


def _expect(description: str, name: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{name}", "kwargs": kwargs, "description": description}
