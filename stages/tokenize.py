"""Tokenize: turn each validated split into flat arrays that a model reads.

in   data/validated/     one table per split, from validate
     models/base/        from fetch
out  data/tokenized/     <split>/*.npy, and what turned rows into them
     reports/tokenize/   tokens.json: what there is to say of each split
     reports/tokenize.json
"""

import pyarrow.parquet as pq

from bonafide.datasets import ragged
from bonafide.params.sections import Params
from bonafide.project.arrays import Metrics
from bonafide.project.files import write_json
from bonafide.project.paths import BASE_MODEL, QUARANTINE, TOKENIZED, TRUNCATION, VALIDATED
from bonafide.protocol import Encode, load
from bonafide.stage import run_stage


def tokenize(params: Params) -> Metrics:
    """Encode every split; return what there is to say of each."""
    task = load(params.task.name, Encode)
    paths = sorted(path for path in VALIDATED.glob("*.parquet") if path != QUARANTINE)
    processor = task.prepare(BASE_MODEL, pq.read_table(VALIDATED / "train.parquet"), params, TOKENIZED)
    facts = {}
    for path in paths:
        arrays, facts[path.stem] = task.encode(pq.read_table(path), processor, params)
        ragged.write(TOKENIZED / path.stem, arrays)
    write_json(TRUNCATION, facts)
    return {f"tokenize/{split}/{name}": value for split, fact in facts.items() for name, value in fact.items()}


if __name__ == "__main__":
    run_stage(tokenize)
