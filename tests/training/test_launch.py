"""Several workers of a stage live, fail and die together. Real processes over gloo; each start costs some 4 s."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bonafide.training.launch import _worst

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "toy_worker.py"
PARENT = (
    "import sys; from bonafide.training import launch; sys.exit(launch.run_workers(2, [sys.executable, *sys.argv[1:]]))"
)
SUM = sum(3.0 * step for step in range(20))


class Launch:
    """A parent in a process of its own, and what its workers noted."""

    def __init__(self, folder, mode, command=(sys.executable, "-c", PARENT)):
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()
        self.process = subprocess.Popen(
            [*command, str(TOY), str(folder), mode],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, *names, seconds=300):
        until = time.monotonic() + seconds
        while not all((self.folder / name).exists() for name in names):
            assert time.monotonic() < until, f"no {names}: {list(self.folder.iterdir())}"
            time.sleep(0.02)

    def notes(self, name):
        return [path.read_text() for path in sorted(self.folder.glob(f"{name}-?"))]

    def workers(self):
        return [int(pid) for pid in self.notes("pid")]

    def end(self, seconds=120):
        self.out, self.err = self.process.communicate(timeout=seconds)
        return self.process.returncode


@pytest.fixture
def launch(tmp_path):
    launches = []

    def start(mode, **options):
        folder = tmp_path / str(len(launches))
        folder.mkdir()
        launches.append(Launch(folder, mode, **options))
        return launches[-1]

    yield start
    for each in launches:
        each.process.kill()
        each.process.communicate()
        for pid in alive(each.workers()):
            os.kill(pid, signal.SIGKILL)


def alive(pids):
    return [pid for pid in pids if runs_toy(pid)]


def runs_toy(pid):
    try:
        return str(TOY) in psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):  # nobody reaps an orphan in a container without init
        return False


def dead_within(pids, seconds):
    until = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pids)


@pytest.mark.parametrize(
    ("codes", "code"),
    [([], 0), ([1, 3], 3), ([3, -15], 3), ([1, 143], 1), ([4, 1, 143], 4), ([-15], 143), ([130, 130], 130)],
)
def test_of_several_exit_codes_the_most_telling_is_passed_on(codes, code):
    assert _worst(codes) == code


@pytest.mark.slow
def test_workers_exchange_tensors_speak_for_themselves_and_leave_nothing_behind(launch):
    done = launch("sum")
    assert done.end() == 0, done.err
    assert done.notes("total") == [str([SUM] * 3)] * 2
    assert sorted(done.out.splitlines()) == ["worker 0 of 2", "worker 1 of 2"]
    assert done.err == ""
    assert list((done.folder / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_killed_worker_makes_all_start_again_once(launch):
    killed = launch("sum")
    killed.wait_for("running-0", "running-1")
    os.kill(killed.workers()[1], signal.SIGKILL)
    assert killed.end() == 0, killed.err
    assert killed.notes("starts") == ["xx", "xx"]
    assert killed.notes("total") == [str([SUM] * 3)] * 2
    said = "train: worker 1 was killed (SIGKILL); starting again from the newest checkpoint\n"
    assert killed.err.count("train: ") == 1
    assert said in killed.err  # beside worker 0's own traceback, if it saw the loss before the agent did


@pytest.mark.slow
def test_a_worker_that_is_killed_each_time_is_started_four_times(launch):
    killed = launch("kill always")
    assert killed.end() == 4, killed.err
    assert killed.notes("starts")[1] == "xxxx"
    assert killed.err.count("starting again") == 3
    assert "train: worker 1 was killed (SIGKILL); gave up after 3 new starts\n" in killed.err


@pytest.mark.slow
def test_a_workers_own_exit_code_is_passed_on_without_another_start(launch):
    refused = launch("refuse")
    assert refused.end() == 3, refused.err
    assert refused.notes("starts") == ["x", "x"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_reaches_the_workers(launch, number, code):
    stopped = launch("run")
    stopped.wait_for("running-0", "running-1")
    stopped.process.send_signal(number)
    assert stopped.end(10) == code, stopped.err
    assert stopped.notes("stopped") == [str(int(number))] * 2
    assert alive(stopped.workers()) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["run", "stick"])
def test_no_worker_outlives_a_killed_agent(launch, mode):
    tries = [launch(mode) for _ in range(3)]
    for each in tries:
        each.wait_for("running-0", "running-1")
    for each in tries:
        each.process.kill()
    assert dead_within([pid for each in tries for pid in each.workers()], 5)


@pytest.mark.slow
def test_workers_of_a_users_own_torchrun_find_each_other_again(launch):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--standalone")
    killed = launch("sum", command=torchrun)
    killed.wait_for("running-0", "running-1")
    os.kill(killed.workers()[1], signal.SIGKILL)
    assert killed.end() == 0, killed.err
    assert killed.notes("starts") == ["xx", "xx"]
    assert killed.notes("total") == [str([SUM] * 3)] * 2
