"""What a test set can see: the power of a verdict and the smallest difference that it finds four times in five."""

from scipy.special import ndtr, ndtri

POWER = 0.8


def threshold(error: float, alpha: float, margin: float) -> float:
    """The difference from which a verdict is `improved`, given the standard error of the paired difference.

    It has to leave 0 out of the 1 - alpha interval, and to reach out of the margin with the 1 - 2 alpha interval,
    else it is equivalent.
    """
    return max(float(ndtri(1 - alpha / 2)) * error, margin - float(ndtri(1 - alpha)) * error)


def power(effect: float, error: float, alpha: float, margin: float) -> float | None:
    """The probability of the verdict `improved` where the head is better by `effect`; None where `error` is 0.

    Equal systems do not show how two different ones would scatter.
    """
    return float(ndtr((effect - threshold(error, alpha, margin)) / error)) if error > 0 else None


def detectable(error: float, alpha: float, margin: float) -> float | None:
    """The effect that is found with a power of 0.8; None where `error` is 0."""
    return threshold(error, alpha, margin) + float(ndtri(POWER)) * error if error > 0 else None
