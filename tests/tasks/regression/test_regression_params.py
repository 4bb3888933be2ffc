"""bonafide/tasks/regression/params.py: contradictions are told with their key."""

import pytest

from tests.tasks.regression.houses import params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task__numbers": [], "task__categories": []}, "no column to predict from"),
        ({"task__categories": ["zip", "feet"]}, "'feet' is declared twice"),
        ({"task__categories": ["group"]}, "'group' is a column of ours: rename it"),
        ({"validate__ranges": {"zip": [1, 2]}}, "validate.ranges: 'zip' is neither target nor one of task.numbers"),
        ({"validate__ranges": {"feet": [2, 1]}}, "ranges: 'feet': 2 is above 1"),
        ({"tokenize__logarithms": ["zip"]}, r"tokenize.logarithms: 'zip' is not one of task.numbers"),
        ({"tokenize__logarithms": ["cellar"]}, "tokenize.logarithms: validate.ranges must keep 'cellar' above 0"),
        ({"validate__ranges": {"feet": [1, 9]}}, "train.log_target: validate.ranges must keep 'target' above 0"),
        ({"train__learning_rate": 0}, "learning_rate"),
        ({"evaluate__within": 1}, "within"),
    ],
)
def test_a_contradiction_names_its_key(changes, message):
    with pytest.raises(ValueError, match=message):
        params(**changes)


def test_a_target_that_is_not_logged_may_be_below_zero():
    assert params(train__log_target=False, validate__ranges={"feet": [1, 9]}).validate.ranges == {"feet": (1, 9)}
