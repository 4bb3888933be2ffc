"""Files are whole or absent, their bytes depend on content only, and folder hashes are DVC's."""

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.project.files import inert_cell, make_readable, md5, read_json, write_bytes, write_csv, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"b": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(target, {"b": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(target, "text")
    assert read_json(target) == {"b": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=4))
def test_csv_reads_back_what_was_written(tmp_path, row):
    write_csv(tmp_path / "t.csv", [f"c{i}" for i in range(len(row))], [row])
    text = (tmp_path / "t.csv").read_bytes().decode()
    _header, *rows = csv.reader(io.StringIO(text, newline=""))
    expected = [cell.removeprefix("'") for cell in rows[0]]
    assert expected == [cell.removeprefix("'") for cell in row]


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell):
    assert inert_cell(cell).lstrip('"').startswith("'")


def test_a_negative_number_stays_a_number():
    assert inert_cell(-0.5) == "-0.5"


def test_hashes_are_those_of_dvc(tmp_path):
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/b.txt").write_text("b")
    (tmp_path / "d/sub/ä.txt").write_text("ä")
    (tmp_path / "f.txt").write_text("f\r\n")
    subprocess.run(["dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "add", "-q", "d", "f.txt"], cwd=tmp_path, check=True)
    for name in ("d", "f.txt"):
        assert f"md5: {md5(tmp_path / name)}\n" in Path(tmp_path / f"{name}.dvc").read_text()
    assert json.dumps(md5(tmp_path / "d")).endswith('.dir"')


def test_weights_are_as_readable_as_their_neighbours(tmp_path):
    for name, mode in (("config.json", 0o640), ("model.safetensors", 0o600)):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(mode)
    make_readable(tmp_path, like="config.json")
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o640, 0o640]
