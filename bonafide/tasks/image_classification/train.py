"""Train an image classifier: from scratch or from a base model, cross-entropy, the best epoch by accuracy."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets import ragged
from bonafide.pretrained import heads
from bonafide.project.arrays import Floats, Ints, Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.image_classification.model import HEAD, stock
from bonafide.training.fit import fit
from bonafide.vision.augmentation import Augmentation
from bonafide.vision.cnn import CnnConfig, CnnForImageClassification
from bonafide.vision.mlp import MlpConfig, MlpForImageClassification
from bonafide.vision.pixels import Images, PixelBatch, collate, normalise, probabilities, split_of

PARALLEL = True
WHITENED = 5000  # images of train on whose patches the first layer of `cnn` is measured
TRIED = 2  # images that a new model is tried on


def train(params: Any, *, state: Path) -> Metrics:
    """Train with the engine; return the best epoch's validation metrics."""
    return fit(ImageNetwork(params.train), params, state)


@dataclass
class ImageNetwork:
    """What bonafide.forward.network.Network asks for, with what the train section says of augmentation and loss."""

    params: Any
    CRITERION: str = "accuracy"
    HIGHER_IS_BETTER: bool = True

    def build(self, params: Any) -> Any:
        """The base model with a fresh head, or a network with random weights, fp32, that was tried on two images."""
        examples = self.examples(TOKENIZED / "train")
        model = fine_tuned(params) if params.train.architecture is None else from_scratch(params)
        if params.train.architecture and isinstance(model, CnnForImageClassification):
            rows = np.unique(np.linspace(0, len(examples) - 1, WHITENED).astype(np.int64))  # it may be sorted by class
            model.whiten(normalise(np.array(examples.pixels[rows]), model))
        try_on(model, examples)
        return model

    def examples(self, folder: Path) -> Images:
        """One tokenized split, as it is."""
        return split_of(ragged.read(folder))

    def stock(self, folder: Path) -> Any:
        """A trained model as transformers loads it."""
        return stock(folder)

    def enable(self, model: Any) -> str:  # noqa: ARG002
        """Images of one size need no padding."""
        return ""

    def at_epoch(self, examples: Images, seed: int, epoch: int) -> Images:
        """The same images, changed for this epoch."""
        wanted = self.params.augmentation
        if not (wanted.flip or wanted.translate or wanted.mixup or wanted.crop < 1):
            return examples
        changes = Augmentation(wanted.flip, wanted.translate, wanted.crop, wanted.mixup, seed, epoch)
        return replace(examples, augmentation=changes)

    def collate(self, examples: Images, rows: Ints, model: Any) -> PixelBatch:
        """Images `rows`, changed where they are of an epoch."""
        return collate(examples, rows, model, self.params.label_smoothing)

    def loss(self, outputs: Any, batch: PixelBatch) -> Any:
        """Cross-entropy of each image, nats, (n,), from fp32 logits."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.logits.float(), batch.targets, reduction="none")

    def outputs(self, model: Any, batch: PixelBatch) -> Floats:
        """Class probabilities, (n, classes) float64."""
        return probabilities(model, batch)

    def validation_metrics(self, examples: Images, outputs: Floats) -> Metrics:
        """Accuracy, and log-loss in nats, of class probabilities (n, classes), one view of each image."""
        labels = np.asarray(examples.labels)
        certainty = np.maximum(outputs[np.arange(len(labels)), labels], np.finfo(np.float64).eps)
        hits = outputs.argmax(axis=1) == labels
        return {"accuracy": float(hits.mean()), "log_loss": float(-np.log(certainty).mean())}


def from_scratch(params: Any) -> Any:
    """A network with random weights."""
    wanted, size = params.train.architecture, preprocessor()["size"]["height"]
    own: dict[str, Any] = {"mlp": MlpForImageClassification, "cnn": CnnForImageClassification}
    if wanted.kind == "mlp":
        config: Any = MlpConfig(image_size=size, hidden_sizes=list(wanted.hidden))
    elif wanted.kind == "cnn":
        config = CnnConfig(image_size=size, hidden_sizes=list(wanted.widths))
    else:
        config = stock_config(wanted.kind, wanted.config, size)
    describe(config, params)
    kind = own.get(wanted.kind) or heads.with_head(config, HEAD)
    try:
        return kind(config)
    except Exception as error:  # noqa: BLE001 - whatever an architecture's own code finds wrong with its config
        raise InputError(f"train.architecture: {wanted.kind}: {one_line(error)}") from None


def stock_config(kind: str, fields: dict[str, Any], size: int) -> Any:
    """A configuration of transformers, for images of `size` unless the fields say otherwise; raise InputError."""
    from transformers import CONFIG_MAPPING

    try:
        defaults = CONFIG_MAPPING[kind]()
        network = heads.with_head(defaults, HEAD)
    except KeyError:
        raise InputError(f"train.architecture.kind: transformers has no image classifier {kind[:60]!r}") from None
    if network.main_input_name == "input_ids":
        raise InputError(f"train.architecture.kind: {kind} reads more than images")
    wanted = with_size(defaults, size, fields)
    try:
        return type(defaults)(**wanted)
    except Exception as error:  # noqa: BLE001 - each architecture checks its own
        raise InputError(f"train.architecture.config: {kind}: {one_line(error)}") from None


def with_size(defaults: Any, size: int, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a configuration, and the size of images where it has one and they do not say it; raise InputError."""
    part = heads.of_images(defaults)
    nested = {} if part is defaults else {"vision_config": fields.get("vision_config", {})}
    for config, given in ((defaults, fields), (part, nested.get("vision_config", {}))):
        for name in given:
            if not hasattr(config, name):  # the library would take it, and nothing would read it
                raise InputError(f"train.architecture.config: {config.model_type} has no {name[:60]!r}")
    known = getattr(part, "image_size", None)
    sized = {"image_size": [size, size] if isinstance(known, (list, tuple)) else size} if known is not None else {}
    return fields | {"vision_config": sized | nested["vision_config"]} if nested else sized | fields


