"""params.yaml, typed once: a missing, unknown, mistyped, repeated or out-of-range key is an error that names it."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from bonafide.params.pins import typed
from bonafide.params.sections import Params
from bonafide.params.yaml_spelling import spell
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import parse_yaml, read_text

TASKS = Path(__file__).parents[1] / "tasks"
SECTIONS = {"task": "Task", "validate": "Validate", "tokenize": "Tokenize", "train": "Train", "evaluate": "Evaluate"}
"""Those that differ between tasks, and the classes of a task's own `params` module that type them."""


def load_params(path: Path = PARAMS) -> Params:
    """Read and type `path`; raise InputError with one line that names each bad key."""
    text = read_text(path)
    tree = parse_yaml(text, str(path))
    task = task_module(tree, path)
    try:
        params = TypeAdapter(shape(task)).validate_python(spell(tree, task.SPELLED, text, str(path)))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        shown = "; ".join(" ".join(p.split()) for p in problems[:5])
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise InputError(f"{path}: {shown}{more}") from None
    try:
        task.check(params)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return params


def task_module(tree: Any, path: Path) -> ModuleType:
    """The `params` module of the task that a params file names; raise InputError where there is none."""
    if not isinstance(tree, dict):
        raise InputError(f"{path}: the file holds no keys: see the one that came with the project")
    task = tree.get("task")
    name = task.get("name") if isinstance(task, dict) else None
    known = sorted(folder.parent.name for folder in TASKS.glob("*/params.py"))
    if not isinstance(name, str) or name not in known:
        shown = "no task is named" if name is None else f"{str(name)[:60]!r} is none of ours"
        raise InputError(f"{path}: task.name: {shown}; there are {', '.join(known)}")
    return import_module(f"bonafide.tasks.{name}.params")


def shape(task: ModuleType) -> type[Params]:
    """`Params` with the task's own sections."""
    types = {field.name: field.type for field in fields(cast("Any", Params))} | {
        section: getattr(task, name) for section, name in SECTIONS.items()
    }
    return cast("type[Params]", typed(type("Params", (), {"__annotations__": types, "__doc__": Params.__doc__})))
