"""Checks of the gate: Great Expectations' results and our own in one form, and GX with nothing persisted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

BOUNDS = ("column", "min_value", "max_value", "mostly", "type_")  # what a result's JSON may repeat of an expectation
COUNTS = ("element_count", "missing_count", "unexpected_count")  # and of what was observed: numbers, no values


@dataclass(frozen=True)
class Check:
    """One expectation and what became of it."""

    name: str
    """In GX's words with its column, or ours."""
    sentence: str
    """What must hold, for people."""
    rows: str
    """What it was checked on."""
    checked: int
    """Of them, those that could fail: a missing text has no length."""
    failing: int
    limit: str
    """How much may fail, for people."""
    passed: bool
    detail: str = ""
    """What exactly fails, for the message; ids and names, never texts."""
    key: str = ""
    """The param that decides, if one does."""
    value: float | str | None = None
    """What it is."""
    passing: float | None = None
    """What would let the table pass, together with the offers of all other checks."""

    def broken(self) -> str:
        """The line that says what is wrong."""
        found = self.detail or f"{self.failing:,} of {self.checked:,} fail ({self.limit} may)"
        decides = f"; {self.decides()}" if self.key else ""
        return f"{self.name}, {self.rows}: expected that {self.sentence}; {found}{decides}"

    def decides(self) -> str:
        """Which param decides, and which value of it would let the table pass."""
        offer = f", {self.passing:g} would let these data pass" if self.passing is not None and not self.passed else ""
        return f"{self.key}: {self.value} decides{offer}" if self.key else ""


def run_suite(
    rows: pd.DataFrame, expectations: Sequence[dict[str, Any]], name: str
) -> tuple[list[Check], list[dict[str, Any]]]:
    """Run GX's expectations, given in their serialised form with a `description`, on `rows`.

    Returns the checks in the order of `expectations`, and GX's results as numbers: it would copy values into them.
    An error inside GX raises RuntimeError: what was not checked has neither passed nor failed.
    """
    import great_expectations as gx  # here, since it takes 6 s and the processes that hash texts import this module
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    numbered = [{**e, "meta": {"place": place}} for place, e in enumerate(expectations)]
    suite = gx.ExpectationSuite(name=name, expectations=numbered)
    # no values, and no list of rows: GX takes 0.15 ms for each
    form = {"result_format": "SUMMARY", "exclude_unexpected_values": True, "partial_unexpected_count": 0}
    results = context.data_sources.pandas_default.read_dataframe(rows).validate(suite, result_format=form).results
    by_place = sorted(results, key=lambda result: result.expectation_config.meta["place"])
    checks = [_check(result, name, len(rows)) for result in by_place]
    return checks, [_numbers(result, name) for result in by_place]


def _check(result: Any, name: str, rows: int) -> Check:
    config, observed = result.expectation_config, result.result
    if result.exception_info.get("raised_exception", False) or "raised_exception" not in result.exception_info:
        raise RuntimeError(
            f"great_expectations could not check {config.type} on {name}: {sorted(result.exception_info)}"
        )
    column = config.kwargs.get("column")
    mostly = config.kwargs.get("mostly", 1)
    return Check(
        name=f"{config.type}({column})" if column else config.type,
        sentence=config.description,
        rows=name,
        checked=observed.get("element_count", rows) - observed.get("missing_count", 0),
        failing=observed.get("unexpected_count", 0 if result.success else rows),
        limit="none" if mostly == 1 else f"{1 - mostly:.2%}",
        passed=bool(result.success),
    )


def _numbers(result: Any, name: str) -> dict[str, Any]:
    config = result.expectation_config
    return {
        "expectation": config.type,
        "rows": name,
        "success": bool(result.success),
        "kwargs": {key: config.kwargs[key] for key in BOUNDS if key in config.kwargs},
        "result": {key: int(result.result[key]) for key in COUNTS if key in result.result},
    }


def strict(expectations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same expectations without tolerance."""
    return [{**e, "kwargs": {k: v for k, v in e["kwargs"].items() if k != "mostly"}} for e in expectations]


def as_facts(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Checks as plain dicts, for JSON and the page."""
    return [{**asdict(check), "decides": check.decides()} for check in checks]
