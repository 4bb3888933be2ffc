"""What differs between two revisions besides the metrics."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.provenance.revisions import Revision
from bonafide.review.diff import data, difference, params, stages, word
from bonafide.review.schema import LONGEST, ROWS

labels = st.sampled_from([None, "a", "b"])
rows = st.dictionaries(
    st.integers(0, 9), st.tuples(st.sampled_from(["train", "test"]), labels, st.sampled_from([b"x", b"y"]))
)


@settings(max_examples=40)
@given(rows)
def test_the_same_rows_do_not_differ(table):
    assert set(difference(table, dict(reversed(table.items()))).model_dump().values()) <= {0}


@settings(max_examples=40)
@given(rows, rows)
def test_there_and_back_swaps_what_is_added_and_what_is_removed(before, after):
    there, back = difference(before, after), difference(after, before)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert [(one.moved, one.targets_changed, one.inputs_changed) for one in (there, back)] == 2 * [
        (there.moved, there.targets_changed, there.inputs_changed)
    ]
    assert len(before) + there.added - there.removed == len(after)


def test_each_row_differs_in_what_it_differs():
    before = {1: ("train", "a", b"x"), 2: ("train", "a", b"x"), 3: ("train", "a", b"x"), 4: ("train", "a", b"x")}
    after = {2: ("test", "a", b"x"), 3: ("train", "b", b"y"), 4: ("train", "a", b"x"), 5: ("train", "a", b"x")}
    assert difference(before, after).model_dump() == {
        "added": 1, "removed": 1, "targets_changed": 1, "inputs_changed": 1, "moved": 1
    }  # fmt: skip


def entry(**changes):
    facts = {
        "cmd": "exec python -m stages.train",
        "deps": [
            {"path": "data/tokenized", "md5": "1.dir"},
            {"path": "stages/train.py", "md5": "2"},
            {"path": "requirements.lock", "md5": "3"},
        ],
        "params": {"params.yaml": {"train": {"epochs": 2}}},
        "outs": [{"path": "models/model", "md5": "4.dir"}],
    }
    return facts | changes


def with_dep(path, md5):
    return entry(deps=[{**dep, "md5": md5} if dep["path"] == path else dep for dep in entry()["deps"]])


def test_a_stage_says_why_it_is_another():
    changed = {
        "same": (entry(), entry()),
        "command": (entry(), entry(cmd="python x.py")),
        "code": (entry(), with_dep("stages/train.py", "9")),
        "libraries": (entry(), with_dep("requirements.lock", "9")),
        "data": (entry(), with_dep("data/tokenized", "9.dir")),
        "params": (entry(), entry(params={"params.yaml": {"train": {"epochs": 3}}})),
        "a dep more": (entry(deps=[]), entry()),
    }
    base = {name: before for name, (before, _) in changed.items()}
    found = stages(base, {name: after for name, (_, after) in changed.items()} | {"new": entry()})
    assert {stage.name: stage.why for stage in found} == {
        "same": [],
        "a dep more": ["code", "data", "libraries"],
        "new": ["new"],
        **{name: [name] for name in ("command", "code", "libraries", "data", "params")},
    }


def git(*arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    done = subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(**files):
    """Write the files and commit all there is."""
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    git("add", "-A")
    git("commit", "-q", "-m", "x", "--allow-empty")
    return Revision("x", git("rev-parse", "HEAD"))


def test_params_are_told_by_key_and_file_in_the_form_that_a_comment_takes(tmp_path):
    git("init", "-q")
    recipe, other = Path("params.yaml"), Path("other.yaml")
    base = commit(**{"params.yaml": b"seed: 1\ntrain: {epochs: 2, rate: 1.0e-5}\ntask: {labels: [a, b]}\n"})
    head = commit(
        **{
            "params.yaml": b"seed: 1\ntrain: {epochs: 3}\ntask: {labels: [a, '|@x']}\n",
            "other.yaml": "".join(f"k{i:02}: {i}\n" for i in range(ROWS + 5)).encode(),
        }
    )
    found = params(base, head, [recipe])
    assert [(change.key, change.base, change.head) for change in found.shown] == [
        ("task.labels", '["a", "b"]', '["a", "|@x"]'),
        ("train.epochs", "2", "3"),
        ("train.rate", "1e-05", None),
    ]
    assert params(head, head, [recipe, other]).total == 0
    both = params(base, head, [recipe, other, recipe])
    assert (both.total, len(both.shown)) == (3 + ROWS + 5, ROWS)
    assert both.shown[-1].file == "other.yaml"


def table(*rows):
    sink = BytesIO()
    columns = dict(zip(("id", "label", "text"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (b"{id: id, text: text}", {"added": 1, "removed": 1, "targets_changed": 1, "inputs_changed": 1, "moved": 0}),
        (b"{text: text}", {"added": 2, "removed": 2, "targets_changed": 1, "inputs_changed": 0, "moved": 0}),
    ],
    ids=["by id", "by inputs where ids are but numbers"],
)
def test_rows_are_compared_by_id_and_hash(tmp_path, columns, expected):
    git("init", "-q")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    rows = [("1", "a", "one"), ("2", "a", "two"), ("3", "b", "three"), ("4", "b", "four")]
    counts = b'{"validate/train/rows": 4, "validate/quarantined": %d}'
    base = commit(
        **{
            "params.yaml": b"task: {name: classification}\ndata: {columns: %b}\n" % columns,
            "reports/validate.json": counts % 1,
        },
        **{"data/validated/train.parquet": table(*rows)},
    )
    changed = [rows[0], ("2", "b", "two"), ("3", "b", "tree"), ("5", "b", "five")]
    head = commit(**{"data/validated/train.parquet": table(*changed), "reports/validate.json": counts % 3})
    found = data(base, head)
    assert found.changed.model_dump() == expected
    assert (found.rows.model_dump(), found.quarantined.model_dump()) == (
        {"base": 4, "head": 4},
        {"base": 1, "head": 3},
    )
    Path("data/validated/train.parquet").unlink()
    gone = commit()
    assert data(base, gone).changed is None
    assert data(base, gone).quarantined.head == 3


def test_a_word_is_one_line_of_visible_characters():
    assert word("a\n\u202eb") == "a ⟨U+202E⟩b"
    assert len(word("x" * 500)) == LONGEST
