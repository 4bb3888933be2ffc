"""Values as params.yaml spells them: YAML reads 01 as 1 and 1e3 as 1000.0, and a table has one spelling of each."""

import math
from datetime import date
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bonafide.project.errors import InputError
from bonafide.project.yaml_files import reader

EXACT = 2**53  # from it on a float is no longer one whole number


def spell(params: Any, keys: tuple[str, str], text: str, place: str) -> Any:
    """`params`, parsed from the YAML in `text`, with each value of the list at `keys` as the text it is written as.

    Raise InputError for one that is written in another way than its value is: DVC compares values, so it would not
    see a change from 01 to 1, and `dvc exp run -S` and people who tidy the file write the value.
    """
    section, key = keys
    fields: Any = params.get(section) if isinstance(params, dict) else None
    values = fields.get(key) if isinstance(fields, dict) else None
    items = _find(reader().compose(text), section, key)
    if not (isinstance(values, list) and isinstance(items, SequenceNode) and len(values) == len(items.value)):
        return params
    where = f"{section}.{key}"
    spelled = [_spelled(value, item, where, place) for value, item in zip(values, items.value, strict=True)]
    return {**params, section: {**fields, key: spelled}}


def _find(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        if not isinstance(node, MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _spelled(value: Any, item: Node, where: str, place: str) -> Any:
    if isinstance(value, str) or not isinstance(item, ScalarNode):
        return value
    if canonical(value) == item.value:
        return item.value
    shown = str(item.value)[:60]
    what, quoted = (shown, f", as in '{shown}'") if shown else ("an empty value", "")
    reason = f"{what} is {_meaning(value)} to YAML: quote it as the table spells it{quoted}"
    raise InputError(f"{place}:{item.start_mark.line + 1}: {where}: {reason}")


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
