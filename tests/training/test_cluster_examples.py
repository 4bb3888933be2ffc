"""The examples for several machines: each is parsed, and what can run on one machine runs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "docs" / "cluster"
SCRIPTS = sorted([*CLUSTER.glob("*.sh"), *CLUSTER.glob("*.sbatch")])
SKY = YAML(typ="safe").load((CLUSTER / "sky.yaml").read_text())
TOTAL = str([sum(3.0 * step for step in range(20))] * 3)

# https://docs.skypilot.co/en/latest/reference/yaml-spec.html; 0.14.1 refuses any other
SKY_KEYS = "name workdir num_nodes resources envs secrets file_mounts setup run config volumes service"
SKY_RESOURCES = (
    "infra accelerators accelerator_args cpus memory instance_type use_spot disk_size disk_tier network_tier "
    "max_hourly_cost image_id ports labels autostop any_of ordered job_recovery"
)


def options(script):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", script, re.MULTILINE))


def check(script, *command):
    done = subprocess.run([*command, "-"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scripts():
    return [path.read_text() for path in SCRIPTS] + [f"#!/usr/bin/env bash\n{SKY[key]}" for key in ("setup", "run")]


def test_every_script_parses():
    assert len(SCRIPTS) == 2
    for script in scripts():
        check(script, "bash", "-n")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed; bash -n has run")
def test_shellcheck_finds_nothing():
    for script in scripts():
        check(script, "shellcheck", "--exclude=SC1091")


def test_sbatch_options_precede_all_commands_and_start_one_torchrun_a_node():
    script = (CLUSTER / "train.sbatch").read_text()
    given = options(script)
    expected = "job-name nodes ntasks-per-node gpus-per-node cpus-per-task time signal requeue open-mode"
    assert set(given) == set(expected.split())
    assert given["ntasks-per-node"] == "1"
    assert given["signal"] == "B:TERM@120"
    assert script.count("#SBATCH") == len(given)  # none misspelt, none after which a comment follows
    assert script.rindex("#SBATCH") < script.index("set -euo")  # Slurm stops reading at the first command


def test_sky_yaml_has_documented_keys_alone():
    assert set(SKY) <= set(SKY_KEYS.split())
    assert set(SKY["resources"]) <= set(SKY_RESOURCES.split())
    assert SKY["num_nodes"] == 2
    assert SKY["resources"]["job_recovery"] == {"max_restarts_on_errors": 3}
    assert SKY["file_mounts"]["/bucket"]["mode"] in {"MOUNT", "COPY", "MOUNT_CACHED"}
    assert "docs/cluster/torchrun.sh" in SKY["run"]


def test_the_guide_names_every_example():
    guide = (ROOT / "docs" / "cluster.md").read_text()
    links = set(re.findall(r"\]\((cluster/[^)]+)\)", guide))
    assert links == {f"cluster/{path.name}" for path in CLUSTER.iterdir()}


@pytest.fixture
def start(tmp_path):
    started = []

    def run(path, mode, **variables):
        variables |= {"TMPDIR": str(tmp_path), "MODULE": "toy_worker", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        environment = {**os.environ, **variables}
        started.append(subprocess.Popen(["bash", str(path), str(tmp_path), mode], env=environment))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def notes(folder, name):
    return [path.read_text() for path in sorted(folder.glob(f"{name}-?"))]


def wait_for(folder, name, count=2):
    until = time.monotonic() + 300
    while len(notes(folder, name)) < count:
        assert time.monotonic() < until, list(folder.iterdir())
        time.sleep(0.05)


@pytest.mark.slow
def test_torchrun_on_one_machine_recovers_from_a_killed_worker(start, tmp_path):
    process = start(CLUSTER / "torchrun.sh", "sum", PORT=free_port(), NODES="1", PROCESSES="2")
    wait_for(tmp_path, "running")
    os.kill(int(notes(tmp_path, "pid")[1]), signal.SIGKILL)
    assert process.wait(120) == 0
    assert notes(tmp_path, "total") == [TOTAL] * 2
    assert notes(tmp_path, "starts") == ["xx", "xx"]


@pytest.mark.slow
def test_torchrun_on_two_machines_of_one_worker_each(start, tmp_path):
    port = free_port()
    both = [start(CLUSTER / "torchrun.sh", "sum", PORT=port, NODES="2", NODE=node, PROCESSES="1") for node in "10"]
    assert [process.wait(120) for process in both] == [0, 0]
    assert notes(tmp_path, "total") == [TOTAL] * 2


@pytest.mark.slow
def test_sbatch_before_its_time_limit_stops_the_workers_and_asks_for_another_turn(start, tmp_path):
    stubs = {
        "scontrol": 'echo "$@" >> scontrol.log; echo 127.0.0.1',
        "srun": 'shift; exec bash "$@"',
        ".venv/bin/activate": "",
    }
    for name, script in stubs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    job = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "n[0-0]", "SLURM_JOB_ID": str(os.getpid())}
    size = {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_GPUS_ON_NODE": "2"}
    process = start(CLUSTER / "train.sbatch", "run", PATH=f"{tmp_path}:{os.environ['PATH']}", **job, **size)
    wait_for(tmp_path, "running")
    process.terminate()
    assert process.wait(30) == 143
    assert notes(tmp_path, "stopped") == ["15", "15"]
    assert (tmp_path / "scontrol.log").read_text() == f"show hostnames n[0-0]\nrequeue {os.getpid()}\n"
