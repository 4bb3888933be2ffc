"""The generated parts of README.md: `python -m dev.readme` rewrites them, tests/test_docs.py checks them.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

import ast
import json
import re
import subprocess
from pathlib import Path

from ruamel.yaml import YAML

README = Path("README.md")
SYSTEMS = {
    "majority": "majority class",
    "tfidf": "TF-IDF + logistic regression",
    "shell": "frozen base + logistic regression (*the shell*)",
    "": "**this model**",
}
SHOWN = ("test/accuracy", "test/f1_macro", "test_editorials/f1_macro", "test_tweets/f1_macro")
FLOWS = ("data", "models", "reports", "${data.source}")
FOLDERS = ("stages", "data", "benchmarks", "dev")


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]


def stages() -> str:
    """A table of the graph: what each stage is for, reads and writes; code and the lock are left out."""
    graph = YAML(typ="safe", pure=True).load(Path("dvc.yaml").read_text())["stages"]
    rows = ["| stage | what it does | reads | params | writes |", "|---|---|---|---|---|"]
    for name, stage in graph.items():
        reads = [dep for dep in stage["deps"] if dep.partition("/")[0] in FLOWS and not dep.endswith(".py")]
        cells = [", ".join(f"`{item}`" for item in items) for items in (reads, stage["params"], stage["outs"])]
        purpose = first_line(Path(f"stages/{name}.py")).partition(": ")[2]
        rows.append(f"| `{name}` | {purpose} | {' | '.join(cells)} |")
    return "\n".join(rows)


def results() -> str:
    """The ladder of the committed run on the default job's test split and its held-out domains."""
    metrics = json.loads(Path("reports/evaluate.json").read_text())
    rows = [f"| | {' | '.join(SHOWN)} |", "|---|" + "---:|" * len(SHOWN)]
    for system, name in SYSTEMS.items():
        keys = ["/".join(filter(None, (split, system, metric))) for split, metric in (s.split("/") for s in SHOWN)]
        rows.append(f"| {name} | {' | '.join(f'{metrics[key]:.3f}' for key in keys)} |")
    return "\n".join(rows)


def tree() -> str:
    """Every room with the line of its `__init__`, and the modules of the folders beside `bonafide`."""
    tracked = subprocess.run(["git", "ls-files", "bonafide", *FOLDERS], capture_output=True, text=True, check=True)  # noqa: S607
    paths = [Path(name) for name in sorted(tracked.stdout.split()) if name.endswith(".py")]
    rooms = [path for path in paths if path.name == "__init__.py" and path.parts[0] == "bonafide"]
    lines = [f"{'  ' * (len(path.parts) - 2)}{path.parent.name + '/':<16} {first_line(path)}" for path in rooms]
    for folder in FOLDERS:
        shown = [path for path in paths if path.parts[0] == folder and path.name != "__init__.py"]
        lines += [f"{folder}/", *(f"  {path.name:<16} {first_line(path)}" for path in shown)]
    return "\n".join(["```", *lines, "```"])


def render(text: str) -> str:
    """`text` with each generated part as it is to be."""
    for name, part in {"stages": stages, "results": results, "tree": tree}.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _match, part=part, begin=begin, end=end: f"{begin}\n{part()}\n{end}", text)
    return text


if __name__ == "__main__":
    README.write_text(render(README.read_text()))
