"""The sections of params.yaml that image classification has of its own."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bonafide.params import sections, training
from bonafide.params.pins import typed
from bonafide.params.sections import Count, Fraction, Name, Positive, refuse_repeated

SPELLED = ("task", "labels")  # values that are taken as they are spelled, not as YAML reads them

Side = Annotated[int, Field(ge=1, le=65_535)]


@typed
class Task(sections.Task):
    """Which labels an image may have."""

    labels: list[Name]
    """Label values as the table spells them, in the order of the model's outputs."""

    @property
    def columns(self) -> dict[str, str]:
        """An image and its label."""
        return {"image": "image", "label": "category"}

    def __post_init__(self) -> None:
        """Refuse fewer than two labels, blanks around one, and a name that is there twice or looks like another."""
        if len(self.labels) < 2:
            raise ValueError(f"labels: {self.labels or 'none'}: a classifier tells two or more labels apart")
        blank = next((label for label in self.labels if label != label.strip()), None)
        if blank is not None:
            raise ValueError(f"labels: {blank!r} has blanks around it, which no label of a table keeps")
        refuse_repeated("labels", self.labels)


@typed
class Validate(sections.Validate):
    """The gate."""

    min_side: Side
    """Pixels of an image's shorter side."""
    max_side: Side
    """Pixels of an image's longer side."""
    max_pixels: Count
    """Of one image, by its header; more are refused before anything is decoded."""
    min_rows_per_class: Count
    max_label_shift: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    near_duplicates: Literal["report", "set_aside"]
    """What becomes of images of train and validation that nearly equal one that is tested on."""


@typed
class Tokenize:
    """Images to arrays of one size."""

    size: Annotated[int, Field(ge=4, le=2048)]
    """Height and width in pixels."""
    fit: Literal["crop", "stretch", "pad"]
    """What becomes of an image that is no square: its middle, distorted, or with black margins."""
    normalise: Literal["train", "base", "none"]
    """By mean and deviation of each channel on train, by those of the base model, or to 0 to 1 alone."""


@typed
class Mlp:
    """Dense layers with ReLU, as Keras initialises them."""

    kind: Literal["mlp"]
    hidden: Annotated[list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=1, max_length=16)]
    """Units of each hidden layer."""


@typed
class Cnn:
    """A convolutional network for small images."""

    kind: Literal["cnn"]
    widths: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=6)]
    """Channels of each block; each halves height and width."""


@typed
class Stock:
    """An architecture of transformers, from scratch."""

    kind: Name
    """Its `model_type`: vit, resnet, convnext, swin and so on."""
    config: dict[str, Any]
    """Fields of its configuration that are not the library's defaults."""


def kind_of(architecture: Any) -> str:
    """Which of the three an architecture in params.yaml is."""
    kind = architecture.get("kind") if isinstance(architecture, dict) else getattr(architecture, "kind", None)
    return str(kind) if kind in ("mlp", "cnn") else "stock"


Architecture = Annotated[
    Annotated[Mlp, Tag("mlp")] | Annotated[Cnn, Tag("cnn")] | Annotated[Stock, Tag("stock")], Discriminator(kind_of)
]


@typed
class Augmentation:
    """How train's images are changed anew in each epoch: a function of the seed, the epoch and the row."""

    flip: bool
    """Left to right, every other image."""
    translate: Annotated[int, Field(ge=0, le=1024)]
    """Most pixels that an image is moved by, either way; what is missing is reflected."""
    crop: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Least share of an image's area that is kept and enlarged; 1: all."""
    mixup: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
    """Both parameters of the beta distribution that two images are mixed by; 0: none is."""


@typed
class Train(training.Recipe):
    """How a network is trained."""

    architecture: Architecture | None
    """Null where there is a base model."""
    epsilon: Positive
    """What AdamW adds to the root of the mean square."""
    label_smoothing: Fraction
    augmentation: Augmentation
    mirror: bool
    """Whether the model's answer is the mean of those for an image and for its mirror image."""


@typed
class Evaluate(sections.Evaluate):
    """Intervals, slices, the margin of the verdict and the bins of the calibration."""

    calibration_bins: Annotated[int, Field(ge=2, le=100)]


def check(params: Any) -> None:
    """Raise ValueError where sections contradict each other."""
    train, processes = params.train, params.machine.processes
    if (params.model is None) == (train.architecture is None):
        raise ValueError("train.architecture: one is needed where model is null, and none beside a base model")
    if params.model is None and params.tokenize.normalise == "base":
        raise ValueError("tokenize.normalise: base: there is no base model")
    if train.exact and train.shards % (processes * train.accumulation):
        parts = f"machine.processes x accumulation ({processes} x {train.accumulation})"
        raise ValueError(f"train.shards: {train.shards} cannot be shared by {parts}; or set train.exact to false")
