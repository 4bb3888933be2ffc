"""Which weights are trained: all, the head, or low-rank changes to all (LoRA); the rest is frozen."""

import warnings
from typing import Any

from torch import nn

from bonafide.engine.activation_cache import embeddings, get_encoder
from bonafide.forward.packed_attention import layers
from bonafide.pretrained import heads
from bonafide.project.errors import InputError


def choose_trainable(model: Any, trainable: str, lora_rank: int, frozen_layers: int) -> Any:
    """Freeze what is not trained, without dropout in it; `lora` wraps the model, `merge_lora` unwraps it."""
    if trainable == "lora":
        model = _add_lora(model, lora_rank)
    encoder = get_encoder(model)
    if trainable == "head":
        _freeze(encoder)
        for name in _head(model):
            model.get_submodule(name).requires_grad_()
    elif frozen_layers:
        for module in (*_embedding_tables(encoder), *_lowest_layers(encoder, frozen_layers)):
            _freeze(module)
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError(f"train.trainable: {trainable}: {model.config.model_type} has no head of its own to train")
    return model


def _lowest_layers(encoder: Any, count: int) -> list[nn.Module]:
    """The lowest layers."""
    try:
        found = layers(encoder)
    except (IndexError, AttributeError):
        raise InputError(f"train.frozen_layers: {encoder.config.model_type} has no list of layers of its own") from None
    if count > len(found):
        raise InputError(f"train.frozen_layers: {count}, but the encoder has {len(found)}")
    return [*found[:count]]


def _embedding_tables(encoder: Any) -> list[nn.Module]:
    """The embeddings, by whatever name."""
    try:
        return [*embeddings(encoder), encoder.get_input_embeddings()]
    except (NotImplementedError, AttributeError):
        return embeddings(encoder)


def merge_lora(model: Any) -> Any:
    """An ordinary model of transformers: low-rank changes added to the weights they belong to."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _add_lora(model: Any, rank: int) -> Any:
    try:
        from peft import LoraConfig, TaskType, get_peft_model  # an extra: [lora]
    except ImportError:
        raise InputError("train.trainable: lora needs peft: pip install 'bonafide[lora]'") from None
    from transformers.pytorch_utils import Conv1D

    prefix = f"{model.base_model_prefix}." if heads.has_encoder(model) else ""
    kind, head = model.config.model_type, _head(model)
    named = ((f"{prefix}{name}", part) for name, part in model.base_model.named_modules(remove_duplicate=False))
    linear = ((name, part) for name, part in named if isinstance(part, nn.Linear | Conv1D) and name not in head)
    found = {name: part for name, part in linear if "router" not in name}  # a router gives more than a product
    if not found:
        raise InputError(f"train.trainable: lora: {kind} has no linear layers that peft knows")
    if len({id(part.weight) for part in found.values()}) < len(found):
        raise InputError(f"train.trainable: lora: {kind} has the same weights in several layers")
    reads = TaskType.SEQ_CLS if model.main_input_name == "input_ids" else None  # peft has no type for images
    fresh = {} if model.get_output_embeddings() else {"task_type": reads, "modules_to_save": head}
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=[*found], **fresh)  # a head of words is not fresh
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # it finds out which side of GPT-2's weights is which
        return get_peft_model(model, config)


def _head(model: Any) -> list[str]:
    """Names of the modules beside the encoder that hold weights; where there are none, those as wide as the labels."""
    if heads.has_encoder(model):
        children = [(name, part) for name, part in model.named_children() if name != model.base_model_prefix]
        beside = [name for name, part in children if any(True for _ in part.parameters())]
        if beside:
            return beside
    return sorted({name.rpartition(".")[0] for name in heads.outputs(model.config, type(model))[0]})


def _freeze(module: nn.Module) -> None:
    module.requires_grad_(requires_grad=False)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):  # of calls of nn.functional.dropout
                setattr(part, name, 0.0)
