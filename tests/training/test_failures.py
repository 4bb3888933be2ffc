"""What goes wrong around a stage: one clear line, the right exit code, nothing lost."""

import glob
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.project import STAGES, small_project
from tests.stages.test_pipeline import CHILDREN, PIPELINES, links, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    """A project that has come as far as tokenize."""
    project = small_project(tmp_path_factory.mktemp("failures") / "clone")
    project.repro("tokenize")
    return project


def run_on(project, folder, mount, stage="tokenize"):
    """Run one stage while `folder` is a file system of its own; needs root, as .ci/run has."""
    command = f"mkdir -p {folder} && mount {mount} && exec {sys.executable} -m stages.{stage}"
    return project.run("unshare", "-m", "sh", "-c", command)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


@needs_root
def test_a_full_disk_is_named_and_restored_from_the_cache(tokenized):
    before = (tokenized.folder / "data/tokenized/train/input_ids.npy").read_bytes()
    done = run_on(tokenized, "data/tokenized", "-t tmpfs -o size=16k none data/tokenized")
    assert done.returncode == 4
    lines = [line for line in done.stderr.splitlines() if line.startswith("tokenize:")]
    assert len(lines) == 1
    assert "No space left on device" in lines[0]
    assert "Traceback" not in done.stderr
    assert (tokenized.folder / "data/tokenized/train/input_ids.npy").read_bytes() == before


@needs_root
def test_a_read_only_folder_is_named(tokenized):
    done = run_on(tokenized, "data/tokenized", "--bind -o ro data/tokenized data/tokenized")
    lines = [line for line in done.stderr.splitlines() if line.startswith("tokenize:")]
    assert (done.returncode, len(lines)) == (4, 1)
    assert "Read-only file system" in lines[0]
    assert "data/tokenized" in lines[0]


def test_bad_params_stop_a_stage_before_it_touches_anything(tokenized):
    tokenized.set(train__epochs=-1)
    done = tokenized.run(sys.executable, "-m", "stages.train")
    tokenized.git("checkout", "params.yaml")
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if line] == [
        "train: params.yaml: train.epochs: Input should be greater than or equal to 1"
    ]


def test_texts_longer_than_the_model_has_positions_are_refused(tokenized):
    tokenized.set(tokenize__max_length=4096)
    done = tokenized.run(sys.executable, "-m", "stages.tokenize")
    tokenized.git("checkout", "params.yaml")
    assert done.returncode == 3
    assert "tokenize.max_length: 4096 is above the base model's 128 positions" in done.stderr


def test_two_stages_never_write_at_once(tokenized):
    held = "from filelock import FileLock\nwith FileLock('.bonafide/writer.lock'): print(1, flush=True), input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", held], cwd=tokenized.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "1\n"
    done = tokenized.run(sys.executable, "-m", "stages.tokenize")
    holder.communicate("\n")
    assert done.returncode == 4
    assert "another stage is writing here" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_stage_with_its_code_and_its_run_as_killed(tokenized, number, code):
    env = os.environ | {"DVC_SITE_CACHE_DIR": str(tokenized.folder.parent / "site")}
    env.pop("MLFLOW_TRACKING_URI")
    tag = "select run_uuid from tags where key = 'bonafide.stage' and value = 'train'"
    status = f"select status from runs where run_uuid in ({tag})"
    tokenized.set(train__epochs=1000, train__patience=1000)
    tokenized.save_often()
    saved = tokenized.folder / ".bonafide/checkpoints"
    shutil.rmtree(saved, ignore_errors=True)
    command = [sys.executable, "-m", "stages.train"]
    running = subprocess.Popen(command, cwd=tokenized.folder, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: glob.glob("*/step-*", root_dir=saved))  # noqa: PTH207  (a path's own fails where a folder goes)
    running.send_signal(number)
    assert running.wait(timeout=30) == code
    tokenized.git("checkout", "params.yaml", "bonafide/training/checkpoints/manager.py")
    assert tokenized.query(status) == [("KILLED",)]


def test_an_absent_tracking_server_delays_nothing_and_loses_nothing(tmp_path):
    project = small_project(tmp_path / "clone")
    output = project.repro(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert output.count("warning: MLflow at http://127.0.0.1:9 does not answer") == len(STAGES)
    assert len(list((project.folder / ".bonafide/undelivered").iterdir())) == len(STAGES)
    project.repro("-f", "-s", "report")
    assert list((project.folder / ".bonafide/undelivered").iterdir()) == []
    assert [status for _run, status in project.query(PIPELINES)] == ["FINISHED"]
    assert set(dict(project.query(CHILDREN)).values()) == {1}
    assert set(links(project)[0].values()) == {"executed"}
    assert project.query("select count(*) from metrics where key = 'train/train_loss'")[0][0] > 0
