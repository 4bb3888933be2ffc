"""Great Expectations, with nothing persisted: what must hold of rows, in GX's serialised form, to checks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from bonafide.project.process import importing
from bonafide.quality.checks import CAME, TOLERANCE, Check, failing_of
from bonafide.quality.text_faults import undecodable, without

BOUNDS = ("column", "min_value", "max_value", "mostly", "type_")  # what a result's JSON may repeat of an expectation
COUNTS = ("element_count", "missing_count", "unexpected_count")  # and of what was observed: numbers, no values

Expectation = dict[str, Any]
"""`type`, `kwargs`, `description`, and `notes` on what fails, if there is something to say."""


def expect(description: str, name: str, notes: str = "", **kwargs: Any) -> Expectation:
    """An expectation; with `mostly`, the share of rows for which it must hold."""
    return {"type": f"expect_{name}", "kwargs": kwargs, "description": description, "notes": notes}


UNIQUE_IDS = expect("no two rows have the same id", "column_values_to_be_unique", column="id")


def check_rows(
    came: pa.Table, kept: pa.Table, suite: Sequence[Expectation], tolerance: float
) -> tuple[list[Check], list[dict[str, Any]]]:
    """The task's expectations and unique ids: with their tolerance on all rows, without on those that are passed on.

    `tolerance` is `max_quarantine_fraction`, from which each `mostly` was made. Returns GX's results as numbers, too.
    """
    suite = [UNIQUE_IDS, *suite]
    checks, results = run_suite(came, suite, CAME)
    checks = [_explained(check, expectation, tolerance) for check, expectation in zip(checks, suite, strict=True)]
    more, more_results = run_suite(kept, strict(suite), "rows passed on")
    return checks + more, results + more_results


def _explained(check: Check, expectation: Expectation, tolerance: float) -> Check:
    if check.failing and expectation["notes"]:
        found = failing_of(check.failing, check.checked, check.limit)
        check = replace(check, detail=f"{found}: {expectation['notes']}")
    return replace(check, key=TOLERANCE, value=tolerance) if "mostly" in expectation["kwargs"] else check


def strict(expectations: Sequence[Expectation]) -> list[Expectation]:
    """The same expectations without tolerance."""
    return [{**e, "kwargs": {k: v for k, v in e["kwargs"].items() if k != "mostly"}} for e in expectations]


def run_suite(
    table: pa.Table, expectations: Sequence[Expectation], name: str
) -> tuple[list[Check], list[dict[str, Any]]]:
    """Run GX's expectations on a table; a text that is not UTF-8 counts as missing.

    Returns the checks in the order of `expectations`, and GX's results as numbers: it would copy values into them.
    An error inside GX raises RuntimeError: what was not checked has neither passed nor failed.
    """
    with importing():  # here, since it takes 3 s and the processes that hash texts import this module
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

    columns = [without(c, undecodable(c)) if pa.types.is_large_string(c.type) else c for c in table.columns]
    frame = pa.table(columns, names=table.column_names).to_pandas()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    numbered = [{**e, "meta": {"place": place}} for place, e in enumerate(expectations)]
    suite = gx.ExpectationSuite(name=name, expectations=numbered)
    # no values, and no list of rows: GX takes 0.15 ms for each
    form = {"result_format": "SUMMARY", "exclude_unexpected_values": True, "partial_unexpected_count": 0}
    results = context.data_sources.pandas_default.read_dataframe(frame).validate(suite, result_format=form).results
    by_place = sorted(results, key=lambda result: result.expectation_config.meta["place"])
    return [_check(result, name, len(frame)) for result in by_place], [_numbers(result, name) for result in by_place]


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
        passed=bool(result.success),
        limit="none" if mostly == 1 else f"{1 - mostly:.2%}",
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
