"""The gate at a million rows: seconds and memory of each part of validate, on sound rows, bad rows and variants.

    python -m benchmarks.validation [--rows 1000000] [--json FILE]

A table of its own making, and the real stage function in a temporary folder; each case in a process of its own, since
peak memory only grows. `gate` is everything but near-duplicates. Bars, on 2 cores: the gate 60 s, near-duplicates
300 s more, 3 GB. The processes that hash texts hold a chunk of 8,192 rows each.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
WORDS = 25  # about 160 characters, a review sentence or two
CHUNK = 50_000
BARS = {"gate": 60.0, "near_duplicates": 300.0, "memory_gb": 3.0}


def vocabulary(chance: random.Random) -> list[str]:
    """Make up 20,000 words."""
    return ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(20_000)]


def sound(row: int, chance: random.Random, words: list[str]) -> tuple[str, str]:
    """Random words: no fault, no near-duplicate."""
    return f"{' '.join(chance.choices(words, k=WORDS))}.", ("negative", "positive")[row % 2]


def bad(row: int, chance: random.Random, words: list[str]) -> tuple[str, str]:
    """Five faults of characters, an e-mail address, a telephone number and an undeclared label, in every row."""
    text = " ".join(chance.choices(words, k=WORDS - 2))
    return f"{text} \u0007\u202e\u200b\ufffd cafÃ© bob@example.com +1 212 555 0199", f"label {row % 7}"


def private(row: int, chance: random.Random, words: list[str]) -> tuple[str, str]:
    """Personal data of every kind in every row."""
    text = " ".join(chance.choices(words, k=WORDS - 8))
    values = "bob@example.com 4111 1111 1111 1111 DE89370400440532013000 11010519491231002X 81.2.69.142"
    return f"{text} AKIAIOSFODNN7EXAMPLE {values} +1 212 555 0199", ("negative", "positive")[row % 2]


def variant(row: int, _chance: random.Random, _words: list[str]) -> tuple[str, str]:
    """One template with a number in it: all rows fall into the same buckets, most pairs near the threshold."""
    return f"my order number {row * 7919 % 1_000_003} arrived late and the box was damaged again", "positive"


CASES: dict[str, Callable[[int, random.Random, list[str]], tuple[str, str]]] = {
    "sound": sound,
    "bad": bad,
    "private": private,
    "variants": variant,
}


def tables(case: str, rows: int) -> Iterator[pa.Table]:
    """The raw table of a case, in pieces."""
    chance = random.Random(1)  # noqa: S311 - a benchmark
    words = vocabulary(chance)
    for start in range(0, rows, CHUNK):
        numbers = range(start, min(start + CHUNK, rows))
        made = [CASES[case](row, chance, words) for row in numbers]
        texts, labels = zip(*made, strict=True)
        yield pa.table({"id": [f"r{row}" for row in numbers], "text": texts, "label": labels})


def write_table(path: Path, case: str, rows: int) -> None:
    """Write the raw table as fetch would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pieces = tables(case, rows)
    first = next(pieces)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for piece in pieces:
            writer.write_table(piece)


def measure(case: str, folder: str, results: Any) -> None:
    """Run the stage in `folder` and send its figures."""
    os.chdir(folder)
    from bonafide.params.load import load_params
    from bonafide.project.errors import InputError
    from bonafide.quality import duplicates
    from stages.validate import validate

    near: list[float] = []
    untimed = duplicates.find_near

    def timed(*arguments: Any) -> duplicates.Near:
        began = time.perf_counter()
        found = untimed(*arguments)
        near.append(time.perf_counter() - began)
        return found

    params = load_params(ROOT / "params.yaml")
    began = time.perf_counter()
    try:
        with patch.object(duplicates, "find_near", timed):
            outcome = f"passes, {validate(params)['validate/quarantined']:,.0f} set aside"
    except InputError as error:
        outcome = f"stops, {len(str(error).splitlines())} broken expectations"
    seconds = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    page = Path("reports/validate/index.html").stat().st_size
    results.put(
        {
            "case": case,
            "outcome": outcome,
            "gate": seconds - sum(near),
            "near_duplicates": sum(near),
            "cpu": sum(usage.ru_utime + usage.ru_stime for usage in used),
            "memory_gb": used[0].ru_maxrss / 1e6,
            "page_bytes": page,
        }
    )


def run(case: str, rows: int) -> dict[str, Any]:
    """One case in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "data/raw/table.parquet", case, rows)
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=measure, args=(case, folder, results))
        process.start()
        figures: dict[str, Any] = results.get()
        process.join()
    return figures


def main() -> int:
    """Print a line per case; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = [run(case, arguments.rows) for case in arguments.cases]
    for f in figures:
        print(
            f"{f['case']:9} {arguments.rows:,} rows: gate {f['gate']:.1f} s, near {f['near_duplicates']:.1f} s, "
            f"CPU {f['cpu']:.0f} s, peak {f['memory_gb']:.2f} GB, page {f['page_bytes'] / 1e3:.0f} kB; {f['outcome']}"
        )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": arguments.rows, "cases": figures}, indent=2) + "\n")
    return int(any(f[name] > bar for f in figures for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())
