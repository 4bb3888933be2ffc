"""The report stage: three files that say the same, from files alone, with the same bytes for the same inputs."""

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from bonafide.params.load import load_params
from bonafide.project.files import read_json, write_csv, write_json, write_text
from bonafide.project.paths import EVALUATION, FINDINGS, HISTORY, REPORTS, SOURCES
from bonafide.reporting import figures, html
from stages.report import hash_params, license_id, report
from tests.report_inputs import evaluation, write_inputs

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
FILES = ("index.html", "report.md", "model_card.md")


class Text(HTMLParser):
    """The words and the links of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.links = [], []
        self.feed(page)

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, _tag, attrs):
        self.links += [value for name, value in attrs if name in {"href", "src", "srcset", "action", "xlink:href"}]


def samples(split: dict) -> list[list]:
    return next(panel["rows"] for panel in split["panels"] if panel["kind"] == "samples")


def written(name: str) -> str:
    return (REPORTS / name).read_text(encoding="utf-8")


@pytest.fixture
def facts(tmp_path):
    """The inputs of a plausible run in the test's own folder."""
    facts = evaluation()
    write_inputs(tmp_path, facts)
    return facts


def test_page_comment_and_card_open_with_the_verdict(facts):
    metrics = report(PARAMS)
    sentence = facts["verdict"]["sentence"]
    assert metrics == {"report/verdict_difference": 0.093, "report/beats_reference": 1.0}
    assert written("report.md").startswith(f"### {sentence}\n")
    assert f"The verdict: {sentence}\n" in written("model_card.md")
    words = "".join(Text(written("index.html")).words)
    assert words.index(sentence, words.index("</style>") if "</style>" in words else 0) < words.index("The ladder")


@pytest.mark.parametrize(
    ("outcome", "beats"), [("improved", 1.0), ("regressed", 0.0), ("equivalent", 0.0), ("not enough evidence", 0.0)]
)
def test_only_a_better_model_beats_the_reference(facts, outcome, beats):
    facts["verdict"]["outcome"] = outcome
    write_json(EVALUATION, facts)
    assert report(PARAMS)["report/beats_reference"] == beats


def test_the_page_stands_alone(facts):
    report(PARAMS)
    page = written("index.html")
    links = Text(page).links
    assert [link for link in links if not html.PICTURE.fullmatch(link)] == ["validate/index.html"]
    assert len(links) > 1
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_shows_every_system_split_class_slice_and_hash(facts):
    report(PARAMS)
    page, sources = written("index.html"), read_json(SOURCES)
    test = facts["splits"]["test"]
    shown = [
        "14,313 rows came in, 62 were set aside, and 1 of 2 checks hold.",
        "TF-IDF",
        "majority class",
        "the shell",
        "test_tweets",
        "test_editorials",
        "0.884",
        "0.791",
    ]
    shown += [f'<td class="quote">{row["value"]}</td>' for row in test["slices"]]
    shown += [f'<th class="quote">{label}</th>' for label in facts["settings"]["labels"]]
    shown += [
        '<td class="quote">reviews/a.csv.gz</td><td class="num">14,313</td><td>comma, UTF-8, gzip</td>',
        '<td class="quote">stars</td><td>int64</td><td>left aside</td>',
        '<td class="quote">text</td><td>text</td><td></td>',
        'Not read: <span class="quote">notes.txt</span>.',
    ]
    shown += [sources["data"]["sha256"], *sources["model"]["sha256"].values(), hash_params(PARAMS)]
    assert [words for words in shown if words not in page] == []
    assert page.count('<tr class="small">') == sum(row["small"] for row in test["slices"])


def test_as_many_worst_errors_are_shown_as_asked_for_surest_first(facts):
    report(replace(PARAMS, report=replace(PARAMS.report, worst_errors=3)))
    texts = [row[0] for row in samples(facts["splits"]["test"])]
    page = written("index.html")
    places = [page.index(text) for text in texts[:3]]
    assert places == sorted(places)
    assert texts[3] not in page


