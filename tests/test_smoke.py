"""`make smoke RECIPE=...`: the small form of a recipe."""

import shutil

import pytest

from bonafide.params.load import load_params
from dev import smoke
from tests.project import ROOT

WHOLE = {"smoke", "house_prices"}  # small as they are
CHAINED = {"sentiment_zh"}  # rests on what another recipe has trained


def test_every_recipe_has_one():
    assert smoke.SMALL.keys() == {path.stem for path in ROOT.glob("recipes/*.yaml")} - WHOLE - CHAINED


@pytest.mark.parametrize("recipe", smoke.SMALL)
def test_it_is_sound_and_keeps_what_the_recipe_says_of_each_key(recipe, tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / f"recipes/{recipe}.yaml", path)
    before = path.read_text()
    smoke.main(recipe, path)
    assert load_params(path).data.sample == smoke.SMALL[recipe]["data.sample"] < 1
    assert path.read_text().count("  # ") == before.count("  # ")
