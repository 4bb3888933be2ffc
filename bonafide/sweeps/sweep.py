"""A sweep from beginning to end: trials are run, those of an earlier time read, all summed up, MLflow is told."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonafide.project import git
from bonafide.project.environment import git_state
from bonafide.project.errors import InputError
from bonafide.project.folders import root
from bonafide.project.paths import PARAMS, REPORTS
from bonafide.project.yaml_files import parse_yaml
from bonafide.provenance import committed_files
from bonafide.provenance.revisions import Revision, show
from bonafide.sweeps.devices import find_devices, need
from bonafide.sweeps.grid import Trial, build_trials, grid, primary, read_overrides, summarise
from bonafide.sweeps.runner import Event, finished, log_of, run_all

Facts = dict[str, Any]
TAIL = 12  # lines of a failed experiment's log


@dataclass(frozen=True)
class Wanted:
    """What the user asks for."""

    settings: Sequence[str]
    seeds: int
    jobs: int
    search: int
    """How many combinations optuna is to propose; 0 for the whole grid."""


class Sweep:
    """A sweep under way: the trials so far, and who hears of them."""

    def __init__(self, wanted: Wanted, tell: Callable[[str], None]) -> None:
        """Read what is committed; raise InputError where something else lies there."""
        self.wanted, self.tell = wanted, tell
        self.commit, self.base = committed()
        self.overrides = read_overrides(wanted.settings)
        self._check_inputs()
        if wanted.seeds > 1 and any(o.key_or_group == "seed" and o.is_sweep_override() for o in self.overrides):
            raise InputError("--seeds: the seeds are listed by --set-param already")
        self.chooser = primary(self.base)
        self.devices = find_devices()
        self.trials: dict[str, Trial] = {}
        facts = json.dumps([self.commit, self._asked()])
        self.name = hashlib.sha256(facts.encode()).hexdigest()[:10]

    def run(self) -> Facts:
        """Run all, in MLflow too, and return what was found."""
        tracked = self._track()  # first: the experiment's artifacts are to lie in this repository, not in a clone
        if self.wanted.search:
            self._search()
        else:
            self._run(grid(self.overrides))
        facts = self._facts()
        return facts | {"run": self._file(facts) if tracked else None}

    def _run(self, cells: Sequence[tuple[str, ...]]) -> list[Trial]:
        """Run what is not finished of these cells; return their trials."""
        trials = build_trials(self.commit, self.base, cells, self.wanted.seeds)
        self.trials |= {trial.name: trial for trial in trials}
        known = finished()
        left = list({p.name: p for p in trials if p.name not in known}.values())
        self.tell(f"sweep {self.name}: {len(trials)} trials, {len(left)} to run, {self._places(trials)}")
        with closing(run_all(left, self.commit, self.devices, self.wanted.jobs)) as events:
            for event in events:
                self._tell(event)
        return trials

    def _check_inputs(self) -> None:
        """Raise InputError where the table, or the base model if it is to be fetched, would stay behind."""
        if not str(root()).isascii():
            raise InputError(
                f"{root()}: DVC (3.67) runs no experiment in a folder of its own below a name beyond ASCII"
            )
        params = parse_yaml(self.base, str(PARAMS))
        committed_files.check("data.source", str(params["data"]["source"]))
        changed = any(o.key_or_group.partition(".")[0] in ("task", "data", "model") for o in self.overrides)
        source = str(params["model"]["source"])
        if committed_files.untracked(Path(source)) and (changed or "fetch" not in Revision("HEAD", self.commit).lock()):
            committed_files.check("model.source", source)

    def _places(self, trials: Sequence[Trial]) -> str:
        kind = self.devices[0].partition("-")[0]
        each = max(need(trial.threads, trial.processes, self.devices) for trial in trials)
        return f"{each} of {len(self.devices)} {kind}s for each, {self._slots(each)} at once"

    def _slots(self, each: int) -> int:
        return min(self.wanted.jobs, len(self.devices) // each)

    def _tell(self, event: Event) -> None:
        what = f"{event.trial.name} ({' '.join(event.trial.settings)})"
        if event.kind == "started":
            self.tell(f"{what} starts on {', '.join(event.devices)}")
        elif event.kind == "finished":
            found = metrics_of([event.trial])[event.trial.name].get(self.chooser[0])
            self.tell(f"{what} finished in {event.seconds:.0f} s, {self.chooser[0]} {found}")
        else:
            self.tell(f"{what} failed after {event.seconds:.0f} s; {log_of(event.trial)} ends with")
            for line in log_of(event.trial).read_text(errors="replace").splitlines()[-TAIL:]:
                self.tell(f"  {line}")

    def _search(self) -> None:
        from bonafide.sweeps.search import search

        base = build_trials(self.commit, self.base, [()], 1)[0]
        batch = self._slots(need(base.threads, base.processes, self.devices))
        search(self.overrides, self.wanted.search, batch, (self.chooser[1], base.seed), self._score)

    def _score(self, cells: Sequence[tuple[str, ...]]) -> list[float | None]:
        trials = self._run(cells)
        rows = summarise(trials, metrics_of(trials), self.chooser)["grid"]
        means = {tuple(row["params"]): row["validation"]["mean"] for row in rows if row["complete"]}
        return [means.get(tuple(cell)) for cell in cells]

    def _facts(self) -> Facts:
        trials = list(self.trials.values())
        metrics = metrics_of(trials)
        rows = [_row(trial, metrics.get(trial.name)) for trial in trials]
        own = {"sweep": self.name, "commit": self.commit, "wanted": self._asked(), "trials": rows}
        return own | summarise(trials, metrics, self.chooser)

    def _asked(self) -> Facts:
        return {"set": list(self.wanted.settings), "seeds": self.wanted.seeds, "search": self.wanted.search}

    def _track(self) -> bool:
        from bonafide.tracking.store import connect

        return self._attempt(lambda: connect(self._experiment())) is not None

    def _file(self, facts: Facts) -> Any:
        from bonafide.sweeps.mlflow_run import file_sweep
        from bonafide.tracking.record import now

        known = finished()
        commits = {name: known[name] for name in self.trials if name in known}
        return self._attempt(lambda: file_sweep(self._experiment(), facts, commits, now()))

    def _experiment(self) -> str:
        return str(parse_yaml(self.base, str(PARAMS))["tracking"]["experiment"])

    def _attempt(self, act: Callable[[], Any]) -> Any:
        from bonafide.tracking.refusal import UNTOLD, why
        from bonafide.tracking.store import tracking_uri

        try:
            return act()
        except UNTOLD as error:
            self.tell(f"warning: {why(error, tracking_uri())}; run the sweep again later")
            return None


def committed() -> tuple[str, str]:
    """HEAD and its params.yaml; raise InputError where the files that git has are not as committed."""
    commit = git_state()["commit"]
    if not commit:
        raise InputError("a sweep runs what is committed, and there is no commit yet")
    own = (".", ":!dvc.lock", ":!reports")  # without what repro itself writes
    names = git.run("diff", "--name-only", "--relative", "HEAD", "--", *own).splitlines()
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(
            f"{', '.join(names[:3])}{more}: changed; a sweep runs what is committed, so commit it or put it back"
        )
    text = show(commit, PARAMS)
    if text is None:
        raise InputError(f"{PARAMS}: not in git")
    return commit, text


def metrics_of(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """What evaluate reports of those trials that are finished, by name."""
    known = finished()
    reports = {p.name: show(known[p.name], REPORTS / "evaluate.json") for p in trials if p.name in known}
    return {name: json.loads(text) for name, text in reports.items() if text}


def _row(trial: Trial, metrics: dict[str, float] | None) -> Facts:
    """A trial for programs, without its test figures: the best is chosen without them."""
    shown = {key: value for key, value in (metrics or {}).items() if key.startswith("validation/")}
    return {
        "experiment": trial.name,
        "params": trial.settings,
        "status": "finished" if metrics else "failed",
        "metrics": shown,
        "log": str(log_of(trial)),
    }
