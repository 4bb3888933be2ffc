"""The section `task` of params.yaml for regression: a part for each role."""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bonafide.pins import typed

TARGET = "target"
OWN = (TARGET, "id", "group", "split")  # columns of our tables that no feature may be named as

Name = Annotated[str, Field(min_length=1, max_length=250)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]


def word_or_number(value: Any) -> str:
    """Which of the two a learning rate is, so that a wrong one is told of once."""
    return "word" if isinstance(value, str) else "number"


Rate = Annotated[
    Annotated[Literal["auto"], Tag("word")] | Annotated[Positive, Tag("number")], Discriminator(word_or_number)
]


@typed
class Schema:
    """What the table holds and when the gate refuses it."""

    numbers: list[Name]
    """Columns that enter as numbers."""
    categories: list[Name]
    """Columns that enter as one indicator a value."""
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
        """Refuse no features, a feature that is there twice or has a name of ours, and ranges of what is no number."""
        features = [*self.numbers, *self.categories]
        if not features:
            raise ValueError("numbers, categories: no column to predict from")
        for name, count in Counter([*OWN, *features]).items():
            if count > 1:
                why = "is a column of ours: rename it" if name in OWN else "is declared twice"
                raise ValueError(f"numbers, categories: {name!r} {why}")
        for name, (low, high) in self.ranges.items():
            if name not in (TARGET, *self.numbers):
                raise ValueError(f"ranges: {name!r} is neither {TARGET} nor one of numbers")
            if low > high:
                raise ValueError(f"ranges: {name!r}: {low:g} is above {high:g}")

    def is_positive(self, name: str) -> bool:
        """Whether the gate lets only values above 0 of a number pass."""
        return name in self.ranges and self.ranges[name][0] > 0


@typed
class Encode:
    """Rows to a design matrix."""

    logarithms: list[Name]
    """Numbers that enter by their natural logarithm."""
    min_category_rows: Count
    """Train rows from which a value of a category has an indicator; a rarer one is encoded as an unseen one, all 0."""


@typed
class Model:
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
class Score:
    """What is measured."""

    within: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    """Error, as a share of the true value, up to which a prediction counts as near."""


@typed
class Task:
    """Regression, whole."""

    name: Literal["regression"]
    schema: Schema
    encode: Encode
    model: Model
    score: Score

    def __post_init__(self) -> None:
        """Refuse a logarithm of what the gate does not keep above 0."""
        logarithms = dict.fromkeys(self.encode.logarithms, "encode.logarithms")
        if self.model.log_target:
            logarithms[TARGET] = "model.log_target"
        for name, key in logarithms.items():
            if name not in (TARGET, *self.schema.numbers):
                raise ValueError(f"{key}: {name!r} is not one of schema.numbers")
            if not self.schema.is_positive(name):
                raise ValueError(f"{key}: schema.ranges must keep {name!r} above 0, as in {name}: [1, 1.0e9]")
