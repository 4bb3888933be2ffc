"""params.yaml, typed once: a missing, unknown, mistyped, repeated or out-of-range key is an error that names it."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from bonafide.params.mlflow_names import experiment_name, registered_name
from bonafide.params.pins import AnyDownload, Sha256, typed
from bonafide.params.yaml_spelling import spell_labels
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import parse_yaml, read_text

OWN = ("id", "text", "label", "group", "split")  # columns of our tables

Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Name = Annotated[str, Field(min_length=1, max_length=250)]


def composed(name: str) -> str:
    """The one form of names that look the same: é is one character or two."""
    return unicodedata.normalize("NFC", name)


def slice_columns(slices: Sequence[str]) -> dict[str, str]:
    """Each of `data.slices`: its column in our tables, which has another name where one of ours has that already."""
    return {name: unlike(name, {*OWN, *slices}) if name in OWN else name for name in slices}


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
    labels: list[Name]
    """Label values as the table spells them, in the order of the model's outputs."""

    def __post_init__(self) -> None:
        """Refuse fewer than two labels, blanks around one, and a name that is there twice or looks like another."""
        if len(self.labels) < 2:
            raise ValueError(f"labels: {self.labels or 'none'}: a classifier tells two or more labels apart")
        blank = next((label for label in self.labels if label != label.strip()), None)
        if blank is not None:
            raise ValueError(f"labels: {blank!r} has blanks around it, which no label of a table keeps")
        keys = [download.key for download in self.downloads]
        for key, names in (("labels", self.labels), ("slices", self.slices), ("downloads", keys)):
            repeated = [name for name, count in Counter(map(composed, names)).items() if count > 1]
            if repeated:
                raise ValueError(f"{key}: {repeated[0]!r} is declared twice")


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
    """The gate."""

    validation_fraction: Fraction
    test_fraction: Fraction
    min_characters: Annotated[int, Field(ge=1)]
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)]
    min_rows_per_class: Count
    max_quarantine_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    max_label_shift: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    near_duplicate_similarity: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)]
    personal_data: Literal["report", "mask", "fail"]


@typed
class Tokenize:
    """Texts to ids."""

    max_length: Annotated[int, Field(ge=4, le=8192)]
    """Tokens per text, special ones included."""


@typed
class Train:
    """The recipe."""

    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    """Texts per optimiser step."""
    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Peak, reached after the warmup."""
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    max_grad_norm: Positive
    dropout: Fraction
    patience: Annotated[int, Field(ge=1)]
    """Epochs without a better primary metric before training stops."""
    trainable: Literal["all", "head", "lora"]
    lora_rank: Annotated[int, Field(ge=1, le=1024)]
    frozen_layers: Annotated[int, Field(ge=0)]
    """Lowest layers that stay as they are, and the embeddings with them."""
    accumulation: Annotated[int, Field(ge=1, le=65536)]
    """Parts of a batch that go through the model one after the other."""
    gradient_checkpointing: bool
    precision: Literal["bf16", "fp32"]
    exact: bool
    shards: Annotated[int, Field(ge=1, le=1024)]
    """Fixed parts of a batch whose sums are added in a fixed order."""
    processes: Annotated[int, Field(ge=1, le=1024)]
    sharding: Literal["none", "full"]
    """Whether every process holds all weights, gradients and moments, or its rows of them."""
    profile_steps: Annotated[int, Field(ge=0, le=1000)]

    def __post_init__(self) -> None:
        """Refuse shards that processes and passes cannot share evenly, and sums that cannot be exact."""
        if self.exact and self.sharding == "full":
            raise ValueError("sharding: full sums as it comes; set exact to false")
        if self.exact and self.shards & (self.shards - 1):
            raise ValueError(f"shards: {self.shards} is not a power of two")
        if self.exact and self.shards % (self.processes * self.accumulation):
            parts = f"processes x accumulation ({self.processes} x {self.accumulation})"
            raise ValueError(f"shards: {self.shards} cannot be shared by {parts}; or set exact to false")


@typed
class Evaluate:
    """Intervals, slices and the margin of the verdict."""

    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    min_slice_rows: Count
    margin: Fraction
    """Smallest difference of the primary metric that matters."""


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
    margin: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    """Smallest difference that matters, in each metric's own unit."""
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
class Params:
    """The whole of params.yaml."""

    task: Literal["classification"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads of torch and BLAS."""
    data: Data
    model: Model
    validate: Validate
    tokenize: Tokenize
    train: Train
    evaluate: Evaluate
    report: Report
    compare: Compare
    tracking: Tracking
    promote: Promote


def load_params(path: Path = PARAMS) -> Params:
    """Read and type `path`; raise InputError with one line that names each bad key."""
    try:
        text = read_text(path)
        return TypeAdapter(Params).validate_python(spell_labels(parse_yaml(text, str(path)), text, str(path)))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        shown = "; ".join(" ".join(p.split()) for p in problems[:5])
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise InputError(f"{path}: {shown}{more}") from None
