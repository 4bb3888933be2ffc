"""A base model as transformers makes a classifier of it: config, weights, and a head that is always a fresh one."""

import copy
import inspect
import math
from pathlib import Path
from typing import Any

from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import read_shapes, weights
from bonafide.project.errors import InputError


def read_config(source: Path) -> Any:
    """A folder's config, which pads as its tokenizer does; raise InputError where it is none of a classifier's."""
    config = declared_config(source)
    _set_padding(config, source)
    return config


def declared_config(source: Path) -> Any:
    """A folder's config as it is."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - each architecture checks its own
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"base model: config.json: transformers does not read it ({reason})") from None
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise InputError(f"base model: {config.model_type} has no classifier of texts in transformers")
    return config


def _set_padding(config: Any, source: Path) -> None:
    """Pad with the tokenizer's token where config.json names none, or another than a head that looks for it gets."""
    text, looks = config.get_text_config(), "pad_token_id" in inspect.getsource(classifier(config).forward)
    named = getattr(text, "pad_token_id", None)
    declared = named if isinstance(named, int) else -1
    if not looks and 0 <= declared < getattr(text, "vocab_size", math.inf):
        return
    padding = tokenizer.load(source).pad_token_id
    if padding != declared:
        config.pad_token_id = text.pad_token_id = padding


def build(config: Any, source: Path | None, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A classifier with the weights of a folder, or of `state_dict`, in fp32, and what transformers says of them."""
    options |= {"output_loading_info": True, "dtype": "float32", "use_safetensors": True, "local_files_only": True}
    model, info = classifier(config).from_pretrained(source, config=config, **options)
    return model, info


def classifier(config: Any) -> Any:
    """The class of transformers that classifies with such a config."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]


def missing(model: Any, info: dict[str, Any]) -> list[str]:
    """Weights of the encoder that a base model lacks; a pooler it may lack, and the head it had better."""
    encoder = f"{model.base_model_prefix}."
    return sorted(key for key in info["missing_keys"] if key.startswith(encoder) and "pooler" not in key)


def fresh(config: Any, source: Path) -> dict[str, Any]:
    """What a model is loaded from: a folder; or, where that was trained to classify, its weights without the head."""
    from safetensors.torch import load_file

    files = weights(source)
    there = {name for file in files for name in read_shapes(file)}
    outputs, head = _head(config)
    if not there & outputs:
        return {"source": source}
    state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {"source": None, "state_dict": {name: tensor for name, tensor in state.items() if name not in head}}


def _head(config: Any) -> tuple[set[str], set[str]]:
    """The names of a classifier's last weights, which are as many as its labels, and of all outside of its encoder."""
    import torch

    shapes = []
    for labels in (config.num_labels, config.num_labels + 1):
        other = copy.deepcopy(config)
        other.num_labels = labels
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            model = classifier(config)(other)
        shapes.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    encoder = f"{model.base_model_prefix}."
    outputs = {name for name, shape in shapes[0].items() if shape != shapes[1][name]}
    return outputs, {name for name in shapes[0] if not name.startswith(encoder)}
