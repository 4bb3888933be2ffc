"""Where a network looks: which pixels speak for a class, and which against it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bonafide.project.arrays import Floats, Ints
from bonafide.vision.pixels import normalise

STEPS = 32  # of the integral, Gauss-Legendre
AT_ONCE = 32  # images of one forward pass: each is interpolated in STEPS
FOR, AGAINST = (230, 97, 1), (44, 123, 182)  # told apart by all who see colours
STRONGEST = 0.99  # quantile of the pixels' weights that is drawn in full colour
REACH = 3  # pixels over which weights are averaged: those of single pixels are mostly noise


def attributions(model: Any, pixels: npt.NDArray[np.uint8], classes: Ints) -> Floats:
    """How much each pixel adds to the logit of a class, (n, h, w), for images (n, h, w, 3) and `classes` (n,).

    Integrated gradients (Sundararajan et al. 2017) from an image of the mean colour: they sum to its logit less that
    of the image of one colour.
    """
    with torch.enable_grad():
        return _attributions(model.eval(), pixels, classes)


def _attributions(model: Any, pixels: npt.NDArray[np.uint8], classes: Ints) -> Floats:
    from captum.attr import IntegratedGradients

    values = normalise(pixels, model)
    plain = values.mean(dim=(2, 3), keepdim=True).expand_as(values)
    method = IntegratedGradients(logits_of(model))
    target = torch.from_numpy(classes).to(values.device)
    found = method.attribute(values, plain, target=target, n_steps=STEPS, internal_batch_size=AT_ONCE)
    summed: Floats = found.sum(dim=1).double().cpu().numpy()
    return summed


def logits_of(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A model as a function of its pixels alone."""
    return lambda values: model(pixel_values=values).logits


def overlay(pixels: npt.NDArray[np.uint8], weights: Floats) -> npt.NDArray[np.uint8]:
    """An image (h, w, 3) in grey, with pixels that speak for a class in orange and against it in blue."""
    smooth = _average(weights)
    depth = np.minimum(1, np.abs(smooth) / (np.quantile(np.abs(smooth), STRONGEST) or 1))[:, :, None]
    colour = np.where(smooth[:, :, None] > 0, np.array(FOR), np.array(AGAINST))
    grey = pixels.mean(axis=2, keepdims=True)
    drawn: npt.NDArray[np.uint8] = np.rint(grey * (1 - depth) + colour * depth).astype(np.uint8)
    return drawn


def _average(weights: Floats) -> Floats:
    """The mean of each place's neighbourhood."""
    padded = np.pad(weights, REACH // 2, mode="edge")
    found: Floats = np.lib.stride_tricks.sliding_window_view(padded, (REACH, REACH)).mean(axis=(2, 3))
    return found
