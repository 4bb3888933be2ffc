"""Training an image classifier beside its peers, in one run: images a second, and accuracy on test.

    python -m benchmarks.images --data PROJECT [--arms NAME ...] [--steps N] [--repeats N] [--json FILE]

`--data` is a project with params.yaml of `recipes/cifar10_mlp.yaml` or `cifar10.yaml` in which `dvc repro tokenize` was
run. Without `--steps` each arm trains by the whole recipe and is scored on test with the weights of its last step, a
seed a round. `exact` is the engine by the recipe; `keras` is the textbook's program on Keras with torch as its backend
(`pip install keras`, for the MLP); `torch` is a loop as most people write it, with autocast to bf16 where the recipe
has that, on the same network, and `torch-channels-last` the same with that memory format.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import tell
from benchmarks.turns import WARMUP, turns

ARMS = ("exact", "exact-adamw", "keras", "torch", "torch-channels-last")
BARS = {"keras": 3.0}, {"torch": 1.5}  # of the MLP, which alone has that peer, and of the others


def main() -> int:
    """Print a table; return 1 if a bar, the least ratio of `exact` to a peer, is missed or nothing was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["exact", "torch", "torch-channels-last"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not (options.data / "data/tokenized/train/ids.npy").exists():
        parser.exit(2, f"{options.data}: no data/tokenized: run `dvc repro tokenize` there\n")
    left_out: dict[str, str] = {}
    steps = options.steps + WARMUP if options.steps else None
    asked = {"data": options.data.resolve(), "steps": steps, "warmup": WARMUP, "module": "benchmarks.image_networks"}
    rounds = list(turns(options.arms, left_out, [asked | {"seed": seed + 1} for seed in range(options.repeats)]))
    summary: dict[str, dict[str, Any]] = {}
    for arm in rounds[0]:
        speeds = [found[arm]["tokens_per_second"] for found in rounds]
        ratios = [found["exact"]["tokens_per_second"] / found[arm]["tokens_per_second"] for found in rounds]
        scores = {
            name: [found[arm][name] for found in rounds] for name in ("accuracy", "mirrored") if name in rounds[0][arm]
        }
        figures: dict[str, Any] = {
            "images_per_second": statistics.median(speeds),
            "ratio": statistics.median(ratios),
            "peak_mb": statistics.median(found[arm]["peak_mb"] for found in rounds),
        }
        summary[arm] = figures | scores
        shown = "; ".join(f"{name} {statistics.mean(found):.4f} {found}" for name, found in scores.items())
        print(
            f"{arm:20} {statistics.median(speeds):9,.0f} images/s, exact is {statistics.median(ratios):.2f}x  {shown}"
        )
    print(f"{options.repeats} rounds, load average {os.getloadavg()[0]:.1f}")
    bars = BARS["keras" not in summary]
    held = [tell(peer, summary[peer]["ratio"], bar) for peer, bar in bars.items() if peer in summary]
    for arm, reason in left_out.items():
        print(f"{arm:20} left out: {reason}")
    if options.json:
        machine = next(iter(rounds[0].values()))["machine"]
        options.json.write_text(
            json.dumps({"arms": summary, "left_out": left_out, "machine": machine}, indent=2) + "\n"
        )
    return int(not held or not all(held))


if __name__ == "__main__":
    sys.exit(main())
