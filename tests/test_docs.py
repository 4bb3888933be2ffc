"""What the documents say is so."""

import ast
import re
import statistics
from pathlib import Path

import pytest

from dev import readme

ROOT = Path(__file__).parents[1]
PRODUCT = [path for folder in ("bonafide", "stages", "data") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.fixture
def text(monkeypatch):
    monkeypatch.chdir(ROOT)
    return (ROOT / "README.md").read_text()


def test_generated_parts_are_up_to_date(text):
    assert readme.render(text) == text, "run: make docs"


def test_every_make_target_in_the_readme_exists(text):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
    assert named
    assert named <= targets


def test_every_path_that_a_link_names_exists(text):
    links = re.findall(r"\]\(([^)#]+)", text)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_lock_names_no_index_and_hashes_everything():
    lock = (ROOT / "requirements.lock").read_text()
    assert "http" not in re.sub(r"^[a-z0-9-]+==.*$", "", lock, flags=re.MULTILINE)
    assert "index" not in re.sub(r"^[a-z0-9-]+==.*$", "", lock, flags=re.MULTILINE)
    blocks = re.split(r"^(?=[a-z])", lock, flags=re.MULTILINE | re.IGNORECASE)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    assert not re.search(r"^torch==", lock, re.MULTILINE)


def test_code_stays_within_its_size():
    """Delete before you raise it."""
    assert max(len(path.read_text().splitlines()) for path in PRODUCT) <= 250
    assert sum(code_lines(path) for path in PRODUCT) <= 19_700


def test_functions_fit_in_the_eye():
    nodes = [
        (path, node)
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    lengths = {f"{path.name}:{node.name}": node.end_lineno - node.lineno + 1 for path, node in nodes}
    assert statistics.median(lengths.values()) <= 10
    assert [name for name, length in lengths.items() if length > 40] == []


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank line, comment or docstring."""
    tree = ast.parse(path.read_text())
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    prose = {line for node in strings for line in range(node.lineno, node.end_lineno + 1)}
    lines = enumerate(path.read_text().splitlines(), start=1)
    return sum(bool(text.strip()) and not text.strip().startswith("#") and n not in prose for n, text in lines)
