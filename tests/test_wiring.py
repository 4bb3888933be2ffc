"""dvc.yaml tells the truth, and imports go down: what a stage imports and reads is what it declares."""

import ast
import shutil
from dataclasses import fields
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bonafide.params.sections import Params

ROOT = Path(__file__).parents[1]
GRAPH = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
CHOSEN = "${task.name}"
SECTIONS = {field.name for field in fields(Params)}
OWN = {
    "task",
    "tracking",
    "machine",
    "seed",
    "threads",
}  # declared where they shape a result
FLOORS = (  # from top to bottom: a module imports its own room and those below
    ("__main__",),
    ("cli",),
    ("review", "sweeps"),
    ("registry",),
    ("registry/serving", "comparison"),
    ("provenance",),
    ("tasks",),
    ("training", "quality/texts", "quality/images"),
    ("training/checkpoints", "monitoring"),
    ("engine", "generation", "vision"),
    ("engine/shards",),
    ("forward", "quality"),
    ("stage",),
    ("tracking",),
    ("evaluation", "reporting", "sources"),
    ("datasets", "pretrained", "protocol", "images", "sources/images"),
    ("params",),
    ("project",),
)
SINKS = (
    "tracking",
    "monitoring",
)  # what they do shapes no output (tests/stages/test_sinks.py), so no stage depends on them


def floor(room: str) -> int:
    """The number of a room's floor, 0 at the top."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def room(path: Path) -> str:
    """The room of a module's path below `bonafide`: its folder, one for all tasks, or itself at the top."""
    return "tasks" if path.parts[0] == "tasks" else path.parent.as_posix() if len(path.parts) > 1 else path.stem


def module_path(root: Path, name: str) -> Path | None:
    base = root / name.replace(".", "/")
    found = [path for path in (base / "__init__.py", base.with_suffix(".py")) if path.exists()]
    return found[0] if found and name.partition(".")[0] in ("bonafide", "stages") else None


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names | {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 1)}


def modules(root: Path, path: Path) -> set[Path]:
    """The modules of ours that a module imports; no package's `__init__`, which is empty."""
    found = {found for name in imported(path) if (found := module_path(root, name))}
    return {module for module in found if module.name != "__init__.py" or module.parent.name == "stages"}


def roles(root: Path, entry: dict) -> list[Path]:
    """The modules of every task that stand for an entry's dependency on those of the chosen one."""
    patterns = [dep.replace(CHOSEN, "*") for dep in entry["deps"] if CHOSEN in dep]
    found = [path for pattern in patterns for path in root.glob(pattern)]
    return [file for path in found for file in (path.glob("*.py") if path.is_dir() else [path])]


def closure(root: Path, stage: str, entry: dict) -> set[str]:
    """Every file that a stage imports, and so on: of all tasks, and sinks left out."""
    seen, todo = set(), [root / f"stages/{stage}.py", root / "stages/__init__.py", *roles(root, entry)]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += [p for p in modules(root, path) if not any(p.is_relative_to(root / "bonafide" / s) for s in SINKS)]
    return {path.relative_to(root).as_posix() for path in seen - set(roles(root, entry))}


def params_read(root: Path, stage: str, entry: dict) -> set[str]:
    """`params.<section>` and `params.<section>.<field>` in all of a stage's code."""
    paths = [root / path for path in closure(root, stage, entry)]
    paths += [path for path in roles(root, entry) if path.name != "params.py"]  # which only refuses
    chains = {chain for path in paths for chain in attributes(ast.parse(path.read_text()))}
    return {chain for chain in chains if chain.partition(".")[0] in SECTIONS}


def attributes(tree: ast.Module) -> set[str]:
    """What is read of a variable called `params`: dotted, the longest chain of each place."""
    found, inner = set(), set()
    for start in ast.walk(tree):
        node, chain, whole = start, [], start not in inner
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
            inner.add(node)
        if isinstance(node, ast.Name) and node.id == "params" and chain and whole:
            found.add(".".join(reversed(chain)))
    return found


def is_code(dep: str) -> bool:
    return dep.startswith(("bonafide/", "stages/")) and "$" not in dep


def within(path: str, dep: str) -> bool:
    return path == dep or path.startswith(f"{dep}/")


