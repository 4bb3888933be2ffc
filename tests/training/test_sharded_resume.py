"""A sharded training that is killed ends in the bytes of one that was not, and another number of processes ends it.

Real projects, real kills. The clones save after every step that finds all writers free.
"""

import os
import shutil
import signal
from itertools import groupby

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from bonafide.project.files import sha256
from tests.project import Project, copy, reviews
from tests.stages.test_pipeline import wait_for
from tests.training.test_resume import RESULTS, STAGE, TRAININGS, is_alive, listed, start, step_of, went_on_from

pytestmark = pytest.mark.slow

MODEL = RESULTS[0]
PATIENT = 300  # seconds


def parts(project):
    """The steps on the disk by part, in order."""
    steps = [path for path in sorted(listed(project, "*/rank-*-of-*/step-*")) if not path.suffix]
    return {name: list(paths) for name, paths in groupby(steps, lambda path: path.parent.name)}


def whole(project, size=2):
    """The steps of which all parts are there."""
    found = [parts(project).get(f"rank-{rank}-of-{size}", []) for rank in range(size)]
    return sorted(set.intersection(*({step_of(path) for path in paths} for paths in found)))


def trains(project, running, size=2):
    """Wait until all parts of two checkpoints or more are there."""
    wait_for(lambda: len(whole(project, size)) > 1 or running.ended(), PATIENT)
    assert not running.ended(), running.said()


def outcome(project):
    return [sha256(project.folder / name) for name in RESULTS]


def run(project):
    done = project.run(*STAGE)
    assert done.returncode == 0, done.stderr
    assert list((project.folder / ".bonafide/checkpoints").glob("*/")) == []
    assert {status for (status,) in project.query(TRAININGS)} <= {"FINISHED", "KILLED"}
    return done.stderr


def kill(running):
    """`kill -9` of the launcher and all workers at once: nobody sees another die."""
    os.killpg(running.process.pid, signal.SIGSTOP)
    processes = running.stages().values()
    for process in processes:
        process.kill()
    running.process.wait(30)
    wait_for(lambda: not any(is_alive(process) for process in processes), PATIENT)


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    """A committed project before its sharded training of 96 steps in two processes, with dropout."""
    project = Project(tmp_path_factory.mktemp("sharded") / "clone")
    table = reviews(240)
    project.write_table(table)
    project.tiny([row["text"] for row in table])
    project.set(threads=1, train__epochs=4, train__batch_size=8, train__patience=1000)
    project.set(train__exact=False, train__sharding="full", machine__processes=2)
    project.save_often()
    project.commit()
    project.repro("tokenize", DVC_NO_ANALYTICS="1")
    return project


@pytest.fixture(scope="module")
def reference(tokenized, tmp_path_factory):
    """What an uninterrupted training leaves."""
    project = copy(tokenized, tmp_path_factory.mktemp("reference") / "clone")
    assert went_on_from(run(project)) == []
    return outcome(project)


def stop(project, size=2):
    """End a training with SIGTERM once it has two checkpoints; the step it was saved at."""
    running = start(project, STAGE)
    trains(project, running, size)
    running.process.terminate()
    code, said = running.process.wait(PATIENT), running.said()
    assert code == 143, said
    assert project.query(TRAININGS) == [("KILLED",)]
    newest = whole(project, size)[-1]
    assert f"train: stopped after step {newest}; the next run goes on from there" in said
    assert "Traceback" not in said
    return newest


@pytest.fixture(scope="module")
def stopped(tokenized, tmp_path_factory):
    project = copy(tokenized, tmp_path_factory.mktemp("stopped") / "clone")
    stop(project)
    return project


def test_a_second_run_gives_the_same_bytes_and_an_ordinary_model(tokenized, reference, tmp_path):
    project = copy(tokenized, tmp_path / "clone")
    run(project)
    assert outcome(project) == reference
    model = AutoModelForSequenceClassification.from_pretrained(project.folder / "models/model")
    assert {type(p) for p in model.parameters()} == {torch.nn.Parameter}
    rows = model.get_input_embeddings().num_embeddings
    assert rows == len((project.folder / "tiny/vocab.txt").read_text().splitlines())


