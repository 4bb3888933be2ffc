"""The pipeline as a person runs it: `dvc repro` in a real clone, with real caching and a real tracking store."""

import csv
import io
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.project import STAGES, Project, copy, reviews, small_project

pytestmark = pytest.mark.slow

PIPELINES = "select r.run_uuid, r.status from runs r where r.lifecycle_stage = 'active' and not exists "
PIPELINES += "(select 1 from tags t where t.run_uuid = r.run_uuid and t.key = 'mlflow.parentRunId')"
CHILDREN = "select value, count(*) from tags where key = 'bonafide.stage' group by value"


def links(project: Project) -> list[dict[str, str]]:
    """Per pipeline run: stage to (status, run id)."""
    made = []
    for run_id, _status in project.query(PIPELINES):
        tags = dict(project.query(f"select key, value from tags where run_uuid = '{run_id}'"))
        made.append({stage: tags[f"stage.{stage}"] for stage in STAGES})
        ids = {row[0] for row in project.query("select run_uuid from runs")}
        assert {tags[f"stage.{stage}.run"] for stage in STAGES} <= ids
    return made


def test_a_day_of_work(finished, tmp_path):
    """Run, change the learning rate, change an evaluate param, go back: three pipeline runs, nothing run twice."""
    project = copy(finished, tmp_path / "clone")
    assert project.ran(project.repro()) == []
    first = (project.folder / "dvc.lock").read_bytes()

    project.set(train__learning_rate=0.001)
    assert project.ran(project.repro()) == ["train", "evaluate", "report"]
    project.set(evaluate__bootstrap_samples=150)
    assert project.ran(project.repro()) == ["evaluate", "report"]
    project.git("checkout", "params.yaml")
    assert project.ran(project.repro()) == []
    assert (project.folder / "dvc.lock").read_bytes() == first

    assert [status for _run, status in project.query(PIPELINES)] == ["FINISHED"] * 3
    one, two, three = sorted(links(project), key=lambda link: list(link.values()).count("cached"))
    assert set(one.values()) == {"executed"}
    assert [stage for stage in STAGES if two[stage] == "executed"] == ["train", "evaluate", "report"]
    assert [stage for stage in STAGES if three[stage] == "executed"] == ["evaluate", "report"]
    assert dict(project.query(CHILDREN)) == {
        "fetch": 1,
        "validate": 1,
        "tokenize": 1,
        "train": 2,
        "evaluate": 3,
        "report": 3,
    }

    lock = project.folder / "requirements.lock"
    lock.write_text(lock.read_text() + "# touched\n")
    assert project.ran(project.repro()) == STAGES


def test_the_run_holds_what_a_person_compares(finished):
    ((run_id, _status),) = finished.query(PIPELINES)
    params = dict(finished.query(f"select key, value from params where run_uuid = '{run_id}'"))
    assert params["train.learning_rate"] == "0.002"
    metrics = dict(finished.query(f"select key, value from latest_metrics where run_uuid = '{run_id}'"))
    assert metrics["test/f1_macro"] == finished.read("reports/evaluate.json")["test/f1_macro"]
    assert finished.query("select count(*) from metrics where key = 'train/train_loss'")[0][0] > 0
    artifacts = {path.name for path in finished.folder.glob(f"mlartifacts/*/{run_id}/**/*")}  # copies write there too
    assert {"index.html", "report.md"} <= artifacts
    assert finished.query("select count(*) from inputs where source_type = 'DATASET'")[0][0] > 0
    assert finished.query("select count(*) from logged_models")[0][0] == 1
    shown = finished.run("dvc", "metrics", "show").stdout
    assert "f1_macro" in shown
    assert finished.run("dvc", "plots", "show", "--json").returncode == 0


def test_the_model_loads_with_transformers(finished):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = finished.folder / "models/model"
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model(**tokenizer("a good film", return_tensors="pt")).logits.shape == (1, 2)


