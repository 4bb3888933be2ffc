"""What a verdict costs: seconds of `bonafide compare` on this repository's own predictions, and its growth with rows.

    python -m benchmarks.comparison [--base REV] [--rows N ...]

`read` is the time to bring both revisions' files and match their rows, `judge` that of every test and interval at
`compare.samples` permutations and resamples, slices included. The committed predictions are judged against TF-IDF's on
the same rows, since a model beside itself is too easy. Bar: 30 s for the repository's own test set.
"""

import argparse
import resource
import sys
import time
from dataclasses import replace

import numpy as np

from bonafide.comparison.compare import judge
from bonafide.comparison.matched_rows import Pair, pair
from bonafide.evaluation import predictions
from bonafide.evaluation.slices import Slice
from bonafide.params.load import load_params
from bonafide.params.sections import Compare
from bonafide.project.files import read_json
from bonafide.project.paths import EVALUATION, PREDICTIONS
from bonafide.project.randomness import generator
from bonafide.provenance.revisions import resolve, workspace
from bonafide.tasks.classification import score

BAR = 30.0


def own(base: str, policy: Compare) -> tuple[float, Pair]:
    """Seconds to read `base` and the workspace, and the workspace's model beside its TF-IDF."""
    start = time.perf_counter()
    found = pair(resolve(base), workspace(), policy.split)
    seconds = time.perf_counter() - start
    split = predictions.read(PREDICTIONS, score.TARGET)[policy.split]
    tfidf, _ = score.comparable(split.systems["tfidf"], read_json(EVALUATION)["settings"])
    order = [split.ids.index(row) for row in sorted(split.ids)]
    return seconds, replace(found, base=tfidf[order]) if len(order) == len(found.targets) else found


def made(rows: int) -> Pair:
    """Two systems of 0.87 accuracy, groups of 4.5 rows, and five columns of four slices."""
    rng = generator(rows)
    group = np.repeat(np.arange(rows), rng.geometric(1 / 4.5, size=rows))[:rows]
    labels = rng.integers(2, size=rows)
    shared = rng.normal(size=rows)
    scores = ((2 * labels - 1) * 1.2 + shared + 0.4 * rng.normal(size=rows) for _ in range(2))
    base, head = (np.stack([1 - p, p], axis=1) for p in (1 / (1 + np.exp(-2 * score)) for score in scores))
    pieces = [
        Slice(f"c{c}", str(v), np.flatnonzero(rng.integers(4, size=rows) == v)) for c in range(5) for v in range(4)
    ]
    settings = {"labels": ["no", "yes"], "calibration_bins": 0}
    targets = np.array(settings["labels"], dtype=object)[labels]
    groups = [f"g{g}" for g in group]
    return Pair("classification", settings, groups, targets, base, head, pieces, "", {"common": rows})


def report(name: str, read: float, found: Pair, policy: Compare) -> float:
    """Judge, print one row of the table and return all seconds."""
    start, busy = time.perf_counter(), time.process_time()
    facts = judge(found, policy)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sizes = f"{facts['rows']['common']:,} | {facts['groups']:,} | {len(facts['slices'])}"
    print(f"| {name} | {sizes} | {read:.1f} | {seconds:.1f} | {busy:.1f} | {peak:.2f} |", flush=True)
    return read + seconds


def main() -> int:
    """Print the table; return 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="HEAD")
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    chosen = parser.parse_args()
    policy = load_params().compare
    print("| predictions | rows | groups | slices | read, s | judge, s | of the CPU, s | peak memory, GB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    seconds = report("this repository's", *own(chosen.base, policy), policy)
    for rows in chosen.rows:
        report("made up", 0.0, made(rows), policy)
    return int(seconds > BAR)


if __name__ == "__main__":
    sys.exit(main())
