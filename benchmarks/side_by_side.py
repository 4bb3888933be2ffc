"""The command line of benchmarks.translation and benchmarks.lm: arms take turns, each run in a process of its own."""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.turns import WARMUP, Figures, Round, median, turns


def main(words: str | None, arms: Sequence[str], bars: Mapping[str, float], judged: str) -> int:
    """Print a table; return 1 if a bar (the least ratio of the judged arm to a peer) is missed or nothing was run."""
    options = parse(words, arms, judged)
    left_out: dict[str, str] = {}
    asked = {"data": options.data.resolve(), "steps": options.steps + WARMUP, "warmup": WARMUP}
    asked |= {"nanogpt": options.nanogpt and options.nanogpt.resolve(), "module": "benchmarks.networks"}
    rounds = list(turns(options.arms, left_out, [asked | {"seed": seed + 1} for seed in range(options.repeats)]))
    summary = summarise(rounds, judged)
    print(f"{'':16} {'tokens/s':>9} {judged + ' is':>14} {'MB':>6}   losses: first, early, late")
    for arm, found in summary.items():
        losses = " ".join(f"{found[name]:.3f}" for name in ("first_loss", "early_loss", "late_loss"))
        speed = f"{found['tokens_per_second']:9,.0f} {found['ratio']:13.2f}x"
        print(f"{arm:16} {speed} {found['peak_mb']:6,.0f}   {losses}")
    print(f"{options.steps} steps, {options.repeats} rounds, load average {os.getloadavg()[0]:.1f}")
    held = [tell(peer, summary[peer]["ratio"], bar) for peer, bar in bars.items() if peer in summary]
    for arm, reason in left_out.items():
        print(f"{arm:16} left out: {reason}")
    if options.json:
        machine = next(iter(rounds[0].values()))["machine"]
        options.json.write_text(
            json.dumps({"arms": summary, "left_out": left_out, "machine": machine}, indent=2) + "\n"
        )
    return int(not held or not all(held))


def summarise(rounds: list[Round], judged: str) -> dict[str, Figures]:
    """Medians of each arm, and of how many times its tokens a second the judged arm has, within a round."""
    names = ("tokens_per_second", "peak_mb", "first_loss", "early_loss", "late_loss")
    summary = {arm: {name: median(rounds, arm, name) for name in names} for arm in rounds[0]}
    for arm, found in summary.items():
        speeds = [[one[name]["tokens_per_second"] for name in (judged, arm)] for one in rounds]
        found["ratio"] = statistics.median(ours / theirs for ours, theirs in speeds)
    return summary


def tell(peer: str, ratio: float, bar: float) -> bool:
    """Print whether a bar holds."""
    print(f"{'holds ' if ratio >= bar else 'MISSED'} {ratio:.2f} times {peer}, bar {bar}")
    return ratio >= bar


def parse(words: str | None, arms: Sequence[str], judged: str) -> argparse.Namespace:
    """The command line; ends with one line if the data is not there."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=arms, default=list(arms))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if judged not in options.arms:
        parser.error(f"--arms: {judged} is what the others are held against")
    if not (options.data / "data/tokenized/train/ids.npy").exists():
        parser.exit(2, f"{options.data}: no data/tokenized: run `dvc repro tokenize` there\n")
    return options
