"""Train: fit the task's model on the tokenized train split and keep the best epoch.

in   data/tokenized/   train and validation arrays, from tokenize
     models/base/      from fetch
out  models/model/     the trained model
     reports/train/    history.csv: loss along the way, validation metrics per epoch
     reports/train.json

Killed at any moment, the next run goes on from where it was and ends in the same bytes.
"""

import sys
from contextlib import suppress

from bonafide.params.load import load_params
from bonafide.params.sections import Params
from bonafide.project.arrays import Metrics
from bonafide.project.errors import InputError
from bonafide.project.folders import state
from bonafide.project.process import die_with_parent
from bonafide.protocol import Train, load
from bonafide.stage import run_stage
from bonafide.training import launch


def train(params: Params) -> Metrics:
    """Train; return the best epoch's validation metrics."""
    return load(params.task.name, Train).train(params, state=state())


def main() -> None:
    """Run the stage here, or in as many processes as params.yaml asks for."""
    processes = 1
    with suppress(InputError):  # the stage itself tells what is wrong
        params = load_params()
        processes = params.machine.processes if load(params.task.name, Train).PARALLEL else 1
    if processes > 1 and not launch.is_worker():
        sys.exit(launch.run_workers(processes, [sys.executable, "-m", "stages.train"]))
    run_stage(train, launch.exit_with_parent if launch.is_worker() else die_with_parent)


if __name__ == "__main__":
    main()
