"""The sections of params.yaml that all tasks share."""

import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from bonafide.params.mlflow_names import experiment_name, registered_name
from bonafide.params.pins import AnyDownload, Sha256, typed

OWN = ("id", "group", "split")  # columns of every table

Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Name = Annotated[str, Field(min_length=1, max_length=250)]


def composed(name: str) -> str:
    """The one form of names that look the same: é is one character or two."""
    return unicodedata.normalize("NFC", name)


def slice_columns(slices: Sequence[str], columns: Collection[str]) -> dict[str, str]:
    """Each of `data.slices`: its column in our tables, which has another name where one of ours has that already.

    `columns` are the task's.
    """
    ours = {*OWN, *columns}
    return {name: unlike(name, {*ours, *slices}) if name in ours else name for name in slices}


def refuse_repeated(key: str, names: Sequence[str]) -> None:
    """Raise ValueError for a name that is there twice, or looks like another."""
    repeated = [name for name, count in Counter(map(composed, names)).items() if count > 1]
    if repeated:
        raise ValueError(f"{key}: {repeated[0]!r} is declared twice")


def unlike(name: str, taken: Collection[str]) -> str:
    """A name for a slice that is none of `taken`."""
    while name in taken:
        name += " (slice)"
    return name


@typed
class Data:
    """Where the table comes from and which of its columns the task reads."""

    source: Name
    """A table, a folder of tables or a loader, relative to the repository."""
    downloads: list[AnyDownload]
    columns: dict[str, Name]
    """The task's column: the table's column."""
    sample: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Share of the groups that are kept."""
    slices: list[Name]
    """Columns kept beside the task's, to evaluate by."""
    quotes: Literal["auto", "double", "none"]
    """Of CSV and TSV: double ones enclose fields (RFC 4180), or are text like any other, or whichever is certain."""

    def __post_init__(self) -> None:
        """Refuse a name that is there twice."""
        refuse_repeated("slices", self.slices)
        refuse_repeated("downloads", [download.key for download in self.downloads])


@typed
class Model:
    """The base model and its pins."""

    source: Name
    """`pypi:NAME==VERSION`, `hf:NAME` or a local folder."""
    revision: str
    """Commit of a `hf:` model, else empty."""
    sha256: dict[str, Sha256]
    """File name: SHA-256 of every file taken."""


@typed
class Validate:
    """The gate, as far as all tasks share it."""

    validation_fraction: Fraction
    test_fraction: Fraction
    max_quarantine_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@typed
class Evaluate:
    """Intervals, slices and the margin of the verdict, as far as all tasks share them."""

    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)]
    min_slice_rows: Count
    margin: Positive
    """Smallest difference of the primary metric that matters, in its unit."""


@typed
class Report:
    """What the page shows."""

    worst_errors: Annotated[int, Field(ge=0, le=1000)]


@typed
class Compare:
    """When `bonafide compare` says yes; shapes no stage's result."""

    split: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    alpha: Annotated[float, Field(ge=0.001, le=0.2, allow_inf_nan=False)]
    """Probability of calling a difference where there is none."""
    margin: Positive
    """Smallest difference of the primary metric that matters, in its unit."""
    samples: Annotated[int, Field(ge=1000, le=1_000_000)]
    """Permutations behind each p, and resamples of the groups behind each interval."""
    min_slice_rows: Count
    fail_on: list[Literal["regressed", "not enough evidence", "equivalent"]]
    """Outcomes of the primary metric that fail the gate."""
    fail_on_slices: list[Literal["regressed"]]
    """Outcomes of a slice that fail it."""


@typed
class Tracking:
    """Where runs are filed; shapes no result."""

    experiment: Annotated[str, AfterValidator(experiment_name)]


@typed
class Promote:
    """Who may become the champion that is served; shapes no result."""

    model: Annotated[str, AfterValidator(registered_name)]
    minimum: dict[Name, Annotated[float, Field(allow_inf_nan=False)]]
    """Metric of reports/evaluate.json: the least that it must be."""
    verdicts: list[Literal["improved", "equivalent", "regressed", "not enough evidence"]]
    """Verdicts against the present champion with which it may be replaced."""


@typed
class Machine:
    """How train runs here; shapes no result."""

    processes: Annotated[int, Field(ge=1, le=1024)]
    """On this machine; of its GPUs if it has any."""
    profile_steps: Annotated[int, Field(ge=0, le=1000)]
    """Steps to trace with torch's profiler."""


@typed
class Task(ABC):
    """What is learned, and from which columns."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    """A package of `bonafide.tasks`."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, str]:
        """Our columns of its tables, beside id, group and split, and the kind of each: text, category or number."""


@typed
class Params:
    """The whole of params.yaml; the task's own `params` module has the type of each section that differs."""

    task: Task
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads of torch and BLAS."""
    data: Data
    model: Model | None
    """The base model; null where a task learns from nothing."""
    validate: Validate
    tokenize: Any
    train: Any
    evaluate: Evaluate
    report: Report
    machine: Machine
    compare: Compare
    tracking: Tracking
    promote: Promote
