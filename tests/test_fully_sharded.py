"""FSDP2 over gloo, real processes: a checkpoint of two ranks comes back bit for bit in one, two and four."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
WORKERS = "import sys; from bonafide.launch import run_workers; p, *c = sys.argv[1:]; sys.exit(run_workers(int(p), c))"


def run(folder, mode, processes):
    command = [sys.executable, "-c", WORKERS, str(processes), sys.executable, str(ROOT / "tests/toy_sharded.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(folder), mode], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def parts(folder):
    count = len(list(folder.glob("rank-*")))
    return [load_file(folder / f"rank-{rank}-of-{count}.safetensors") for rank in range(count)]


def whole(folder):
    """Weights and moments, joined; `step` and the like are on every rank."""
    split = parts(folder)
    return {
        name: torch.cat([part[name] for part in split]) if split[0][name].ndim else split[0][name] for name in split[0]
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sharded")
    run(path, "save", 2)
    return path


@pytest.mark.slow
def test_each_rank_has_its_part_alone(folder):
    first, second = parts(folder / "saved")
    assert {name.partition(".")[0] for name in first} == {"model", "step", "exp_avg", "exp_avg_sq"}
    assert float(first["step.classifier.weight"]) == 2
    assert first["model.classifier.weight"].shape == (2, 32)  # three labels over two ranks
    assert second["model.classifier.weight"].shape == (1, 32)
    assert first["exp_avg.classifier.bias"].any()


@pytest.mark.slow
def test_the_whole_weights_are_the_joined_parts(folder):
    weights = {f"model.{name}": tensor for name, tensor in load_file(folder / "saved" / "whole.safetensors").items()}
    assert_same(weights, {name: tensor for name, tensor in whole(folder / "saved").items() if name in weights})
    assert weights["model.classifier.weight"].shape == (3, 32)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])  # of four, one has no row of the three labels
def test_any_number_of_ranks_loads_the_same_bits_and_two_go_on_as_if_never_stopped(folder, processes):
    run(folder, "load", processes)
    assert_same(whole(folder / f"loaded-{processes}"), whole(folder / "saved"))
    if processes == 2:
        assert_same(whole(folder / "load-end-2"), whole(folder / "save-end-2"))