def test_kill_9_of_all_processes_loses_no_byte(tokenized, reference, tmp_path):
    project = copy(tokenized, tmp_path / "clone")
    running = start(project, STAGE)
    trains(project, running)
    kill(running)
    steps = whole(project)
    assert went_on_from(run(project)) == steps[-1:]
    assert outcome(project) == reference


@pytest.mark.parametrize("point", ["in_file", "before_rename", "after_rename"])
def test_kill_9_within_a_save_loses_no_byte(stopped, reference, tmp_path, point):
    """Each process dies in its next save, and so do those that are started again, until the launcher dies too."""
    project = copy(stopped, tmp_path / "clone")
    running = start(project, STAGE, BONAFIDE_FAULT=f"save:{point}")
    wait_for(lambda: "starting again from the newest checkpoint" in running.said() or running.ended(), PATIENT)
    kill(running)
    steps = whole(project)
    assert went_on_from(run(project)) == steps[-1:]
    assert outcome(project) == reference


def test_a_killed_process_is_started_again(tokenized, reference, tmp_path):
    """Rank 1, then rank 0: the others do not hang, all go on from a checkpoint."""
    project = copy(tokenized, tmp_path / "clone")
    running = start(project, STAGE)
    trains(project, running)
    running.stages()["1"].kill()
    wait_for(lambda: went_on_from(running.said()) or running.ended(), PATIENT)
    running.stages()["0"].kill()
    assert running.process.wait(PATIENT) == 0, running.said()
    for rank in (1, 0):
        line = f"train: worker {rank} was killed (SIGKILL); starting again from the newest checkpoint"
        assert running.said().count(line) == 1, running.said()
    assert len(went_on_from(running.said())) == 2
    assert outcome(project) == reference


def test_a_damaged_and_a_missing_part_are_named_and_skipped(stopped, reference, tmp_path):
    """A bit of rank 1's newest part is flipped; then rank 0's is not there: the checkpoint before it is used."""
    older, newest = whole(stopped)
    for rank in (0, 1):
        project = copy(stopped, tmp_path / f"clone{rank}")
        folder = parts(project)[f"rank-{rank}-of-2"][-1]
        if rank:
            path = folder / "state.safetensors"
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        else:
            shutil.rmtree(folder)
        said = run(project)
        assert f"checkpoint step-{newest:08d}: rank-{rank}-of-2 has no whole part of it; skipped" in said
        damage = f"rank-1-of-2: checkpoint step-{newest:08d}: state.safetensors does not match its sha256; skipped"
        assert (damage in said) == bool(rank)
        assert went_on_from(said) == [older]
        assert outcome(project) == reference


def test_a_checkpoint_of_other_params_is_not_used(stopped, tmp_path):
    project = copy(stopped, tmp_path / "clone")
    kept = parts(project)
    project.set(train__learning_rate=0.001, train__epochs=1)
    done = project.run(*STAGE)
    assert done.returncode == 0, done.stderr
    assert went_on_from(done.stderr) == []
    assert parts(project) == kept


def weights(project):
    """All that shapes an output: a key's bias does not, so that AdamW makes steps of its gradient's rounding."""
    return {name: w for name, w in load_file(project.folder / MODEL).items() if not name.endswith("key.bias")}


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_another_number_of_processes_ends_it(tokenized, tmp_path, first, then):
    """Without dropout, whose chance is a function of the part of a batch, to the weights of an unsharded one, fp32."""
    project, alone = copy(tokenized, tmp_path / "clone"), copy(tokenized, tmp_path / "alone")
    for each in (project, alone):
        each.set(train__dropout=0, machine__processes=first)
    alone.set(train__sharding="none", machine__processes=1, train__precision="fp32")
    run(alone)
    newest = stop(project, first)
    project.set(machine__processes=then)
    assert went_on_from(run(project)) == [newest]
    one, other = weights(project), weights(alone)
    assert one.keys() == other.keys()
    assert {name: far for name in one if (far := float((one[name] - other[name]).abs().max())) > 1e-4} == {}


def test_training_stops_early_in_all_processes(tokenized, tmp_path):
    project = copy(tokenized, tmp_path / "clone")
    project.set(train__epochs=40, train__patience=1)
    run(project)
    report = project.read("reports/train.json")
    assert report["train/steps"] == 24 * (report["train/best_epoch"] + 1) < 24 * 40