def test_two_clones_agree_to_the_byte(finished, tmp_path):
    other = small_project(tmp_path / "some where/else-ä")
    other.repro(TZ="America/Lima", LANG="C.UTF-8", LC_ALL="C.UTF-8", PYTHONHASHSEED="2")
    for name in ("dvc.lock", "reports/index.html"):
        assert (other.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def csv_text(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def chinese(rows: int) -> list[dict[str, str]]:
    things = "电影手机图书饭菜歌曲旅行游戏房间"
    return [
        {
            "评论": f"这个{things[i % 8 * 2 : i % 8 * 2 + 2]}{'很好看喜欢' if i % 2 else '太差了讨厌'}第{i}次{i * i}",
            "情感": "好" if i % 2 else "坏",
        }
        for i in range(rows)
    ]


def six_classes(rows: int) -> list[dict[str, str]]:
    return [
        row | {"label": f"class {i % 6}", "text": f"word{i % 6} {row['text']}"} for i, row in enumerate(reviews(rows))
    ]


def own_splits(rows: int) -> list[dict[str, str]]:
    """With columns that are called as our slices and as our own columns."""
    splits = ["test" if i % 5 == 0 else "test_new_games" if i % 11 == 0 else "train" for i in range(rows)]
    ours = [{"split": split, "length": f"reel {i % 2}", "negation": "B"} for i, split in enumerate(splits)]
    return [row | columns for row, columns in zip(reviews(rows), ours, strict=True)]


def write_own(project: Project, kind: str) -> None:
    """A user's own table, and the params.yaml that a user would write for it."""
    columns = {"text": "text", "label": "label"}
    if kind == "csv, six classes":
        rows = six_classes(420)
        (project.folder / "data/own.csv").write_text(csv_text(rows), encoding="utf-8-sig")
        project.tiny([row["text"] for row in rows], [f"class {i}" for i in range(6)])
        project.set(data__source="data/own.csv")
    elif kind == "jsonl, Chinese":
        rows = chinese(300)
        project.write_table(rows, "data/own.jsonl")
        project.tiny([row["评论"] for row in rows], ["坏", "好"])
        project.set(data__source="data/own.jsonl", data__slices=[], data__columns={"text": "评论", "label": "情感"})
    elif kind == "parquet, own splits":
        rows = own_splits(300)
        pq.write_table(pa.Table.from_pylist(rows), project.folder / "data/own.parquet")
        project.tiny([row["text"] for row in rows])
        project.set(data__source="data/own.parquet", data__columns=columns | {"split": "split"})
        project.set(data__slices=["length", "negation", "split"])
    elif kind == "tsv, numbers as labels":
        rows = [row | {"label": str(int(row["label"] == "positive"))} for row in reviews(240)]
        (project.folder / "data/own.tsv").write_text(csv_text(rows, "\t"))
        project.tiny([row["text"] for row in rows], [0, 1])
        project.set(data__source="data/own.tsv")


@pytest.mark.parametrize(
    "kind", ["csv, six classes", "jsonl, Chinese", "parquet, own splits", "tsv, numbers as labels"]
)
def test_an_own_table_works_by_editing_params_only(tmp_path, kind):
    project = Project(tmp_path / "clone")
    write_own(project, kind)
    project.commit()
    project.repro()
    metrics = project.read("reports/evaluate.json")
    assert 0 <= metrics["test/f1_macro"] <= 1
    assert "test/shell/f1_macro" in metrics
    if kind == "parquet, own splits":
        rows = own_splits(300)
        test = pq.read_table(project.folder / "data/validated/test.parquet")
        assert len(test) == sum(row["split"] == "test" for row in rows)
        assert metrics.keys() >= {"test_new_games/f1_macro", "validation/f1_macro"}
        pieces = project.read("reports/evaluate/evaluation.json")["splits"]["test"]["slices"]
        cut = {
            piece["column"]: {other["value"] for other in pieces if other["column"] == piece["column"]}
            for piece in pieces
        }
        assert list(cut) == ["length", "negation", "split (slice)", "built-in length", "built-in negation"]
        assert (cut["length"], cut["negation"], cut["split (slice)"]) == ({"reel 0", "reel 1"}, {"B"}, {"test"})
        assert cut["built-in negation"] == {"no"}


def test_a_run_killed_in_every_stage_ends_in_the_same_bytes(finished, tmp_path):
    """SIGKILL of `dvc repro` in each stage in turn: no orphan writes on, and the next run takes up where it was."""
    project = small_project(tmp_path / "clone")
    env = os.environ | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "SHELL": "/bin/sh"}
    env.pop("MLFLOW_TRACKING_URI")
    lock = project.folder / ".bonafide/writer.lock"
    for stage in STAGES:
        log = tmp_path / f"{stage}.log"
        with log.open("w") as file:
            running = subprocess.Popen(["dvc", "repro"], cwd=project.folder, env=env, stdout=file, stderr=file)
        wait_for(lambda log=log, stage=stage: f"Running stage '{stage}'" in log.read_text() and holder(lock))
        pid = holder(lock)
        running.send_signal(signal.SIGKILL)
        running.wait()
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), seconds=20)
    assert project.ran(project.repro()) == ["report"]
    assert (project.folder / "dvc.lock").read_bytes() == (finished.folder / "dvc.lock").read_bytes()
    assert [status for _run, status in project.query(PIPELINES)] == ["FINISHED"]
    assert set(dict(project.query(CHILDREN)).values()) == {1}


