"""Reading a million rows: CPU seconds and peak memory of each format, each in a process of its own.

    python -m benchmarks.reading [--rows 1000000] [--json FILE]

Of every five texts one is quoted, with quotes and a line end in it. Bars of memory are the figures of the readers
before 2026-11-30, measured in the same way at a million rows: 371 MB for CSV, 580 for JSON Lines, 653 for Parquet.
"""

import argparse
import csv
import gzip
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.validation import tables

BARS = {"t.csv": 371.0, "t.csv.gz": 371.0, "t.tsv": 371.0, "t.jsonl": 580.0, "t.parquet": 653.0}  # MB
NOISE = 1.05
WANTED = {"id": "data.columns.id", "text": "data.columns.text", "label": "data.columns.label"}


def write(folder: Path, rows: int) -> None:
    """Write the same rows in every format."""
    made = [row for piece in tables("sound", rows) for row in piece.to_pylist()]
    for number, row in enumerate(made):
        row["text"] += ', "so"\nhe said' if number % 5 == 0 else ""
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([list(WANTED), *(row.values() for row in made)])
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes(), 1))
    with (folder / "t.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row | {"number": number}) + "\n" for number, row in enumerate(made))
    columns = {name: [row[name] for row in made] for name in WANTED}
    pq.write_table(pa.table(columns), folder / "t.parquet")


def measure(path: str, results: Any) -> None:
    """Read one file and send its figures."""
    from bonafide.sources.tables import read_table

    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    rows = len(read_table(Path(path), WANTED).table)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    results.put({"rows": rows, "cpu": cpu, "wall": wall, "memory_mb": after.ru_maxrss * 1024 / 1e6})


def run(path: Path) -> dict[str, Any]:
    """One file in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(str(path), results))
    process.start()
    figures: dict[str, Any] = results.get()
    process.join()
    return figures | {"file": path.name}


def main() -> int:
    """Print a line per format; return 1 if one needs more memory than its bar or loses a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        writer = context.Process(target=write, args=(Path(folder), arguments.rows))  # its memory is not the readers'
        writer.start()
        writer.join()
        figures = [run(Path(folder) / name) for name in BARS]
    for f in figures:
        seconds = f"CPU {f['cpu']:.2f} s, wall {f['wall']:.2f} s"
        print(f"{f['file']:10} {f['rows']:,} rows: {seconds}, peak {f['memory_mb']:.0f} MB")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": arguments.rows, "files": figures}, indent=2) + "\n")
    return int(any(f["rows"] != arguments.rows or f["memory_mb"] > NOISE * BARS[f["file"]] for f in figures))


if __name__ == "__main__":
    sys.exit(main())
