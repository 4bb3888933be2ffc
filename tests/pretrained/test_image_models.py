"""Any image classifier: every type of transformers' mapping is walked in miniature, fine-tuned and from scratch."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification

from bonafide.engine import batch_statistics
from bonafide.forward.inference import predict_all
from bonafide.params.sections import Model
from bonafide.pretrained import heads
from bonafide.pretrained.model_files import check_model
from bonafide.project.errors import InputError
from bonafide.project.files import sha256, write_json
from bonafide.project.paths import BASE_MODEL, MODEL, TOKENIZED
from bonafide.sources.base_model import fetch_base_model
from bonafide.tasks.image_classification import base
from bonafide.tasks.image_classification.params import Cnn, Mlp, Stock
from bonafide.tasks.image_classification.train import ImageNetwork
from bonafide.training.saved_model import SavedModelCheck
from dev import models, vision_zoo, zoo
from tests.process_groups import in_threads
from tests.tiny_engines import digest
from tests.tiny_images import (
    LABELS,
    STEPS,
    bits,
    build,
    image_params,
    resumed,
    tokenized,
    train,
)

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = ("vit", "deit", "convnext", "resnet", "swin")
WALKED = [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in vision_zoo.TYPES]
NEAR = 1e-5  # of a probability


# Every type, all the way


@pytest.mark.parametrize("scratch", [False, True], ids=["fine-tuned", "from scratch"])
@pytest.mark.parametrize("name", WALKED)
def test_every_type_trains_to_the_same_bits_in_any_group_and_is_what_transformers_loads(name, scratch):
    model, params = build(name, scratch=scratch)
    if not scratch:
        base.check(BASE_MODEL)
    whole = train(model, params, STEPS)
    expected = whole.digest, whole.losses
    assert np.isfinite(whole.losses).all()
    assert whole.digest != digest(model)
    for size in (2, 4):
        assert in_threads(size, lambda group: bits(model, params, STEPS, group)) == [expected] * size
    assert resumed(model, params, 3) == expected[0]
    trained, task = whole.engine.model, ImageNetwork(params.train)
    batch_statistics.measure(trained, whole.engine.given, task)
    validation = task.examples(TOKENIZED / "validation")
    alone_or_not(trained, validation, task)
    whole.engine.optimizer.release()
    check = SavedModelCheck(trained, validation, task)
    trained.save_pretrained(MODEL)
    check.check()
    loaded = AutoModelForImageClassification.from_pretrained(MODEL)
    assert [*loaded.config.id2label.values()] == LABELS
    assert predict_all(loaded, validation, task.outputs, task.collate).shape == (len(validation), len(LABELS))


def alone_or_not(model, images, task):
    """Check that what an image gets does not depend on the others of its batch."""
    model.eval()
    with torch.inference_mode():
        batches = [
            task.outputs(model, task.collate(images, rows, model)) for rows in (np.arange(8), np.arange(7, -1, -1))
        ]
        alone = [task.outputs(model, task.collate(images, np.array([row]), model)) for row in range(8)]
    assert np.abs(batches[0] - np.concatenate(alone)).max() <= NEAR
    assert np.abs(batches[1][::-1] - batches[0]).max() <= NEAR


def test_all_types_are_walked_or_named():
    known = vision_zoo.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    assert {*vision_zoo.TYPES} | {*vision_zoo.NO_IMAGES} == {*known}
    assert len(vision_zoo.TYPES) == 36


REFUSED = {
    "dinat": r"train\.architecture: dinat: DinatForImageClassification requires the natten library",
    "imagegpt": r"train\.architecture\.kind: imagegpt reads more than images",
    "pp_lcnet": r"tokenize\.size: 32: pp_lcnet does not take such images: .* has no attribute 'logits'",
    "shieldgemma2": r"train\.architecture\.kind: shieldgemma2 reads more than images",
    "siglip2": r"tokenize\.size: 32: siglip2 does not take such images: ",
    "timm_wrapper": r"train\.architecture: timm_wrapper: .*requires the timm library",
}
TOWER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
FEW = {"siglip2": {"vision_config": TOWER, "text_config": TOWER | vision_zoo.TEXT}}


@pytest.mark.parametrize("name", vision_zoo.NO_IMAGES)
def test_a_type_that_cannot_be_trained_is_refused_in_one_line(name):
    tokenized()
    params = image_params(Stock(kind=name, config=FEW.get(name, {})))
    with pytest.raises(InputError, match=f"^{REFUSED[name]}") as refusal:
        ImageNetwork(params.train).build(params)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("bert", {}, r"train\.architecture\.kind: transformers has no image classifier 'bert'"),
        ("no such", {}, r"train\.architecture\.kind: transformers has no image classifier 'no such'"),
        ("vit", {"hiden_size": 32}, r"train\.architecture\.config: vit has no 'hiden_size'"),
        ("clip", {"vision_config": {"depth": 2}}, r"train\.architecture\.config: clip_vision_model has no 'depth'"),
        ("vit", {"hidden_size": "wide"}, r"train\.architecture\.config: vit: .*hidden_size"),
        ("vit", vision_zoo.TOWER | {"hidden_act": "no such"}, r"train\.architecture: vit: .*no such"),
        ("vit", vision_zoo.TOWER | {"image_size": 48}, r"tokenize\.size: 32: vit does not take such images: .*48"),
    ],
)
def test_an_architecture_that_is_none_is_refused_in_one_line(kind, config, message):
    tokenized()
    params = image_params(Stock(kind=kind, config=config))
    with pytest.raises(InputError, match=f"^{message}") as refusal:
        ImageNetwork(params.train).build(params)
    assert "\n" not in str(refusal.value)


# What fetch refuses, and what it takes


def refuse(folder, message):
    before = {path.name: sha256(path) for path in folder.iterdir()}
    with pytest.raises(InputError, match=message) as refusal:
        fetch_base_model(Model(source=str(folder), revision="", sha256=before), BASE_MODEL, base.check)
    assert "\n" not in str(refusal.value)
    assert not BASE_MODEL.exists()


def test_a_model_of_texts_is_refused(tmp_path):
    zoo.build_base(tmp_path / "base", "bert", models.texts())
    refuse(tmp_path / "base", r"^base model: bert has no image classification in transformers$")


def changed(folder, name, **changes):
    vision_zoo.build_base(folder, name)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize("name", ["vit", "resnet", "clip"])
def test_weights_of_another_shape_are_refused(tmp_path, name):
    folder = changed(tmp_path / "base", name)
    state = load_file(folder / "model.safetensors")
    wide = next(key for key, tensor in state.items() if tensor.ndim == 4)
    state[wide] = torch.zeros(*state[wide].shape[:3], 9)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    refuse(folder, rf"^base model: the weights have .*{re.escape(wide)} as [0-9x ]+ 9, config\.json declares ")


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_weights_that_lack_are_refused(tmp_path, name):
    folder = changed(tmp_path / "base", name)
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in state if ("layers.1" in key or "layer.1" in key) and not key.startswith("text"))
    save_file({key: tensor for key, tensor in state.items() if key != gone}, folder / "model.safetensors")
    refuse(folder, rf"^base model: not the weights of a {name}: 1 lack, ")


def test_what_cannot_be_built_or_shown_an_image_is_refused(tmp_path):
    act = changed(tmp_path / "act", "vit", hidden_act="no such")
    refuse(act, r"^base model: vit cannot be built: KeyError: .*no such")
    vision_zoo.build_base(tmp_path / "grey", "vit", num_channels=1)
    refuse(tmp_path / "grey", r"^base model: vit cannot be trained on images: .*channel")
    other = changed(tmp_path / "other", "vit", model_type="detr")
    refuse(other, r"^base model: (detr has no image classification|config\.json: transformers does not read it)")


@pytest.mark.parametrize("name", ["vit", "clip", "resnet", "perceiver"])
def test_a_trained_head_of_any_size_is_taken_and_begins_afresh(name):
    for labels in (3, 7):
        model, _ = build(name, base={"head": True, "num_labels": labels})
        base.check(BASE_MODEL)
        assert model.config.num_labels == len(LABELS)
        last, ours = heads.outputs(model.config, type(model))[0], model.state_dict()
        theirs = AutoModelForImageClassification.from_pretrained(BASE_MODEL).state_dict()
        same = {key for key, tensor in ours.items() if key in theirs and torch.equal(tensor, theirs[key])}
        assert {*ours} - same == last


@pytest.mark.parametrize("architecture", [Mlp(kind="mlp", hidden=[8]), Cnn(kind="cnn", widths=[4, 8])])
def test_a_network_of_ours_is_a_base_model_too(architecture):
    tokenized()
    BASE_MODEL.mkdir(parents=True, exist_ok=True)
    (BASE_MODEL / "none.txt").touch()
    trained = ImageNetwork(image_params(architecture).train).build(image_params(architecture))
    trained.save_pretrained(BASE_MODEL)
    base.check(BASE_MODEL)
    check_model(BASE_MODEL)
    tokenized(mean=(0.1, 0.2, 0.3))  # on which a first layer would be measured otherwise
    write_json(TOKENIZED / "labels.json", [*LABELS, "another"])
    params = image_params(None)
    model = ImageNetwork(params.train).build(params)
    kept = {name for name, tensor in model.state_dict().items() if "classifier" not in name}
    assert all(torch.equal(model.state_dict()[name], trained.state_dict()[name]) for name in kept)
    assert model.classifier.weight.shape[0] == 4


def test_of_several_classes_the_one_of_the_base_is_taken():
    config = vision_zoo.build_config("perceiver")
    assert heads.with_head(config, heads.IMAGES).__name__ == "PerceiverForImageClassificationLearned"
    config.architectures = ["PerceiverForImageClassificationFourier"]
    assert heads.with_head(config, heads.IMAGES).__name__ == "PerceiverForImageClassificationFourier"
    config = vision_zoo.build_config("deit")
    config.architectures = ["DeiTForImageClassificationWithTeacher"]  # for prediction alone
    assert heads.with_head(config, heads.IMAGES).__name__ == "DeiTForImageClassification"


def test_images_of_another_size_than_the_base_models_are_refused():
    vision_zoo.build_base(BASE_MODEL, "vit", image_size=64)
    tokenized()
    params = image_params(None)
    with pytest.raises(InputError, match=r"^tokenize\.size: 32: vit does not take such images: .*64\*64"):
        ImageNetwork(params.train).build(params)
