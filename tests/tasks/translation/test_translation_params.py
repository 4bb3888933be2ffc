"""What of the params of a translation contradicts itself is refused by name."""

import pytest

from bonafide.tasks.translation.params import Architecture, check
from tests.tasks.translation.translators import SIZES, params


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"train": {"architecture": None}}, "train.architecture: wanted where model is null"),
        ({"tokenize": {"vocabulary": "base"}}, "tokenize.vocabulary: base is for a base model"),
        ({"tokenize": {"max_length": 41}}, "train.architecture.positions: below tokenize.max_length: 41"),
        ({"train": {"trainable": "lora"}}, "train.trainable: lora"),
    ],
)
def test_contradictions_are_named(sections, reason):
    check(params())
    with pytest.raises(ValueError, match=reason):
        check(params(**sections))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="width: 32 is not a multiple of 2 and of 3 heads"):
        Architecture(**vars(SIZES) | {"heads": 3})


def test_ratios_that_nothing_has_are_refused():
    with pytest.raises(ValueError, match="min_ratio: 7 is above max_ratio: 6"):
        params(validate={"min_ratio": 7})
