"""A real clone of this repository in a temporary folder, on a tiny table and a tiny random model."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.tiny_model import build_tiny_model

ROOT = Path(__file__).parents[1]
STAGES = ["fetch", "validate", "tokenize", "train", "evaluate", "report"]
GOOD = ("good", "fine", "nice", "lovely", "great")
BAD = ("bad", "awful", "poor", "ugly", "sad")
THINGS = ("film", "phone", "book", "meal", "song", "trip", "game", "room")


def reviews(rows: int) -> list[dict[str, str]]:
    """Distinct short reviews of two classes, deterministic."""
    made = []
    for i in range(rows):
        words = GOOD if i % 2 else BAD
        text = f"{words[i % 5]} {THINGS[i % 8]} number {i} and a {words[(i * 7) % 5]} {THINGS[(i * 3) % 8]} {i * i}"
        made.append({"text": text, "label": "positive" if i % 2 else "negative", "domain": THINGS[i % 8]})
    return made


class Project:
    """A clone that DVC runs for real, at the top of its repository or `inside` it."""

    def __init__(self, top: Path, inside: str = "") -> None:
        self.folder = folder = top / inside
        folder.mkdir(parents=True, exist_ok=True)
        shown = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(shown, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0"):
            if name and (ROOT / name).exists() and not name.startswith(("reports/", "tests/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.git("init", "-q", "-b", "main", str(top))

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    def commit(self, subject: str = "Start") -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)

    def write_table(self, rows: Sequence[dict[str, Any]], name: str = "data/table.jsonl") -> None:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def set(self, **changes: Any) -> None:
        """Change params by dotted name, with __ for the dot."""
        path = self.folder / "params.yaml"
        yaml = YAML(typ="safe", pure=True)
        params = yaml.load(path.read_text())
        for name, value in changes.items():
            *sections, key = name.split("__")
            inner = params
            for section in sections:
                inner = inner[section]
            inner[key] = value
        with path.open("w") as file:
            yaml.dump(params, file)

    def tiny(self, texts: Sequence[str], labels: Sequence[str] = ("negative", "positive")) -> None:
        """Settings under which a whole run takes seconds."""
        pins = build_tiny_model(self.folder / "tiny", texts)
        ignored = self.folder / ".gitignore"
        ignored.write_text(ignored.read_text() + "/tiny\n")
        self.set(
            data={
                "source": "data/table.jsonl",
                "downloads": [],
                "columns": {"text": "text", "label": "label"},
                "sample": 1.0,
                "slices": ["domain"],
                "quotes": "auto",
            },
            task__labels=list(labels),
            model={"source": "tiny", "revision": "", "sha256": pins},
            train__epochs=1,
            train__learning_rate=0.002,
            validate__min_rows_per_class=2,
            validate__max_label_shift=0.5,
            evaluate__bootstrap_samples=100,
            evaluate__min_slice_rows=5,
        )

    def save_often(self) -> None:
        """A checkpoint after every step that finds the writer free, so that a kill always finds some."""
        path = self.folder / "bonafide/training/checkpoints/manager.py"
        code = path.read_text()
        for name, value in {"INTERVAL_COSTS": 100, "INTERVAL_SECONDS": 10}.items():
            assert code.count(f"\n{name} = {value}") == 1
            code = code.replace(f"\n{name} = {value}", f"\n{name} = 0")
        path.write_text(code)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"DVC_SITE_CACHE_DIR": str(self.folder.parent / "site")} | environment
        env = {k: v for k, v in env.items() if k != "MLFLOW_TRACKING_URI" or k in environment}
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, env=env)

    def repro(self, *arguments: str, **environment: str) -> str:
        """Run `dvc repro` and return what it printed; a failure fails the test with all of it."""
        done = self.run("dvc", "repro", *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ran(self, output: str) -> list[str]:
        return [stage for stage in STAGES if f"Running stage '{stage}'" in output]

    def read(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db")) as connection:
            return connection.execute(sql).fetchall()


def small_project(folder: Path, rows: int = 240, inside: str = "") -> Project:
    """A committed clone with a table of two classes."""
    project = Project(folder, inside)
    table = reviews(rows)
    project.write_table(table)
    project.tiny([row["text"] for row in table])
    project.commit()
    return project


def copy(project: Project, folder: Path) -> Project:
    """The same project with all that it has made, in another folder."""
    shutil.copytree(project.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("tracking.*"))  # sockets
    made = object.__new__(Project)
    made.folder = folder
    return made
