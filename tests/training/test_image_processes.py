"""A network with batch normalisation is the same bytes from 1, 2 and 4 real processes."""

import pytest

from bonafide.project.files import md5
from tests.project import copy
from tests.tasks.jobs import JOBS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory):
    project = JOBS["image_classification"].start(tmp_path_factory.mktemp("images") / "clone")
    project.set(train__epochs=2)
    project.repro("tokenize")
    return project


def test_the_number_of_processes_shapes_nothing(tokenized, tmp_path):
    found = set()
    for processes in (1, 2, 4):
        project = copy(tokenized, tmp_path / str(processes))
        project.set(machine__processes=processes)
        said = project.repro("train")
        assert "batch normalisation is over each" in said
        found.add((md5(project.folder / "models/model"), md5(project.folder / "reports/train")))
    assert len(found) == 1
