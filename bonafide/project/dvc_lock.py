"""Who made what, by content: the key of a stage and of a whole pipeline, from the facts DVC decides by.

dvc.lock is written after each stage, so while a stage runs the entries of those before it are up to date.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from bonafide.project.files import md5
from bonafide.project.yaml_files import read_yaml

GRAPH = Path("dvc.yaml")
GRAPH_LOCK = Path("dvc.lock")
Facts = dict[str, Any]


def resolve(text: str, params: Facts) -> str:
    """Fill DVC's `${a.b}` from params."""

    def value(match: re.Match[str]) -> str:
        found: Any = params
        for key in match[1].strip().split("."):
            found = found[key]
        return str(found)

    return re.sub(r"\$\{([^}]+)\}", value, text)


def _paths(entries: list[Any], params: Facts) -> list[str]:
    return sorted(resolve(next(iter(e)) if isinstance(e, dict) else e, params) for e in entries)


def read_graph(params: Facts) -> dict[str, Facts]:
    """The stages of dvc.yaml in order: `cmd`, sorted `deps`, `params` (dotted) and `outs` (metrics included)."""
    return {
        name: {
            "cmd": stage["cmd"],
            "deps": _paths(stage.get("deps", []), params),
            "params": sorted(stage.get("params", [])),
            "outs": _paths([*stage.get("outs", []), *stage.get("metrics", [])], params),
        }
        for name, stage in read_yaml(GRAPH)["stages"].items()
    }


def read_lock() -> dict[str, Facts]:
    """The stages of dvc.lock, or nothing before the first run."""
    return (read_yaml(GRAPH_LOCK) or {}).get("stages", {}) if GRAPH_LOCK.exists() else {}


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _lookup(params: Facts, dotted: str) -> Any:
    found: Any = params
    for key in dotted.split("."):
        found = found[key]
    return found


def stage_keys(params: Facts, running: str) -> dict[str, str]:
    """The key of every stage up to `running`: a hash of its command, deps and params.

    Stages before `running` are taken from dvc.lock; `running` itself from dvc.yaml and the files it is about to read.
    """
    lock = read_lock()
    graph = read_graph(params)
    keys: dict[str, str] = {}
    for name, stage in graph.items():
        if name == running:
            made = {o["path"]: o["md5"] for s in keys for o in lock[s].get("outs", [])}
            deps = {path: made.get(path) or md5(Path(path)) for path in stage["deps"]}
            keys[name] = _hash([stage["cmd"], deps, {key: _lookup(params, key) for key in stage["params"]}])
            break
        if name in lock:
            keys[name] = locked_key(lock[name])
    return keys


def locked_key(entry: Facts) -> str:
    """The key of a finished stage from its dvc.lock entry."""
    deps = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    return _hash([entry["cmd"], deps, _params_of(entry)])


def locked_outs(lock: dict[str, Facts]) -> dict[str, str]:
    """What finished stages have made: path to MD5."""
    return {out["path"]: out["md5"] for entry in lock.values() for out in entry.get("outs", [])}


def conflict(lock: dict[str, Facts]) -> str:
    """The first path or param of which the stages of a dvc.lock saw different values, or "": it is of one run."""
    seen: Facts = dict(locked_outs(lock))
    for entry in lock.values():
        facts = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])} | _params_of(entry)
        for name, value in facts.items():
            if seen.setdefault(name, value) != value:
                return str(name)
    return ""


def _params_of(entry: Facts) -> Facts:
    found: Facts = entry.get("params", {}).get("params.yaml", {})
    return found


def locked_pipeline_key(lock: dict[str, Facts]) -> str:
    """The `pipeline_key` that the run had which left this dvc.lock, all of whose stages are finished."""
    made = locked_outs(lock)
    inside = tuple(f"{path}/" for path in made)
    deps = {dep["path"]: dep["md5"] for entry in lock.values() for dep in entry.get("deps", [])}
    digests = {path: digest for path, digest in deps.items() if path not in made and not path.startswith(inside)}
    return _hash([{name: entry["cmd"] for name, entry in lock.items()}, digests, locked_params(lock)])


def locked_params(lock: dict[str, Facts]) -> Facts:
    """The params, by dotted name, that shaped a dvc.lock."""
    return {dotted: value for entry in lock.values() for dotted, value in _params_of(entry).items()}


def pipeline_key(params: Facts, running: str) -> str:
    """One hash of everything a result follows from: params, code and data, never what stages made of them.

    The same before the first stage as after the last, so that a crash, a resume and a second run agree on it.
    """
    graph = read_graph(params)
    made = {path for stage in graph.values() for path in stage["outs"]}
    inside = tuple(f"{path}/" for path in made)
    sources = {p for s in graph.values() for p in s["deps"] if p not in made and not p.startswith(inside)}
    first = next(iter(graph))
    data = {d["path"]: d["md5"] for d in read_lock().get(first, {}).get("deps", [])} if running != first else {}
    only_first = set(graph[first]["deps"]) - {p for n, s in graph.items() if n != first for p in s["deps"]}
    digests = {path: (path in only_first and data.get(path)) or md5(Path(path)) for path in sources}
    tracked = {key: _lookup(params, key) for stage in graph.values() for key in stage["params"]}
    return _hash([{name: stage["cmd"] for name, stage in graph.items()}, digests, tracked])
