"""What is measured of a training: arithmetic, time by phase, energy, the page about it and the trace."""

import gzip
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.monitoring import performance
from bonafide.monitoring.performance import PHASES, Energy, Job, Stopwatch, flops_per_token, matrix_rate, peak_memory
from bonafide.monitoring.profiler import Profiler
from tests.reporting.test_markdown import rows_of, words

JOB = Job(
    steps=20, tokens=1000, flops_per_token=6e6, peak_flops=1e11, shape=(64, 32, 128), device="a CPU", checkpoints=3
)


class NoWatch:
    def seconds(self):
        return dict.fromkeys((*PHASES, "other"), 0.0) | {"forward and backward": 9.0, "data": 1.0, "validation": 10.0}


def test_the_machine_multiplies_within_half_a_second_and_draws_no_chance_of_ours():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    started = time.process_time()  # not the clock's: a stolen core is no fault of ours
    rate = matrix_rate("cpu", torch.float32, 4096, 384, 1536)
    assert time.process_time() - started < torch.get_num_threads()  # 0.3 s each where the cores are free
    assert 1e8 < rate < 1e15
    assert torch.equal(before, torch.get_rng_state())


def test_a_trained_weight_costs_six_a_frozen_one_two_and_an_embedding_nothing():
    model = torch.nn.Sequential(torch.nn.Embedding(1000, 4), torch.nn.Linear(4, 8), torch.nn.Linear(8, 2, bias=False))
    assert flops_per_token(model) == 6 * (4 * 8 + 8 + 16)
    model[1].requires_grad_(requires_grad=False)
    assert flops_per_token(model) == 2 * (4 * 8 + 8) + 6 * 16


def test_phases_add_up_to_all_the_time_and_an_inner_one_pauses_the_outer(monkeypatch):
    now = iter([1.0, 3.0, 7.0, 15.0, 31.0, 63.0])
    monkeypatch.setattr(performance.time, "perf_counter", lambda: next(now))
    watch = Stopwatch()  # 1
    with watch("validation"), pytest.raises(ValueError, match="x"), watch("data"):  # 3 and 7
        raise ValueError("x")  # 15
    seconds = watch.seconds()  # 31 and 63
    assert seconds["data"] == 8
    assert seconds["validation"] == 4 + 16
    assert sum(seconds.values()) == 63 - 1


