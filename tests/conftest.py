"""Every test runs in a folder of its own, with a tracking store of its own."""

import pytest
from hypothesis import HealthCheck, settings

# Two files of tests at a time share two cores; all examples of a test may share its folder. Where CI is set, Hypothesis
# draws the same examples each time, so that a change is judged by what it changes.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))


@pytest.fixture(scope="module")
def one_thread():
    """Two threads that share busy cores wait for each other a hundred times longer than tiny matrices take."""
    import torch  # 2 s that most tests do not need

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
