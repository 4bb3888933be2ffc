"""A checkpoint is whole or absent, what is damaged is named and skipped, and saving is a snapshot."""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from bonafide.training.checkpoints import manager, manifest
from bonafide.training.checkpoints.manager import Checkpoints
from bonafide.training.checkpoints.manifest import seal

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


def state(step):
    return {"w": torch.full((1000,), float(step)), "step": torch.tensor(step)}


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


def same(one, other):
    return save(one) == save(other)


@pytest.fixture
def said():
    return []


@pytest.fixture
def saved(said):
    made = Checkpoints(Path("c"), said.append)
    for step in (10, 20):
        made.save(step, {"state": state(step), "best": state(step + 1)}, {"epoch": step, "loss": 0.1})
    made.finish()
    return made


def newest(said):
    return Checkpoints(Path("c"), said.append).newest()


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


def damages(path):
    content = path.read_bytes()
    yield "flipped", lambda: path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    yield "short", lambda: path.write_bytes(content[:-12])
    yield "empty", lambda: path.write_bytes(b"")
    yield "long", lambda: path.write_bytes(content + b"\n")
    yield "deleted", path.unlink
    yield "folder", lambda: (path.unlink(missing_ok=True), path.mkdir())
    yield "link", lambda: (path.rmdir(), path.symlink_to("/etc/passwd"))
    yield "pipe", lambda: (path.unlink(), os.mkfifo(path))


@pytest.mark.parametrize("name", ["state.safetensors", "best.safetensors", "manifest.json"])
def test_damage_is_named_and_the_one_before_is_used(saved, said, name):
    for kind, damage in damages(Path("c/step-00000020") / name):
        said.clear()
        damage()
        left = newest(said)
        assert (left.step, len(said)) == (10, 1), kind
        assert re.fullmatch(r"checkpoint step-00000020: .+; skipped", said[0]), said
        assert same(left.load("best"), state(11))
        if kind in {"flipped", "deleted", "short"}:
            assert name in said[0]
        if kind == "short" and name != "manifest.json":
            assert said == [f"checkpoint step-00000020: {name} is 12 bytes short; skipped"]


@given(st.data())
def test_no_byte_can_change_unseen(saved, said, data):
    path = data.draw(st.sampled_from(sorted(Path("c/step-00000020").iterdir())))
    content = path.read_bytes()
    at, mask = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    try:
        path.write_bytes(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :])
        said.clear()
        assert newest(said).step == 10
        assert path.name in said[0]
    finally:
        path.write_bytes(content)


def test_a_changed_or_moved_manifest_is_noticed(saved, said):
    path = Path("c/step-00000020/manifest.json")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"epoch": 20', b'"epoch": 21'))
    assert newest(said).step == 10
    path.write_bytes(content)
    Path("c/step-00000020").rename("c/step-00000030")
    assert newest(said).step == 10
    assert [line.split(":")[1] for line in said] == [" manifest.json is missing or changed; skipped"] * 2


@pytest.mark.parametrize(
    "forged",
    [
        b"[" * 100_000,
        b"[]",
        b"{}",
        b"\xff",
        b"1" * 9999,
        *(seal({"format": 1, "step": 20, "files": f}) for f in (3, {"state": 3})),
    ],
)
def test_a_forged_manifest_raises_nothing(saved, said, forged):
    Path("c/step-00000020/manifest.json").write_bytes(forged)
    assert newest(said).step == 10
    assert len(said) == 1


def test_what_is_no_safetensors_file_is_skipped_though_its_sha256_fits(saved, said):
    folder = Path("c/step-00000020")
    (folder / "state.safetensors").write_bytes(b"x" * 99)
    content = json.loads((folder / "manifest.json").read_bytes())
    content["files"]["state"] = manifest.record(folder / "state.safetensors")
    (folder / "manifest.json").write_bytes(seal(content))
    assert newest(said).step == 10
    assert "eader" in said[0]


