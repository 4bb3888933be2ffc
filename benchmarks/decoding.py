"""Our beam and greedy search and our sampling beside transformers' `generate`: the same model, sources and rules.

    python -m benchmarks.decoding [--model FOLDER] [--sources FOLDER] [--rows N] [--rounds N] [--json FILE]

`--model` is a trained translator and `--sources` its tokenized test split, as the translation recipe leaves them. Arms
take turns. Ours is in fp32. `generate` gets sources sorted by length, each batch the longest limit of its sources, and
is timed in fp32, in bf16 under autocast and with bf16 weights, in four sizes of batch. Bar: beam 4 and greedy search
twice as fast as the best of all these by the clock; the ratio to the best in fp32 is told beside it. Sampling has
random weights (Llama, 6 layers of 384, 65 characters, 8 texts of 250) and no bar.
"""

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, LlamaConfig, LlamaForCausalLM

from bonafide.generation import beam
from bonafide.generation.sampling import sample

BAR = 2.0
BATCH = 128
Ids = list[list[int]]
Arms = dict[str, Callable[[], Ids]]


def limit(tokens: int) -> int:
    """Of what is written for a source of so many tokens."""
    return 2 * tokens + 10


def read_sources(folder: Path, rows: int) -> Ids:
    """The first rows of a tokenized split."""
    ids, offsets = (np.load(folder / f"source_{name}.npy") for name in ("ids", "offsets"))
    return [part.tolist() for part in np.split(ids, offsets[1:-1])[:rows]]


def generate(model: Any, sources: Ids, beams: int, batch: int, *, autocast: bool) -> Ids:
    """`generate` as its users would have it fast."""
    end, pad = model.config.eos_token_id, model.config.pad_token_id
    order, written = sorted(range(len(sources)), key=lambda row: len(sources[row])), [[0]] * len(sources)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            parts = [torch.tensor(sources[row]) for row in rows]
            ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=pad)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(x) for x in parts], batch_first=True)
            most = limit(max(len(part) for part in parts))
            found = model.generate(
                ids, attention_mask=mask, num_beams=beams, early_stopping=beams > 1, length_penalty=1.0,
                max_new_tokens=most, do_sample=False,
            )  # fmt: skip
            for row, whole in zip(rows, found[:, 1:].tolist(), strict=True):
                text = whole[: whole.index(end)] if end in whole else [token for token in whole if token != pad]
                written[row] = text[: limit(len(sources[row]))]
    return written


def translation_arms(model: Any, sources: Ids, beams: int) -> Arms:
    """Ours first, then those of transformers, fp32 first."""
    low = copy.deepcopy(model).bfloat16()

    def ours() -> Ids:
        found = beam.search(model, sources, beams=beams, max_new=limit, batch=BATCH)
        return [beam.best(hypotheses, 1.0).tokens for hypotheses in found]

    arms: Arms = {"ours": ours}
    for batch in (8, 16, 32, 64):
        for name, network, autocast in (("fp32", model, False), ("autocast", model, True), ("bf16", low, False)):
            arms[f"generate {name}, {batch} at a time"] = lambda network=network, batch=batch, autocast=autocast: (
                generate(  # type: ignore[misc]
                    network, sources, beams, batch, autocast=autocast
                )
            )
    return arms


def sampling_arms() -> Arms:
    """Eight texts of 250 characters from prompts of one length."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=65, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    prompts = torch.randint(1, 65, (8, 6))
    options: Any = {"max_new_tokens": 250, "do_sample": True, "top_k": 0}
    stock = torch.inference_mode()(lambda: model.generate(prompts, **options).tolist())
    return {
        "ours": lambda: sample(model, prompts.tolist(), seeds=range(8), tokens=250, context=256),
        "generate fp32": stock,
    }


def race(arms: Arms, rounds: int) -> tuple[dict[str, tuple[float, float]], dict[str, Ids]]:
    """Median seconds of each arm, of the clock and of the CPU, and what it wrote; arms take turns."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for _ in range(rounds):
        written = {}
        for name, arm in arms.items():
            began, used = time.perf_counter(), time.process_time()
            written[name] = arm()
            seconds[name].append((time.perf_counter() - began, time.process_time() - used))
    medians = {name: tuple(map(median, zip(*values, strict=True))) for name, values in seconds.items()}
    return medians, written


def report(job: str, arms: Arms, rounds: int) -> dict[str, Any]:
    """Race the arms of a job and print a line each."""
    seconds, written = race(arms, rounds)
    ours, ours_cpu = seconds["ours"]
    for name, (clock, cpu) in seconds.items():
        equal = sum(one == other for one, other in zip(written[name], written["ours"], strict=True)) / len(
            written[name]
        )
        print(
            f"{job:9} {name:30} {clock:6.2f} s {clock / ours:5.2f}x, CPU {cpu:6.2f} s {cpu / ours_cpu:5.2f}x, "
            f"{equal:7.2%} as ours",
            flush=True,
        )
    best, best_fp32 = (
        min(clock for name, (clock, _) in seconds.items() if name.startswith("generate") and word in name) / ours
        for word in ("", "fp32")
    )
    print(f"{job:9} {best:.2f} times the best of generate, {best_fp32:.2f} times its best in fp32", flush=True)
    return {"job": job, "seconds": seconds, "ratio": best, "ratio_fp32": best_fp32}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per arm; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/model"))
    parser.add_argument("--sources", type=Path, default=Path("data/tokenized/test"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(os.cpu_count() or 1)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(chosen.model, local_files_only=True).eval()
    sources = read_sources(chosen.sources, chosen.rows)
    figures = [report(f"beam {beams}", translation_arms(model, sources, beams), chosen.rounds) for beams in (4, 1)]
    figures.append(report("sampling", sampling_arms(), chosen.rounds))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {len(sources)} sources")
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": len(sources), "jobs": figures}, indent=2) + "\n")
    return int(any(job["ratio"] < BAR for job in figures[:2]))


if __name__ == "__main__":
    sys.exit(main())
