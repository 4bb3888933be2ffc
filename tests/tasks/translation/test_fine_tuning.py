"""A pretrained translator goes through the whole pipeline, from a folder with pins to a report."""

import pytest

from bonafide.project.files import sha256
from tests.project import STAGES
from tests.tasks.jobs import translation
from tests.tasks.translation.translators import pretrained

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["mbart", "t5"])  # with codes of languages; and one that takes no packed batches
def test_a_base_model_is_trained_on_and_is_what_has_to_be_beaten(kind, tmp_path):
    project = translation(tmp_path / "clone")
    tiny = pretrained(kind, project.folder / "tiny")
    pins = {path.name: sha256(path) for path in sorted(tiny.iterdir())}
    project.set(
        model={"source": "tiny", "revision": "", "sha256": pins},
        tokenize__vocabulary="base",
        tokenize__max_length=40,
        train__architecture=None,
        train__epochs=2,
    )
    project.commit("Go on from a base model")
    assert project.ran(project.repro()) == STAGES
    systems = project.read("reports/evaluate/evaluation.json")["systems"]
    assert [system["name"] for system in systems[:2]] == ["model", "base"]
    settings = project.read("models/model/generation_config.json")
    assert (settings["num_beams"], settings["max_new_tokens"]) == (2, 40)
    assert settings["length_penalty"] in (0.6, 1.4)
