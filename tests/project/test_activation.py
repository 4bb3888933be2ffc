"""A Python without our libraries, as `.venv/bin/dvc repro` finds one on the PATH: one line that says what to do."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("fetch", "validate", "tokenize", "train", "evaluate", "report")
ADVICE = "source .venv/bin/activate (make setup makes it), or run: make repro\n"


def bare(*module: str) -> subprocess.CompletedProcess[str]:
    """This Python, as it is without its environment's libraries."""
    command = [sys.executable, "-S", "-m", *module]
    env = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", [*(f"stages.{stage}" for stage in STAGES), "bonafide"])
def test_a_python_without_the_libraries_is_told_in_one_line(module):
    done = bare(module)
    assert (done.returncode, done.stdout) == (4, "")
    assert re.fullmatch(r"(\S+) cannot run this: No module named '[a-z]+': (.*\n)", done.stderr).groups() == (
        sys.executable,
        ADVICE,
    )


def test_one_with_some_of_them_is_too(tmp_path):
    """A scientist's own environment has numpy and the like."""
    for name in ("psutil", "numpy", "pyarrow", "pandas", "torch"):
        (tmp_path / f"{name}.py").write_text("Table = DataFrame = Tensor = ndarray = None\n")
    command = [sys.executable, "-S", "-m", "stages.fetch"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "cannot run this" in done.stderr


@pytest.mark.parametrize("name", ["python2.7", "python3.6", "python3.10"])
def test_an_old_python_is_told_its_version(name):
    found = shutil.which(name)
    if not found or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no {name} here")
    done = subprocess.run([found, "-m", "stages.fetch"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert f" is Python {name.removeprefix('python')}" in done.stderr
    assert done.stderr.endswith(f", older than 3.11: {ADVICE}")


def test_a_mistake_of_ours_and_all_else_keep_their_tracebacks():
    code = "from bonafide.project.activation import watch; watch(); import bonafide.{}"
    for wrong in ("nothing", "errors; 1 / 0"):
        command = [sys.executable, "-c", code.format(wrong)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (1, True)
