"""The card's snippet, run as it stands: evaluate's numbers from transformers."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification

from bonafide.project.paths import MODEL
from bonafide.tasks.image_classification import card
from bonafide.tasks.image_classification import model as own
from bonafide.vision.mlp import MlpConfig, MlpForImageClassification
from tests.project import ROOT
from tests.tasks.image_classification.pictures import LABELS, images


def params(kind, *, mirror=False, labels=LABELS):
    architecture = None if kind is None else SimpleNamespace(kind=kind)
    return SimpleNamespace(
        task=SimpleNamespace(labels=list(labels)),
        tokenize=SimpleNamespace(size=8, fit="crop"),
        train=SimpleNamespace(architecture=architecture, mirror=mirror),
    )


def test_only_our_own_architectures_need_this_package():
    assert "bonafide.vision.registered" in card.usage(params("mlp"))
    assert "bonafide.vision.registered" in card.usage(params("cnn"))
    for kind in ("vit", None):
        assert "bonafide.vision.registered" not in card.usage(params(kind))
    assert "mirror image" in card.usage(params("vit", mirror=True))
    assert "mirror image" not in card.usage(params("vit"))


def test_classes_are_named_inert_and_not_all_of_a_thousand():
    words = card.describe(params("mlp", labels=["`a`", "<b>", *(f"class {i}" for i in range(998))]))
    assert words.startswith("A classifier of images with the classes `` `a` ``, `<b>`, `class 0`")
    assert words.endswith(" and 950 more")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "vit"])
def test_the_snippet_gives_the_numbers_of_evaluate(kind):
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = (
        MlpConfig(image_size=8, hidden_sizes=[16]) if kind == "mlp" else ViTConfig(image_size=8, patch_size=4, **small)
    )
    config.id2label, config.mirror = dict(enumerate(LABELS)), False
    config.image_mean, config.image_std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    (MlpForImageClassification if kind == "mlp" else ViTForImageClassification)(config).save_pretrained(MODEL)
    processor = {
        "do_convert_rgb": True, "do_resize": True, "size": {"height": 8, "width": 8}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": config.image_mean,
        "image_std": config.image_std, "image_processor_type": "ViTImageProcessor", "fit": "crop",
    }  # fmt: skip
    (MODEL / "preprocessor_config.json").write_text(json.dumps(processor))
    pixels, labels = images(1)
    Image.fromarray(pixels[0]).save("image.png")
    code = re.search(r"```python\n(.*?)```", card.usage(params(kind)), re.DOTALL)[1]
    run = f"{code}\nimport json\nprint(json.dumps(logits.softmax(-1).tolist()))"
    done = subprocess.run(
        [sys.executable, "-c", run],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    expected = own.predict(own.load(MODEL), {"pixels": pixels, "labels": labels, "ids": np.array(["a"])})
    assert np.array(json.loads(done.stdout.splitlines()[-1])) == pytest.approx(expected, abs=1e-6)
