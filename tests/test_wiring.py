"""dvc.yaml tells the truth: what a stage imports and reads is what it declares, else DVC would serve stale results."""

import ast
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
GRAPH = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGES = ("bonafide", "stages", "tasks")
OWN = {"task", "tracking", "seed", "threads"}  # read by what every stage shares; declared where they shape a result


def module_path(root: Path, name: str) -> Path | None:
    base = root / name.replace(".", "/")
    found = [path for path in (base / "__init__.py", base.with_suffix(".py")) if path.exists()]
    return found[0] if found and name.partition(".")[0] in PACKAGES else None


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names | {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 1)}


def first_party(root: Path, start: Path) -> set[str]:
    """The files that `start` imports, and so on, within the repository."""
    seen, todo = set(), [start, root / "stages/__init__.py"]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += [p for name in imported(path) if (p := module_path(root, name))]
            todo += (root / "tasks").glob("*.py") if "tasks.load_task" in imported(path) else []
    files = {path.relative_to(root).as_posix() for path in seen}
    return {"tasks/${task}.py" if is_task(name) else name for name in files}


def is_task(name: str) -> bool:
    return name.startswith("tasks/") and not name.endswith("__init__.py")


def params_read(root: Path, stage: str) -> set[str]:
    """`params.<section>` and `params.<section>.<field>` in the stage's own file."""
    read, inner = set(), set()
    for start in ast.walk(ast.parse((root / f"stages/{stage}.py").read_text())):
        node, chain, whole = start, [], start not in inner
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
            inner.add(node)
        if isinstance(node, ast.Name) and node.id == "params" and chain and whole:
            read.add(".".join(reversed(chain)))
    return read


def wiring_errors(root: Path, stage: str, entry: dict) -> list[str]:
    deps = set(entry["deps"])
    folders = {dep for dep in deps if (root / dep).is_dir()}
    code = first_party(root, root / f"stages/{stage}.py")
    declared = {dep for dep in deps if dep.endswith(".py")}
    undeclared = {path for path in code - declared if Path(path).parts[0] not in folders}
    errors = [f"{stage} imports {path} and does not declare it" for path in sorted(undeclared)]
    errors += [f"{stage} declares {path} and does not import it" for path in sorted(declared - code)]
    keys = set(entry.get("params", []))
    for read in params_read(root, stage):
        prefixes = {".".join(read.split(".")[:i]) for i in range(1, read.count(".") + 2)}
        below = any(key.startswith(f"{read}.") for key in keys)
        if not prefixes & keys and not below and read not in OWN:
            errors.append(f"{stage} reads params.{read} and does not declare it")
    return errors


@pytest.mark.parametrize("stage", GRAPH)
def test_stage_declares_what_it_imports_and_reads(stage):
    assert wiring_errors(ROOT, stage, GRAPH[stage]) == []


@pytest.mark.parametrize("stage", GRAPH)
def test_stage_declares_only_params_that_it_reads(stage):
    read = params_read(ROOT, stage) | OWN
    idle = [key for key in GRAPH[stage]["params"] if not any(r == key or r.startswith(f"{key}.") for r in read)]
    assert idle == []


@pytest.mark.parametrize("stage", GRAPH)
def test_stage_runs_as_a_module_under_exec_and_depends_on_the_lock(stage):
    assert GRAPH[stage]["cmd"] == f"exec python -m stages.{stage}"
    assert "requirements.lock" in GRAPH[stage]["deps"]
    assert {f"reports/{stage}.json": {"cache": False}} in GRAPH[stage]["metrics"]


def test_validation_is_an_edge():
    assert "data/validated" in GRAPH["tokenize"]["deps"]
    assert not any(dep.startswith("data/raw") for name in GRAPH for dep in GRAPH[name]["deps"] if name != "validate")


@pytest.fixture
def copy(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_undeclared_import_is_caught(copy):
    (copy / "bonafide/planted.py").write_text('"""Planted."""\n')
    stage = copy / "stages/train.py"
    stage.write_text("from bonafide import planted\n" + stage.read_text())
    assert wiring_errors(copy, "train", GRAPH["train"]) == ["train imports bonafide/planted.py and does not declare it"]


def test_an_undeclared_param_is_caught(copy):
    stage = copy / "stages/train.py"
    stage.write_text(stage.read_text().replace("params.seed)", "params.seed + params.validate.min_characters)", 1))
    errors = wiring_errors(copy, "train", GRAPH["train"])
    assert errors == ["train reads params.validate.min_characters and does not declare it"]
