"""One clone's pipeline as MLflow hears of it: `python -m tests.clone_worker INDEX START`; the stages do no work.

The first three stages are the same in all clones; the process waits until START, so that all begin at once.
"""

import os
import sys
import time

from bonafide.project.dvc_lock import GRAPH_LOCK
from bonafide.project.environment import prepare
from bonafide.project.files import write_json, write_text
from bonafide.project.paths import RAW, REPORTS
from bonafide.project.process import process_id
from bonafide.tracking.record import PAGES, WEIGHTS, Record, now
from bonafide.tracking.spool import replay
from bonafide.tracking.stage_run import StageRun

SHARED = ("fetch", "validate", "tokenize")
STAGES = (*SHARED, "train", "evaluate", "report")
STEPS = 30


def run(stage: str, keys: dict[str, str], clone: str) -> None:
    """Announce, measure and end one stage."""
    tags = {"bonafide.process": process_id(os.getpid()), "clone": clone}
    record = Record("test", stage, dict(keys), f"pipeline-{clone}", f"clone {clone}", {"seed": clone}, tags, now())
    tracker = StageRun(record)
    tracker.start()
    for step in range(STEPS if stage == "train" else 0):
        tracker.log({"train/train_loss": 1 / (step + 1), "train/learning_rate": 1e-5}, step)
        time.sleep(0.01)
    metrics = {f"{stage}/rows": 1.0}
    write_json(REPORTS / f"{stage}.json", metrics)
    tracker.end("FINISHED", metrics)


def write_outs(clone: str) -> None:
    """What stages leave in files and DVC in its lock."""
    write_text(WEIGHTS, clone)
    for page in PAGES["report"]:
        write_text(page, clone)
    write_json(GRAPH_LOCK, {"stages": {"fetch": {"outs": [{"path": str(RAW), "md5": "0.dir"}]}}})


def main() -> None:
    """Run all stages, then bring what other clones were still at; `content` is which of the 8 this clone is."""
    prepare()
    clone, start = sys.argv[1], float(sys.argv[2])
    time.sleep(max(0.0, start - time.time()))
    keys: dict[str, str] = {}
    write_outs(clone)
    for stage in STAGES:
        keys[stage] = f"key-{stage}" if stage in SHARED else f"key-{stage}-{clone}"
        run(stage, keys, clone)
    replay(timeout=60)


if __name__ == "__main__":
    main()
