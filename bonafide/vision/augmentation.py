"""Images changed anew in each epoch: flipped, moved, cropped; a pure function of the seed, the epoch and the row.

All is drawn by hashing (`counted_uniform`), a number a row and purpose, so that the same image is changed in the same
way wherever its batch is cut, and after any interruption.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bonafide.project.arrays import Floats, Ints
from bonafide.project.randomness import counted_uniform, hashed_keys

Pixels = npt.NDArray[np.uint8]

FLIP, DOWN, RIGHT, AREA, PLACE_Y, PLACE_X, PARTNER, SHARE = range(8)  # what numbers are drawn for
PURPOSES = 8


@dataclass(frozen=True)
class Augmentation:
    """What is done to images, and for which epoch."""

    flip: bool
    translate: int
    """Pixels."""
    crop: float
    """Least share of the area that is kept; 1: all."""
    mixup: float
    """Both parameters of the beta distribution of the shares; 0: none."""
    seed: int
    epoch: int

    def draw(self, purpose: int, rows: Ints) -> Floats:
        """A number in [0, 1) for each row, (n,), of this epoch."""
        keys = hashed_keys(["augmentation"], self.seed) ^ rows.astype(np.uint64)
        return counted_uniform(keys, np.full(len(rows), self.epoch * PURPOSES + purpose))

    def flips(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Whether each image is flipped, (n,): by chance in the first epoch, and then in every other one.

        An image and its mirror image are seen equally often so, in any two epochs (Jordan 2024, section 3.6).
        """
        first = Augmentation.draw(self.at(0), FLIP, rows) < 0.5
        return first ^ bool(self.epoch % 2) if self.flip else np.zeros(len(rows), dtype=np.bool_)

    def at(self, epoch: int) -> "Augmentation":
        """The same of another epoch."""
        return Augmentation(self.flip, self.translate, self.crop, self.mixup, self.seed, epoch)

    def change(self, images: Pixels, rows: Ints) -> Pixels:
        """Images (n, h, w, c) of rows (n,), changed; a new array."""
        if self.crop < 1:
            images = self._crop(images, rows)
        n, height, width, _ = images.shape
        down, right = self._moves(DOWN, rows), self._moves(RIGHT, rows)
        y = reflected(np.arange(height) + down[:, None], height)
        x = np.arange(width) + np.zeros((n, 1), dtype=np.int64)
        flips = self.flips(rows)
        x[flips] = x[flips, ::-1]
        x = reflected(x + right[:, None], width)
        flat = (y[:, :, None] * width + x[:, None, :]).reshape(n, -1, 1)
        return np.take_along_axis(images.reshape(n, height * width, -1), flat, axis=1).reshape(images.shape)

    def _moves(self, purpose: int, rows: Ints) -> Ints:
        return np.floor(self.draw(purpose, rows) * (2 * self.translate + 1)).astype(np.int64) - self.translate

    def _crop(self, images: Pixels, rows: Ints) -> Pixels:
        """A square of a random share of each image's area at a random place, enlarged (antialiased, bilinear)."""
        size = images.shape[1]
        share = self.crop + (1 - self.crop) * self.draw(AREA, rows)
        sides = np.maximum(1, np.round(size * np.sqrt(share))).astype(np.int64)
        top = np.floor(self.draw(PLACE_Y, rows) * (size - sides + 1)).astype(np.int64)
        left = np.floor(self.draw(PLACE_X, rows) * (size - sides + 1)).astype(np.int64)
        cut = (
            images[i, y : y + side, x : x + side]
            for i, (y, x, side) in enumerate(zip(top.tolist(), left.tolist(), sides.tolist(), strict=True))
        )
        return np.stack([enlarge(image, size) for image in cut])

    def mix(self, rows: Ints, count: int) -> tuple[Ints, Floats]:
        """Of each row the one of `count` that it is mixed with, and its own share, (n,) each (Zhang et al. 2018)."""
        from scipy.special import betaincinv

        partners = np.floor(self.draw(PARTNER, rows) * count).astype(np.int64)
        own: Floats = betaincinv(self.mixup, self.mixup, self.draw(SHARE, rows))
        return partners, np.maximum(own, 1 - own)


def reflected(places: Ints, size: int) -> Ints:
    """Places outside of 0 to size - 1, mirrored at the edge, which is not repeated."""
    period = max(1, 2 * size - 2)
    places = np.abs(places) % period
    return np.minimum(places, period - places) if size > 1 else np.zeros_like(places)


def enlarge(image: Pixels, size: int) -> Pixels:
    """An image (h, w, c) as (size, size, c)."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    grown = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return grown[0].permute(1, 2, 0).numpy()
