"""Training a translator beside its peers, in one run: real tokens (of sources and targets) a second, and losses.

    python -m benchmarks.translation --data PROJECT [--arms NAME ...] [--steps N] [--repeats N] [--json FILE]

`--data` is a project with params.yaml of `recipes/translation.yaml`, in which `dvc repro tokenize` was run
(`make repro RECIPE=translation` makes one below .bonafide/recipes). `exact` is the engine by that recipe; `trainer` is
transformers' Trainer at its best on the same model; `essay` the essay's program, made runnable. Peers need
`pip install accelerate` besides the lock. Decoding: benchmarks/decoding.py.
"""

import sys

from benchmarks.side_by_side import main

ARMS = ("exact", "exact-fp32", "trainer", "trainer-bf16", "essay")
BARS = {"trainer-bf16": 2.0, "essay": 3.0}

if __name__ == "__main__":
    sys.exit(main(__doc__, ARMS, BARS, "exact"))
