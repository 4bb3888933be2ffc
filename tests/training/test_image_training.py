"""Image classifiers in training: parts of them, chance, state between passes, batch normalisation."""

import copy

import numpy as np
import pytest
import torch

from bonafide.engine import batch_statistics
from bonafide.forward.inference import predict_all
from bonafide.project.errors import InputError
from bonafide.project.paths import MODEL, TOKENIZED
from bonafide.tasks.image_classification.train import ImageNetwork
from bonafide.training import fit
from bonafide.training.finetuning import choose_trainable, merge_lora
from bonafide.training.saved_model import SavedModelCheck
from dev import vision_zoo
from tests.process_groups import in_threads
from tests.tiny_images import (
    AUGMENTED,
    PLAIN,
    STEPS,
    bits,
    build,
    build_engine,
    draw,
    resumed,
    train,
)

pytestmark = pytest.mark.usefixtures("one_thread")

NEAR = 1e-5  # of a probability


# Parts of a model that are trained, and how


def weights(model):
    return {name: p.detach().clone() for name, p in model.state_dict().items()}


def moved(before, model):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}


@pytest.mark.parametrize("name", ["vit", "resnet", "clip"])
def test_a_head_is_trained_alone_and_the_rest_stays_bitwise(name):
    model, params = build(name)
    model = choose_trainable(model, "head", 4, 0)
    before = weights(model)
    whole = train(model, params, STEPS)
    trained = whole.engine.model
    batch_statistics.measure(trained, whole.engine.given, ImageNetwork(params.train))
    assert moved(before, trained) == {n for n in before if n.startswith("classifier")}  # nor statistics of norms
    assert in_threads(2, lambda group: bits(model, params, STEPS, group)) == [(whole.digest, whole.losses)] * 2


def test_a_model_without_a_head_of_its_own_trains_its_last_layer():
    model, params = build("perceiver")
    model = choose_trainable(model, "head", 4, 0)
    before = weights(model)
    trained = train(model, params, 2).engine.model
    assert moved(before, trained) == {f"perceiver.decoder.decoder.final_layer.{kind}" for kind in ("weight", "bias")}


PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # its business


@PEFT
@pytest.mark.parametrize("name", ["vit", "swin", "clip"])
def test_low_rank_changes_train_with_the_head_and_merge(name):
    model, params = build(name)
    model = choose_trainable(model, "lora", 4, 0)
    before = weights(model)
    whole = train(model, params, STEPS)
    assert in_threads(2, lambda group: bits(model, params, STEPS, group)) == [(whole.digest, whole.losses)] * 2
    trained, task = whole.engine.model, ImageNetwork(params.train)
    changed = moved(before, trained)
    assert changed == {*whole.engine.optimizer.trained}
    assert all("lora_" in name or "modules_to_save" in name for name in changed)
    assert any("lora_" in name for name in changed)
    whole.engine.optimizer.release()
    check = SavedModelCheck(trained, task.examples(TOKENIZED / "validation"), task)
    merge_lora(trained).save_pretrained(MODEL)
    check.check()


def test_what_cannot_be_trained_in_part_is_refused_in_one_line():
    model, _ = build("resnet")
    with pytest.raises(InputError, match=r"^train\.trainable: lora: resnet has no linear layers that peft knows$"):
        choose_trainable(copy.deepcopy(model), "lora", 4, 0)
    with pytest.raises(InputError, match=r"^train\.frozen_layers: resnet has no list of layers of its own$"):
        choose_trainable(model, "all", 4, 1)
    model, _ = build("vit")
    with pytest.raises(InputError, match=r"^train\.frozen_layers: 3, but the encoder has 2$"):
        choose_trainable(model, "all", 4, 3)


@pytest.mark.parametrize("name", ["vit", "deit"])
def test_frozen_layers_and_the_patches_do_not_move(name):
    model, params = build(name)
    model = choose_trainable(model, "all", 4, 1)
    before = weights(model)
    whole = train(model, params, STEPS)
    still = (f"{name}.embeddings.", f"{name}.layers.0.", f"{name}.encoder.layer.0.")
    assert not {n for n in moved(before, whole.engine.model) if n.startswith(still)}
    assert len(moved(before, whole.engine.model)) > 10
    assert in_threads(2, lambda group: bits(model, params, STEPS, group)) == [(whole.digest, whole.losses)] * 2


def test_activations_that_are_computed_again_give_the_same_bits():
    model, params = build("vit")
    expected = bits(model, params, STEPS)
    fit.checkpoint_activations(model)
    assert bits(model, params, STEPS) == expected
    with pytest.raises(InputError, match=r"^train\.gradient_checkpointing: "):
        fit.checkpoint_activations(build("poolformer")[0])


