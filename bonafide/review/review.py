"""The review of a pull request: what HEAD changes against the state of its base branch that it starts from.

Mode *render*: dvc.lock is in step with code, params and data, and both sides' predictions are in DVC's cache or remote;
nothing is run. Mode *train*: else both sides run one recipe, a trial or the whole experiment.
"""

import math
import os
import re
import subprocess
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bonafide.params.load import load_params
from bonafide.project import git
from bonafide.project.console import say
from bonafide.project.dvc_lock import read_graph
from bonafide.project.errors import InputError
from bonafide.project.files import write_bytes
from bonafide.project.paths import PARAMS, REPORTS
from bonafide.project.yaml_files import read_yaml
from bonafide.provenance import committed_files
from bonafide.provenance.revisions import Revision, resolve
from bonafide.review import clone_run, diff
from bonafide.review.diff import word
from bonafide.review.github import number_of
from bonafide.review.schema import ROWS, Comparison, Gate, Metric, Review, Side, Slice, Slices, TestRows

Facts = dict[str, Any]

FOLDER = Path(".bonafide/review")
CLONE = FOLDER / "clone"
PAGE = REPORTS / "index.html"
IN_STEP = "Data and pipelines are up to date."


@dataclass(frozen=True)
class Measured:
    """Both sides with their predictions, where they are, and what bonafide.comparison.compare says of them."""

    mode: Literal["render", "train"]
    folder: Path
    base: Revision
    head: Revision
    facts: Facts


def review(branch: str, recipe: Path) -> Review:
    """Compare HEAD with where it left `branch`; raise InputError where that is nothing, or HEAD is not all there is.

    A side that fails, or cannot be compared, makes a review without a comparison, whose gate fails.
    """
    base, head = pair(branch)
    stale = out_of_step()
    measured = None if stale else _render(base, head)
    failure = ""
    if not measured:
        try:
            measured = _train(base, head, recipe)
        except InputError as error:
            failure = str(error)
    if measured:
        _leave_report(measured)
    mode = measured.mode if measured else "train"
    return Review(
        version=1,
        pull_request=number_of(os.environ.get("GITHUB_REF", "")),
        mode=mode,
        recipe=word(recipe if mode == "train" else PARAMS),
        trial=mode == "train" and recipe != PARAMS,
        base=Side(name=word(base.name), commit=base.commit),
        head=Side(name=word(head.name), commit=head.commit),
        comparison=_comparison(measured.facts) if measured else None,
        changes=diff.params(base, head, [PARAMS, *([recipe] if mode == "train" else [])]),
        stale=[word(name) for name in stale[:ROWS]],
        gate=_gate(measured.facts["gate"]) if measured else Gate(passed=False, reasons=[_line(failure)]),
        **_contents(measured),
    )


def pair(branch: str) -> tuple[Revision, Revision]:
    """The commit that HEAD and `branch` last had in common, under the branch's name, and HEAD."""
    if git.run("status", "--porcelain", "--untracked-files=no", "--", "."):
        raise InputError("uncommitted changes: a pull request has none; commit or stash them")
    head = resolve("HEAD")
    common = git.ask("merge-base", resolve(branch).commit, head.commit)
    if not common:
        raise InputError(f"{branch}: has no commit in common with HEAD; fetch more of the history")
    if common == head.commit:
        raise InputError(f"{branch}: has all commits of HEAD; there is nothing to review")
    name = (
        git.ask("branch", "--show-current") or os.environ.get("GITHUB_HEAD_REF") or "HEAD"
    )  # GitHub's checkout is of none
    return Revision(branch.removeprefix("origin/"), common), Revision(name, head.commit)


def out_of_step() -> list[str]:
    """The stages that DVC would run, since dvc.lock is not of this code, data and params; outs may be elsewhere."""
    dry = [*committed_files.DVC, "repro", "--dry", "--allow-missing"]
    done = subprocess.run(dry, capture_output=True, text=True, check=False)
    if done.returncode == 0 and IN_STEP in done.stdout:
        return []
    # it stops at the first stage that it would run and whose deps are elsewhere
    first = re.findall(r"Running stage '([^']+)'|failed to reproduce '([^']+)'", done.stdout + done.stderr)
    if not first:
        raise InputError(f"dvc repro --dry: {(done.stderr.strip() or 'no answer').splitlines()[0]}")
    return _with_what_follows({one or other for one, other in first}, read_graph(read_yaml(PARAMS)))


def _with_what_follows(names: set[str], graph: dict[str, Facts]) -> list[str]:
    found: list[str] = []
    for name, stage in graph.items():
        made = [f"{out}/" for before in found for out in graph[before]["outs"]]
        if name in names or any(f"{dep}/".startswith(tuple(made)) for dep in stage["deps"]):
            found.append(name)
    return found


def _render(base: Revision, head: Revision) -> Measured | None:
    try:
        return Measured("render", Path(), base, head, _compare(base, head))
    except InputError as error:
        say(f"dvc.lock is in step, but {error}")
        return None


def _train(base: Revision, head: Revision, recipe: Path) -> Measured:
    project = clone_run.clone(CLONE)
    ran = [Revision(side.name, clone_run.run(project, side.name, side.commit, recipe)) for side in (base, head)]
    with chdir(project):
        return Measured("train", project, ran[0], ran[1], _compare(ran[0], ran[1]))


def _compare(base: Revision, head: Revision) -> Facts:
    """By the policy of the params.yaml that lies here: the head's, or its recipe's."""
    from bonafide.comparison.compare import compare

    return compare(base, head, load_params().compare)


def _contents(measured: Measured | None) -> Facts:
    if not measured:
        return {"data": None, "stages": []}
    with chdir(measured.folder):
        return {
            "data": diff.data(measured.base, measured.head),
            "stages": diff.stages(measured.base.lock(), measured.head.lock())[:ROWS],
        }


def _leave_report(measured: Measured) -> None:
    """Beside the review lies the head's page, for people; it holds texts of the data."""
    with chdir(measured.folder):
        page = measured.head.read(PAGE)
    write_bytes(FOLDER / PAGE.name, page)


def _comparison(facts: Facts) -> Comparison:
    verdict = facts["verdict"]
    return Comparison(
        outcome=verdict["outcome"],
        sentence=_line(verdict["sentence"]),
        split=facts["split"],
        primary=facts["primary"],
        alpha=verdict["alpha"],
        margin=verdict["margin"],
        detectable=_number(verdict["detectable"]),
        rows=TestRows(**facts["rows"], groups=facts["groups"]),
        metrics=[
            Metric(name=found["name"], words=word(found["words"]), outcome=found["outcome"], **_difference(found))
            for found in facts["metrics"][:ROWS]
        ],
        slices=_slices(facts["slices"], facts["unsliced"]),
    )


def _slices(found: list[Facts], lacking: str) -> Slices:
    worse = sorted((s for s in found if s["outcome"] == "regressed"), key=lambda s: -abs(s["difference"]))
    shown = [
        Slice(column=word(s["column"]), value=word(s["value"]), rows=s["rows"], **_difference(s)) for s in worse[:ROWS]
    ]
    return Slices(tested=len(found), regressed=len(worse), shown=shown, lacking=_line(lacking) if lacking else None)


def _difference(found: Facts) -> Facts:
    return {key: _number(found[key]) for key in ("base", "head", "difference", "low", "high")}


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _gate(found: Facts) -> Gate:
    return Gate(passed=found["passed"], reasons=[_line(reason) for reason in found["reasons"][:ROWS]])


def _line(text: str) -> str:
    return " ".join(text.split())[:1000]
