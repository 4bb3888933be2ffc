"""params.yaml is refused in one line that names the key, and holds nothing that no stage reads."""

import shutil
from pathlib import Path

import pytest

from bonafide.errors import InputError
from bonafide.params import load_params

ROOT = Path(__file__).parents[1]
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
    assert load_params().task == "classification"


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
        ("task: classification", "task: ../../etc", ["task"]),
        ("task: classification", "task: $(touch planted)", ["task"]),
        ("labels: [negative, positive]", "labels: [negative, negative]", ["data", "labels", "'negative'"]),
        ("labels: [negative, positive]", "labels: negative", ["data.labels"]),
        ("personal_data: mask", "personal_data: hide", ["validate.personal_data"]),
        ("seed: 1 ", "seed: -1 ", ["seed"]),
        ("sharding: none", "sharding: half", ["train.sharding"]),
        ("sharding: none", "sharding: full", ["train", "sharding: full", "exact"]),
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
    folders = ("stages", "bonafide", "tasks", "commands", "lab")
    code = "\n".join(path.read_text() for folder in folders for path in (ROOT / folder).glob("*.py"))
    source = (ROOT / "bonafide/params.py").read_text()
    fields = [line.strip().split(":")[0] for line in source.splitlines() if line.startswith("    ") and ": " in line]
    fields = [name for name in fields if name.isidentifier()]
    assert len(fields) > 30
    assert [name for name in fields if f".{name}" not in code] == []
