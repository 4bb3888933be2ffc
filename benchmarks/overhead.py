"""What the pipeline costs beside its work: CPU seconds of a `dvc repro` on a tiny table and model, stage by stage.

Nearly all of it is imports. Processes that outlive their parents count, too: this one adopts and waits for them.
"""

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.project import STAGES, Project, small_project  # type: ignore[attr-defined]  # mypy takes the folder beside it

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
BARS = {"dvc repro": 20.0, "no-op": 1.2, "bonafide --help": 0.3}  # CPU seconds
SETTINGS = {"DVC_NO_ANALYTICS": "1", "OMP_WAIT_POLICY": "passive"}


def cpu_seconds(project: Project, *command: str) -> float:
    """User and system time of a command and all that it has started."""
    before = _children()
    env = os.environ | SETTINGS | {"DVC_SITE_CACHE_DIR": str(project.folder.parent / "site")}
    env = {name: value for name, value in env.items() if name != "MLFLOW_TRACKING_URI"}
    subprocess.run(command, cwd=project.folder, env=env, check=True, capture_output=True)
    deadline = time.monotonic() + 60
    while _adopts() and time.monotonic() < deadline:
        time.sleep(0.05)
    return _children() - before


def _adopts() -> bool:
    """Whether a descendant is still alive; those that have ended are counted by waiting for them."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", action="store_true", help="each stage alone, too, with an MLflow client of its own")
    chosen = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        project = small_project(Path(folder) / "clone")
        commands = {"dvc repro": ["dvc", "repro"], "no-op": ["dvc", "repro"]}
        commands["bonafide --help"] = [sys.executable, "-m", "bonafide", "--help"]
        if chosen.stages:
            commands |= {stage: [sys.executable, "-m", f"stages.{stage}"] for stage in STAGES}
        found = {name: cpu_seconds(project, *command) for name, command in commands.items()}
    print("| command | CPU seconds | bar |\n|---|---:|---:|")
    for name, seconds in found.items():
        print(f"| `{name}` | {seconds:.2f} | {BARS.get(name, '')} |")
    return int(any(found[name] > bar for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())
