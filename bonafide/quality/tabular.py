"""Checks of numbers and categories that a target is predicted from, once their splits are known.

Numbers are finite and no category is missing: such rows were set aside. Columns are (n,) arrays of train, but where a
split is compared with it. What only reports passes, and has a detail.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Floats
from bonafide.quality.checks import Check, listed
from bonafide.quality.splits import FITTED

TARGET = "target"
ENOUGH = 20  # values other than 0 in a split whose median says something
OUTLYING = 10  # deviations from the mean
DEPENDENT = 1e-10  # share of a standardised column's variance that other columns leave unexplained
FEATURES = "task.numbers or task.categories"


def check_rows(parts: Mapping[str, pa.Table], least: int) -> Check:
    """Demand rows in train, validation and test."""
    rows = {name: len(parts[name]) if name in parts else 0 for name in FITTED}
    few = [f"{name} has {n:,}" for name, n in rows.items() if n < least]
    sentence = f"train, validation and test have at least {least:,} rows"
    found = _check("rows_in_splits", sentence, "splits", few, len(FITTED))
    return _decided(found, "min_rows", least, min(rows.values()) or None)


def check_constants(numbers: Mapping[str, Floats], categories: Mapping[str, Any], target: Floats) -> Check:
    """Forbid columns with one value: nothing can be learned from them."""
    constant = [name for name, values in numbers.items() if np.ptp(values) == 0]
    constant += [name for name, values in categories.items() if len(values.dictionary) == 1]
    remedy = [f"{name!r} has one value: take it out of {FEATURES}" for name in constant]
    if np.ptp(target) == 0:
        remedy.insert(0, f"{TARGET!r} has one value: data.columns.target names a column that tells nothing")
    return _check(
        "constant_column", "every column has two values or more", "train", remedy, len(numbers) + len(categories) + 1
    )


def check_leaks(numbers: Mapping[str, Floats], categories: Mapping[str, Any], target: Floats, most: float) -> Check:
    """Limit how much a column says of the target: |r| of both or of either's logarithm, of a category eta."""
    strength = {name: correlation(values, target) for name, values in numbers.items()}
    strength |= {name: _eta(values.indices.to_numpy(), target) for name, values in categories.items()}
    leaks = {name: r for name, r in strength.items() if r > most}
    details = [f"{name!r} has {r:.4f}: take it out of {FEATURES}" for name, r in leaks.items()]
    sentence = f"no column's correlation with the target is above {most:g}: it would hold the target itself"
    found = _check("target_leak", sentence, "train", details, len(strength))
    return _decided(found, "max_target_correlation", most, max(leaks.values(), default=None))


def correlation(values: Floats, target: Floats) -> float:
    """The largest |Pearson's r| of values and target (n,), each as it is or, where all are above 0, its logarithm."""
    ways = [[a] + ([np.log(a)] if (a > 0).all() else []) for a in (values, target)]
    found = (abs(float(_standardised(a) @ _standardised(b))) / len(a) for a in ways[0] for b in ways[1])
    return min(1.0, max(found))


def _eta(codes: Any, target: Floats) -> float:
    """The correlation ratio (Pearson 1905): the root of the share of variance that lies between categories."""
    z = _standardised(target)
    sums, rows = np.bincount(codes, weights=z), np.bincount(codes)
    return min(1.0, float(np.sqrt(np.sum(sums**2 / np.maximum(rows, 1)) / len(z))))


def check_ids(categories: Mapping[str, Any], least: int) -> Check:
    """Demand rows for a category's values: one with almost as many values as rows is an id."""
    spread = {name: len(values) / max(1, len(values.dictionary)) for name, values in categories.items()}
    ids = {name: rows for name, rows in spread.items() if rows < least}
    details = [
        f"{name!r} has {len(categories[name].dictionary):,} values in {len(categories[name]):,} rows: "
        "take it out of task.categories"
        for name in ids
    ]
    found = _check("id_as_feature", f"a category's value has {least:,} rows on average", "train", details, len(spread))
    return _decided(found, "min_rows_per_value", least, int(min(ids.values(), default=0)) or None)


