"""The gate's parts, without a registry; tests/registry/test_serving.py has the whole of it."""

import math

import pytest

from bonafide.project.errors import InputError
from bonafide.protocol import Metric
from bonafide.registry.mlflow_package import CODE, CODE_PART, FLAVOR, check, identity, seal
from bonafide.registry.promotion import missed


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.8, []),
        (0.9, []),
        (0.79, ["f1 is 0.79, below 0.8"]),
        (math.nan, ["f1 is nan, below 0.8"]),
        (None, ["f1 is not in reports/evaluate.json"]),
    ],
)
def test_a_metric_below_its_bound_is_named(value, reason):
    assert missed({"f1": value} if value is not None else {}, {"f1": 0.8}, []) == reason


@pytest.mark.parametrize(("value", "reason"), [(1.9, []), (2.1, ["test/loss is 2.1, above 2"])])
def test_a_metric_of_which_less_is_better_is_bounded_from_above(value, reason):
    known = [Metric("loss", "loss", higher_is_better=False)]
    assert missed({"test/loss": value}, {"test/loss": 2.0}, known) == reason


def test_equal_models_are_one_only_if_they_are_used_alike():
    assert identity("a.dir", {"x": 1, "y": 2}) == identity("a.dir", {"y": 2, "x": 1})
    assert len({identity("a.dir", {"x": 1}), identity("b.dir", {"x": 1}), identity("a.dir", {"x": 2})}) == 3


@pytest.fixture
def package(tmp_path):
    """A package of ours, but for a model that nobody loads here."""
    folder = tmp_path / "package"
    (folder / "artifacts/model").mkdir(parents=True)
    (folder / "artifacts/model/model.safetensors").write_bytes(b"weights")
    (folder / CODE_PART).write_bytes(CODE.read_bytes())
    write_recipe(folder, **FLAVOR)
    return folder


def write_recipe(folder, **flavor):
    import json

    (folder / "MLmodel").write_text(json.dumps({"flavors": {"python_function": flavor}}))  # JSON is YAML


def test_a_sealed_package_is_ours(package):
    check(package, seal(package))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda folder: (folder / "artifacts/model/model.safetensors").write_bytes(b"Weights"), "is another file now"),
        (lambda folder: (folder / "artifacts/model/model.safetensors").unlink(), "is missing"),
        (lambda folder: (folder / "artifacts/model/pickle.bin").write_bytes(b"x"), "was added"),
    ],
    ids=["changed", "removed", "added"],
)
def test_a_file_that_is_not_as_sealed_is_named(package, act, says):
    sealed = seal(package)
    act(package)
    with pytest.raises(InputError, match=says):
        check(package, sealed)


@pytest.mark.parametrize(
    "change",
    [
        {"loader_module": "evil"},
        {"loader_module": "mlflow.sklearn"},
        {"model_code_path": "other.py"},
        {"code": "code"},
        {"data": "model.pkl"},
        {"python_model": "python_model.pkl"},
        {"artifacts": {"model": {"path": "/etc"}}},
    ],
    ids=lambda change: " ".join(map(str, change.items())),
)
def test_a_recipe_that_asks_for_other_code_is_refused_even_if_it_was_sealed(package, change):
    write_recipe(package, **{**FLAVOR, **change})
    with pytest.raises(InputError, match="other code than bonafide's"):
        check(package, seal(package))


def test_code_that_is_not_ours_is_refused_even_if_it_was_sealed(package):
    (package / CODE_PART).write_text("raise SystemExit\n")
    with pytest.raises(InputError, match="not bonafide's own"):
        check(package, seal(package))
