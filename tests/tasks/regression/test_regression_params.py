"""bonafide/tasks/regression/params.py: contradictions are told with their key."""

import pytest
from pydantic import ValidationError

from tests.tasks.regression.houses import task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema__numbers": [], "schema__categories": []}, "no column to predict from"),
        ({"schema__categories": ["zip", "feet"]}, "'feet' is declared twice"),
        ({"schema__categories": ["group"]}, "'group' is a column of ours: rename it"),
        ({"schema__ranges": {"zip": [1, 2]}}, "ranges: 'zip' is neither target nor one of numbers"),
        ({"schema__ranges": {"feet": [2, 1]}}, "ranges: 'feet': 2 is above 1"),
        ({"encode__logarithms": ["zip"]}, r"encode.logarithms: 'zip' is not one of schema.numbers"),
        ({"encode__logarithms": ["cellar"]}, "encode.logarithms: schema.ranges must keep 'cellar' above 0"),
        ({"schema__ranges": {"feet": [1, 9]}}, "model.log_target: schema.ranges must keep 'target' above 0"),
        ({"model__learning_rate": 0}, "learning_rate"),
        ({"score__within": 1}, "within"),
    ],
)
def test_a_contradiction_names_its_key(changes, message):
    with pytest.raises(ValidationError, match=message):
        task(**changes)


def test_a_target_that_is_not_logged_may_be_below_zero():
    assert task(model__log_target=False, schema__ranges={"feet": [1, 9]}).schema.ranges == {"feet": (1, 9)}