# Chance and what is kept between passes


@pytest.mark.parametrize("name", ["pvt_v2", "segformer"])
def test_layers_that_are_skipped_by_chance_are_noticed_however_seldom(name, monkeypatch):
    monkeypatch.setitem(vision_zoo.SMALL, "drop_path_rate", 1e-6)
    model, params = build(name, scratch=True)
    assert build_engine(copy.deepcopy(model), params).separation_reason == "layers are skipped by chance"
    monkeypatch.setitem(vision_zoo.SMALL, "drop_path_rate", 0.0)
    model, params = build(name, scratch=True)
    whole = train(model, params, STEPS)
    assert whole.engine.separation_reason == ""  # a pass for all shards
    assert bits(model, params, STEPS, gradient_accumulation_steps=4) == (whole.digest, whole.losses)
    assert in_threads(4, lambda group: bits(model, params, STEPS, group)) == [(whole.digest, whole.losses)] * 4


def test_what_a_model_keeps_of_its_weights_is_forgotten_when_others_are_loaded():
    model, params = build("levit")  # it keeps attention's biases in evaluation
    task, images = ImageNetwork(params.train), draw(6)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = predict_all(model, images, task.outputs, task.collate)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    fit.load(model, before)
    assert np.array_equal(predict_all(model, images, task.outputs, task.collate), expected)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(torch.ones_like(p) if "attention_biases" in name else 0)
    fit.load(model, {name: p.detach().clone() for name, p in model.named_parameters()})
    assert not np.array_equal(predict_all(model, images, task.outputs, task.collate), expected)


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_muons_convolutions_are_exact_and_go_on_from_its_state(name):
    model, params = build(name, scratch=True, optimizer="muon")
    expected = bits(model, params, STEPS)
    assert in_threads(2, lambda group: bits(model, params, STEPS, group)) == [expected] * 2
    assert resumed(model, params, 3) == expected[0]
    assert expected != bits(model, params, STEPS, optimizer="adamw")


# Batch normalisation


def test_batch_statistics_are_a_function_of_weights_and_data():
    model, params = build("resnet")
    task = ImageNetwork(params.train)
    engine = train(model, params, STEPS).engine
    fresh = copy.deepcopy(model)
    fit.load(fresh, dict(engine.model.named_parameters()))
    found = []
    for one in (engine.model, engine.model, fresh):
        batch_statistics.measure(one, engine.given, task)
        found.append(statistics(one))
        batch_statistics.train_mode(one)
        with torch.no_grad():
            one(torch.randn(3, 3, 32, 32))  # other images in between
        assert not torch.equal(statistics(one), found[-1])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    measured = {name: p.clone() for name, p in fresh.named_parameters()}
    assert all(torch.equal(p, engine.model.get_parameter(name)) for name, p in measured.items())


def statistics(model):
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    return torch.cat([tensor.flatten() for norm in norms for tensor in (norm.running_mean, norm.running_var)])


def test_statistics_are_means_over_train_as_it_is():
    """Those of batches, of the first layer, whose inputs no other norm has changed."""
    model, params = build("resnet")
    task, images = ImageNetwork(params.train), draw(20)
    augmented = task.at_epoch(images, 1, 3)
    assert augmented.augmentation
    norm = next(part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    batch_statistics.measure(model, images, task)
    assert sum(map(len, seen)) == 20
    assert torch.allclose(norm.running_mean, torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0), atol=1e-6)
    assert torch.allclose(norm.running_var, torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0), rtol=1e-5)
    assert not model.training
    assert norm.momentum == 0.1


def test_a_shard_of_one_image_is_refused():
    model, params = build("resnet")
    message = (
        r"^train\.batch_size: 12: the last of 29 examples make a batch of 5, and batch normalisation needs two for each"
        r" of 4 shards: take another batch_size, or fewer shards$"
    )
    with pytest.raises(InputError, match=message):
        build_engine(copy.deepcopy(model), params, images=draw(29))
    assert build_engine(copy.deepcopy(model), params, images=draw(29), shards=2)
    frozen = choose_trainable(model, "head", 4, 0)
    assert build_engine(frozen, params, images=draw(29)).shards == 4


@pytest.mark.parametrize("augmentation", [AUGMENTED, PLAIN], ids=["augmented", "plain"])
def test_other_seeds_train_otherwise(augmentation):
    model, params = build("resnet", augmentation=augmentation)
    assert bits(model, params, STEPS) != bits(model, params, STEPS, seed=2)
