"""`bonafide compare` on a real pipeline: its runs, an experiment, and what a model that learnt nothing is called."""

import json
import sys

import pytest
from mlflow import MlflowClient

from tests.project import Project, reviews

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A real pipeline, run and committed; then another seed as an experiment, and a model that learnt nothing."""
    project = Project(tmp_path_factory.mktemp("real") / "clone")
    splits = ("train", "train", "validation", "test")
    table = [row | {"id": f"i{i}", "split": splits[i // 2 % 4]} for i, row in enumerate(reviews(320))]
    project.write_table(table)
    project.tiny([row["text"] for row in table])
    project.set(
        data__columns={name: name for name in ("text", "label", "id", "split")},
        train__epochs=4,
        train__learning_rate=0.01,
        train__batch_size=16,
        compare__samples=1000,
        compare__min_slice_rows=10,
    )
    project.commit()
    project.repro()
    project.commit("Run")
    done = project.run("dvc", "exp", "run", "--temp", "-n", "another-seed", "-S", "seed=2")
    assert done.returncode == 0, done.stdout + done.stderr
    project.set(train__learning_rate=1e-9, train__epochs=1)
    project.repro()
    return project


def compared(project, *revisions):
    done = project.run(sys.executable, "-m", "bonafide", "compare", *revisions, "--json")
    assert done.returncode in {0, 1}, done.stderr
    facts = json.loads(done.stdout)
    assert facts["gate"]["passed"] == (done.returncode == 0)
    return facts


def test_a_real_regression_is_found_with_its_slices(project):
    facts = compared(project, "main")
    assert (facts["verdict"]["outcome"], facts["gate"]["passed"]) == ("regressed", False)
    assert facts["rows"] == {"common": 80, "base_only": 0, "head_only": 0, "targets_changed": 0, "inputs_changed": 0}
    assert facts["metrics"][0]["head"] == pytest.approx(project.read("reports/evaluate.json")["test/f1_macro"])
    assert {piece["column"] for piece in facts["slices"]} == {"domain", "length", "negation"}
    assert (facts["seeds"]["base"], facts["seeds"]["head"]) == (2, 1)


def test_runs_are_compared_as_the_revisions_that_have_their_bytes(project):
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    folders, ids = [found.experiment_id for found in client.search_experiments()], []
    for seed in ("1", "2"):
        runs = client.search_runs(folders, f"params.seed = '{seed}' and params.`train.learning_rate` = '0.01'")
        (run,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        ids.append(run.info.run_id)
    found, expected = compared(project, *ids), compared(project, "main", "another-seed")
    assert [found[side].pop("name") for side in ("base", "head")] == ids
    assert [expected[side].pop("name") for side in ("base", "head")] == ["main", "another-seed"]
    assert found == expected


def test_a_seed_is_another_seed_of_the_other_but_no_longer_where_the_code_differs(project):
    seeds = compared(project, "main", "another-seed")["seeds"]
    assert (seeds["base"], seeds["head"]) == (2, 2)
    assert seeds["base_sd"] == seeds["head_sd"] >= 0
    project.git("checkout", "-q", "--force", "main")
    lock = project.folder / "dvc.lock"
    text = lock.read_text()
    was = text[text.index("path: stages/train.py") :].split("md5: ")[1].split()[0]
    lock.write_text(text.replace(was, "a" * 32))
    project.git("checkout", "-q", "-b", "other-code")
    project.commit("Other code")
    assert compared(project, "other-code", "main")["seeds"] == seeds | {"base": 1, "base_sd": None}
