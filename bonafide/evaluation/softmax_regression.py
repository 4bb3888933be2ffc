"""Multinomial logistic regression on many dense features, solved to within a known distance of its optimum.

scikit-learn's solvers need hundreds of passes over features that are as correlated as neighbouring pixels. Here L-BFGS
works in coordinates in which the loss is nearly round: those of the Cholesky factor of the Hessian at equal
probabilities, which is known before the first pass (of the features' second moments; Böhning 1992 bounds all others by
it). 45,000 rows of 3,072 pixels take 4 to 13 iterations for each penalty, half a second each on 2 cores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.project.arrays import Floats, Ints

Features = npt.NDArray[np.float32]
"""(n, d) float32."""

Loss = Callable[[Floats], tuple[float, Floats]]
"""The penalised loss at weights (d, k) in nats a row, and its gradient (d, k)."""

GAP = 1e-4  # nats a row: a hundredth of what the penalties that are compared differ by
MAX_ITERATIONS = 1000
ROWS = 8192  # whose logits are held at once


@dataclass(frozen=True)
class Learned:
    """The rows that are learned from, and what is computed of them once for all penalties."""

    features: Features
    labels: Ints
    """(n,) class indices."""
    prior: Floats
    """(k,) the logarithm of each class's share: the logits of a model that knows no feature; minus infinity for a class
    without a row."""
    moments: Floats
    """(d, d) the features' second moments."""


def learned(features: Features, labels: Ints, classes: int) -> Learned:
    """Features of mean 0 and deviation 1, but for a constant one, that of the intercept."""
    moments = np.zeros((features.shape[1],) * 2)
    for start in range(0, len(features), ROWS):
        part = features[start : start + ROWS]
        moments += part.T @ part
    with np.errstate(divide="ignore"):
        prior = np.log(np.bincount(labels, minlength=classes) / len(labels))
    return Learned(features, labels, prior, moments / len(features))


def span(features: Features) -> Features:
    """An orthonormal basis (d, n) of what fewer rows than features span: the best weights are 0 outside of it.

    So few rows in its coordinates, `features @ span`, have the same probabilities, and cost less.
    """
    basis: Features = np.linalg.qr(features.T)[0]
    return basis


def fit(rows: Learned, penalty: float, start: Floats | None = None) -> Floats:
    """Weights (d, k) with the least mean log-loss plus `penalty` / 2 times the sum of their squares, from `start`.

    Raises ArithmeticError unless they are within GAP of the optimum: a baseline that has not converged is a straw man.
    The loss curves by the penalty at least, so that no weights are better than these by more than the squared length
    of the gradient over twice the penalty.
    """
    from scipy.linalg import cholesky

    curvature = rows.moments / len(rows.prior)
    curvature[np.diag_indices_from(curvature)] += penalty
    factor = cholesky(curvature, lower=True)
    begin = np.zeros((len(factor), len(rows.prior))) if start is None else start

    def loss(weights: Floats) -> tuple[float, Floats]:
        value, slope = mean_loss(rows, weights)
        return value + penalty / 2 * float(np.square(weights).sum()), slope + penalty * weights

    weights, gap = _minimise(loss, factor, begin, lambda slope: float(np.square(slope).sum()) / (2 * penalty))
    if gap > GAP:
        raise ArithmeticError(f"a softmax regression is up to {gap:.2g} nats a row from its optimum, more than {GAP}")
    return weights


def _minimise(loss: Loss, factor: Floats, begin: Floats, gap_of: Callable[[Floats], float]) -> tuple[Floats, float]:
    """L-BFGS in the coordinates factor.T @ weights, until `gap_of` the gradient is within GAP: the weights, the gap."""
    from scipy.linalg import solve_triangular
    from scipy.optimize import minimize

    gap = [np.inf]

    def weights_at(point: Floats) -> Floats:
        found: Floats = solve_triangular(factor, point.reshape(begin.shape), lower=True, trans="T", check_finite=False)
        return found

    def at(point: Floats) -> tuple[float, Floats]:
        value, slope = loss(weights_at(point))
        gap[0] = gap_of(slope)
        return value, solve_triangular(factor, slope, lower=True, check_finite=False).ravel()

    def stop(_: Any) -> None:  # after each iteration, whose point is the last that `at` was asked about
        if gap[0] <= GAP:
            raise StopIteration

    options = {"maxiter": MAX_ITERATIONS, "ftol": 0.0, "gtol": 0.0}
    found = minimize(at, (factor.T @ begin).ravel(), jac=True, method="L-BFGS-B", callback=stop, options=options)
    return weights_at(found.x), gap[0]


def mean_loss(rows: Learned, weights: Floats) -> tuple[float, Floats]:
    """The mean log-loss in nats, and its gradient (d, k); products in fp32."""
    small, total, slope = weights.astype(np.float32), 0.0, np.zeros_like(weights)
    for start in range(0, len(rows.labels), ROWS):
        part, labels = rows.features[start : start + ROWS], rows.labels[start : start + ROWS]
        logits = part @ small + rows.prior.astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(labels)), labels]
        shares = np.exp(logits)
        sums = shares.sum(axis=1)
        total += float((np.log(sums) - own).sum(dtype=np.float64))
        shares /= sums[:, None]
        shares[np.arange(len(labels)), labels] -= 1
        slope += part.T @ shares
    return total / len(rows.labels), slope / len(rows.labels)


def probabilities(features: Features, weights: Floats, prior: Floats) -> Floats:
    """Of each class, (n, k) float64; 0 of those that train lacks."""
    from scipy.special import softmax

    found: Floats = softmax((features @ weights.astype(np.float32)).astype(np.float64) + prior, axis=1)
    return found