def fine_tuned(params: Any) -> Any:
    """The base model with a fresh head."""
    config = heads.declared_config(BASE_MODEL, HEAD)
    describe(config, params)
    model, info = heads.build(config, HEAD, **heads.fresh(config, HEAD, BASE_MODEL))
    heads.check_whole(model, info)
    return model


def describe(config: Any, params: Any) -> None:
    """Put into a configuration what a reader of the model has to know: labels, and how pixels become values."""
    labels = json.loads((TOKENIZED / "labels.json").read_text(encoding="utf-8"))
    config.num_labels = len(labels)  # PVT's is a field beside id2label
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    heads.set_dropout(config, params.train.dropout)
    processor = preprocessor()
    config.image_mean, config.image_std = processor["image_mean"], processor["image_std"]
    config.mirror = params.train.mirror


def preprocessor() -> dict[str, Any]:
    """How images were made to pixels: size, mean and deviation."""
    found: dict[str, Any] = read_json(TOKENIZED / "processor" / "preprocessor_config.json")
    return found


def try_on(model: Any, examples: Images) -> None:
    """Raise InputError where a model does not take images of their size."""
    import torch

    rows, size = np.arange(min(TRIED, len(examples))), examples.pixels.shape[1]
    try:
        with torch.inference_mode():
            shape = tuple(model.eval()(**collate(examples, rows, model).inputs).logits.shape)
    except Exception as error:  # noqa: BLE001 - whatever an architecture's own code raises
        kind = model.config.model_type
        raise InputError(f"tokenize.size: {size}: {kind} does not take such images: {one_line(error)}") from None
    if shape != (len(rows), model.config.num_labels):
        raise InputError(f"{model.config.model_type} gives {shape} for {len(rows)} images")


def one_line(error: Exception) -> str:
    """What a library says, in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__
