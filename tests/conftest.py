"""Every test runs in a folder of its own, with a tracking store of its own."""

import pytest
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # two files of tests at a time share two cores
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
