"""Training speed beside its peers, in one run: real tokens per second, memory, share of the machine's matrix rate.

    python -m benchmarks.training [--data PATH] [--device cpu|cuda] [--arms NAME ...] [--steps N] [--repeats N]
                                  [--accuracy [--seeds N] [--sample SHARE]] [--growth] [--json FILE]

`--data` is a project in which `dvc repro tokenize` was run. The peers need `pip install accelerate` besides the
lock, one of them sentence-transformers too. Each run has a process of its own; the arms take turns, `--repeats`
rounds of them, and ratios are taken within a round. Every arm trains on the same rows for 4 steps and then `--steps`
timed ones. The rows are those of exactly `--steps` batches, so that the timed stretch is one epoch long
however the batches are ordered: HF's group_by_length begins with the longest. It sorts 50 batches together, so 50
steps are what a whole table is to it.

`exact` and `fast` are as in params.yaml, so their products are bf16 where the machine has it; `exact-fp32` and
`trainer-bf16` are for a comparison of like with like.

`--accuracy` adds the whole recipe with `--seeds` seeds, scored on test; `--growth` adds longer texts, more rows and
more processes, all made up. Bars are for the `exact` engine, and the matrix rate's only for a CPU. Sizes, MFU and the
price of strict mode on a GPU: benchmarks/gpu.py.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.turns import WARMUP, Figures, Round, median, run, turns
from bonafide.datasets import ragged
from bonafide.params.load import load_params
from bonafide.project import environment

ROOT = Path(__file__).parents[1]
ARMS = ("defaults", "trainer", "trainer-bf16", "loop", "sentence-transformers", "exact", "fast", "exact-fp32")
JUDGED = "exact"
BARS = {"ratio_vs_trainer": 1.5, "ratio_vs_defaults": 6.0, "gemm_fraction": 0.70}


def summarise(rounds: list[Round], device: str) -> Figures:
    """Medians per arm; ratios and the share of the matrix rate, each taken within a round, of the judged engine."""
    arms = list(rounds[0])
    summary: Figures = {
        "tokens_per_second": {arm: median(rounds, arm, "tokens_per_second") for arm in arms},
        "peak_mb": {arm: median(rounds, arm, "peak_mb") for arm in arms},
        "gemm_gflops": statistics.median(figures["gemm_gflops"] for found in rounds for figures in found.values()),
        "gemm_fractions": {arm: statistics.median(gemm_fraction(found, arm) for found in rounds) for arm in arms},
        "sane_losses": {arm: all(is_sane(found[arm]) for found in rounds) for arm in arms},
        "device": device,
    }
    for name in arms:
        speeds = [{arm: found[arm]["tokens_per_second"] for arm in arms} for found in rounds]
        summary[f"ratios_vs_{name}"] = {
            arm: statistics.median(speed[arm] / speed[name] for speed in speeds) for arm in arms
        }
    for peer in ("defaults", "trainer"):
        summary[f"ratio_vs_{peer}"] = summary.get(f"ratios_vs_{peer}", {}).get(JUDGED)
    return summary | {"gemm_fraction": summary["gemm_fractions"].get(JUDGED)}


def gemm_fraction(found: Round, arm: str) -> float:
    """The share of the round's matrix rate that the arm's necessary multiplications make up (6 per weight and token).

    On a GPU, of the bf16 peak: model FLOPs utilisation. Attention scores and recomputation do not count.
    """
    rate = statistics.median(figures["gemm_gflops"] for figures in found.values()) * 1e9
    return float(6 * found[arm]["weights"] * found[arm]["tokens_per_second"] / rate)


def is_sane(figures: Figures) -> bool:
    """Whether the first loss is a guess between two classes and, after 20 steps, later ones are below early ones."""
    falls = figures["late_loss"] < figures["early_loss"] or figures["steps"] < 20
    return bool(falls and abs(figures["first_loss"] - math.log(2)) < 0.25)


def judge(summary: Figures, arms: list[str]) -> dict[str, Figures]:
    """The bars of the arms that were asked for; what could not be measured does not hold."""
    peers = {"ratio_vs_trainer": "trainer", "ratio_vs_defaults": "defaults", "gemm_fraction": JUDGED}
    skipped = {"gemm_fraction"} if summary["device"] == "cuda" else set()
    bars: dict[str, Figures] = {}
    for name, bar in BARS.items():
        if {JUDGED, peers[name]} <= set(arms) and name not in skipped:
            value = summary[name]
            bars[name] = {"value": value, "bar": bar, "holds": value is not None and value >= bar}
    if {JUDGED, "trainer"} <= set(arms):
        value, bar = (summary["peak_mb"].get(arm) for arm in (JUDGED, "trainer"))
        bars["peak_mb"] = {"value": value, "bar": bar, "holds": None not in (value, bar) and value <= bar}
    bars["sane_losses"] = {
        "value": sum(summary["sane_losses"].values()),
        "bar": len(summary["sane_losses"]),
        "holds": all(summary["sane_losses"].values()),
    }
    return bars


def speed(options: argparse.Namespace, left_out: dict[str, str]) -> Figures:
    """The arms side by side; print a table and return the summary with its bars."""
    batch = load_params(ROOT / "params.yaml").train.batch_size
    asked = {"rows": options.steps * batch, "steps": options.steps + WARMUP, "warmup": WARMUP, **where(options)}
    rounds = list(turns(options.arms, left_out, [asked | {"seed": seed + 1} for seed in range(options.repeats)]))
    if not rounds[0]:
        return {}
    summary = summarise(rounds, options.device)
    print(f"{'':22} {'tokens/s':>9} {'vs defaults':>11} {'vs trainer':>10} {'of matrix rate':>14} {'MB':>6}   losses")
    for arm, found in summary["tokens_per_second"].items():
        ratios = [summary.get(f"ratios_vs_{peer}", {}).get(arm, math.nan) for peer in ("defaults", "trainer")]
        losses = " ".join(f"{median(rounds, arm, name):.3f}" for name in ("first_loss", "early_loss", "late_loss"))
        share = summary["gemm_fractions"][arm]
        memory = summary["peak_mb"][arm]
        print(f"{arm:22} {found:9,.0f} {ratios[0]:11.2f} {ratios[1]:10.2f} {share:14.3f} {memory:6,.0f}   {losses}")
    print(f"matrix rate {summary['gemm_gflops']:,.0f} GFLOP/s, load average {os.getloadavg()[0]:.1f}")
    bars = judge(summary, options.arms)
    for name, bar in bars.items():
        print(f"{'holds ' if bar['holds'] else 'MISSED'} {name}: {show(bar['value'])}, bar {show(bar['bar'])}")
    return summary | {"bars": bars, "machine": next(iter(rounds[0].values()))["machine"]}


def show(value: float | None) -> str:
    """A figure, or that there is none."""
    return "not measured" if value is None else f"{value:,.4g}"


def where(options: argparse.Namespace) -> Figures:
    """The options that every run shares."""
    return {"data": options.data.resolve(), "device": options.device}


def accuracy(options: argparse.Namespace, left_out: dict[str, str]) -> Figures:
    """The whole recipe with every seed, on a share of the training rows: macro F1 on test and speed."""
    recipe = load_params(ROOT / "params.yaml").train
    rows = round(options.sample * len(ragged.read(options.data / "data/tokenized/train")))
    steps = -(-rows // recipe.batch_size) * recipe.epochs
    asked = {"rows": rows, "steps": steps, "warmup": min(WARMUP, steps - 1), "score": True, **where(options)}
    rounds = list(turns(options.arms, left_out, [asked | {"seed": seed + 1} for seed in range(options.seeds)]))
    print(f"\n{steps} steps on {rows:,} rows, {options.seeds} seeds")
    summary = {}
    for arm in rounds[0]:
        scores = [found[arm]["f1_macro"] for found in rounds]
        rate = median(rounds, arm, "tokens_per_second")
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(
            f"{arm:22} test f1_macro {statistics.mean(scores):.4f}, sd {spread:.4f}, "
            f"{min(scores):.4f} to {max(scores):.4f}; {rate:,.0f} tokens/s"
        )
        summary[arm] = {"mean": statistics.mean(scores), "sd": spread, "scores": scores, "tokens_per_second": rate}
    return summary


def make_rows(folder: Path, rows: int, shortest: int, longest: int) -> None:
    """Write a split of random tokens, lengths drawn evenly between two bounds."""
    chance = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(chance.integers(shortest, longest, rows, endpoint=True))])
    ids = chance.integers(1000, 30_000, offsets[-1], dtype=np.int32)
    names = np.array([f"r{row}" for row in range(rows)])
    ragged.write(folder, ragged.Tokens(ids, offsets.astype(np.int64), chance.integers(0, 2, rows), names).arrays)


def growth_cases(steps: int, batch: int) -> Iterator[tuple[str, list[str], tuple[int, int, int], Figures]]:
    """Name, arms, (rows, shortest, longest) and options of each case: texts of equal tokens in all, rows, processes."""
    budget = max(1, steps // 10) * batch * 512
    for length in (16, 64, 128, 256, 512):
        needed = budget // (batch * length)
        made = (needed * batch, length, length)
        yield f"texts of {length} tokens", ["trainer", JUDGED], made, {"steps": needed + 1, "warmup": 1}
    few = {"steps": steps // 2 + WARMUP, "warmup": WARMUP}
    for rows in (1000, 100_000, 1_000_000):
        yield f"{rows:,} rows", ["trainer", JUDGED], (rows, 8, 44), few
    for processes in (1, 2):
        yield f"{processes} processes", [JUDGED], (10_000, 8, 44), few | {"processes": processes}


def growth(options: argparse.Namespace, left_out: dict[str, str]) -> Figures:
    """How speed, set-up and memory go with the length of texts, the number of rows and the number of processes."""
    batch = load_params(ROOT / "params.yaml").train.batch_size
    summary: Figures = {}
    print(f"\n{'':22} {'':22} {'tokens/s':>9} {'to first step':>13} {'MB':>6}")
    for name, arms, (rows, shortest, longest), asked in growth_cases(options.steps, batch):
        with tempfile.TemporaryDirectory() as folder:
            make_rows(Path(folder), rows, shortest, longest)
            for arm in (arm for arm in arms if arm in options.arms):
                figures = run(arm, left_out, tokens=Path(folder), **asked, **where(options))
                if figures is None:
                    continue
                kept = {key: figures[key] for key in ("tokens_per_second", "set_up_s", "peak_mb")}
                print(f"{name:22} {arm:22} {kept['tokens_per_second']:9,.0f} {kept['set_up_s']:11.1f} s", end=" ")
                print(f"{kept['peak_mb']:6,.0f}")
                summary.setdefault(name, {})[arm] = kept
    return summary


def parse() -> argparse.Namespace:
    """The command line; ends with one line if the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3, help="0: no speed run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sample", type=float, default=1.0, help="share of the training rows, for --accuracy")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for part in ("models/base/config.json", "data/tokenized/labels.json", "data/tokenized/train/offsets.npy"):
        if not (options.data / part).exists():
            parser.exit(2, f"{options.data / part} is not there: run `dvc repro tokenize` or say --data PROJECT\n")
    return options


def main() -> int:
    """Print a table per part; return 1 if a bar is missed or nothing could be measured."""
    options = parse()
    environment.prepare()
    left_out: dict[str, str] = {}
    summary = speed(options, left_out) if options.repeats else {}
    if options.accuracy:
        summary["accuracy"] = accuracy(options, left_out)
    if options.growth:
        summary["growth"] = growth(options, left_out)
    for arm, reason in left_out.items():
        print(f"{arm:22} left out: {reason}")
    if options.json:
        asked = {"steps": options.steps, "repeats": options.repeats, "device": options.device}
        options.json.write_text(json.dumps(summary | {"left_out": left_out} | asked, indent=2) + "\n")
    return int(not summary or not all(bar["holds"] for bar in summary.get("bars", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
