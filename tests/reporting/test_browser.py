"""The report in a browser: Chinese is read as Chinese, and nothing is wider than a phone."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from bonafide.params.load import load_params
from bonafide.project.paths import REPORTS
from stages.report import report
from tests.report_inputs import evaluation, write_inputs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
POEM = "大江东去浪淘尽千古风流人物故垒西边人道是三国周郎赤壁乱石穿空惊涛拍岸卷起千堆雪江山如画一时多少豪杰" * 4
GLYPHS = """
text => [...text].map(letter => {
    const canvas = document.createElement("canvas")
    canvas.width = canvas.height = 40
    const drawn = canvas.getContext("2d")
    drawn.font = `30px ${getComputedStyle(document.body).fontFamily}`
    drawn.fillText(letter, 2, 32)
    return canvas.toDataURL()
})
"""
"""Each letter as pixels: where no font has them, all are the same box."""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_long_chinese_texts_are_readable_and_stay_within_the_page(tmp_path, browser, width):
    write_inputs(tmp_path, evaluation(words=[POEM, "诗词"], labels=["正面", "负面"]), words=[POEM[:60]])
    report(load_params(ROOT / "params.yaml"))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((REPORTS / "index.html").absolute().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.evaluate(GLYPHS, "大江东去浪淘尽")
    assert len(set(drawn)) == 7
    for cell in page.query_selector_all("td.text"):
        assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth + 1")
    assert set(page.evaluate("[...document.images].map(image => image.naturalWidth)")) == {32}
    page.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)
    page.close()
