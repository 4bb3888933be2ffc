"""Keys are the same while a stage runs as afterwards in dvc.lock, and change with what DVC decides by."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from bonafide.project import dvc_lock
from bonafide.project.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
GRAPH = """
stages:
  a:
    cmd: exec python toy.py a
    deps: [toy.py, "${data.source}"]
    params: [data, seed]
    outs: [a.out]
    metrics: [{a.json: {cache: false}}]
  b:
    cmd: exec python toy.py b
    deps: [toy.py, a.out]
    params: [b.rate]
    outs: [b.out]
"""
TOY = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, os.environ["ROOT"])
from bonafide.project import dvc_lock
from bonafide.project.yaml_files import read_yaml
stage = sys.argv[1]
params = read_yaml(Path("params.yaml"))
keys = [dvc_lock.stage_keys(params, stage), dvc_lock.pipeline_key(params, stage)]
Path(os.environ["KEYS"], stage).write_text(json.dumps(keys))
Path(f"{stage}.out").mkdir() if stage == "a" else None
Path("a.out/x" if stage == "a" else "b.out").write_text(Path("params.yaml").read_text() + stage)
Path("a.json").write_text("{}")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    Path("dvc.yaml").write_text(GRAPH)
    Path("toy.py").write_text(TOY)
    Path("table").mkdir()
    Path("table/one.csv").write_text("text\n")
    Path("params.yaml").write_text("data: {source: table}\nseed: 1\nb: {rate: 1.0e-5}\nunused: 1\n")
    subprocess.run(["dvc", "init", "-q", "--no-scm"], check=True)
    monkeypatch.setenv("KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("ROOT", str(ROOT))
    Path("keys").mkdir()

    def run() -> tuple[dict[str, str], str]:
        for path in Path("keys").iterdir():
            path.unlink()
        subprocess.run(["dvc", "repro", "-q"], check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
        shown = [json.loads(path.read_text()) for path in sorted(Path("keys").iterdir())]
        assert len({pipeline for _keys, pipeline in shown}) == 1
        return shown[-1]

    return run


def test_running_and_finished_stages_have_one_key(toy):
    keys, pipeline = toy()
    lock = dvc_lock.read_lock()
    assert pipeline == dvc_lock.locked_pipeline_key(lock)
    assert keys == {name: dvc_lock.locked_key(lock[name]) for name in ("a", "b")}


@pytest.mark.slow
def test_keys_change_with_what_is_read_and_with_nothing_else(toy):
    first, pipeline = toy()
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("1.0e-5", "2.0e-5"))
    second, other = toy()
    assert (first["a"] == second["a"], first["b"] == second["b"], pipeline == other) == (True, False, False)
    Path("table/one.csv").write_text("text\nmore\n")
    third, another = toy()
    assert third["a"] != second["a"]
    assert another not in (pipeline, other)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("unused: 1", "unused: 2"))
    assert dvc_lock.pipeline_key(read_yaml(Path("params.yaml")), "b") == another
