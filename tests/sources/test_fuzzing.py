"""benchmarks/fuzzing.py: what it calls a find, and a short round of it. The long ones are logged in dev/LOG.md."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_targets import ROOT, TARGETS, read_table
from benchmarks.fuzzing import attempt, fuzz, mutate
from bonafide.project.errors import InputError

MODELS = ("config", "tokenizer")


def raises(error):
    def run(_path):
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (lambda _: None, "read"),
        (raises(InputError("t.csv: line 1 is not good")), "refused"),
        (raises(InputError("t.csv: two\nlines")), "traceback"),
        (raises(InputError("names no file")), "traceback"),
        (raises(KeyError("text")), "traceback"),
        (lambda _: bytearray(2 * 10**9), "memory"),
    ],
)
def test_a_result_or_one_line_that_names_the_file_is_no_find(run, outcome):
    assert attempt(run, Path("t.csv"))[0] == outcome


def test_a_hang_is_a_find(monkeypatch):
    monkeypatch.setattr("benchmarks.fuzzing.SECONDS", 0.5)
    assert attempt(lambda _: [0 for _ in iter(int, 1)], Path("t.csv"))[0] == "hang"


@pytest.mark.slow
def test_no_mutated_base_model_is_a_find():
    """In a process of its own: a fork of one whose libraries have threads may wait for these for ever."""
    command = [sys.executable, "-m", "benchmarks.fuzzing", "--rounds", "40", "--targets", *MODELS]
    options = ["--keep", str(Path.cwd())]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("0 finds")


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in MODELS])
def test_no_mutated_file_is_a_find(name):
    counts = fuzz(name, range(20), random.Random(0), Path.cwd())
    assert set(counts) <= {"read", "refused"}


def outcome(name, content):
    """What becomes of a file: `read`, or the words of its refusal; anything else is raised."""
    Path(name).write_bytes(content)
    try:
        read_table(Path(name))
    except InputError as error:
        return str(error)
    return "read"


def is_one(name, words):
    return words == "read" or (name in words and "\n" not in words)


@settings(max_examples=150)
@given(st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.json", "t.csv.gz", "t.jsonl.zst"]), st.binary(max_size=200))
@example("t.csv", b"text,label\n\xff\xfe\0\0,1\n")
@example("t.json", b"[" * 5000)
def test_no_bytes_are_a_traceback(name, content):
    assert is_one(name, outcome(name, content))


@settings(max_examples=150)
@given(st.sampled_from(["csv", "json", "parquet"]), st.integers())
def test_no_change_of_a_good_file_is_a_traceback(target, seed):
    chance = random.Random(seed)
    name, contents = chance.choice(list(TARGETS[target]()[1].items()))
    content = chance.choice(contents)
    assert is_one(name, outcome(name, mutate(content, content, chance)))