def test_texts_stay_out_of_the_comment_and_the_card(facts):
    report(PARAMS)
    texts = [row[0] for split in facts["splits"].values() for row in samples(split)]
    assert [text for text in texts if text in written("report.md") + written("model_card.md")] == []
    assert len(written("report.md")) < 20_000  # a comment on GitHub ends at 65,536


def test_the_card_is_read_by_hugging_face(facts):
    report(PARAMS)
    card = ModelCard(written("model_card.md"))
    assert card.data.license == "apache-2.0"
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert results["test", "f1"] == facts["splits"]["test"]["systems"]["model"]["f1_macro"]["value"]
    assert {split for split, _ in results} == {"test", "test_tweets", "test_editorials"}
    assert card.data.base_model is None  # a wheel is no Hub id


def test_a_base_model_of_the_hub_is_named_in_the_card(facts):
    sources = read_json(SOURCES)
    sources["model"] |= {"source": "hf:sentence-transformers/all-MiniLM-L6-v2"}
    write_json(SOURCES, sources)
    report(PARAMS)
    assert ModelCard(written("model_card.md")).data.base_model == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("Apache-2.0", "apache-2.0"), (None, "unknown"), ("", "unknown"), ("see: [x](javascript:1)\n- y", "other")],
)
def test_a_licence_is_an_identifier_or_other(stated, expected):
    assert license_id(stated) == expected


@pytest.mark.parametrize("classes", [1, 6, 150])
def test_any_number_of_classes_is_drawn(tmp_path, classes):
    write_inputs(tmp_path, evaluation(labels=[f"class {i}" for i in range(classes)]))
    report(PARAMS)
    assert "class 0" in written("index.html")


def test_values_that_are_not_defined_are_dashes(facts):
    split, nothing = facts["splits"]["test"], {"value": None, "low": None, "high": None}
    split["systems"]["majority"]["mcc"] = nothing
    table = next(panel for panel in split["panels"] if panel["kind"] == "table")
    table["rows"][0][2:] = [nothing, nothing]
    split["slices"][0] |= {"f1_macro": nothing, "accuracy": nothing}
    write_json(EVALUATION, facts)
    report(PARAMS)
    assert written("index.html").count('<td class="num">\u2013') == 4


def test_a_run_without_held_out_domains_slices_or_errors_has_a_page(tmp_path):
    facts = evaluation(held_out=())
    for split in facts["splits"].values():
        split |= {"slices": [], "panels": [panel for panel in split["panels"] if panel["kind"] != "samples"]}
    write_inputs(tmp_path, facts)
    report(PARAMS)
    page = written("index.html")
    assert "Where it was never trained" not in page
    assert "The surest mistakes" not in page


def test_one_epoch_and_a_clean_table_have_a_page(tmp_path):
    write_inputs(tmp_path, evaluation())
    write_csv(HISTORY, ("step", "epoch", "train_loss", "validation_f1_macro"), [(10, 1, 0.5, 0.8)])
    write_json(FINDINGS, read_json(FINDINGS) | {"quarantine": {}})
    report(PARAMS)
    assert "Loss; the train line" in written("index.html")
    assert "after each epoch" not in written("index.html")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (("validation_log_loss", "validation_mcc"), "after each epoch: MCC; the best"),
        (("validation_nats_per_token",), None),
    ],
)
def test_the_curve_is_of_the_first_metric_that_training_has(tmp_path, columns, shown):
    write_inputs(tmp_path, evaluation())
    write_csv(HISTORY, ("step", "train_loss", *columns), [(step, 1 / step, *[0.5] * len(columns)) for step in (10, 20)])
    report(PARAMS)
    page = written("index.html")
    assert shown in page if shown else "after each epoch" not in page


def test_every_samples_panel_is_shown_and_no_word_of_a_picture_leaves_the_page(facts):
    report(PARAMS)
    assert "<h3>The surest mistakes</h3>" in written("index.html")
    assert "<h3>Lost numbers</h3>" in written("index.html")
    assert "27.3" in written("index.html")
    assert "looks" not in written("report.md") + written("model_card.md")
    assert "Attention" in written("index.html")
    assert "Attention" not in written("report.md") + written("model_card.md")


