"""The trials of a sweep, and what their results say: mean, spread over seeds, and the best by validation.

Test figures are looked at once, for the best: chosen among by test, they would flatter it.
"""

import hashlib
import itertools
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonafide.params.load import load_params
from bonafide.params.sections import Params
from bonafide.project.errors import InputError
from bonafide.project.files import write_bytes
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import parse_yaml

Facts = dict[str, Any]
LEVEL = 0.95


@dataclass(frozen=True)
class Trial:
    """One experiment: some params changed from the committed ones."""

    name: str
    """Of the DVC experiment: a hash of commit, overrides and seed, so that it has one name in every sweep."""
    overrides: tuple[str, ...]
    """`key=value` in Hydra's grammar, as `dvc exp run --set-param` reads them; the seed is not among them."""
    seed: int
    threads: int
    processes: int

    @property
    def settings(self) -> list[str]:
        """What `dvc exp run` is to set."""
        return [*self.overrides, f"seed={self.seed}"]


def read_overrides(given: Sequence[str]) -> list[Any]:
    """Hydra's overrides, parsed; raise InputError that names the one that cannot be."""
    from dvc.utils.hydra import to_hydra_overrides

    found = []
    for text in given:
        try:
            found += to_hydra_overrides([text])
        except Exception as error:  # noqa: BLE001 - Hydra's parser raises what ANTLR raises
            raise InputError(f"--set-param {text}: {str(error).splitlines()[0]}") from None
    keys = [override.key_or_group for override in found]
    repeated = [key for key in keys if keys.count(key) > 1]
    if repeated:
        raise InputError(f"--set-param {repeated[0]}: given twice; separate the values by commas")
    return found


def is_axis(override: Any) -> bool:
    """Whether it is a discrete list: `a,b`, `choice(...)` or `range(...)`; raise InputError for any other sweep."""
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise InputError(f"--set-param {override.input_line}: has no end; add --search N")
    if override.is_sweep_override() and override.value_type.name == "GLOB_CHOICE_SWEEP":
        raise InputError(f"--set-param {override.input_line}: glob() is not a list of values")
    return bool(override.is_sweep_override())


def grid(overrides: Sequence[Any]) -> list[tuple[str, ...]]:
    """Every combination of the listed values, in the order in which they are given."""
    axes = []
    for override in overrides:
        key = override.get_key_element()
        listed = override.sweep_string_iterator() if is_axis(override) else [override.get_value_element_as_str()]
        axes.append([f"{key}={value}" for value in listed])
    return list(itertools.product(*axes))


def build_trials(commit: str, base: str, cells: Iterable[tuple[str, ...]], seeds: int) -> list[Trial]:
    """Each cell of the grid with so many seeds, from params.yaml's own upwards; `base` is the text of that file.

    Raise InputError where params.yaml would refuse the values.
    """
    made = []
    for cell in cells:
        params = _set(base, cell)
        own = tuple(text for text in cell if not text.startswith("seed="))
        for seed in range(params.seed, params.seed + seeds):
            facts = json.dumps([commit, own, seed])
            name = f"sweep-{hashlib.sha256(facts.encode()).hexdigest()[:10]}"
            made.append(Trial(name, own, seed, params.threads, params.machine.processes))
    return made


def _set(base: str, overrides: Sequence[str]) -> Params:
    """Params as `dvc exp run` would set them."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS.name
        write_bytes(path, base.encode())
        shown = f"--set-param {' '.join(overrides)}"
        try:
            apply_overrides(path, list(overrides))
        except DvcException as error:
            raise InputError(f"{shown}: {str(error.__cause__ or error).splitlines()[0]}") from None
        try:
            return load_params(path)
        except InputError as error:
            raise InputError(f"{shown}: {str(error).removeprefix(f'{path}: ')}") from None


def primary(base: str) -> tuple[str, str]:
    """The metric that chooses, on validation, and which way is better: ("validation/f1_macro", "max")."""
    from bonafide.protocol import Score, load

    metric = load(parse_yaml(base, str(PARAMS))["task"]["name"], Score).METRICS[0]
    return f"validation/{metric.name}", "max" if metric.higher_is_better else "min"


def spread(values: Sequence[float]) -> Facts:
    """Mean, sample standard deviation, and Student's interval of the mean over seeds; None where one value has none."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return {"n": 1, "mean": mean, "sd": None, "low": None, "high": None}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * deviation / math.sqrt(n)
    return {"n": n, "mean": mean, "sd": deviation, "low": mean - half, "high": mean + half}


def summarise(trials: Sequence[Trial], metrics: dict[str, dict[str, float]], chooser: tuple[str, str]) -> Facts:
    """The grid's cells with their spread over seeds, and the best of those that are complete.

    `metrics` has the reports of the finished trials by name. A cell that lacks a seed is not compared: seeds that fail
    are seldom the good ones.
    """
    metric, direction = chooser
    cells: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        cells.setdefault(trial.overrides, []).append(trial)
    rows: list[Facts] = []
    for cell, members in cells.items():
        found = [metrics[trial.name][metric] for trial in members if trial.name in metrics]
        complete = len(found) == len(members)
        rows.append({"params": list(cell), "complete": complete, "validation": spread(found) if found else None})
    ready = [(row, members) for row, members in zip(rows, cells.values(), strict=True) if row["complete"]]
    sign = 1 if direction == "max" else -1
    best = max(ready, key=lambda pair: sign * pair[0]["validation"]["mean"], default=None)
    facts: Facts = {"metric": metric, "direction": direction, "grid": rows, "best": None}
    if best:
        facts["best"] = {
            **best[0],
            "experiments": [trial.name for trial in best[1]],
            "test": _held_out(best[1], metrics),
        }
    return facts


def _held_out(trials: Sequence[Trial], metrics: dict[str, dict[str, float]]) -> Facts:
    """Spread over seeds of everything measured beside validation."""
    reports = [metrics[trial.name] for trial in trials]
    shared = set.intersection(*(set(report) for report in reports))
    return {key: spread([r[key] for r in reports]) for key in sorted(shared) if not key.startswith("validation/")}
