"""Tracking and monitoring shape no output: with both replaced by modules that do nothing, every byte is the same."""

import pytest

from tests.project import STAGES, copy

pytestmark = pytest.mark.slow

SINKS = ("tracking", "monitoring")
NOTHING = '''"""Does nothing: any name is an object that takes every call, every `with` and every attribute."""


class Nothing:
    def __call__(self, *_arguments, **_settings):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __or__(self, _other):
        return self

    __ror__ = __or__
    aside = 0.0


NOTHING = Nothing()


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return NOTHING
'''


def test_without_tracking_and_monitoring_every_output_is_the_same(finished, tmp_path):
    project = copy(finished, tmp_path / "clone")
    (project.folder / "mlflow.db").unlink()
    for sink in SINKS:
        for path in (project.folder / "bonafide" / sink).glob("[!_]*.py"):
            path.write_text(NOTHING)
    assert project.ran(project.repro()) == [], "a stage depends on a sink"
    assert project.ran(project.repro("--force")) == STAGES
    assert not (project.folder / "mlflow.db").exists()
    assert (project.folder / "dvc.lock").read_bytes() == (finished.folder / "dvc.lock").read_bytes()
