"""params.yaml is refused in one line that names the key, and holds nothing that no stage reads."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.params.load import load_params
from bonafide.params.sections import composed, slice_columns
from bonafide.project.errors import InputError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text()


def refusal(text: str) -> str:
    Path("params.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_params()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("recipe", [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))])
def test_every_recipe_is_complete(recipe):
    shutil.copy(recipe, "params.yaml")
    assert (ROOT / "bonafide/tasks" / load_params().task.name).is_dir()


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("  epochs: 2", "  epoch: 2", ["train.epochs", "train.epoch"]),
        ("  epochs: 2\n", "", ["train.epochs"]),
        ("  epochs: 2", "  epochs: two", ["train.epochs"]),
        ("  epochs: 2", "  epochs: 0", ["train.epochs"]),
        ("  epochs: 2", "  epochs: 1000000000000", ["train.epochs"]),
        ("learning_rate: 5.0e-5", "learning_rate: -1.0", ["train.learning_rate"]),
        ("learning_rate: 5.0e-5", "learning_rate: .nan", ["train.learning_rate"]),
        ("learning_rate: 5.0e-5", "learning_rate: .inf", ["train.learning_rate"]),
        (
            "name: classification",
            "name: ../../etc",
            ["task.name: '../../etc' is none of ours; there are causal_lm, classification, image_classification"],
        ),
        ("name: classification", "name: $(touch planted)", ["task.name: '$(touch planted)' is none of ours"]),
        ("labels: [negative, positive]", "labels: [negative, negative]", ["task", "labels", "'negative'"]),
        ("labels: [negative, positive]", "labels: negative", ["task.labels"]),
        (
            "labels: [negative, positive]",
            "labels: [negative]",
            ["task", "labels: ['negative']: a classifier tells two"],
        ),
        ("labels: [negative, positive]", "labels: []", ["task", "labels: none: a classifier tells two"]),
        ("labels: [negative, positive]", "labels: ['no ', 'yes']", ["task", "labels: 'no ' has blanks around it"]),
        (
            "labels: [negative, positive]",
            "labels: [caf\u00e9, cafe\u0301]",
            ["task", "labels: 'caf\u00e9' is declared twice"],
        ),
        ("labels: [negative, positive]", "labels: [[a], b]", ["task.labels.0"]),
        ("labels: [negative, positive]", "labels: ['', b]", ["task.labels.0"]),
        ("slices: [domain, rating, rating_sd]", "slices: [n, n]", ["data", "slices: 'n' is declared twice"]),
        ("personal_data: mask", "personal_data: hide", ["validate.personal_data"]),
        ("seed: 1 ", "seed: -1 ", ["seed"]),
        ("sharding: none", "sharding: half", ["train.sharding"]),
        ("sharding: none", "sharding: full", ["train", "sharding: full", "exact"]),
        ("betas: [0.9, 0.999]", "betas: [0.9, 1.0]", ["train.betas.1"]),
        ("betas: [0.9, 0.999]", "betas: [0.9]", ["train.betas"]),
        ("schedule: linear", "schedule: step", ["train.schedule"]),
        (
            "  margin: 0.01                   # smallest difference that matters; one",
            "  margin: 0  # one",
            ["compare.margin"],
        ),
        ("fail_on: [regressed]", "fail_on: [worse]", ["compare.fail_on"]),
        ("tokenizer.json: be50", "tokenizer.json: XX50", ["model.sha256", "tokenizer.json"]),
    ],
)
def test_a_bad_value_is_named_by_its_key(old, new, names):
    assert old in TEXT
    line = refusal(TEXT.replace(old, new, 1))
    assert all(name in line for name in names)
    assert not Path("planted").exists()


def test_muon_is_refused_where_no_process_has_a_whole_matrix():
    text = TEXT.replace("optimizer: adamw", "optimizer: muon").replace("sharding: none", "sharding: full")
    assert "optimizer: muon needs whole matrices; set sharding to none" in refusal(
        text.replace("exact: true", "exact: false")
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT + "seed: 2\n", "params.yaml:"),
        ("train: {epochs: 1", "params.yaml:1"),
        ("\tseed: 1", "params.yaml:1"),
        ("a: &a [x]\nb: *a\n", "params.yaml:2: aliases (*a)"),
        ("- 1\n- 2\n", "params.yaml: the file"),
        ("", "params.yaml: the file"),
        ("x: " + "[" * 1000, "params.yaml:"),
        ("x: \x00\n", "params.yaml:"),
        ("x: " + "y" * 2_000_000, "larger than 1,000,000 bytes"),
    ],
)
def test_what_is_not_a_params_file_is_refused_with_its_place(text, says):
    assert says in refusal(text)


def test_an_alias_bomb_costs_nothing():
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
    assert "aliases" in refusal("a0: &a0 [x]\n" + levels)


def test_a_missing_file_and_a_folder_are_named():
    with pytest.raises(InputError, match=r"params\.yaml: No such file"):
        load_params()
    Path("params.yaml").mkdir()
    with pytest.raises(InputError, match=r"params\.yaml: Is a directory"):
        load_params()


def test_invalid_utf8_is_refused():
    Path("params.yaml").write_bytes(b"seed: \xff\n")
    with pytest.raises(InputError, match=r"params\.yaml"):
        load_params()


def test_every_field_is_read_by_a_stage_or_a_command():
    code = "\n".join(path.read_text() for folder in ("stages", "bonafide") for path in (ROOT / folder).rglob("*.py"))
    source = (ROOT / "bonafide/params/sections.py").read_text()
    fields = [line.strip().split(":")[0] for line in source.splitlines() if line.startswith("    ") and ": " in line]
    fields = [name for name in fields if name.isidentifier()]
    assert len(fields) > 30
    assert [name for name in fields if f".{name}" not in code] == []


def read_labels(written: str) -> list[str]:
    Path("params.yaml").write_text(TEXT.replace("labels: [negative, positive]", f"labels: {written}"), encoding="utf-8")
    return load_params().task.labels


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[false, true]", ["false", "true"]),
        ("[yes, no]", ["yes", "no"]),
        ("[0, 1]", ["0", "1"]),
        ("[-1, 2.5]", ["-1", "2.5"]),
        ("['01', '1', '1.0', \"1e3\", 'null', 'True']", ["01", "1", "1.0", "1e3", "null", "True"]),
        ("\n    - 10:30\n    - v1.0\n", ["10:30", "v1.0"]),
        ("[cafe\u0301, \uff11, 'a b']", ["cafe\u0301", "\uff11", "a b"]),
    ],
)
def test_a_label_is_what_is_written(written, labels):
    assert read_labels(written) == labels


@pytest.mark.parametrize(
    ("written", "shown", "meaning"),
    [
        ("[01, 02]", "01", "the same as 1"),
        ("[a, 1.0]", "1.0", "the same as 1"),
        ("[1e3, a]", "1e3", "the same as 1000"),
        ("[1_000, a]", "1_000", "the same as 1000"),
        ("[0x10, a]", "0x10", "the same as 16"),
        ("[+1, a]", "+1", "the same as 1"),
        ("[2.50, a]", "2.50", "the same as 2.5"),
        ("[.nan, a]", ".nan", "the same as nan"),
        ("[True, False]", "True", "the same as true"),
        ("[null, a]", "null", "nothing"),
        ("[~, a]", "~", "nothing"),
        ("[2024-01-31, a]", "2024-01-31", "a date"),
        ("[2024-01-31 10:00:00, a]", "2024-01-31 10:00:00", "a date"),
    ],
)
def test_a_label_that_yaml_knows_by_another_spelling_is_to_be_quoted(written, shown, meaning):
    line = refusal(TEXT.replace("labels: [negative, positive]", f"labels: {written}"))
    assert line == (
        f"params.yaml:6: task.labels: {shown} is {meaning} to YAML: quote it as the table spells it, as in '{shown}'"
    )
    quoted = f"labels: ['{shown}', other]"
    Path("params.yaml").write_text(TEXT.replace("labels: [negative, positive]", quoted))
    assert load_params().task.labels == [shown, "other"]


@pytest.mark.parametrize(
    ("written", "override", "labels"),
    [
        ("['01', '1']", "train.epochs=3", ["01", "1"]),
        ("[false, true]", "train.epochs=3", ["false", "true"]),
        ("[a, b]", "task.labels=[01,02]", ["01", "02"]),
        ("[a, b]", "task.labels=[true,false]", ["true", "false"]),
        ("[a, b]", "task.labels=['1.0',2]", ["1.0", "2"]),
        ("[a, b]", "task.labels=[1.0,2]", "1.0 is the same as 1 to YAML"),
        ("[a, b]", "task.labels=[null,b]", "an empty value is nothing to YAML: quote it as the table spells it"),
    ],
)
def test_labels_survive_an_experiment_and_one_can_set_them(written, override, labels):
    Path("params.yaml").write_text(TEXT.replace("labels: [negative, positive]", f"labels: {written}"))
    apply_overrides("params.yaml", [override])  # what `dvc exp run -S` does to the file
    if isinstance(labels, list):
        assert load_params().task.labels == labels
    else:
        with pytest.raises(InputError, match=labels):
            load_params()


VISIBLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.lists(VISIBLE, min_size=2, max_size=4, unique_by=composed))
def test_labels_in_quotes_are_what_they_are(labels):
    assert read_labels(json.dumps(labels, ensure_ascii=False)) == labels


FRAGMENTS = [
    "a",
    ":",
    " ",
    "\n",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "01",
    "1e999",
    "9" * 5000,
    "2024-13-45",
    "!!int ",
    "!!x ",
    "&a ",
]
FRAGMENTS += [
    "*a",
    "|",
    ">",
    "#",
    "%YAML 1.1\n",
    "---\n",
    "...",
    "? ",
    "<<: ",
    "~",
    "\t",
    "\u0085",
    "\ufeff",
    "!!float ",
    "!!timestamp ",
]
FRAGMENTS += ["!!binary ", "!!set ", "!!omap ", "!!bool ", "!!null ", "0x", "0o9", "+.inf", "data: {labels: [", "]}"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join) | st.text(max_size=30))
def test_anything_is_params_or_refused_in_one_line(text):
    with contextlib.suppress(UnicodeEncodeError):
        refusal(text)


@pytest.mark.parametrize(
    "data",
    [
        "!!set {labels: [a, b]}", "{labels: !!omap [a: 1, b: 2]}", "{labels: !!pairs [a: 1]}",
        "{labels: !!set {a, b}}", "{labels: [!!set {a}, b]}", "{labels: [!!binary YQ==, b]}",
        "{? [labels] : [a, b]}", "[labels, [a, b]]",
    ],
)  # fmt: skip
def test_labels_of_another_kind_are_refused_in_one_line(data):
    before, _, after = TEXT.partition("data:\n")
    refusal(f"{before}data: {data}\n{after[after.index('model:') :]}")


def test_slices_called_as_our_columns_are_told_apart_from_them():
    assert slice_columns(["domain", "group"], []) == {"domain": "domain", "group": "group (slice)"}
    assert slice_columns(["split", "split (slice)", "length"], ["text"]) == {
        "split": "split (slice) (slice)",
        "split (slice)": "split (slice)",
        "length": "length",
    }


PIN = "ab" * 32
PACKAGE = TEXT.partition("  downloads: ")[2].partition("  columns:")[0]


def with_download(written: str) -> str:
    return TEXT.replace(PACKAGE, f"[{written}]\n")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        (f"url: 'https://example.com/a/rows.csv?download=1', sha256: {PIN}", "rows.csv"),
        (f"url: 'http://[::1]/%E8%AF%84%20%28x%29.csv', sha256: {PIN}", "\u8bc4 (x).csv"),
        (f"url: 'https://example.com/download?id=1', sha256: {PIN}, name: rows.jsonl", "rows.jsonl"),
        (f"package: tiny==1.0, sha256: {PIN}", "tiny"),
        ("url: 'https://example.com/rows.csv', sha256: ''", "rows.csv"),
    ],
)
def test_a_download_is_a_package_or_a_url_with_a_name(written, key):
    Path("params.yaml").write_text(with_download(f"{{{written}}}"), encoding="utf-8")
    assert [download.key for download in load_params().data.downloads] == [key]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{url: 'file:///etc/passwd', sha256: ''}", "not one that begins with http:// or https://"),
        ("{url: 'ftp://a/b', sha256: ''}", "not one that begins with http:// or https://"),
        ("{url: 'http:///b', sha256: ''}", "not one that begins with http:// or https://"),
        ("{url: 'http://a:99999/b', sha256: ''}", "not one that begins with http:// or https://"),
        ("{url: 'http://[::1/b', sha256: ''}", "not one that begins with http:// or https://"),
        ("{url: 'http://a/b c', sha256: ''}", "not one that begins with http:// or https://"),
        ("{url: 'https://ann:hidden@a/b', sha256: ''}", "put it into ~/.netrc"),
        ("{url: 'https://a/', sha256: ''}", "it ends in no name of a file: give one as name"),
        ("{url: 'https://a/%2e%2e', sha256: ''}", "it ends in no name of a file: give one as name"),
        ("{url: 'https://a/b', sha256: '', name: ../b}", "data.downloads.0.url.name"),
        ("{url: 'https://a/b', sha256: zz}", "data.downloads.0.url.sha256"),
        ("{url: 'https://a/b'}", "data.downloads.0.url.sha256"),
        ("{url: 'https://a/b', sha256: '', package: 'a==1'}", "data.downloads.0.url.package"),
        ("{sha256: ''}", "data.downloads.0.package.package"),
        ("{url: 'https://a/b', sha256: ''}, {url: 'https://c/b', sha256: ''}", "downloads: 'b' is declared twice"),
        ("rows.csv", "data.downloads.0"),
    ],
)
def test_a_bad_download_is_refused_without_its_password(written, says):
    line = refusal(with_download(written))
    assert says in line
    assert "hidden" not in line
