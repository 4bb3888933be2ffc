"""What a review has found, as review.json: the data that a comment is rendered from, typed and bounded.

The file comes from a pull request's own run, so its reader takes nothing for granted: an unknown or missing key, NaN,
a long word, a long list and a large file are refused. It holds no Markdown and no text of the data.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bonafide.project.errors import InputError

NAME = "review.json"
MAX_BYTES = 200_000
LONGEST = 120  # characters of a word
ROWS = 20  # of a list; more are counted, not shown

Word = Annotated[str, Field(max_length=LONGEST)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]  # of a metric or a split, as our code names them
Line = Annotated[str, Field(min_length=1, max_length=1000)]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Count = Annotated[int, Field(ge=0, le=10**12)]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Outcome = Literal["improved", "equivalent", "regressed", "not enough evidence"]
Why = Literal["new", "command", "code", "libraries", "params", "data"]


class Part(BaseModel):
    """Keys that are not declared are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(Part):
    """One of the two revisions."""

    name: Word
    commit: Commit


class Metric(Part):
    """A metric on the test rows that both sides have; `difference` is head less base, with its interval."""

    name: Key
    words: Word
    base: Number | None
    head: Number | None
    difference: Number | None
    low: Number | None
    high: Number | None
    outcome: Outcome


class Slice(Part):
    """A slice that regressed, in the primary metric."""

    column: Word
    value: Word
    rows: Count
    base: Number | None
    head: Number | None
    difference: Number | None
    low: Number | None
    high: Number | None


class Slices(Part):
    """Those that regressed, of all that were tested."""

    tested: Count
    regressed: Count
    shown: Annotated[list[Slice], Field(max_length=ROWS)]
    lacking: Line | None
    """Why there are none."""


class TestRows(Part):
    """The test rows of both sides, by id."""

    common: Count
    base_only: Count
    head_only: Count
    targets_changed: Count
    inputs_changed: Count | None
    """None where those of a side are not at hand."""
    groups: Count


class Comparison(Part):
    """The verdict and the figures that it rests on."""

    outcome: Outcome
    sentence: Line
    split: Key
    primary: Key
    alpha: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    """Intervals are of 1 - alpha."""
    margin: Number
    detectable: Number | None
    """The least true difference that is found in 4 of 5 comparisons on these rows."""
    rows: TestRows
    metrics: Annotated[list[Metric], Field(min_length=1, max_length=ROWS)]
    """The primary one first."""
    slices: Slices


class Change(Part):
    """A parameter, as JSON where it is no word; None where the file does not have it."""

    file: Word
    key: Word
    base: Word | None
    head: Word | None


class Changes(Part):
    """Parameters that differ."""

    total: Count
    shown: Annotated[list[Change], Field(max_length=ROWS)]


class Rows(Part):
    """Validated rows that differ, by id and by the hash of what they hold."""

    added: Count
    removed: Count
    targets_changed: Count
    inputs_changed: Count
    moved: Count
    """In another split."""


class Total(Part):
    """How many of something each side has; None where its reports do not say."""

    base: Count | None
    head: Count | None


class Data(Part):
    """The data of both sides."""

    changed: Rows | None
    """None where a side's rows are not at hand: then only the totals are known."""
    rows: Total
    quarantined: Total


class Stage(Part):
    """A stage of the head and why it is not the base's; no reason: the same bytes."""

    name: Word
    why: Annotated[list[Why], Field(max_length=6)]


class Gate(Part):
    """Whether the policy of params.yaml is met."""

    passed: bool
    reasons: Annotated[list[Line], Field(max_length=ROWS)]


class Review(Part):
    """Everything that a comment says of a pull request."""

    version: Literal[1]
    pull_request: Count | None
    """Its number as its own run knows it; None outside of one."""
    mode: Literal["render", "train"]
    recipe: Word
    """What both sides ran, in mode train: a params file."""
    trial: bool
    """Whether that recipe is a smaller one than params.yaml."""
    base: Side
    head: Side
    comparison: Comparison | None
    """None where a side failed; the gate says which."""
    changes: Changes
    data: Data | None
    stages: Annotated[list[Stage], Field(max_length=ROWS)]
    stale: Annotated[list[Word], Field(max_length=ROWS)]
    """Stages that dvc.lock is not in step with."""
    gate: Gate


def parse(content: bytes) -> Review:
    """Read review.json; raise InputError with one line that names what is wrong with it, never a value of it."""
    if len(content) > MAX_BYTES:
        raise InputError(f"{NAME}: larger than {MAX_BYTES:,} bytes")
    try:
        return Review.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:LONGEST] for part in first["loc"]) or "the file"
        raise InputError(f"{NAME}: {place}: {first['msg'][:LONGEST]}") from None


def dump(review: Review) -> bytes:
    """`review` as JSON with its keys in the order of the schema; what `parse` would refuse is not written."""
    content = review.model_dump_json(indent=2).encode() + b"\n"
    parse(content)
    return content