def holder(lock: Path) -> str | None:
    """The process that holds a flock on the file, from /proc/locks."""
    if not lock.exists():
        return None
    inode = f":{lock.stat().st_ino} "
    lines = [
        line.split() for line in Path("/proc/locks").read_text().splitlines() if inode in line and "->" not in line
    ]
    return lines[0][4] if lines else None


def wait_for(condition, seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def test_a_refused_table_loses_nothing(finished, tmp_path):
    project = copy(finished, tmp_path / "clone")
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if is_result(project.folder, path)}
    names = {path.relative_to(project.folder).as_posix() for path in before}
    assert names > {
        "models/model/model.safetensors",
        "reports/index.html",
        "reports/fetch.json",
        "data/raw/table.parquet",
    }
    (project.folder / "data/table.jsonl").write_text('{"text": 1}\n')
    failed = project.run("dvc", "repro")
    assert failed.returncode != 0
    assert len([line for line in failed.stderr.splitlines() if line.startswith("fetch:")]) == 1
    assert "Traceback" not in failed.stderr
    assert {path: path.read_bytes() for path in before} == before


def is_result(root: Path, path: Path) -> bool:
    folder = path.relative_to(root).parts[0]
    return path.is_file() and (folder in ("models", "reports") or path.is_relative_to(root / "data/raw"))


def test_a_failing_gate_stops_the_pipeline_and_leaves_a_page(tmp_path):
    project = small_project(tmp_path / "clone")
    project.repro("validate")
    before = (project.folder / "data/validated/train.parquet").read_bytes()
    project.set(validate__min_rows_per_class=500)
    failed = project.run("dvc", "repro")
    assert failed.returncode != 0
    assert "Running stage 'tokenize'" not in failed.stdout
    assert all(line.startswith("validate:") for line in failed.stderr.splitlines() if "rows" in line)
    assert "500" in (project.folder / "reports/validate/index.html").read_text()
    assert (project.folder / "reports/validate/quarantine.parquet").exists()
    assert (project.folder / "data/validated/train.parquet").read_bytes() == before
    assert [status for _run, status in project.query(PIPELINES)] == ["FINISHED", "FAILED"]


def test_a_temporary_experiment_is_tracked_in_the_real_repository(tmp_path):
    project = small_project(tmp_path / "clone")
    done = project.run(
        "dvc", "exp", "run", "--temp", "--copy-paths", "tiny", "-n", "warm", "-S", "train.learning_rate=0.003"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((run_id, status),) = project.query(PIPELINES)
    tags = dict(project.query(f"select key, value from tags where run_uuid = '{run_id}'"))
    assert (status, tags["dvc.experiment"]) == ("FINISHED", "warm")
    assert tags["mlflow.runName"] == "learning_rate=0.003 warm"
    assert (project.folder / "mlartifacts").exists()