def check_units(split: str, part: pa.Table, train: Mapping[str, Floats], most: float) -> Check:
    """Limit how far the median of a column's values other than 0 may be from train's: feet are not metres."""
    ratios = {}
    for name, values in train.items():
        here, there = (np.abs(found[found != 0]) for found in (part[name].to_numpy(), values))
        if min(len(here), len(there)) >= ENOUGH:
            ratios[name] = float(np.median(here) / np.median(there))
    off = {name: ratio for name, ratio in ratios.items() if max(ratio, 1 / ratio) > most}
    details = [f"that of {name!r} is {ratio:.4g} times train's: convert it in the table" for name, ratio in off.items()]
    sentence = f"no column's median is more than {most:g} times train's, nor train's of it"
    widest = max((max(ratio, 1 / ratio) for ratio in off.values()), default=None)
    return _decided(_check("unit_change", sentence, split, details, len(ratios)), "max_median_ratio", most, widest)


def report_collinearity(numbers: Mapping[str, Floats]) -> Check:
    """Name the numbers that others add up to: their weights mean nothing by themselves, predictions are the same."""
    varying = [name for name, values in numbers.items() if np.ptp(values) > 0]
    scaled = np.stack([_standardised(numbers[name]) for name in varying]) if varying else np.zeros((0, 1))
    gram = scaled @ scaled.T / scaled.shape[1]
    rank = _rank(gram)
    drops = [name for i, name in enumerate(varying) if _rank(np.delete(np.delete(gram, i, 0), i, 1)) == rank]
    detail = f"rank {rank} of {len(varying)}: each of {listed([repr(n) for n in drops])} is a sum of others"
    sentence = "numbers that others add up to are known; predictions do not depend on which of them has the weight"
    return _report("collinearity", sentence, "train", detail if drops else "", len(varying))


def _rank(gram: Floats) -> int:
    return int((np.linalg.eigvalsh(gram) > DEPENDENT).sum()) if len(gram) else 0


def report_outliers(numbers: Mapping[str, Floats]) -> Check:
    """Name columns with a value far from all others; it stays."""
    far = {name: float(np.abs(_standardised(v)).max()) for name, v in numbers.items() if np.ptp(v) > 0}
    found = [f"{name!r} by {z:.0f}" for name, z in sorted(far.items(), key=lambda item: -item[1]) if z > OUTLYING]
    sentence = f"values more than {OUTLYING} deviations from their mean are known; validate.ranges sets them aside"
    return _report("outliers", sentence, "train", f"at most {listed(found)} deviations" if found else "", len(numbers))


def report_unseen(split: str, part: pa.Table, categories: Mapping[str, Any]) -> Check:
    """Count the rows whose category train lacks; they are encoded as no category."""
    unseen = {
        name: len(part) - pc.sum(pc.is_in(part[name], value_set=values.dictionary)).as_py()
        for name, values in categories.items()
        if len(part)
    }
    found = [f"{rows:,} rows by {name!r}" for name, rows in unseen.items() if rows]
    sentence = "categories that train lacks are known; they are encoded as all zeros"
    return _report("unseen_category", sentence, split, listed(found), len(part))


def _check(name: str, sentence: str, rows: str, details: Sequence[str], checked: int) -> Check:
    return Check(name, sentence, rows, checked, len(details), not details, detail=listed(details))


def _report(name: str, sentence: str, rows: str, detail: str, checked: int) -> Check:
    return Check(name, sentence, rows, checked, 0, passed=True, detail=detail)


def _decided(check: Check, key: str, value: float, passing: float | None) -> Check:
    """Name the param behind a check, and what of it would let the table pass, in four digits and not below it."""
    offer = None if check.passed or passing is None else math.ceil(round(passing * 1e4, 6)) / 1e4
    return replace(check, key=f"validate.{key}", value=value, passing=offer)


def _standardised(values: Floats) -> Floats:
    deviation = values.std()
    return (values - values.mean()) / deviation if deviation else np.zeros_like(values)
