"""The story, in order: fetch, validate, tokenize, train, evaluate, report."""

from bonafide.project.activation import watch

watch()

import gc  # noqa: E402
import sys  # noqa: E402

if sys.argv[0] == "-m":  # a stage is being run: nothing of its imports is garbage; `run_stage` collects again
    gc.disable()

from bonafide.project.environment import prepare  # noqa: E402  (its imports are watched)

prepare()
