"""One finished tiny project for all tests of whole pipelines that a process runs: to look at, or to copy."""

import pytest

from tests.project import STAGES, small_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project after its first `dvc repro`."""
    project = small_project(tmp_path_factory.mktemp("pipeline") / "clone")
    settings = {"TZ": "Asia/Shanghai", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "1", "DVC_NO_ANALYTICS": "1"}
    output = project.repro(**settings)
    assert project.ran(output) == STAGES
    return project
