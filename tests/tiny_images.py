"""Image classifiers in miniature, made-up images of 32 x 32 pixels, params for both, and engines that train them."""

import copy
from contextlib import nullcontext
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from bonafide.datasets import ragged
from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import Recipe
from bonafide.engine.process_group import ProcessGroup
from bonafide.params.load import load_params
from bonafide.project.files import write_json
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.image_classification.params import Augmentation, Stock
from bonafide.tasks.image_classification.train import ImageNetwork
from bonafide.vision.pixels import Images
from dev import vision_zoo
from tests.tiny_engines import RECIPE, digest

ROOT = Path(__file__).parents[1]
LABELS = ["dim", "lit", "striped"]
ROWS = {"train": 20, "validation": 17}
AUGMENTED = Augmentation(flip=True, translate=2, crop=0.8, mixup=0.2)
STEPS = 4  # two epochs, a last batch of another size in each
PLAIN = Augmentation(flip=False, translate=0, crop=1.0, mixup=0.0)
CHANGES = {"batch_size": 12, "shards": 4, "epochs": 3, "learning_rate": 1e-3, "dropout": 0.1, "max_grad_norm": 1.0}


def draw(n, seed=0, size=vision_zoo.SIZE):
    """Noise that is dim, lit or striped."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(LABELS)
    pixels = rng.integers(0, 90, (n, size, size, 3), dtype=np.uint8)
    pixels[labels == 1] += 120
    pixels[labels == 2, ::4] += 150
    return Images(pixels, labels.astype(np.int64), np.array([str(i) for i in range(n)]))


def tokenized(mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.3, 0.4), **rows):
    """What tokenize leaves in the working folder."""
    for seed, (split, n) in enumerate((ROWS | rows).items()):
        images = draw(n, seed)
        ragged.write(TOKENIZED / split, {name: getattr(images, name) for name in ("pixels", "labels", "ids")})
    write_json(TOKENIZED / "labels.json", LABELS)
    side = {"height": vision_zoo.SIZE, "width": vision_zoo.SIZE}
    processor = {"image_mean": [*mean], "image_std": [*deviation], "size": side}
    write_json(TOKENIZED / "processor/preprocessor_config.json", processor)


def image_params(architecture=None, augmentation=AUGMENTED, **changes):
    """The params of a base model, or of an architecture from scratch."""
    params = load_params(ROOT / "recipes/cifar10_mlp.yaml")
    train = replace(params.train, architecture=architecture, augmentation=augmentation, **(CHANGES | changes))
    return replace(params, train=train, threads=1, seed=1)


def build(name, *, scratch=False, augmentation=AUGMENTED, base=None, **changes):
    """The model that train begins with, and params: of a tiny type of transformers."""
    tokenized()
    if scratch:
        params = image_params(Stock(kind=name, config=vision_zoo.small(name)), augmentation, **changes)
    else:
        vision_zoo.build_base(BASE_MODEL, name, **(base or {}))
        params = image_params(None, augmentation, **changes)
    torch.manual_seed(params.seed)
    return ImageNetwork(params.train).build(params), params


def build_engine(model, params, group=None, images=None, **changes):
    train = params.train
    names = {field.name for field in fields(Recipe)} & {field.name for field in fields(train)}
    recipe = replace(RECIPE, **{name: getattr(train, name) for name in names})
    recipe = replace(recipe, **({"gradient_accumulation_steps": train.accumulation} | changes))
    task = ImageNetwork(train)
    examples = task.examples(TOKENIZED / "train") if images is None else images
    return Engine(model, examples, task, recipe, group or ProcessGroup(), lambda _: nullcontext())


def train(model, params, steps, group=None, images=None, **changes):
    """A copy of the model after so many steps: its weights as a hash, its losses, the engine."""
    engine = build_engine(copy.deepcopy(model), params, group, images, **changes)
    losses = [float(step.loss) for step in islice(engine.steps(), steps)]
    return SimpleNamespace(digest=digest(engine.model), losses=losses, engine=engine)


def bits(model, params, steps, group=None, **changes):
    """What two trainings are compared by."""
    found = train(model, params, steps, group, **changes)
    return found.digest, found.losses


def resumed(model, params, done):
    """The weights of a training that was interrupted after some steps, and went on with what a checkpoint has."""
    first = train(model, params, done).engine.optimizer.state()
    rest = build_engine(copy.deepcopy(model), params)
    rest.optimizer.load({name: tensor.clone() for name, tensor in first.items()}, done)
    assert [step.step for step in islice(rest.steps(done), STEPS - done)] == [*range(done + 1, STEPS + 1)]
    return digest(rest.model)
