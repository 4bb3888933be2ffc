"""What the model has to beat: class shares, colours, pixels, and its own frozen base (the shell) with softmax on top.

They are fitted on train; validation chooses the strength of the penalty, by the primary metric, and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.evaluation import softmax_regression
from bonafide.evaluation.class_probabilities import Quality, majority, quality_by
from bonafide.evaluation.softmax_regression import Features
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Floats, Ints
from bonafide.project.files import read_json
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.protocol import Split, System
from bonafide.tasks.image_classification import score

BASELINES = (  # the shell is what anybody gets without training the base model
    System("shell", "the shell", "the base model as it came, with a softmax regression on top"),
    System("pixels", "softmax on pixels", "a softmax regression on the pixels themselves"),
    System("histogram", "colour histogram", "a softmax regression on how much of each colour there is"),
    System("majority", "majority class", "always saying how common each class is"),
)
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # of a few thousand pixels, which are known to overfit
FEW_PENALTIES = (0.1, 0.01, 1e-3, 1e-4, 1e-5)  # of 24 colours
LARGEST = 32  # pixels of a side that a softmax regression sees
BINS = 8  # of each channel's brightness
MOST = 100_000  # rows of train that they learn from: their features take 1.2 GB
CHUNK = 4096  # images

Pixels = npt.NDArray[np.uint8]
"""(n, size, size, 3) uint8."""

View = Callable[[Pixels], Floats | Features]
"""Features (n, d) of images."""


def predict(splits: Mapping[str, Split], params: Any) -> dict[str, dict[str, Floats]]:
    """Class probabilities (n, classes) of each baseline on each split but train."""
    pixels = {name: split.examples["pixels"] for name, split in splits.items()}
    labels = {name: np.asarray(split.examples["labels"]) for name, split in splits.items()}
    classes, quality = len(params.task.labels), quality_by(score, params)
    views: dict[str, tuple[View, Sequence[float]]] = {
        "pixels": (averaged, PENALTIES),
        "histogram": (colours, FEW_PENALTIES),
    }
    if is_there(BASE_MODEL):
        views = {"shell": (frozen_base(), PENALTIES)} | views
    found = {
        name: regression(pixels, labels, classes, view, penalties, quality) for name, (view, penalties) in views.items()
    }
    shares = {name: majority(labels["train"], len(rows), classes) for name, rows in labels.items() if name != "train"}
    return found | {"majority": shares}


def regression(
    pixels: Mapping[str, Pixels],
    labels: Mapping[str, Ints],
    classes: int,
    view: View,
    penalties: Sequence[float],
    quality: Quality,
) -> dict[str, Floats]:
    """Learn from `view` of train with each penalty, strongest first; keep the best on validation.

    Return class probabilities (n, classes) of every split but train.
    """
    kept = evenly(len(labels["train"]))
    train = look(pixels["train"], kept, view)
    middle, scale = moments(train)
    standardise(train, middle, scale)
    basis = softmax_regression.span(train) if len(train) < train.shape[1] else None

    def features(name: str, rows: Ints) -> Features:
        found = look(pixels[name], rows, view)
        standardise(found, middle, scale)
        return found if basis is None else found @ basis

    rows = softmax_regression.learned(train if basis is None else train @ basis, labels["train"][kept], classes)
    validation = features("validation", np.arange(len(pixels["validation"])))
    best, weights = -np.inf, None
    for penalty in sorted(penalties, reverse=True):
        weights = softmax_regression.fit(rows, penalty, weights)
        reached = quality(labels["validation"], softmax_regression.probabilities(validation, weights, rows.prior))
        if reached > best:
            best, chosen = reached, weights

    def answer(name: str) -> Floats:
        parts = np.split(np.arange(len(pixels[name])), range(CHUNK, len(pixels[name]), CHUNK))
        answers = [softmax_regression.probabilities(features(name, part), chosen, rows.prior) for part in parts]
        return np.concatenate(answers)

    return {name: answer(name) for name in pixels if name != "train"}


def evenly(rows: int) -> Ints:
    """At most MOST of so many rows, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST)).astype(np.int64))


def look(pixels: Pixels, rows: Ints, view: View) -> Features:
    """The view of each of some images and, last, a constant 1, (m, d + 1) float32."""
    found: Features | None = None
    for start in range(0, len(rows), CHUNK):
        part = view(np.asarray(pixels[rows[start : start + CHUNK]]))
        if found is None:
            found = np.ones((len(rows), part.shape[1] + 1), dtype=np.float32)
        found[start : start + len(part), :-1] = part
    return np.ones((0, 1), dtype=np.float32) if found is None else found


def moments(features: Features) -> tuple[Features, Features]:
    """Mean and deviation of each feature but the last, 1 for the deviation of what does not vary."""
    middle = features[:, :-1].mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(middle)
    for start in range(0, len(features), CHUNK):
        squares += np.square(features[start : start + CHUNK, :-1] - middle).sum(axis=0)
    deviation = np.sqrt(squares / len(features))
    scale = np.where(deviation > 1e-6 * (1 + np.abs(middle)), deviation, 1)
    return middle.astype(np.float32), scale.astype(np.float32)


def standardise(features: Features, middle: Features, scale: Features) -> None:
    """Give each feature but the last train's mean 0 and deviation 1, in place: a copy would be another 1.2 GB."""
    features[:, :-1] -= middle
    features[:, :-1] /= scale


def averaged(pixels: Pixels) -> Features:
    """The pixels (n, d), averaged over areas where images are larger than 32 x 32."""
    import torch

    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    side = min(LARGEST, pixels.shape[1])
    found: Features = torch.nn.functional.adaptive_avg_pool2d(planes, side).flatten(1).numpy()
    return found


def colours(pixels: Pixels) -> Floats:
    """The share of pixels in each of 8 bins of brightness, of each channel by itself, (n, 24)."""
    n, channels = len(pixels), pixels.shape[3]
    flat = pixels.reshape(n, -1, channels) // (256 // BINS)
    cells = flat + BINS * np.arange(channels) + (BINS * channels * np.arange(n))[:, None, None]
    counts = np.bincount(cells.ravel(), minlength=n * channels * BINS).reshape(n, -1)
    return counts / flat.shape[1]


def frozen_base() -> View:
    """The base model's view of images, by the mean and deviation that the trained model reads them with."""
    from transformers import AutoModel

    from bonafide.forward.inference import load, predict_all
    from bonafide.vision.pixels import Images, collate

    base = load(AutoModel, BASE_MODEL)
    processor = read_json(TOKENIZED / "processor" / "preprocessor_config.json")
    base.config.image_mean, base.config.image_std = processor["image_mean"], processor["image_std"]

    def view(pixels: Pixels) -> Floats:
        labels = np.zeros(len(pixels), dtype=np.int64)
        return predict_all(base, Images(pixels, labels, np.array([""] * len(pixels))), embed, collate)

    return view


def embed(model: Any, batch: Any) -> Floats:
    """What a frozen base says of each image, (n, d) float64: the mean over its places, and its first token if it has.

    Its own pooler is left aside: where a checkpoint comes from a classifier, that begins at random.
    """
    last = model(**batch.inputs).last_hidden_state.double()
    if last.ndim == 4:  # (n, channels, h, w)
        found: Floats = last.mean(dim=(2, 3)).cpu().numpy()
        return found
    return np.concatenate([last.mean(dim=1).cpu().numpy(), last[:, 0].cpu().numpy()], axis=1)