def wiring_errors(root: Path, stage: str, entry: dict) -> list[str]:
    code, declared = closure(root, stage, entry), [dep for dep in entry["deps"] if is_code(dep)]
    undeclared = {path for path in code if not any(within(path, dep) for dep in declared)}
    errors = [f"{stage} imports {path} and does not declare it" for path in sorted(undeclared)]
    idle = [dep for dep in declared if not any(within(path, dep) for path in code)]
    errors += [f"{stage} declares {dep} and does not import it" for dep in idle]
    keys = set(entry.get("params", []))
    for read in params_read(root, stage, entry):
        prefixes = {".".join(read.split(".")[:i]) for i in range(1, read.count(".") + 2)}
        below = any(key.startswith(f"{read}.") for key in keys)
        if not prefixes & keys and not below and read.partition(".")[0] not in OWN:
            errors.append(f"{stage} reads params.{read} and does not declare it")
    return errors


def upward(root: Path) -> list[str]:
    """Imports that go up, or to another room of the same floor."""
    found = []
    for path in sorted((root / "bonafide").rglob("*.py")):
        for target in modules(root, path):
            here, there = (p.relative_to(root / "bonafide") for p in (path, target))
            if room(here) != room(there) and floor(room(here)) >= floor(room(there)):
                found.append(f"{here} imports {there}")
    return found


def circle(root: Path) -> list[str]:
    """A circle of imports, if there is one."""
    try:
        list(TopologicalSorter({p: modules(root, p) for p in (root / "bonafide").rglob("*.py")}).static_order())
    except CycleError as error:
        return [path.relative_to(root).as_posix() for path in error.args[1]]
    return []


@pytest.mark.parametrize("stage", GRAPH)
def test_stage_declares_what_it_imports_and_reads(stage):
    assert wiring_errors(ROOT, stage, GRAPH[stage]) == []


@pytest.mark.parametrize("stage", GRAPH)
def test_stage_declares_only_params_that_it_reads(stage):
    read = params_read(ROOT, stage, GRAPH[stage]) | OWN
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


def test_imports_go_down_and_in_no_circle():
    assert upward(ROOT) == []
    assert circle(ROOT) == []


def test_rooms_have_places_for_a_reader():
    for folder in {path.parent for path in (ROOT / "bonafide").rglob("*.py")}:
        paths = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(paths) <= 16, folder
        assert sum(len(path.read_text().splitlines()) for path in paths) <= 1800, folder
        tree = ast.parse((folder / "__init__.py").read_text())
        assert len(tree.body) == 1, f"{folder}: its __init__ holds its purpose and nothing else"
        assert len(ast.get_docstring(tree).splitlines()) == 1


@pytest.fixture
def copy(tmp_path):
    for package in ("bonafide", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def plant(path: Path, line: str) -> None:
    path.write_text(f"{line}\n{path.read_text()}")


def test_an_undeclared_import_is_caught(copy):
    plant(copy / "stages/train.py", "from bonafide.sources import tables")
    errors = wiring_errors(copy, "train", GRAPH["train"])
    assert "train imports bonafide/sources/tables.py and does not declare it" in errors
    plant(copy / "bonafide/engine/optimizer.py", "from bonafide.quality import pii")
    assert "train imports bonafide/quality/pii.py and does not declare it" in wiring_errors(
        copy, "train", GRAPH["train"]
    )


def test_an_idle_dependency_is_caught(copy):
    entry = GRAPH["report"] | {"deps": [*GRAPH["report"]["deps"], "bonafide/engine"]}
    assert wiring_errors(copy, "report", entry) == ["report declares bonafide/engine and does not import it"]


def test_an_undeclared_param_is_caught(copy):
    module = copy / "bonafide/training/fit.py"
    module.write_text(module.read_text().replace("params.seed)", "params.seed + params.validate.min_characters)", 1))
    errors = wiring_errors(copy, "train", GRAPH["train"])
    assert errors == ["train reads params.validate.min_characters and does not declare it"]


def test_an_import_that_goes_up_and_a_circle_are_caught(copy):
    plant(copy / "bonafide/project/files.py", "from bonafide.engine import optimizer")
    plant(copy / "bonafide/engine/optimizer.py", "from bonafide.project import files")
    assert upward(copy) == ["project/files.py imports engine/optimizer.py"]
    assert set(circle(copy)) >= {"bonafide/project/files.py", "bonafide/engine/optimizer.py"}
