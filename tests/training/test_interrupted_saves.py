"""A save that is killed or fails leaves a whole checkpoint: the one before or the new one."""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bonafide.training.checkpoints.manager import Checkpoints
from tests.checkpoint_states import newest, same, state

ROOT = Path(__file__).parents[2]
POINTS = ("in_file", "before_manifest", "before_rename", "after_rename")
REPLACING = ("before_rename", "in_replace", "after_rename")
CHILD = """
import sys, torch
from pathlib import Path
from bonafide.training.checkpoints.manager import Checkpoints
def state(step): return {"w": torch.full((1000,), float(step)), "step": torch.tensor(step)}
saved = Checkpoints(Path("c"), print)
"""


def child(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", CHILD + code], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder for each point: step 1 saved, then step 2 (or, in replace-*, 1 again) killed at that point."""
    code = f"""
import os
for case in {[*POINTS, *(f"replace-{point}" for point in REPLACING)]!r}:
    if (process := os.fork()) == 0:
        os.mkdir(case); os.chdir(case)
        saved = Checkpoints(Path("c"), print)
        saved.save(1, {{"state": state(1)}}, {{"run": 1}}, wait=True)
        os.environ["BONAFIDE_FAULT"] = "save:" + case.removeprefix("replace-")
        step = 1 if case.startswith("replace-") else 2
        saved.save(step, {{"state": state(step)}}, {{"run": 2}})
        saved.finish()
        os._exit(0)
    print(os.waitpid(process, 0)[1])
"""
    folder = tmp_path_factory.mktemp("killed")
    with contextlib.chdir(folder):
        assert child(code).split() == ["9"] * (len(POINTS) + len(REPLACING))
    return folder


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_checkpoint_before_or_the_new_one(killed, point, said, monkeypatch):
    monkeypatch.chdir(killed / point)
    left = newest(said)
    assert left.step == (2 if point == "after_rename" else 1)
    assert same(left.load("state"), state(left.step))
    assert said == []
    Checkpoints(Path("c"), said.append).save(3, {"state": state(3)}, {}, wait=True)
    assert not list(Path("c").glob("*.tmp-*"))


@pytest.mark.parametrize("point", REPLACING)
def test_a_kill_while_one_of_the_same_step_is_replaced_leaves_one_of_them(killed, point, said, monkeypatch):
    monkeypatch.chdir(killed / f"replace-{point}")
    found = Checkpoints(Path("c"), said.append, keep=1)
    left = found.newest()
    assert left.progress == {"run": 2 if point == "after_rename" else 1}
    assert same(left.load("state"), state(1))
    found.save(1, {"state": None}, {"run": 3}, wait=True)
    assert [path.name for path in Path("c").iterdir()] == ["step-00000001"]
    assert newest(said).progress == {"run": 3}
    assert said == []


def test_kills_at_any_time_leave_a_whole_checkpoint(said):
    code = """
saved.save(0, {"state": {"w": torch.zeros(1 << 20)}}, {}, wait=True); print("go", flush=True)
for step in range(1, 10_000): saved.save(step, {"state": {"w": torch.full((1 << 20,), float(step))}}, {"at": step})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen([sys.executable, "-c", CHILD + code], env=environment, stdout=subprocess.PIPE)
    with killed:
        killed.stdout.readline()
        time.sleep(random.uniform(0.05, 0.3))
        killed.kill()
    left = newest(said)
    assert left.load("state")["w"].unique().tolist() == [float(left.step)]
    assert said == []


def test_a_full_disk_raises_and_the_one_before_stays(said):
    code = """
import resource, signal
saved.save(1, {"state": state(1)}, {}, wait=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
saved.save(2, {"state": state(2)}, {})
try: saved.finish()
except OSError as problem: print("finish", type(problem))
try: saved.save(3, {"state": None}, {})
except ValueError as problem: print("none", type(problem))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(saved.newest().step)
saved.save(4, {"state": None}, {}, wait=True)
"""
    assert child(code) == "finish <class 'OSError'>\nnone <class 'ValueError'>\n1\n"
    assert sorted(path.name for path in Path("c").iterdir()) == ["step-00000001", "step-00000004"]
    assert same(newest(said).load("state"), state(1))


def test_the_next_save_raises_the_error_of_the_one_before(said):
    Path("c").write_text("in the way")
    made = Checkpoints(Path("c"), said.append)
    made.save(1, {"state": state(1)}, {})
    with pytest.raises(OSError, match="c"):
        made.save(2, {"state": state(2)}, {})
    Path("c").unlink()
    made.save(3, {"state": state(3)}, {}, wait=True)
    assert made.newest().step == 3
