"""The process that delivers: it ends with the stage or with DVC, and a stage loses nothing when it breaks."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bonafide.tracking import spool
from bonafide.tracking.stage_run import StageRun
from tests.stores import wait_for
from tests.tracking.test_tracking import children, record, store, template

__all__ = ["store", "template"]  # fixtures
STAGE = """
from bonafide.tracking.stage_run import StageRun
from tests.tracking.test_tracking import record
run = StageRun(record())
run.start()
run.log({"train/loss": 0.5}, 1)
run.end("FAILED", {})
"""


def agents(folder: Path) -> list[psutil.Process]:
    """The agents that work in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        ours = "bonafide.tracking.agent" in (process.info["cmdline"] or [])
        if ours and process.info["cwd"] == str(folder):
            found.append(process)
    return found


def run_stage(parent: str, **environment: str) -> str:
    """Run a stage below a shell that then says `parent`; return what was printed."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment
    command = f'"$PYTHON" -c "$STAGE"; {parent}'
    env |= {"PYTHON": sys.executable, "STAGE": STAGE}
    return subprocess.run(["sh", "-c", command], env=env, check=True, capture_output=True, text=True).stderr


@pytest.mark.slow  # processes that import MLflow
def test_an_agent_ends_with_its_stage_where_no_dvc_runs_it(store, tmp_path):
    run_stage("true")
    wait_for(lambda: not agents(tmp_path), seconds=9)
    assert [run.info.status for run in children(store)] == ["FAILED"]


@pytest.mark.slow  # processes that import MLflow
def test_the_stages_of_one_dvc_share_an_agent_which_ends_with_it(store, tmp_path):
    """A shell plays DVC."""
    said = run_stage('"$PYTHON" -c "$STAGE"; ls .bonafide >&2', DVC_STAGE="train")
    assert len([name for name in said.split() if name.startswith("tracking.") and name != "tracking.log"]) == 1
    wait_for(lambda: not agents(tmp_path), seconds=9)
    assert not [path for path in Path(".bonafide").glob("tracking.*") if path.suffix != ".log"]


def test_a_killed_agent_costs_a_warning_and_the_record_is_kept(store, tmp_path, capsys):
    run = StageRun(record())
    run.start()
    (agent,) = agents(tmp_path)
    agent.kill()
    agent.wait()
    run.log({"train/loss": 0.5}, 1)
    run.end("FAILED", {})
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "kept for later: bonafide sync" in said
    assert len(spool.waiting()) == 1
    assert spool.replay(timeout=0) == 1
    (child,) = children(store)
    assert [p.value for p in store.get_metric_history(child.info.run_id, "train/loss")] == [0.5]
