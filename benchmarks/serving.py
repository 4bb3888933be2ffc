"""The service beside a tutorial's, in one run: latency and throughput as clients grow, on the same model and texts.

    python -m benchmarks.serving [--data PATH] [--arms NAME ...] [--clients N ...] [--requests N] [--texts N]
                                 [--repeats N] [--json FILE]

`--data` is a project in which `dvc repro evaluate` was run. Arms: `service`, the package that `bonafide promote` makes
behind MLflow's server, as `make serve` runs it; `alone`, the same without batches across requests; `pipeline`,
transformers' pipeline behind FastAPI, as tutorials write it, cut at the same length. Each server has a process of its
own and one worker; at each number of clients the arms take turns, `--repeats` rounds of them, and ratios are taken
within a round. A client sends its next request, of `--texts` texts, when it has the answer to the last. The clients
run on the machine of the servers, as threads of one process, and take their share of it; `CPU ms` is what the server
used for a text, which other work on the machine disturbs least.

Before anything is timed each arm must give the probabilities of evaluate, `service` and `alone` within 1e-6, the
pipeline, whose padded batches round otherwise, within 1e-4; that is the only bar.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.servers import APPS, Answer, Client, Server, serving, to_probabilities
from bonafide.project import environment
from bonafide.project.yaml_files import read_yaml
from bonafide.registry import mlflow_package
from bonafide.registry.serving import predictor

Figures = dict[str, Any]
BARS = {"service": 1e-6, "alone": 1e-6, "pipeline": 1e-4}


def drift(arm: str, port: int, texts: Sequence[str], expected: Any, labels: Sequence[str]) -> float:
    """The largest difference from evaluate's probabilities."""
    client = Client(arm, port)
    found = [row for text in texts for row in to_probabilities(arm, client.ask([text]), labels)]
    return float(np.abs(np.array(found) - np.array(expected)).max())


def load(arm: str, server: Server, requests: Sequence[Sequence[str]], clients: int) -> Figures:
    """Latencies in milliseconds and texts a second of so many clients that share the requests."""

    def work(share: Sequence[Sequence[str]]) -> list[float]:
        client, took = Client(arm, server.port), []
        for texts in share:
            began = time.perf_counter()
            client.ask(texts)
            took.append(1000 * (time.perf_counter() - began))
        return took

    began, used = time.perf_counter(), server.cpu_seconds()
    with ThreadPoolExecutor(clients) as pool:
        latencies = [one for share in pool.map(work, [requests[at::clients] for at in range(clients)]) for one in share]
    seconds = time.perf_counter() - began
    p50, p99 = np.percentile(latencies, [50, 99]).tolist()
    texts = sum(map(len, requests))
    cpu = 1000 * (server.cpu_seconds() - used) / texts
    return {"p50_ms": p50, "p99_ms": p99, "texts_per_second": texts / seconds, "cpu_ms_per_text": cpu}


def build(data: Path, folder: Path) -> tuple[int, list[str]]:
    """Package the model of a project in `folder`; return its cut and its labels."""
    config = predictor.config(read_yaml(data / "params.yaml"))
    shutil.copytree(data / "models/model", folder / mlflow_package.MODEL_PART)
    model = predictor.load(folder / mlflow_package.MODEL_PART, config)
    mlflow_package.complete(folder, model)
    return config["max_length"], model.model.labels


def read(data: Path) -> tuple[list[str], Answer]:
    """The test texts of a project and evaluate's probabilities."""
    texts = pq.read_table(data / "data/validated/test.parquet")["text"].to_pylist()
    judged = pq.read_table(data / "reports/evaluate/predictions.parquet")
    return texts, judged.filter([split == "test" for split in judged["split"].to_pylist()])["model"].to_pylist()


def cut(texts: Sequence[str], requests: int, size: int) -> list[list[str]]:
    """So many requests of so many texts, from the first text on and round again."""
    return [[texts[(at * size + place) % len(texts)] for place in range(size)] for at in range(requests)]