def test_on_a_gpu_each_boundary_of_a_phase_waits_for_it(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    watch = Stopwatch("cuda:0")
    with watch("data"), watch("reduce"):
        pass
    watch.seconds()
    assert len(waits) == 5


def test_peak_memory_knows_what_was_held():
    held = b"x" * (64 * 2**20)
    assert peak_memory()["main"] > len(held)
    assert peak_memory()["main"] < 2**40


def zone(powercap, folder, name, microjoules, wrap=262_143_328_850):
    path = powercap / folder
    path.mkdir(parents=True, exist_ok=True)
    for file, value in {"name": name, "energy_uj": microjoules, "max_energy_range_uj": wrap}.items():
        (path / file).write_text(f"{value}\n")


def test_energy_is_that_of_the_packages_alone_also_after_the_counter_wraps(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 90_000_000, wrap=100_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 7)
    energy = Energy(tmp_path)
    assert energy.meters == "CPU package-0 and CPU package-1"
    assert energy.joules() == 0
    zone(tmp_path, "intel-rapl:0", "package-0", 8_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 20_000_000, wrap=100_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 70_000_000)
    assert energy.joules() == pytest.approx(3 + 30)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert energy.joules() == pytest.approx(3 + 30)


@pytest.mark.parametrize("spoil", ["missing", "forbidden", "not a number"])
def test_energy_is_none_where_it_cannot_be_read(tmp_path, spoil, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", "abc" if spoil == "not a number" else 1)
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    if spoil == "missing":
        counter.unlink()
    if spoil == "forbidden":  # a folder: chmod stops no root
        counter.unlink()
        counter.mkdir()
    energy = Energy(tmp_path)
    assert energy.joules() is None
    assert energy.meters == ""
    assert Energy(tmp_path / "none").joules() is None


def test_the_table_divides_by_the_time_of_training_alone(tmp_path):
    facts = performance.table(JOB, NoWatch(), Energy(tmp_path))
    assert facts["tokens_per_second"] == 100
    assert facts["mfu"] == pytest.approx(0.006)
    json.dumps(facts, allow_nan=False)
    text = performance.render(facts)
    assert "| forward and backward | 9.0 | 45.0% |" in text
    assert "| all | 20.0 | 100% |" in text
    assert "| MFU | 0.60% of 100.0 GFLOP/s, measured here at (64 x 32) by (32 x 128) |" in text
    assert "| energy | not measurable here |" in text
    assert "| resumed from | the start |" in text
    assert "reduce" not in text


@settings(max_examples=30)
@given(words, words, st.booleans())
def test_the_page_is_tables_whatever_the_machine_is_called(device, meter, resumed):
    energy = type("Meter", (), {"meters": meter, "joules": lambda _: 1234.5})()
    job = performance.Job(20, 1000, 6e6, 0.0, (64, 32, 128), device, resumed_from=400 * resumed)
    rows = rows_of(performance.render(performance.table(job, NoWatch(), energy)))
    assert all(len(row) == len(rows[0]) for row in rows[:4])
    kinds = {kind for row in rows for cell in row for kind in cell}
    assert kinds == {"text", "code_inline"}


def trace(steps, first, path, made, *, close=False):
    model, profiler = torch.nn.Linear(16, 16), Profiler(steps, first, path)
    for _ in range(made):
        model(torch.ones(4, 16)).sum().backward()
        profiler.step()
    if close:
        profiler.close()
    return json.loads(gzip.decompress(path.read_bytes())) if path.exists() else None


def steps_of(found):
    return sorted(event["name"] for event in found["traceEvents"] if event["name"].startswith("ProfilerStep"))


@pytest.mark.parametrize(("first", "made", "close"), [(1, 6, False), (3, 5, False), (4, 5, True)])
def test_a_trace_has_exactly_the_asked_steps(tmp_path, first, made, close):
    found = trace(3, first, tmp_path / "deep" / "steps.pt.trace.json.gz", made, close=close)
    recorded = range(first, first + 3)
    assert set(steps_of(found)) == {f"ProfilerStep#{step}" for step in recorded}
    products = [event for event in found["traceEvents"] if event["name"] == "aten::addmm"]
    assert len(products) == len([step for step in recorded if step <= made])
    assert products[0]["args"]["Input Dims"][1] == [4, 16]


def test_a_trace_has_what_another_thread_computes(tmp_path):
    profiler = Profiler(1, 1, tmp_path / "steps.pt.trace.json.gz")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(torch.mm, torch.ones(3, 3), torch.ones(3, 3)).result()
    torch.mm(torch.ones(3, 3), torch.ones(3, 3))
    profiler.step()
    found = json.loads(gzip.decompress(profiler.path.read_bytes()))["traceEvents"]
    assert len({event["tid"] for event in found if event["name"] == "aten::mm"}) == 2


def test_no_steps_leave_no_trace_and_cost_nothing(tmp_path):
    assert trace(0, 1, tmp_path / "none.gz", 5, close=True) is None
    profiler = Profiler(0, 1, tmp_path / "none.gz")
    started = time.process_time()
    for _ in range(10_000):
        profiler.step()
    assert (time.process_time() - started) / 10_000 < 5e-6


@pytest.mark.slow
def test_profiling_prints_nothing(tmp_path):
    script = (
        "from pathlib import Path; from bonafide.monitoring.profiler import Profiler as P; P(1, 1, Path('t.gz')).step()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KINETO_LOG_LEVEL"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "t.gz").exists()
