"""MLflow's own pages, as a person sees the runs there: in Chromium, at a real server."""

import json
import re
import shutil

import pytest
from mlflow import MlflowClient
from playwright.sync_api import expect, sync_playwright

from bonafide.project.files import md5, write_text
from bonafide.tracking.delivery import Delivery
from bonafide.tracking.origin import source_tags
from bonafide.tracking.record import Record, now
from tests.project import STAGES
from tests.stores import mlflow_server

pytestmark = pytest.mark.slow

RATES = {"1e-05": 0.81, "2e-05": 0.84}
NAMES = {"1e-05": "First result 1a2b3c4", "2e-05": "learning_rate=2e-05 seed=2 sweep-93bbcde07e"}
EXECUTED = {"1e-05": STAGES, "2e-05": ["train", "evaluate", "report"]}


def tell(rate: str, folder) -> None:
    """One pipeline's stages, as they tell MLflow."""
    page = folder / "index.html"
    write_text(page, f"<!doctype html><h1>Report of {rate}</h1>")
    keys, headline = {}, {}
    for stage in STAGES:
        keys[stage] = stage if stage not in EXECUTED["2e-05"] else f"{stage}-{rate}"
        headline |= {f"{stage}/rows": 10.0} | ({"test/f1_macro": RATES[rate]} if stage == "evaluate" else {})
        if stage not in EXECUTED[rate]:
            continue
        tags = source_tags("1a2b3c4" + "0" * 33, dirty=False, experiment="")
        params = {"train.learning_rate": rate, "seed": "1"}
        record = Record("bonafide", stage, dict(keys), rate, NAMES[rate], params, tags, now())
        record.status, record.ended, record.metrics, record.headline = "FINISHED", now() + 9000, {}, dict(headline)
        if stage == "train":
            record.points = [("train/train_loss", RATES[rate] / step, now() + step, step) for step in range(1, 20)]
            record.model = {"dvc.path": "models/model", "dvc.md5": f"{rate}.dir"}
        record.inputs = {"data/raw": "0123456789abcdef.dir"} if stage in ("validate", "train", "evaluate") else {}
        record.artifacts = {str(page): md5(page)} if stage == "report" else {}
        assert Delivery(record).finish()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ui")
    with mlflow_server(folder) as running, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", running.uri)
        for rate in RATES:
            tell(rate, folder)
        yield running


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    assert chromium, "no chromium on PATH: apt-get install chromium (.ci/run does)"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1700, "height": 1400})
    opened.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    yield opened
    opened.close()


@pytest.fixture
def ids(server):
    """Name to id of every run, of a stage's the stage, and the experiment's id."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("bonafide").experiment_id
    runs = client.search_runs([experiment])
    return {run.data.tags.get("bonafide.stage", run.info.run_name): run.info.run_id for run in runs} | {"": experiment}


def test_the_list_shows_pipelines_by_name_with_the_columns_one_wants_first(server, page, ids):
    page.goto(f"{server.uri}/#/experiments/{ids['']}/runs?viewStateShareKey=bonafide&workflowType=machine_learning")
    for rate, name in NAMES.items():
        expect(page.get_by_role("link", name=name)).to_be_visible()
        expect(page.get_by_role("gridcell", name=str(RATES[rate]), exact=True)).to_be_visible()
        expect(page.get_by_role("gridcell", name=rate, exact=True)).to_be_visible()
    for column in ("test/f1_macro", "train.learning_rate", "Dataset"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_visible()
    expect(page.get_by_text("data/raw (0123456789abcdef.dir)")).to_have_count(2)
    assert not page.get_by_role("link", name=re.compile("^evaluate ")).count(), "children are not collapsed"
    cell = page.get_by_role("link", name=NAMES["2e-05"]).locator("xpath=ancestor::*[@role='gridcell']")
    shown = cell.evaluate("cell => cell.getBoundingClientRect().width")
    whole = page.get_by_role("link", name=NAMES["2e-05"]).evaluate("link => link.scrollWidth")
    assert shown > whole * len("learning_rate=2e-05") / len(NAMES["2e-05"]), "what was changed is cut off"


def test_two_runs_compared_show_what_differs_and_their_curves_together(server, page, ids):
    both = json.dumps([ids[name] for name in NAMES.values()])
    page.goto(f"{server.uri}/#/compare-runs?runs={both}&experiments={json.dumps([ids['']])}")
    rate = page.get_by_role("row", name="train.learning_rate 1e-05 2e-05")
    expect(rate).to_be_visible()
    for value in RATES.values():
        expect(page.get_by_text(str(value), exact=True)).to_be_visible()
    page.get_by_role("switch").first.click()  # show differences only
    expect(page.get_by_role("rowheader", name="seed")).to_have_count(0)
    expect(rate).to_be_visible()
    page.get_by_role("link", name="train/train_loss").click()
    for name in NAMES.values():
        expect(page.get_by_text(f"{name} (train/train_loss)")).to_be_visible()
    lines = page.locator(".scatterlayer .trace path.js-line")
    expect(lines.first).to_be_visible()
    assert len({line.evaluate("path => path.style.stroke") for line in lines.all()}) == len(NAMES)


def test_the_report_opens_where_the_run_is(server, page, ids):
    run = ids[NAMES["2e-05"]]
    page.goto(f"{server.uri}/#/experiments/{ids['']}/runs/{run}/artifacts/index.html")
    expect(page.frame_locator("iframe").get_by_role("heading", name="Report of 2e-05")).to_be_visible()


def test_a_cached_stage_leads_to_the_run_that_made_it(server, page, ids):
    page.goto(f"{server.uri}/#/experiments/{ids['']}/runs/{ids[NAMES['2e-05']]}")
    row = page.get_by_role("row").filter(has_text="fetch").filter(has_text="cached")
    with page.context.expect_page() as opened:
        row.get_by_role("link", name=ids["fetch"][:8]).click()
    origin = opened.value
    expect(origin.get_by_role("heading", name="fetch")).to_be_visible()
    expect(origin.get_by_role("link", name=NAMES["1e-05"])).to_be_visible()
    assert ids["fetch"] in origin.url
