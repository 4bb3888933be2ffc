"""What may be wrong with a table of texts and their translations.

Pairs with an equal source or an equal target, and all that hang together so, are of one group: no split is tested on
what another was trained on, in either language.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.quality import duplicates, figures, pii, tabular, text_faults
from bonafide.quality.checks import Check
from bonafide.quality.expectations import Expectation, expect
from bonafide.quality.figures import Figure
from bonafide.quality.rows import Examined, Faults, any_of
from bonafide.quality.texts import pairs
from bonafide.tasks.translation.params import Validate

SIDES = ("source", "target")
CAUSES = {
    "too_short": "validate.min_characters",
    "too_long": "validate.max_characters",
    "ratio_too_low": "validate.min_ratio",
    "ratio_too_high": "validate.max_ratio",
    "wrong_script": "validate.min_script_share",
    "numerals_differ": "validate.numerals",
    "personal_data": "validate.personal_data",
}


def examine(table: pa.Table, params: Any) -> Examined:
    """Faults of either side and of both together, personal data, and the groups of pairs that share a side."""
    limits = params.validate
    broken = {side: text_faults.undecodable(table[side]) for side in SIDES}
    texts = {side: text_faults.without(table[side], broken[side]) for side in SIDES}
    personal = {side: pii.scan(texts[side], limits.max_characters) for side in SIDES}
    if limits.personal_data == "mask":
        texts = {side: found.masked for side, found in personal.items()}
    faults, checks = find_faults(texts, broken, limits)
    if limits.personal_data == "fail":
        faults["personal_data"] = any_of(found.any_kind for found in personal.values())
        checks += [pii.check(found, table["id"]) for found in personal.values()]
    for side in SIDES:
        table = table.set_column(table.schema.get_field_index(side), side, texts[side])
    sound = [text_faults.without(duplicates.normalise(texts[side]), any_of(faults.values())) for side in SIDES]
    group = pairs.link([table["group"], *sound])
    return Examined(
        table=table.set_column(table.schema.get_field_index("group"), "group", group),
        faults=faults,
        identity=pc.binary_join_element_wise(*sound, pa.scalar("\x1f", sound[0].type)),
        unique=True,
        expectations=expectations(limits),
        checks=checks,
        causes=CAUSES,
        facts=facts(group, personal),
        metrics={f"{side}/personal_data/{kind}": n for side in SIDES for kind, n in personal[side].values.items()},
    )


def find_faults(texts: dict[str, Any], broken: Faults, limits: Validate) -> tuple[dict[str, Any], list[Check]]:
    """Each reason to set a pair aside, of either side or of both; and what is only told of."""
    by_side = [text_faults.text_faults(texts[side], limits.min_characters, limits.max_characters) for side in SIDES]
    faults = {name: any_of(side[name] for side in by_side) for name in by_side[0]}
    faults["null_text"] &= ~any_of(broken.values())
    faults["invalid_utf8"] = any_of(broken.values())
    source, target = texts["source"], texts["target"]
    long = [pairs.lengths(texts[side], getattr(limits, f"{side}_unit")) for side in SIDES]
    ratio = pairs.ratios(*long)
    faults |= {"ratio_too_low": ratio < limits.min_ratio, "ratio_too_high": ratio > limits.max_ratio}
    faults["wrong_script"] = pairs.wrong_script(target, limits.target_script, limits.min_script_share)
    faults["copied_source"] = text_faults.to_mask(pc.equal(*(duplicates.normalise(texts[side]) for side in SIDES)))
    faults["not_composed"] = pairs.not_composed(source) | pairs.not_composed(target)
    differ = pairs.numerals_differ(source, target)
    if limits.numerals == "set_aside":
        return {**faults, "numerals_differ": differ}, []
    return faults, [pairs.report_numerals(differ)]


def facts(group: pa.ChunkedArray, personal: dict[str, pii.Scan]) -> dict[str, str]:
    """How many groups there are, and what of persons."""
    sizes = pc.value_counts(group.drop_null())
    largest = pc.max(sizes.field("counts")).as_py() or 0
    return {
        "Groups of equal sources or targets": f"{len(sizes):,}, the largest of {largest:,} pairs",
        **{f"Personal data, {side}": found.words() for side, found in personal.items()},
    }


def expectations(limits: Validate) -> list[Expectation]:
    """What a table must hold; row by row but for the share that quarantine may take (`mostly`)."""
    mostly: dict[str, Any] = {"mostly": 1 - limits.max_quarantine_fraction}
    low, high = limits.min_characters, limits.max_characters
    found = [expect("the columns are there", "table_columns_to_match_set", column_set=[*SIDES], exact_match=False)]
    for side in SIDES:
        between: dict[str, Any] = {"column": side, "min_value": low, "max_value": high}
        long = f"every {side} has {low:,} to {high:,} characters"
        found += [
            expect(f"every {side} is a string", "column_values_to_be_of_type", column=side, type_="str"),
            expect(f"every row has a {side}", "column_values_to_not_be_null", column=side, **mostly),
            expect(long, "column_value_lengths_to_be_between", **between, **mostly),
        ]
    return found


def checks(kept: pa.Table, params: Any) -> list[Check]:
    """Enough pairs in train, validation and test."""
    parts = {name: kept.filter(pc.equal(kept["split"], name)) for name in pc.unique(kept["split"]).to_pylist()}
    return [tabular.check_rows(parts, params.validate.min_rows)]


def show(kept: pa.Table, splits: Sequence[str], params: Any) -> list[Figure]:  # noqa: ARG001
    """Lengths of both sides, and their ratio."""
    limits = params.validate
    units = {"source": limits.source_unit, "target": limits.target_unit}
    long = {side: pairs.lengths(kept[side], unit) for side, unit in units.items()}
    ratio = pairs.ratios(long["source"], long["target"])
    named = f"Target's {units['target']} for each of the source's {units['source']}"
    return [
        *(figures.histogram(f"{units[side].capitalize()} per {side}", long[side].tolist()) for side in SIDES),
        figures.histogram(named, ratio.tolist()),
    ]
