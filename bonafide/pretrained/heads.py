"""A base model with a fresh head, as transformers makes it: config, weights, and which of them lack.

`head` is the name of transformers' mapping from configs to classes, as SEQUENCE_CLASSIFICATION in
`MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING`.
"""

import copy
import inspect
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import read_shapes, weights
from bonafide.project.errors import InputError

IMAGES = "IMAGE_CLASSIFICATION"  # the head of models that read pixels, and so need no tokenizer


def read_config(source: Path, head: str) -> Any:
    """A folder's config, which pads as its tokenizer does; raise InputError where it has no class with such a head."""
    config = declared_config(source, head)
    if head != IMAGES:
        _set_padding(config, source, head)
    return config


def declared_config(source: Path, head: str) -> Any:
    """A folder's config as it is."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - each architecture checks its own
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"base model: config.json: transformers does not read it ({reason})") from None
    if type(config) not in _classes(head):
        raise InputError(f"base model: {config.model_type} has no {words(head)} in transformers")
    return config


def words(head: str) -> str:
    """A head as people call it."""
    return head.lower().replace("_", " ")


def _classes(head: str) -> Any:
    import transformers

    return getattr(transformers, f"MODEL_FOR_{head}_MAPPING")


def _set_padding(config: Any, source: Path, head: str) -> None:
    """Pad with the tokenizer's token where config.json names none, or another than a head that looks for it gets."""
    text, looks = config.get_text_config(), "pad_token_id" in inspect.getsource(with_head(config, head).forward)
    named = getattr(text, "pad_token_id", None)
    declared = named if isinstance(named, int) else -1
    if not looks and 0 <= declared < getattr(text, "vocab_size", math.inf):
        return
    padding = tokenizer.load(source).pad_token_id
    if padding != declared:
        config.pad_token_id = text.pad_token_id = padding


def build(config: Any, head: str, source: Path | None, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A model with the weights of a folder, or of `state_dict`, in fp32, and what transformers says of them."""
    options |= {"output_loading_info": True, "dtype": "float32", "use_safetensors": True, "local_files_only": True}
    model, info = with_head(config, head).from_pretrained(source, config=config, **options)
    return model, info


def with_head(config: Any, head: str) -> Any:
    """The class of transformers that has such a config and head; of several the one in config.json, or the first.

    Not one with two heads, as distilled DeiTs have: transformers has those to predict alone.
    """
    found = _classes(head)[type(config)]
    if not isinstance(found, tuple):
        return found
    named = [kind for kind in found if kind.__name__ in (config.architectures or ())]
    return next((kind for kind in named if not kind.__name__.endswith("WithTeacher")), found[0])


def of_images(config: Any) -> Any:
    """The part of a config that is about images: all of it, but for models of texts and images."""
    return getattr(config, "vision_config", config)


def missing(model: Any, info: dict[str, Any]) -> list[str]:
    """Weights of the encoder that a base model lacks; a pooler it may lack, and the head it had better."""
    return [name for name in of_encoder(model, info["missing_keys"]) if "pooler" not in name]


def of_encoder(model: Any, names: Iterable[str]) -> list[str]:
    """Those of the names of weights that are no head's, sorted.

    Where the model has no such part by its name, as T5 and CLIP have none, all are the encoder's but the last ones.
    """
    encoder = f"{model.base_model_prefix}." if has_encoder(model) else ""
    found = {name for name in names if name.startswith(encoder)}
    return sorted(found - outputs(model.config, type(model))[0]) if found else []


def has_encoder(model: Any) -> bool:
    """Whether a model has its encoder in one part, whose name says so."""
    return bool(model.base_model_prefix) and hasattr(model, model.base_model_prefix)


def check_whole(model: Any, info: dict[str, Any]) -> None:
    """Raise InputError where weights lack, by what transformers says of them."""
    lacking = missing(model, info)
    if lacking:
        kind = model.config.model_type
        raise InputError(f"base model: not the weights of a {kind}: {len(lacking)} lack, {lacking[0]} first")


def pretrained(source: Path, head: str, dropout: float) -> tuple[Any, list[str]]:
    """A base model with its own head, fp32, and the names of the head's weights that lack and begin at random."""
    config = read_config(source, head)
    set_dropout(config, dropout)
    model, info = build(config, head, source)
    check_whole(model, info)
    return model, sorted(info["missing_keys"])


def set_dropout(config: Any, dropout: float) -> None:
    """Set every dropout of a config and of those within it.

    Attention probabilities are not dropped: the fast scaled-dot-product kernels do not support it.
    """
    parts = [config, *(getattr(config, name) for name in config.sub_configs)]
    for part in filter(None, parts):
        for name, value in part.to_dict().items():
            share = 0.0 if "attention" in name or "attn" in name else dropout
            if ("dropout" in name or name.endswith("pdrop")) and not isinstance(value, bool) and value != share:
                setattr(part, name, share)


def fresh(config: Any, head: str, source: Path) -> dict[str, Any]:
    """What a model is loaded from: a folder; or, where that has a trained head, its weights without that."""
    from safetensors.torch import load_file

    files = weights(source)
    there = {name for file in files for name in read_shapes(file)}
    last, lost = outputs(config, with_head(config, head))
    if not there & last:
        return {"source": source}
    state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {"source": None, "state_dict": {name: tensor for name, tensor in state.items() if name not in lost}}


def outputs(config: Any, kind: Any) -> tuple[set[str], set[str]]:
    """The names of a head's last weights, which are as many as its labels, and of these and all outside of its encoder.

    The same ones twice, where the class `kind` has no encoder in one part.
    """
    import torch

    shapes = []
    for labels in (config.num_labels, config.num_labels + 1):
        other = copy.deepcopy(config)
        other.num_labels = labels
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            model = kind(other)
        shapes.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    last = {name for name, shape in shapes[0].items() if shape != shapes[1][name]}
    if not has_encoder(model):
        return last, last
    encoder = f"{model.base_model_prefix}."
    return last, last | {name for name in shapes[0] if not name.startswith(encoder)}