def pictures(split: dict) -> list[dict]:
    return next(panel["groups"][0]["items"] for panel in split["panels"] if panel["kind"] == "gallery")


def test_as_many_pictures_of_a_group_are_shown_as_asked_for_the_first_first(facts):
    report(replace(PARAMS, report=replace(PARAMS.report, worst_errors=3)))
    page, items = written("index.html"), pictures(facts["splits"]["test"])
    places = [page.index(item["images"][0]) for item in items[:3]]
    assert places == sorted(places)
    assert items[3]["images"][0] not in page
    assert f'alt="{items[0]["words"][0]}, {items[0]["words"][1]}"' in page
    report(replace(PARAMS, report=replace(PARAMS.report, worst_errors=0)))
    assert "<img" not in written("index.html")


def test_pictures_and_their_words_stay_out_of_the_comment_and_the_card(facts):
    report(PARAMS)
    assert "data:" in written("index.html")
    assert "data:" not in written("report.md") + written("model_card.md")
    assert "Taken for" not in written("report.md") + written("model_card.md")


def test_a_picture_that_is_not_ours_is_no_page(facts):
    for uri in ("https://example.com/a.png", "data:image/svg+xml;base64,PHN2Zz4=", 'data:image/png;base64,x"onload=""'):
        pictures(facts["splits"]["test"])[0]["images"][0] = uri
        write_json(EVALUATION, facts)
        with pytest.raises(ValueError, match="no picture that a page may show"):
            report(PARAMS)


def test_params_hash_is_moved_by_what_shapes_a_result_and_by_nothing_else():
    tracked = replace(PARAMS, tracking=replace(PARAMS.tracking, experiment="another"))
    trained = replace(PARAMS, train=replace(PARAMS.train, learning_rate=4.0e-5))
    assert hash_params(tracked) == hash_params(PARAMS)
    assert hash_params(trained) != hash_params(PARAMS)


def test_the_lock_is_in_the_provenance(facts):
    report(PARAMS)
    before = written("report.md")
    write_text(Path("requirements.lock"), "edited\n")
    report(PARAMS)
    assert len(set(before.splitlines()) ^ set(written("report.md").splitlines())) == 2  # one line, before and after


def test_same_inputs_give_same_bytes_in_another_process_place_zone_and_hash_seed(facts, tmp_path):
    report(PARAMS)
    here = [written(name) for name in FILES]
    there = tmp_path / "elsewhere"
    write_inputs(there, facts)
    run = (
        "from bonafide.params.load import load_params; from stages.report import report;"
        f"report(load_params(__import__('pathlib').Path({str(ROOT / 'params.yaml')!r})))"
    )
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Shanghai",
        "LANG": "C",
        "PATH": "/usr/bin",
    }
    subprocess.run([sys.executable, "-P", "-c", run], cwd=there, env=environment, check=True)
    assert [(there / REPORTS / name).read_text(encoding="utf-8") for name in FILES] == here


def test_report_imports_no_library_of_another_stage():
    others = {"torch", "transformers", "great_expectations", "sklearn"}
    run = f"import sys, stages.report; print(sorted({others} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_curve_is_thinned_to_means_and_keeps_its_ends_in_order():
    points = [(float(step), float(step)) for step in range(1000)]
    thinned = figures.thin(points, 120)
    assert len(thinned) <= 120
    assert thinned[0] == (4.0, 4.0)
    assert figures.thin(points[:5], 120) == points[:5]


def test_history_is_read_by_column_name_with_empty_cells(tmp_path):
    write_text(HISTORY, "epoch,validation_f1_macro,step,new\n0.5,,10,\n1,0.8,20,3\n")
    assert figures.read_history(HISTORY) == {"validation_f1_macro": [(20.0, 0.8)], "new": [(20.0, 3.0)]}
