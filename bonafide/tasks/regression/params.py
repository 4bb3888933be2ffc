"""The sections of params.yaml that regression has of its own."""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bonafide.params import sections
from bonafide.params.pins import typed
from bonafide.params.sections import OWN, Count, Name, Positive

TARGET = "target"
SPELLED = ("task", "")  # no value is taken as it is spelled

Finite = Annotated[float, Field(allow_inf_nan=False)]


def word_or_number(value: Any) -> str:
    """Which of the two a learning rate is, so that a wrong one is told of once."""
    return "word" if isinstance(value, str) else "number"


Rate = Annotated[
    Annotated[Literal["auto"], Tag("word")] | Annotated[Positive, Tag("number")], Discriminator(word_or_number)
]


@typed
class Task(sections.Task):
    """The columns that a number is predicted from."""

    numbers: list[Name]
    """Columns that enter as numbers."""
    categories: list[Name]
    """Columns that enter as one indicator a value."""

    @property
    def columns(self) -> dict[str, str]:
        """The target, then the features, numbers first."""
        return dict.fromkeys([TARGET, *self.numbers], "number") | dict.fromkeys(self.categories, "category")

    def __post_init__(self) -> None:
        """Refuse no features, and a feature that is there twice or has a name of ours."""
        features = [*self.numbers, *self.categories]
        if not features:
            raise ValueError("numbers, categories: no column to predict from")
        for name, count in Counter([TARGET, *OWN, *features]).items():
            if count > 1:
                why = "is a column of ours: rename it" if name in (TARGET, *OWN) else "is declared twice"
                raise ValueError(f"numbers, categories: {name!r} {why}")


@typed
class Validate(sections.Validate):
    """The gate."""

    ranges: dict[Name, tuple[Finite, Finite]]
    """Least and largest value of `target` or a number; rows outside are set aside."""
    min_rows: Count
    """In each of train, validation and test."""
    min_rows_per_value: Count
    """Train rows a value of a category, on average: with fewer, the category is an id."""
    max_target_correlation: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Above it a column leaks the target."""
    max_median_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Of a column's medians in another split and in train: above it, the unit changes."""

    def __post_init__(self) -> None:
        """Refuse a range that nothing lies in."""
        for name, (low, high) in self.ranges.items():
            if low > high:
                raise ValueError(f"ranges: {name!r}: {low:g} is above {high:g}")


@typed
class Tokenize:
    """Rows to a design matrix."""

    logarithms: list[Name]
    """Numbers that enter by their natural logarithm."""
    min_category_rows: Count
    """Train rows from which a value of a category has an indicator; a rarer one is encoded as an unseen one, all 0."""


@typed
class Train:
    """The linear model and how it is fitted."""

    log_target: bool
    """Fit the target's logarithm."""
    solver: Literal["gradient_descent", "closed_form"]
    learning_rate: Rate
    """Of gradient descent, as are those below; auto is 1/L, L being the largest curvature of the loss."""
    acceleration: Literal["none", "nesterov"]
    max_steps: Annotated[int, Field(ge=1, le=10**7)]
    tolerance: Annotated[float, Field(ge=1e-12, le=0.1, allow_inf_nan=False)]
    """Farthest that a train row's prediction may end from the closed form's, in deviations of the target."""


@typed
class Evaluate(sections.Evaluate):
    """Intervals, slices, the margin of the verdict and what counts as near."""

    within: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    """Error, as a share of the true value, up to which a prediction counts as near."""


def check(params: Any) -> None:
    """Raise ValueError for a range of what is no number, and for a logarithm of what the gate does not keep above 0."""
    known = (TARGET, *params.task.numbers)
    for name in params.validate.ranges:
        if name not in known:
            raise ValueError(f"validate.ranges: {name!r} is neither {TARGET} nor one of task.numbers")
    logarithms = dict.fromkeys(params.tokenize.logarithms, "tokenize.logarithms")
    if params.train.log_target:
        logarithms[TARGET] = "train.log_target"
    for name, key in logarithms.items():
        if name not in known:
            raise ValueError(f"{key}: {name!r} is not one of task.numbers")
        if params.validate.ranges.get(name, (0.0, 0.0))[0] <= 0:
            raise ValueError(f"{key}: validate.ranges must keep {name!r} above 0, as in {name}: [1, 1.0e9]")
