"""Arms of a benchmark take turns, each run in a process of its own."""

import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any

MEASURED = "benchmarks.measured"  # the module that runs an arm
WARMUP = 4  # steps before the clock starts
Figures = dict[str, Any]
Round = dict[str, Figures]
"""An arm's figures by its name."""


def measure(module: str, options: Figures) -> Figures:
    """An arm's figures, in the process that this is called in: torch must not be in the parent's memory."""
    measured = import_module(module)
    return measured.measure(measured.Spec(**options))  # type: ignore[no-any-return]


def run(arm: str, left_out: dict[str, str], module: str = MEASURED, **options: Any) -> Figures | None:
    """One arm in a fresh process; None, with the reason noted, where it cannot be run here."""
    if arm in left_out:
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            figures = pool.submit(measure, module, {"arm": arm} | options).result()
        except ImportError as error:
            left_out[arm] = str(error)
            return None
    scored = f", macro F1 {figures['f1_macro']:.3f}" if "f1_macro" in figures else ""
    print(
        f"{arm}, seed {options.get('seed', 1)}: {figures['tokens_per_second']:,.0f} tokens/s{scored}", file=sys.stderr
    )
    return figures


def turns(arms: list[str], left_out: dict[str, str], rounds: list[Figures]) -> Iterator[Round]:
    """A round per entry of `rounds`, its options; each begins with another arm."""
    for number, options in enumerate(rounds):
        turned = arms[number % len(arms) :] + arms[: number % len(arms)]
        found = {arm: run(arm, left_out, **options) for arm in turned}
        yield {arm: figures for arm in arms if (figures := found[arm]) is not None}


def median(rounds: list[Round], arm: str, name: str) -> float:
    """The median of an arm's figure over the rounds."""
    return float(statistics.median(found[arm][name] for found in rounds))
