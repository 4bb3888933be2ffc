"""Training a language model, causal or masked, beside its peers, in one run: real tokens a second, and losses.

    python -m benchmarks.lm --data PROJECT [--nanogpt CHECKOUT] [--arms NAME ...] [--steps N] [--repeats N]
                            [--json FILE]

`--data` is a project with params.yaml of `recipes/gpt_shakespeare.yaml`, `bert_mlm.yaml` or their like, in which
`dvc repro tokenize` was run. `exact` is the engine by that recipe, with Muon, and `exact-adamw` with the peers'
optimizer, so that is what speed is judged by; `trainer` is transformers' Trainer at its best on the same model
(run_clm, run_mlm); `nanogpt` is a checkout of nanoGPT (3adf61e) of the same width, layers and heads, in fp32 as it runs
on a CPU, and as it would with bf16. Peers need `pip install accelerate` besides the lock.
"""

import sys

from benchmarks.side_by_side import main

ARMS = ("exact", "exact-adamw", "exact-adamw-fp32", "trainer", "trainer-bf16", "nanogpt", "nanogpt-bf16")
BARS = {"trainer-bf16": 2.0, "nanogpt": 2.5}

if __name__ == "__main__":
    sys.exit(main(__doc__, ARMS, BARS, "exact-adamw"))
