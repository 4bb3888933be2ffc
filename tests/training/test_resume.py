"""A training that is killed at any moment ends in the bytes of one that was not: real DVC projects, real kills.

The clones save a checkpoint after every step that finds the writer free, so that a kill always finds some. With
BONAFIDE_KILLS=40 there are 40 random kills instead of 7, with BONAFIDE_RECIPE=smoke of recipes/smoke.yaml and its real
model (some 45 s each) instead of a tiny one.
"""

import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from bonafide.project.files import sha256
from tests.project import Project, copy, reviews
from tests.stages.test_pipeline import wait_for

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("BONAFIDE_KILLS", "7"))
RECIPE = os.environ.get("BONAFIDE_RECIPE", "tiny")
KINDS = ("stage", "save", "dvc", "worker", "stage while it starts", "save", "dvc while it starts")
POINTS = ("save:in_file", "save:before_manifest", "save:before_rename", "save:after_rename")
RESULTS = ("models/model/model.safetensors", "reports/train/history.csv", "reports/train.json")
STAGE = [sys.executable, "-m", "stages.train"]
REPRO = ["dvc", "repro", "train"]
TRAININGS = "select status from runs where run_uuid in "
TRAININGS += "(select run_uuid from tags where key = 'bonafide.stage' and value = 'train')"


@dataclass
class Running:
    """A started command, and all that it and its children have printed."""

    process: subprocess.Popen
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def stages(self) -> dict[str, psutil.Process]:
        """The stage's processes: the only one or the launcher as "", workers by their rank."""
        found = {}
        for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]:
            try:
                if "stages.train" in process.cmdline() and "-m" in process.cmdline():
                    found[process.environ().get("RANK", "")] = process
            except psutil.Error:
                continue
        return found

    def ended(self) -> bool:
        return self.process.poll() is not None


def start(project: Project, command: list[str], log: Path | None = None, **environment: str) -> Running:
    path = log or project.folder.parent / f"{time.monotonic_ns()}.log"
    env = os.environ | {"DVC_SITE_CACHE_DIR": str(project.folder.parent / "site"), "SHELL": "/bin/sh"} | environment
    env.pop("MLFLOW_TRACKING_URI", None)
    with path.open("w") as file:
        process = subprocess.Popen(
            command, cwd=project.folder, env=env, stdout=file, stderr=file, start_new_session=True
        )
    return Running(process, path)


def checkpoints(project: Project) -> list[Path]:
    """The whole checkpoints, the newest last."""
    return sorted(path for path in listed(project, "*/step-*") if not path.suffix)


def listed(project: Project, pattern: str) -> list[Path]:
    """What is among the checkpoints; unlike Path.glob's, no error where a folder goes while it is listed."""
    folder = project.folder / ".bonafide/checkpoints"
    return [folder / name for name in glob.glob(pattern, root_dir=folder)]  # noqa: PTH207


def trains(project: Project, running: Running) -> None:
    """Wait until it has saved its second checkpoint or more."""
    wait_for(lambda: len(checkpoints(project)) > 1 or running.ended())
    assert not running.ended(), running.said()


def outcome(project: Project, *, lock: bool = True) -> dict[str, str]:
    names = (*RESULTS, "dvc.lock") if lock else RESULTS
    return {name: sha256(project.folder / name) for name in names}


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    """A committed project before its training of 240 steps, some 3 s, with a checkpoint after each step or two."""
    project = Project(tmp_path_factory.mktemp("resume") / "clone")
    if RECIPE == "tiny":
        table = reviews(240)
        project.write_table(table)
        project.tiny([row["text"] for row in table])
        project.set(threads=1, train__epochs=10, train__batch_size=8, train__patience=1000)
    else:
        shutil.copy(project.folder / f"recipes/{RECIPE}.yaml", project.folder / "params.yaml")
        project.set(threads=1)  # a process: two of them share this machine
    project.save_often()
    project.commit()
    project.repro("tokenize", DVC_NO_ANALYTICS="1")
    return project


@dataclass
class Reference:
    """What an uninterrupted training leaves."""

    results: dict[str, str]
    seconds: float
    """From its second checkpoint until it has removed them all."""
    startup: float
    """From the start of the stage to its second checkpoint."""


@pytest.fixture(scope="module")
def reference(tokenized, tmp_path_factory):
    project = copy(tokenized, tmp_path_factory.mktemp("reference") / "clone")
    running = start(project, REPRO)
    wait_for(lambda: "Running stage 'train'" in running.said())
    began = time.monotonic()
    trains(project, running)
    training = time.monotonic()
    wait_for(lambda: not checkpoints(project))
    trained = time.monotonic()
    assert running.process.wait(120) == 0, running.said()
    assert "goes on from" not in running.said()
    return Reference(outcome(project), trained - training, training - began)


@dataclass
class Stopped:
    """A training that SIGTERM has ended: its project, its exit code, and what it said."""

    project: Project
    code: int
    said: str