def test_other_things_in_the_folder_do_no_harm(saved, said):
    Path("c/step-00000090").write_text("a file")
    Path("c/step-00000080").symlink_to("step-00000020")
    Path("c/step-00000070").mkdir()
    Path("c/step-00000060.tmp-1").mkdir()
    Path("c/step-00000050.bak").mkdir()
    Path("c/notes").write_text("mine")
    assert newest(said).step == 20
    assert [line[11:24] for line in said] == ["step-00000090", "step-00000080", "step-00000070"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_folder_without_permission_is_skipped(saved, said):
    Path("c/step-00000020").chmod(0)
    assert newest(said).step == 10
    Path("c/step-00000020").chmod(0o700)


def test_an_unreadable_file_is_skipped(saved, said, monkeypatch):
    def read(path):
        if "00000020" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return record(path)

    record = manifest.record
    monkeypatch.setattr(manifest, "record", read)
    assert newest(said).step == 10
    assert "Permission denied" in said[0]


def test_no_checkpoint_is_none(said):
    assert newest(said) is None
    Path("c").mkdir()
    assert newest(said) is None
    assert said == []


def test_a_save_is_a_snapshot(said):
    made, weights, progress = Checkpoints(Path("c"), said.append), state(1), {"seen": [1]}
    for step in (1, 2):
        made.save(step, {"state": weights}, progress)
        weights["w"] += 1
        progress["seen"].append(2)
    made.finish()
    left = newest(said)
    assert left.load("state")["w"][0] == 2
    assert left.progress == {"seen": [1, 2]}


def test_loaded_tensors_are_the_callers_own(saved, said):
    left = newest(said)
    left.load("state")["w"].zero_()
    assert same(newest(said).load("state"), state(20))


def test_a_file_that_is_none_is_linked_and_outlives_its_origin(saved, said):
    first = Path("c/step-00000020/best.safetensors").stat().st_ino
    for step in (30, 40, 50):
        saved.save(step, {"state": state(step), "best": None}, {}, wait=True)
    assert sorted(path.name for path in Path("c").iterdir()) == ["step-00000040", "step-00000050"]
    left = newest(said)
    assert (left.step, (left.folder / "best.safetensors").stat().st_ino) == (50, first)
    assert same(left.load("best"), state(21))


def test_a_file_is_copied_where_links_are_not_to_be_had(saved, said, monkeypatch):
    def refuse(_old, _new):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    resumed = Checkpoints(Path("c"), said.append)
    assert resumed.newest().step == 20
    resumed.save(30, {"state": None, "best": None}, {}, wait=True)
    assert same(newest(said).load("state"), state(20))


def test_a_file_that_no_checkpoint_has_cannot_be_none(saved, said):
    with pytest.raises(ValueError, match="step 30"):
        saved.save(30, {"other": None}, {})
    with pytest.raises(ValueError, match="step 1"):
        Checkpoints(Path("d"), said.append).save(1, {"state": None}, {})


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_stay_as_asked_for(said, keep):
    made = Checkpoints(Path("c"), said.append, keep)
    for step in range(6):
        made.save(step, {"state": state(step)}, {})
    made.finish()
    assert sorted(int(path.name[5:]) for path in Path("c").iterdir()) == list(range(6 - keep, 6))


def test_a_damaged_newer_one_does_not_crowd_out_whole_ones(saved, said):
    Path("c/step-00000020/manifest.json").unlink()
    resumed = Checkpoints(Path("c"), said.append)
    assert resumed.newest().step == 10
    resumed.save(15, {"state": state(15)}, {}, wait=True)
    assert sorted(path.name for path in Path("c").iterdir()) == ["step-00000010", "step-00000015"]


DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
TENSORS = st.builds(
    lambda dtype, shape: torch.randint(0, 255, shape).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), TENSORS, max_size=4))
def test_tensors_come_back_as_they_were(said, tensors):
    made = Checkpoints(Path("c"), said.append)
    made.save(1, {"state": tensors}, {}, wait=True)
    back = made.newest().load("state")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor)
    assert made.newest().folder.joinpath("state.safetensors").read_bytes() == save(tensors)


def test_views_parameters_and_tied_tensors_are_saved(said):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    tensors = {"a": weight, "b": weight, "c": weight.T, "d": weight[:, 1], "e": torch.ones(1).expand(3)}
    made = Checkpoints(Path("c"), said.append)
    made.save(1, {"state": tensors}, {}, wait=True)
    for name, tensor in made.newest().load("state").items():
        assert torch.equal(tensor, tensors[name])


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


def test_nan_in_progress_is_refused_at_once(saved):
    with pytest.raises(ValueError, match="JSON"):
        saved.save(30, {}, {"loss": float("nan")})


def test_what_dead_writers_left_is_removed_and_no_other(saved):
    live, dead, own = (Path(f"c/step-00000001.tmp-{pid}") for pid in (1, 999_999_999, os.getpid()))
    for folder in (live, dead, own):
        folder.mkdir()
    saved.save(30, {}, {}, wait=True)
    assert (live.exists(), dead.exists(), own.exists()) == (True, False, False)


def test_the_next_one_is_due_by_what_the_last_one_cost(monkeypatch, said):
    now = [0.0]
    monkeypatch.setattr(manager, "monotonic", lambda: now[0])
    monkeypatch.setattr(manager, "thread_time", lambda: 0.5)
    made = Checkpoints(Path("c"), said.append)

    def due_at(second):
        now[0] = second
        return made.due()

    assert [due_at(second) for second in (0, 9.9, 10)] == [False, False, True]
    made.save(1, {}, {}, wait=True)  # at 10; blocks for nothing, the writer for 0.5
    assert [due_at(second) for second in (20, 59.9, 60)] == [False, False, True]
    monkeypatch.setattr(manager, "thread_time", lambda: 0.0)
    monkeypatch.setattr(manager, "snapshot", lambda _: now.__setitem__(0, now[0] + 0.3) or {})
    made.save(2, {"state": state(2)}, {}, wait=True)  # at 60; blocks for 0.3
    assert [due_at(second) for second in (89, 90.4)] == [False, True]


def test_none_is_due_while_one_is_written(monkeypatch, said):
    go = threading.Event()
    monkeypatch.setattr(manifest, "sync", lambda *_: go.wait(10))
    monkeypatch.setattr(manager, "monotonic", iter(range(0, 10**6, 1000)).__next__)
    made = Checkpoints(Path("c"), said.append)
    assert made.due()
    made.save(1, {"state": state(1)}, {})
    assert not made.due()
    go.set()
    made.finish()


def test_remove_leaves_nothing(saved, said):
    saved.save(30, {"state": state(30)}, {})
    saved.remove()
    assert not Path("c").exists()
    assert newest(said) is None


@pytest.mark.parametrize("module", [manager, manifest])
def test_nothing_is_pickled(module):
    assert not re.search(r"torch\.(load|save)|pickle", Path(module.__file__).read_text())
