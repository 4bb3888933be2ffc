"""The engine's speed on a GPU with random weights and texts, and what exact sums and strict algorithms cost there.

    python -m benchmarks.gpu [--device cuda|cpu] [--only WORD ...] [--steps N] [--repeats N] [--json FILE]

Nothing is downloaded and no project is needed: encoders of MiniLM's and BERT-base's size with random weights, texts
of 16 to 512 tokens, batches of 32 texts and of about 16,384 and 65,536 tokens. Four arms: sums by 4 shards (`exact`) or
as they come (`fast`), with torch's deterministic algorithms or without (`loose`). They take turns, `--repeats` rounds
of them in one process; figures are medians, the price of a mode is the median over rounds of its seconds in those of
`fast loose`. `--only` takes the cases whose name has one of the words.

MFU is 6 FLOPs a weight and real token, attention's products apart, in the measured bf16 rate of torch.mm; the last
layer counts as a whole although it is computed for first tokens only.
"""

import argparse
import copy
import gc
import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS begins, in all arms

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from bonafide.datasets.ragged import Tokens
from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import Recipe
from bonafide.engine.process_group import ProcessGroup
from bonafide.monitoring.performance import flops_per_token, matrix_rate
from bonafide.tasks.classification import train as classifier

SIZES = {"minilm": (384, 6, 12, 1536), "bert-base": (768, 12, 12, 3072)}  # width, layers, heads, inner width
WORDS, SHORTEST, LONGEST, WARMUP = 30_522, 16, 512, 4
ARMS = {"exact": (True, True), "exact loose": (True, False), "fast": (False, True), "fast loose": (False, False)}
"""Whether sums are exact, and algorithms deterministic."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A batch to measure."""

    size: str
    texts: int
    shortest: int
    longest: int

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.size}, {self.texts} texts of {self.shortest} to {self.longest}"


def cases() -> Iterator[Case]:
    """Batches of 32 texts of one length and of all lengths, then of about 16,384 and 65,536 tokens."""
    for size in SIZES:
        for length in (16, 64, 128, 256, 512):
            yield Case(size, 32, length, length)
        for tokens in (32 * (SHORTEST + LONGEST) // 2, 16_384, 65_536):
            yield Case(size, tokens * 2 // (SHORTEST + LONGEST), SHORTEST, LONGEST)


def make_texts(case: Case, batches: int) -> Tokens:
    """Random texts for so many batches, lengths drawn evenly."""
    rng, rows = np.random.default_rng(1), case.texts * batches
    offsets = np.concatenate([[0], np.cumsum(rng.integers(case.shortest, case.longest, rows, endpoint=True))])
    ids = rng.integers(1000, WORDS, offsets[-1], dtype=np.int32)
    return Tokens(ids, offsets.astype(np.int64), rng.integers(0, 2, rows), np.arange(rows).astype(np.str_))


def build(shape: tuple[int, int, int, int]) -> Any:
    """A BERT classifier of this shape with random weights."""
    torch.manual_seed(1)
    width, layers, heads, inner = shape
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = BertConfig(vocab_size=WORDS, intermediate_size=inner, attention_probs_dropout_prob=0.0, **sizes)
    return AutoModelForSequenceClassification.from_config(config)


def measure(model: Any, case: Case, arm: str, steps: int) -> Figures:
    """Train `model`, which stays as it is, for some steps and then for `steps` timed ones."""
    exact, strict = ARMS[arm]
    torch.use_deterministic_algorithms(strict)
    texts, model = make_texts(case, WARMUP + steps), copy.deepcopy(model)
    rates: dict[str, Any] = {"learning_rate": 2e-5, "warmup_ratio": 0.1, "weight_decay": 0.01, "max_grad_norm": 1.0}
    rates |= {"schedule": "linear", "optimizer": "adamw", "betas": (0.9, 0.999), "muon_learning_rate": 0.02}
    recipe = Recipe(
        epochs=1,
        batch_size=case.texts,
        gradient_accumulation_steps=1,
        shards=4,
        exact=exact,
        precision="bf16",
        seed=1,
        **rates,
    )
    engine = Engine(model, texts, classifier, recipe, ProcessGroup(exact=exact), lambda _: nullcontext())
    running = engine.steps()
    first, *_ = [float(next(running).loss) for _ in range(WARMUP)]
    wait(model)
    began = time.perf_counter()
    tokens = sum(next(running).tokens for _ in range(steps))
    wait(model)
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
    speed = tokens / seconds
    return {"ms": 1e3 * seconds / steps, "tokens_per_second": speed, "peak_mb": peak, "first_loss": first}


def wait(model: Any) -> None:
    """Let the device finish, and count its memory anew."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def rounds(model: Any, case: Case, steps: int, repeats: int) -> dict[str, Figures]:
    """Each arm's medians over so many rounds, and its price: seconds in those of `fast loose`, within a round."""
    found: list[dict[str, Figures]] = []
    for number in range(repeats):
        order = [*ARMS][number % len(ARMS) :] + [*ARMS][: number % len(ARMS)]
        found.append({})
        for arm in order:
            found[-1][arm] = measure(model, case, arm, steps)
            gc.collect()
    prices = {arm: statistics.median(each[arm]["ms"] / each["fast loose"]["ms"] for each in found) for arm in ARMS}
    names = found[0]["exact"]
    return {
        arm: {name: statistics.median(each[arm][name] for each in found) for name in names} | {"price": prices[arm]}
        for arm in ARMS
    }


def main() -> None:
    """Print a table, each line as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    rate = matrix_rate(
        options.device, torch.bfloat16 if options.device == "cuda" else torch.float32, 16_384, 4096, 4096
    )
    print(f"{name}, torch {torch.__version__}, {rate / 1e12:,.1f} TFLOP/s")
    print(f"{'':40} {'':12} {'ms a step':>9} {'tokens/s':>10} {'MFU':>6} {'price':>6} {'MB':>7}")
    summary: dict[str, Any] = {"device": name, "torch": torch.__version__, "rate": rate}
    for case in (case for case in cases() if any(word in case.name for word in options.only)):
        model = build(SIZES[case.size]).to(options.device)
        flops = flops_per_token(model)
        summary[case.name] = rounds(model, case, options.steps, options.repeats)
        for arm, row in summary[case.name].items():
            row["mfu"] = flops * row["tokens_per_second"] / rate
            print(f"{case.name:40} {arm:12} {row['ms']:9.2f} {row['tokens_per_second']:10,.0f}", end=" ")
            print(f"{row['mfu']:6.3f} {row['price']:6.2f} {row['peak_mb']:7,.0f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
