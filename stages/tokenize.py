"""Tokenize: turn each validated split into flat arrays of token ids.

in   data/validated/     one table per split, from validate
     models/base/        the tokenizer, from fetch
out  data/tokenized/     <split>/{input_ids,offsets,labels,ids}.npy, processor/, labels.json
     reports/tokenize/   tokens.json: what was cut and what the vocabulary lacks, per split
     reports/tokenize.json
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bonafide.datasets import ragged
from bonafide.params.sections import Params
from bonafide.pretrained.dry_run import positions
from bonafide.project.arrays import Ints, Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import write_json
from bonafide.project.paths import BASE_MODEL, QUARANTINE, TOKENIZED, TRUNCATION, VALIDATED
from bonafide.protocol import Task, load_task
from bonafide.stage import run_stage

PROCESSOR = TOKENIZED / "processor"


def tokenize(params: Params) -> Metrics:
    """Tokenize every split; return rows, tokens, truncated rows and the share of unknown tokens of each."""
    task = load_task(params.task)
    check_positions(params.tokenize.max_length)
    labels = params.data.labels
    processor = copy_processor(task)
    write_json(TOKENIZED / "labels.json", labels)
    tables = sorted(path for path in VALIDATED.glob("*.parquet") if path != QUARANTINE)
    facts = {path.stem: tokenize_split(path, task, processor, labels, params.tokenize.max_length) for path in tables}
    write_json(TRUNCATION, facts)
    return {f"tokenize/{split}/{name}": value for split, fact in facts.items() for name, value in fact.items()}


def check_positions(max_length: int) -> None:
    """Refuse texts longer than the base model has positions for."""
    most = positions(BASE_MODEL, max_length)
    if max_length > most:
        raise InputError(f"params.yaml: tokenize.max_length: {max_length} is above the base model's {most} positions")


def copy_processor(task: Task) -> Any:
    """Keep the tokenizer's own files, and config.json, by which transformers knows its class; return the tokenizer."""
    PROCESSOR.mkdir(parents=True, exist_ok=True)
    for path in sorted(BASE_MODEL.iterdir()):
        if "safetensors" not in path.name:
            shutil.copyfile(path, PROCESSOR / path.name)
    task.settle_processor(PROCESSOR)
    return task.load_processor(PROCESSOR)


def tokenize_split(path: Path, task: Task, processor: Any, labels: list[str], max_length: int) -> dict[str, float]:
    """Write one split's arrays; return its counts."""
    table = pq.read_table(path, columns=["id", "text", "label"])
    texts, lengths = task.encode(table["text"].to_pylist(), processor, max_length)
    classes = {label: index for index, label in enumerate(labels)}
    targets: Ints = np.array([classes[label] for label in table["label"].to_pylist()], dtype=np.int64)
    tokens = ragged.pack(texts, targets, table["id"].to_pylist())
    ragged.write(TOKENIZED / path.stem, tokens)
    unknown = int((tokens.input_ids == processor.unk_token_id).sum()) if processor.unk_token_id is not None else 0
    return {
        "rows": len(tokens),
        "tokens": len(tokens.input_ids),
        "truncated": int((lengths > max_length).sum()),
        "longest": int(lengths.max(initial=0)),
        "unknown_rate": unknown / max(1, len(tokens.input_ids)),
    }


if __name__ == "__main__":
    run_stage(tokenize)