@pytest.fixture(scope="module")
def stopped(tokenized, tmp_path_factory):
    project = copy(tokenized, tmp_path_factory.mktemp("stopped") / "clone")
    running = start(project, STAGE)
    trains(project, running)
    time.sleep(0.3)
    running.process.terminate()
    return Stopped(project, running.process.wait(30), running.said())


def finish(project: Project, reference: Reference, *, lock: bool = True) -> str:
    """Run it to the end; it leaves the reference's bytes, no checkpoint and no run that seems to be running."""
    output = project.repro("train")
    expected = {name: digest for name, digest in reference.results.items() if lock or name != "dvc.lock"}
    assert outcome(project, lock=lock) == expected
    assert list((project.folder / ".bonafide/checkpoints").glob("*/")) == []
    assert {status for (status,) in project.query(TRAININGS)} <= {"FINISHED", "KILLED"}
    return output


def went_on_from(output: str) -> list[int]:
    """The steps from which a training says that it goes on."""
    parts = output.split("goes on from step ")[1:]
    return [int(part.split()[0]) for part in parts]


@pytest.mark.parametrize("number", range(KILLS))
def test_a_training_killed_at_a_random_moment_ends_in_the_same_bytes(tokenized, stopped, reference, tmp_path, number):
    """`kill -9` of the stage, of `dvc repro`, of a worker or within a save; in the end weights and curves are equal."""
    chance, kind = random.Random(number), KINDS[number % len(KINDS)]
    project = copy(stopped.project if kind == "save" else tokenized, tmp_path / "clone")
    if kind == "save":
        kind = POINTS[number // 3 % 4]
        running = start(project, REPRO, BONAFIDE_FAULT=kind)
        assert running.process.wait(120) != 0, running.said()
    else:
        project.set(machine__processes=2 if kind == "worker" else 1)
        running = kill_some_time(project, kind, reference, chance)
    newest = [step_of(path) for path in checkpoints(project)[-1:]]
    output = finish(project, reference, lock=kind != "worker")
    went_on = went_on_from(running.said() if kind == "worker" else output)
    print(f"kill {number}: {kind}; checkpoint {newest}; went on from {went_on}")
    if kind == "worker":  # the launcher has started all workers again
        assert "was killed (SIGKILL); starting again" in running.said()
    elif not kind.startswith("dvc"):  # after which the stage, an orphan, saves once more
        assert went_on == newest or "skipped" in output  # killed while it removed them


def kill_some_time(project: Project, kind: str, reference: Reference, chance: random.Random) -> Running:
    """Start it, wait for a random share of its time, and kill what `kind` names; return when it has ended."""
    running = start(project, REPRO)
    span = 0.8 * reference.seconds
    if "starts" in kind:
        wait_for(lambda: "Running stage 'train'" in running.said())
        span = reference.startup
    else:
        trains(project, running)
    time.sleep(chance.uniform(0, span))
    stages = running.stages()
    victims = [running.process] if kind.startswith("dvc") else stages.values()
    for victim in [stages[str(chance.randrange(2))]] if kind == "worker" else victims:
        victim.kill()
    running.process.wait(300)
    return running


def test_sigterm_saves_within_5_s_and_the_next_run_goes_on(stopped, reference, tmp_path):
    """Exit code 143, a whole checkpoint of the step it tells of, the run KILLED; then on from that very step.

    Five seconds after the signal an alarm would have ended it before it tells.
    """
    assert stopped.code == 143
    project = copy(stopped.project, tmp_path / "clone")
    assert project.query(TRAININGS) == [("KILLED",)]
    (newest,) = checkpoints(project)[-1:]
    assert f"train: stopped after step {step_of(newest)}; the next run goes on from there" in stopped.said
    assert "Traceback" not in stopped.said
    assert went_on_from(finish(project, reference)) == [step_of(newest)]


def test_sigterm_to_two_processes_saves_too(tokenized, reference, tmp_path):
    """The launcher passes the signal on and ends with 143; one process finishes what two have begun."""
    project = copy(tokenized, tmp_path / "clone")
    project.set(machine__processes=2)
    running = start(project, STAGE)
    trains(project, running)
    running.process.terminate()
    assert running.process.wait(30) == 143
    assert project.query(TRAININGS) == [("KILLED",)]
    (newest,) = checkpoints(project)[-1:]
    assert f"train: stopped after step {step_of(newest)}" in running.said()
    project.git("checkout", "params.yaml")
    assert went_on_from(finish(project, reference)) == [step_of(newest)]


def test_ctrl_c_of_dvc_repro_loses_nothing(tokenized, reference, tmp_path):
    """SIGINT to dvc's process group, as a terminal sends it."""
    project = copy(tokenized, tmp_path / "clone")
    running = start(project, REPRO)
    trains(project, running)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.process.wait(30) != 0
    assert "train: interrupted" in running.said()
    assert project.query(TRAININGS) == [("KILLED",)]
    (newest,) = checkpoints(project)[-1:]
    assert went_on_from(finish(project, reference)) == [step_of(newest)]


def test_a_damaged_checkpoint_is_named_and_skipped(stopped, reference, tmp_path):
    """One bit flipped in the newest one: the one before it is used, and the result is the same."""
    project = copy(stopped.project, tmp_path / "clone")
    older, newest = checkpoints(project)
    path = newest / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    output = finish(project, reference)
    assert f"checkpoint {newest.name}: state.safetensors does not match its sha256; skipped" in output
    assert went_on_from(output) == [step_of(older)]


def test_other_params_do_not_use_the_checkpoint(stopped, tokenized, reference, tmp_path):
    """With another learning rate a training begins anew, and ends as if there had been no other before it."""
    project, alone = copy(stopped.project, tmp_path / "clone"), copy(tokenized, tmp_path / "alone")
    kept = checkpoints(project)
    for each in (project, alone):
        each.set(train__learning_rate=0.001)
        assert went_on_from(each.repro("train")) == []
    assert outcome(project) == outcome(alone) != reference.results
    assert checkpoints(project) == kept


@pytest.mark.parametrize("processes", [2, 4])
def test_the_number_of_processes_shapes_nothing(tokenized, reference, tmp_path, processes):
    """2 and 4 processes give the bytes of one."""
    project = copy(tokenized, tmp_path / "clone")
    project.set(machine__processes=processes)
    finish(project, reference, lock=False)


def test_two_processes_killed_are_finished_by_one(tokenized, reference, tmp_path):
    """`kill -9` of dvc, launcher and workers at once."""
    project = copy(tokenized, tmp_path / "clone")
    project.set(machine__processes=2)
    running = start(project, REPRO)
    trains(project, running)
    time.sleep(0.5)
    os.killpg(running.process.pid, signal.SIGSTOP)  # nobody sees another die
    stages = running.stages()
    assert sorted(stages) == ["", "0", "1"]
    for process in stages.values():
        process.kill()
    running.process.kill()
    running.process.wait(30)  # DVC takes a zombie's lock for held
    wait_for(lambda: not any(is_alive(process) for process in stages.values()))
    newest = [step_of(path) for path in checkpoints(project)[-1:]]
    project.git("checkout", "params.yaml")
    assert went_on_from(finish(project, reference)) == newest


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_worker_is_started_again(tokenized, reference, tmp_path):
    """`kill -9` of rank 1, then of rank 0: both are named, all go on from a checkpoint, the bytes are the same."""
    project = copy(tokenized, tmp_path / "clone")
    project.set(machine__processes=2)
    running = start(project, REPRO)
    trains(project, running)
    running.stages()["1"].kill()
    wait_for(lambda: went_on_from(running.said()) or running.ended())
    time.sleep(0.5)
    running.stages()["0"].kill()
    assert running.process.wait(120) == 0, running.said()
    for rank in (1, 0):
        line = f"train: worker {rank} was killed (SIGKILL); starting again from the newest checkpoint"
        assert running.said().count(line) == 1, running.said()
    assert outcome(project, lock=False) == {name: reference.results[name] for name in RESULTS}
    assert project.query(TRAININGS) == [("FINISHED",)]
    assert checkpoints(project) == []


def test_a_second_training_of_the_same_content_waits(stopped, reference, tmp_path):
    """While another holds the checkpoints it neither trains nor writes; then it goes on from what is there."""
    project = copy(stopped.project, tmp_path / "clone")
    kept = checkpoints(project)
    with FileLock(f"{kept[0].parent}.lock"):
        running = start(project, REPRO)
        wait_for(lambda: "Running stage 'train'" in running.said())
        time.sleep(1.5 * reference.startup)
        assert not running.ended()
        assert "step" not in running.said()
        assert checkpoints(project) == kept
    assert running.process.wait(120) == 0, running.said()
    assert went_on_from(running.said()) == [step_of(kept[-1])]
    assert outcome(project) == reference.results


def test_two_temporary_experiments_at_once_have_one_writer(tokenized, reference, tmp_path):
    """They share the repository's checkpoints: the second trains when the first has ended; both end the same."""
    project = copy(tokenized, tmp_path / "clone")
    command = ["dvc", "exp", "run", "--temp", "--copy-paths", "tiny", "train", "-n"]
    both = [start(project, [*command, name], tmp_path / f"{name}.log") for name in ("one", "two")]
    writers = set()
    while not all(running.ended() for running in both):
        writers.add(frozenset(path.suffix for path in listed(project, "*/*.tmp-*")))
        time.sleep(0.002)
    for running in both:
        assert running.process.returncode == 0, running.said()
    assert max(len(each) for each in writers) == 1
    for name in ("one", "two"):
        refs = project.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
        (ref,) = (ref for ref in refs if ref.endswith(f"/{name}"))
        (tmp_path / name).write_text(project.git("show", f"{ref}:dvc.lock"))
        assert sha256(tmp_path / name) == reference.results["dvc.lock"]
