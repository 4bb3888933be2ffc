"""What an edit re-runs, by DVC's own word: the stages whose results it can change, and no other."""

import json

import pytest

pytestmark = pytest.mark.slow

EDITS = {
    "reporting/charts.py": {"validate", "report"},
    "evaluation/classification_metrics.py": {"evaluate"},  # and report by the outputs that this changes
    "tasks/classification/score.py": {"evaluate"},
    "engine/optimizer.py": {"train"},
    "sources/delimited.py": {"fetch"},
    "quality/pii.py": {"validate"},
    "datasets/ragged.py": {"tokenize", "train", "evaluate"},
    "training/history.py": {"train"},
    "tracking/store.py": set(),
    "monitoring/performance.py": set(),
    "cli/app.py": set(),
}


@pytest.mark.parametrize(("module", "stages"), EDITS.items())
def test_an_edit_re_runs_exactly_what_it_must(finished, module, stages):
    path = finished.folder / "bonafide" / module
    before = path.read_bytes()
    path.write_bytes(before + b"\nEDITED = True\n")
    try:
        shown = finished.run("dvc", "status", "--json")
    finally:
        path.write_bytes(before)
    assert shown.returncode == 0, shown.stderr
    assert set(json.loads(shown.stdout)) == stages
