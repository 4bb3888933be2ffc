"""What every task promises, on a tiny table of its own: one suite, all tasks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import sync_playwright

from bonafide.project.paths import PREDICTIONS, QUARANTINE
from tests.project import STAGES, Project, copy
from tests.tasks.jobs import JOBS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=JOBS)
def job(request):
    return JOBS[request.param]


@pytest.fixture(scope="module")
def first(job, tmp_path_factory):
    """The project after its first run, committed."""
    project = job.start(tmp_path_factory.mktemp("task") / "clone")
    assert project.ran(project.repro()) == STAGES
    project.commit("Run")
    return project


@pytest.fixture
def again(first, tmp_path):
    """A copy of it to work in."""
    return copy(first, tmp_path / "clone")


def lock(project: Project) -> bytes:
    return (project.folder / "dvc.lock").read_bytes()


def bonafide(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "bonafide", *arguments)


def test_a_second_run_does_nothing(again):
    assert again.ran(again.repro()) == []
    assert not again.git("status", "--porcelain")


def test_another_clone_gives_the_same_bytes(job, first, tmp_path):
    other = job.start(tmp_path / "a clone of another name")
    other.repro(TZ="Asia/Shanghai", LANG="C", LC_ALL="C", PYTHONHASHSEED="7")
    assert lock(other) == lock(first)


def test_a_training_that_is_killed_ends_in_the_same_bytes(again):
    shutil.rmtree(again.folder / "models/model")
    log = again.folder.parent / "log"
    env = os.environ | {"DVC_SITE_CACHE_DIR": str(again.folder.parent / "site")}
    env.pop("MLFLOW_TRACKING_URI", None)
    with log.open("w") as file:
        running = subprocess.Popen(
            ["dvc", "repro", "-f", "-s", "train"], cwd=again.folder, env=env, stdout=file, stderr=file
        )
    while not (stages := [p for p in psutil.Process(running.pid).children(recursive=True) if trains(p)]):
        assert running.poll() is None, log.read_text()
        time.sleep(0.01)
    stages[0].send_signal(signal.SIGKILL)
    assert running.wait() != 0
    again.repro("-f", "-s", "train")
    assert lock(again) == (again.git("show", "HEAD:dvc.lock").encode())


def trains(process: psutil.Process) -> bool:
    try:
        return "stages.train" in process.cmdline()
    except psutil.Error:
        return False


def test_a_column_that_is_not_there_is_one_line(job, again):
    [ours] = [ours for ours, theirs in columns(again).items() if theirs == job.target]
    again.set(**{f"data__columns__{ours}": "nowhere"})
    done = again.run("dvc", "repro")
    lines = [line for line in done.stderr.splitlines() if line.startswith("fetch:")]
    assert done.returncode != 0
    assert len(lines) == 1
    assert "'nowhere'" in lines[0]
    assert "Traceback" not in done.stderr + done.stdout


def columns(project: Project) -> dict[str, str]:
    code = "import json; from bonafide.params.load import load_params; print(json.dumps(load_params().data.columns))"
    done = project.run(sys.executable, "-c", code)
    return json.loads(done.stdout)


def test_a_row_that_cannot_be_learned_from_is_set_aside_and_told(job, again):
    path = again.folder / "data/table.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    again.write_table([*rows, rows[0] | {job.target: job.broken}])
    again.repro("validate")
    kept = pq.read_table(again.folder / QUARANTINE)
    assert kept["id"].to_pylist()[-1] == str(len(rows) + 1)
    page = (again.folder / "reports/validate/index.html").read_text()
    assert kept["reasons"].to_pylist()[-1][0].replace("_", " ") in page


def test_a_run_is_equivalent_to_itself_and_a_worse_one_has_regressed(again):
    same = json.loads(bonafide(again, "compare", "HEAD", "--json").stdout)
    assert same["verdict"]["outcome"] == "equivalent"
    path = again.folder / PREDICTIONS
    found = pq.read_table(path)
    worse = found.set_column(found.column_names.index("model"), "model", found[weakest(again)])
    pq.write_table(worse, path)
    done = bonafide(again, "compare", "HEAD", "--json")
    assert json.loads(done.stdout)["verdict"]["outcome"] == "regressed"
    assert done.returncode == 1


def weakest(project: Project) -> str:
    """The baseline that is worst by the primary metric, of those that have it."""
    evaluation = project.read("reports/evaluate/evaluation.json")
    primary, systems = evaluation["metrics"][0], evaluation["splits"]["test"]["systems"]
    sign = 1 if primary["higher_is_better"] else -1
    known = {name: one[primary["name"]]["value"] for name, one in systems.items()}
    return min((name for name in known if known[name] is not None), key=lambda name: sign * known[name])


def test_each_stage_is_a_run_of_its_own_below_the_pipelines(first):
    children = first.query("select value, count(*) from tags where key = 'bonafide.stage' group by value")
    assert dict(children) == dict.fromkeys(STAGES, 1)
    [(pipeline,)] = first.query("select distinct value from tags where key = 'mlflow.parentRunId'")
    tags = dict(first.query(f"select key, value from tags where run_uuid = '{pipeline}'"))
    assert {tags[f"stage.{stage}"] for stage in STAGES} == {"executed"}


ANSWERS = """
import sys, mlflow, pandas
model = mlflow.pyfunc.load_model("models:/" + sys.argv[1] + "@champion")
rows = pandas.read_parquet("data/validated/test.parquet")[model.metadata.signature.inputs.input_names()]
print(model.predict(rows).to_json(orient="records", double_precision=15))
"""


def test_a_promoted_model_answers_with_evaluates_numbers(job, again):
    done = bonafide(again, "promote", "HEAD", "--json", "--force", "--reason", "the suite's")
    champion = json.loads(done.stdout)
    assert champion["promoted"], done.stdout + done.stderr
    store = f"sqlite:///{again.folder}/mlflow.db"
    done = again.run(sys.executable, "-c", ANSWERS, champion["model"], MLFLOW_TRACKING_URI=store)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(again.folder / PREDICTIONS)
    stored = table.filter(pc.equal(table["split"], "test"))["model"].to_pylist()
    for answer, row in zip(json.loads(done.stdout.splitlines()[-1]), stored, strict=True):
        assert_alike(job.answer(answer), row)


def assert_alike(found, stored):
    """Texts are equal, and numbers to a millionth; of a struct the fields that are found."""
    if isinstance(found, dict):
        for name, value in found.items():
            assert_alike(value, stored[name])
    elif isinstance(found, str):
        assert found == stored
    else:
        assert found == pytest.approx(stored, rel=1e-6)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", ["reports/index.html", "reports/validate/index.html"])
def test_pages_open_without_a_complaint_and_within_the_width(first, page, width):
    noticed = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page(viewport={"width": width, "height": 900})
        opened.on("console", lambda message: noticed.append(message.text))
        opened.on("pageerror", lambda error: noticed.append(str(error)))
        opened.goto((first.folder / page).as_uri())
        wide = opened.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert noticed == []
    assert wide <= width
