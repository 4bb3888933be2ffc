"""What MLflow is to know of one execution of a stage, complete without MLflow, so that it can be told at any time."""

import time
from dataclasses import dataclass, field

from bonafide.project import dvc_lock
from bonafide.project.files import md5, read_json
from bonafide.project.paths import MODEL, RAW, REPORTS

PROCESS = "bonafide.process"  # tag of a run: the process that writes it
ENERGY = "train/joules"  # a training's metric, where the machine tells it
WEIGHTS = MODEL / "model.safetensors"
PAGES = {"report": (REPORTS / "index.html", REPORTS / "report.md", REPORTS / "model_card.md")}
Point = tuple[str, float, int, int]  # of a curve: key, value, time, step


@dataclass
class Record:
    """One execution of a stage; JSON-able."""

    experiment: str
    stage: str
    keys: dict[str, str]
    """Stage key of this stage and of each before it."""
    pipeline: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    started: int
    """Milliseconds since 1970, as all times here."""
    ended: int | None = None
    status: str = "RUNNING"
    points: list[Point] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    """The stage's report."""
    headline: dict[str, float] = field(default_factory=dict)
    """The reports of all stages so far."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path to MD5 of the files to attach to the pipeline run."""
    attachments: dict[str, str] = field(default_factory=dict)
    """The same for the stage's own run."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Path to MD5 of data sets that this stage reads, from dvc.lock."""
    model: dict[str, str] = field(default_factory=dict)
    """Facts of the model that this stage has made; DVC keeps its bytes."""
    past: bool = False
    """Told from dvc.lock, after the fact: what a live run has said of itself stays."""

    def __post_init__(self) -> None:
        """Make points of JSON's lists tuples again."""
        self.points = [(key, value, when, step) for key, value, when, step in self.points]


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def complete(record: Record) -> None:
    """Add what the finished stages left in files: headline metrics, references, pages."""
    for path in (REPORTS / f"{stage}.json" for stage in record.keys):  # a later stage's can be another pipeline's
        record.headline |= read_json(path) if path.exists() else {}
    made = dvc_lock.locked_outs(dvc_lock.read_lock())
    if record.stage == "train":
        made[str(MODEL)] = md5(MODEL)
        record.model["model.md5"] = md5(WEIGHTS if WEIGHTS.exists() else MODEL)
    refer(record, made)
    record.artifacts = {str(path): md5(path) for path in PAGES.get(record.stage, ())}


def refer(record: Record, made: dict[str, str]) -> None:
    """Say which data set the stage reads and which model it has made; `made`: MD5s of outs as dvc.lock has them."""
    if record.stage in {"validate", "train", "evaluate"} and str(RAW) in made:
        record.inputs = {str(RAW): made[str(RAW)]}
    if record.stage == "train":
        record.model |= {"dvc.path": str(MODEL), "dvc.md5": made[str(MODEL)], "fetch": f"dvc checkout {MODEL}"}
