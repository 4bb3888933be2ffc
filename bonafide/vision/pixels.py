"""Images of one size as a model reads them: a split's examples, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bonafide.project.arrays import Arrays, Floats, Ints
from bonafide.vision.augmentation import Augmentation


@dataclass(frozen=True, eq=False)
class Images:
    """One tokenized split."""

    pixels: npt.NDArray[np.uint8]
    """(n, h, w, c) uint8."""
    labels: Ints
    """(n,) int64 class indices."""
    ids: npt.NDArray[np.str_]
    """(n,) row ids."""
    augmentation: Augmentation | None = None
    """How they are changed as they are read."""

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    @cached_property
    def lengths(self) -> Ints:
        """What each image costs, (n,): all the same."""
        return np.ones(len(self), dtype=np.int64)

    @property
    def units(self) -> Ints:
        """What the loss of each image is a mean over, (n,): its one label."""
        return self.lengths

    def take(self, rows: Sequence[int] | Ints) -> "Images":
        """Images `rows` alone, in that order."""
        at = list(rows)
        return replace(self, pixels=self.pixels[at], labels=self.labels[at], ids=self.ids[at])


def split_of(arrays: Arrays) -> Images:
    """A split as `encode` left it."""
    return Images(np.asarray(arrays["pixels"]), np.asarray(arrays["labels"]), arrays["ids"])


@dataclass
class PixelBatch:
    """Images for one forward pass."""

    pixel_values: torch.Tensor
    """(n, c, h, w) float32, normalised; channels last in memory."""
    targets: torch.Tensor
    """(n, classes) float32, the probability of each class that is to be learned."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model, without labels."""
        return {"pixel_values": self.pixel_values}

    @property
    def row_counts(self) -> list[list[int]]:
        """Rows of activations that each image has: one, whatever lies within it."""
        return [[1] * len(self.targets)]


def collate(images: Images, rows: Ints, model: Any, smoothing: float = 0.0) -> PixelBatch:
    """Images `rows`, changed as their augmentation says; of targets `smoothing` goes to all classes alike."""
    pixels, classes = images.pixels[rows], model.config.num_labels
    targets = one_hot(images.labels[rows], classes)
    values = normalise(read(images, pixels, rows), model)
    if images.augmentation and images.augmentation.mixup:
        partners, own = images.augmentation.mix(rows, len(images))
        others = normalise(read(images, images.pixels[partners], partners), model)
        share = torch.from_numpy(own).float().to(values.device)[:, None, None, None]
        values = values * share + others * (1 - share)
        targets = targets * own[:, None] + one_hot(images.labels[partners], classes) * (1 - own[:, None])
    smooth = targets * (1 - smoothing) + smoothing / classes
    return PixelBatch(values, torch.from_numpy(smooth).float().to(values.device))


def read(images: Images, pixels: npt.NDArray[np.uint8], rows: Ints) -> npt.NDArray[np.uint8]:
    """Pixels (n, h, w, c) of rows as they are changed for this epoch."""
    return images.augmentation.change(pixels, rows) if images.augmentation else pixels


def one_hot(labels: Ints, classes: int) -> Floats:
    """(n, classes): 1 at each label."""
    return np.eye(classes)[labels]


def normalise(pixels: npt.NDArray[np.uint8], model: Any) -> torch.Tensor:
    """(n, c, h, w) float32 on the model's device: (pixels / 255 - mean) / deviation of each channel."""
    config, (n, height, width, channels) = model.config, pixels.shape
    scale, shift = row_of(tuple(config.image_mean), tuple(config.image_std), width, next(model.parameters()).device)
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).to(scale.device).view(n, height, width * channels)
    values = planes.float().mul_(scale).add_(shift).view(n, height, width, channels)
    return values.permute(0, 3, 1, 2)  # channels last in memory: convolutions are twice as fast


@lru_cache(maxsize=8)
def row_of(mean: tuple[float, ...], deviation: tuple[float, ...], width: int, device: Any) -> tuple[Any, Any]:
    """What a row of pixels, channel by channel, is multiplied by and what is added, (width * channels,) each."""
    scale, shift = 1 / (255 * torch.tensor(deviation)), -torch.tensor(mean) / torch.tensor(deviation)
    return scale.repeat(width).to(device), shift.repeat(width).to(device)


def probabilities(model: Any, batch: PixelBatch) -> Floats:
    """Class probabilities of each image, (n, classes) float64, one view of each."""
    found: Floats = model(**batch.inputs).logits.double().softmax(dim=-1).cpu().numpy()
    return found


def mirrored_probabilities(model: Any, batch: PixelBatch) -> Floats:
    """The mean of those of an image and of its mirror image."""
    mirror = PixelBatch(batch.pixel_values.flip(3), batch.targets)
    return (probabilities(model, batch) + probabilities(model, mirror)) / 2