def measure(options: argparse.Namespace, servers: dict[str, Server], texts: Sequence[str]) -> list[Figures]:
    """A row for each number of clients and arm: medians over the rounds, and ratios to the pipeline within them."""
    rows = []
    for clients in options.clients:
        requests = cut(texts, max(options.requests, 2 * clients), options.texts)
        rounds = [
            {arm: load(arm, server, requests, clients) for arm, server in servers.items()}
            for _ in range(options.repeats)
        ]
        for arm in servers:
            found = {name: statistics.median(one[arm][name] for one in rounds) for name in rounds[0][arm]}
            row = {"clients": clients, "arm": arm, **found}
            if "pipeline" in servers:
                row["throughput_vs_pipeline"] = ratio(rounds, arm, lambda one: one["texts_per_second"])
                row["p50_vs_pipeline"] = ratio(rounds, arm, lambda one: one["p50_ms"])
                row["p99_vs_pipeline"] = ratio(rounds, arm, lambda one: one["p99_ms"])
            rows.append(row)
            show(row)
    return rows


def ratio(rounds: list[dict[str, Figures]], arm: str, figure: Callable[[Figures], float]) -> float:
    """The median over the rounds of an arm's figure by the pipeline's."""
    return statistics.median(figure(one[arm]) / figure(one["pipeline"]) for one in rounds)


def show(row: Figures) -> None:
    """Print one line of the table."""
    beside = f"{row['throughput_vs_pipeline']:10.2f} {row['p50_vs_pipeline']:8.2f}" if "p50_vs_pipeline" in row else ""
    numbers = f"{row['p50_ms']:8.1f} {row['p99_ms']:8.1f} {row['texts_per_second']:9.1f} {row['cpu_ms_per_text']:8.1f}"
    print(f"{row['clients']:7} {row['arm']:10} {numbers} {beside}", flush=True)


def parse() -> argparse.Namespace:
    """The command line; ends with one line if the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--arms", nargs="+", choices=APPS, default=list(APPS))
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=400, help="at each number of clients")
    parser.add_argument("--texts", type=int, default=1, help="in each request")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for part in ("models/model/config.json", "data/validated/test.parquet", "reports/evaluate/predictions.parquet"):
        if not (options.data / part).exists():
            parser.exit(2, f"{options.data / part} is not there: run `dvc repro evaluate` or say --data PROJECT\n")
    return options


def main() -> int:
    """Print a table; return 1 if an arm does not give evaluate's probabilities."""
    options = parse()
    environment.prepare()
    texts, expected = read(options.data)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        max_length, labels = build(options.data, Path(folder))
        servers = {arm: stack.enter_context(serving(arm, Path(folder), max_length)) for arm in options.arms}
        few = min(len(texts), 100)
        drifts = {arm: drift(arm, server.port, texts[:few], expected[:few], labels) for arm, server in servers.items()}
        for arm, moved in drifts.items():
            holds = "holds " if moved < BARS[arm] else "MISSED"
            print(f"{holds} {arm}: evaluate's probabilities within {moved:.1g}, bar {BARS[arm]:g}")
        columns = f"{'clients':7} {'arm':10} {'p50 ms':>8} {'p99 ms':>8} {'texts/s':>9} {'CPU ms':>8}"
        print(f"{columns} {'x texts/s':>10} {'x p50':>8}")
        rows = measure(options, servers, texts)
    print(f"load average {os.getloadavg()[0]:.1f}")
    if options.json:
        asked = {"requests": options.requests, "texts": options.texts, "repeats": options.repeats}
        options.json.write_text(
            json.dumps({"rows": rows, "drift": drifts, "machine": environment.fingerprint(0), **asked}, indent=2) + "\n"
        )
    return int(any(moved >= BARS[arm] for arm, moved in drifts.items()))


if __name__ == "__main__":
    sys.exit(main())
