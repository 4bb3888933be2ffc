"""Labels as params.yaml spells them: YAML reads 01 as 1 and 1e3 as 1000.0, and a table has one spelling of each."""

import math
from datetime import date
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bonafide.project.errors import InputError
from bonafide.project.yaml_files import reader

EXACT = 2**53  # from it on a float is no longer one whole number


def spell_labels(params: Any, text: str, place: str) -> Any:
    """`params`, parsed from the YAML in `text`, with each of `data.labels` as the text it is written as.

    Raise InputError for one that is written in another way than its value is: DVC compares values, so it would not
    see a change from 01 to 1, and `dvc exp run -S` and people who tidy the file write the value.
    """
    data: Any = params.get("data") if isinstance(params, dict) else None
    values = data.get("labels") if isinstance(data, dict) else None
    items = _find(reader().compose(text), "data", "labels")
    if not (isinstance(values, list) and isinstance(items, SequenceNode) and len(values) == len(items.value)):
        return params
    labels = [_label(value, item, place) for value, item in zip(values, items.value, strict=True)]
    return {**params, "data": {**data, "labels": labels}}


def _find(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        if not isinstance(node, MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _label(value: Any, item: Node, place: str) -> Any:
    if isinstance(value, str) or not isinstance(item, ScalarNode):
        return value
    if canonical(value) == item.value:
        return item.value
    shown = str(item.value)[:60]
    what, quoted = (shown, f", as in '{shown}'") if shown else ("an empty label", "")
    reason = f"{what} is {_meaning(value)} to YAML: quote it as the table spells it{quoted}"
    raise InputError(f"{place}:{item.start_mark.line + 1}: data.labels: {reason}")


def _meaning(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return f"the same as {int(value)}"
    if isinstance(value, date):
        return "a date"
    return f"the same as {str(value)[:60].lower()}" if isinstance(value, int | float) else "no text"


def canonical(value: Any) -> str | None:
    """The one way to write a value without quotes, or None where there is none: a whole number is no float."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return str(value)
    return None
