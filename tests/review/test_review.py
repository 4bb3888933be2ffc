"""The review of a pull request: which two commits it compares, and what it keeps of a comparison."""

import json
import math
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bonafide.cli.app import app
from bonafide.project.errors import InputError
from bonafide.review.review import _comparison, pair
from bonafide.review.schema import LONGEST, ROWS, Review, dump, parse
from tests.reviews import difference, review


def git(*arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    done = subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(name):
    Path(name).write_text("x")
    git("add", "-A")
    git("commit", "-q", "-m", name)
    return git("rev-parse", "HEAD")


@pytest.fixture
def forked(tmp_path):
    """`change` with a commit of its own since `main`, which has moved on: where they parted."""
    git("init", "-q", "-b", "main")
    parted = commit("a")
    git("checkout", "-q", "-b", "change")
    commit("b")
    git("checkout", "-q", "main")
    commit("c")
    git("checkout", "-q", "change")
    return parted


def test_the_base_is_where_the_branch_left_it(forked):
    base, head = pair("main")
    assert (base.name, base.commit) == ("main", forked)
    assert (head.name, head.commit) == ("change", git("rev-parse", "HEAD"))


def test_of_a_merge_it_is_the_newest_of_the_base(forked):
    """What GitHub checks out: the change as it would be once merged."""
    git("checkout", "-q", "--detach")
    git("merge", "-q", "--no-edit", "main")
    git("update-ref", "refs/remotes/origin/main", "main")
    base, head = pair("origin/main")
    assert (base.name, base.commit) == ("main", git("rev-parse", "main"))
    assert head.name == "HEAD"


def test_what_is_not_committed_is_refused(forked):
    Path("untracked").write_text("is no change")
    pair("main")
    Path("a").write_text("y")
    with pytest.raises(InputError, match=r"^uncommitted changes: "):
        pair("main")


def test_nothing_to_review_is_refused(forked):
    with pytest.raises(InputError, match=r"^change: has all commits of HEAD; there is nothing to review$"):
        pair("change")
    git("checkout", "-q", "--orphan", "other")
    commit("d")
    with pytest.raises(InputError, match=r"^main: has no commit in common with HEAD; fetch more of the history$"):
        pair("main")
    with pytest.raises(InputError, match=r"^none: is no commit"):
        pair("none")


def compared(slices):
    metrics = [
        {
            "name": "f1_macro",
            "words": "macro F1",
            "outcome": "equivalent",
            **difference(0.5, 0.5),
            "p_value": 1.0,
            "tost": [0, 0],
        }
    ]
    return {
        "split": "test",
        "primary": "f1_macro",
        "rows": {"common": 9, "base_only": 0, "head_only": 0, "targets_changed": 0, "inputs_changed": None},
        "groups": 9,
        "metrics": metrics,
        "slices": slices,
        "unsliced": "",
        "verdict": {"outcome": "equivalent", "sentence": "Same.", "margin": 0.01, "alpha": 0.05, "detectable": None},
    }


def test_of_many_slices_the_worst_are_kept_and_all_are_counted():
    slices = [
        {"column": "c" * 500, "value": str(place), "rows": 9, "outcome": outcome, **difference(0.9, 0.9 - place / 100)}
        for place in range(ROWS + 10)
        for outcome in ("regressed", "equivalent")
    ]
    kept = _comparison(compared(slices)).slices
    assert (kept.tested, kept.regressed, len(kept.shown)) == (2 * (ROWS + 10), ROWS + 10, ROWS)
    assert [slice_.value for slice_ in kept.shown[:2]] == [str(ROWS + 9), str(ROWS + 8)]
    assert len(kept.shown[0].column) == LONGEST


@pytest.mark.parametrize("nothing", [math.nan, math.inf, None])
def test_what_is_not_a_number_is_said_not_to_be_known(nothing):
    facts = compared([])
    facts["metrics"][0] |= {"low": nothing, "high": nothing}
    kept = _comparison(facts)
    assert (kept.metrics[0].low, kept.metrics[0].high, kept.metrics[0].base) == (None, None, 0.5)
    whole = Review.model_validate(review(comparison=kept.model_dump()))
    assert parse(dump(whole)) == whole


@pytest.mark.parametrize("passed", [True, False])
def test_the_gate_is_an_exit_code_and_says_why(tmp_path, passed):
    path = tmp_path / "review.json"
    path.write_text(json.dumps(review(gate={"passed": passed, "reasons": [] if passed else ["::error::\x1b x"]})))
    said = CliRunner().invoke(app, ["gate", str(path)])
    assert said.exit_code == (0 if passed else 1)
    assert said.stdout == ("the gate passes\n" if passed else "the gate fails\n  : :error: :⟨U+001B⟩ x\n")
    facts = json.loads(CliRunner().invoke(app, ["gate", str(path), "--json"]).stdout)
    assert facts["passed"] is passed


def test_a_gate_without_a_review_is_the_environments_fault(tmp_path):
    missing = CliRunner().invoke(app, ["gate", str(tmp_path / "none.json")])
    assert isinstance(missing.exception, FileNotFoundError)
