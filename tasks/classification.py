"""Classification: one text, one label of a declared set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bonafide.errors import InputError
from bonafide.metrics import from_sums, row_sums
from tasks import Floats, Ints, Metrics

COLUMNS = ("text", "label")
PRIMARY_METRIC: tuple[str, Literal["max", "min"]] = ("f1_macro", "max")


def expectations(params: Any, labels: Sequence[str]) -> list[dict[str, Any]]:
    """What a table must hold; `params` is the `validate` section.

    Row-level expectations tolerate the share of rows that quarantine may take (`mostly`); validate runs them again
    on the rows it passes on, without tolerance.
    """
    low, high = params.min_characters, params.max_characters
    mostly = {"mostly": 1 - params.max_quarantine_fraction}
    return [
        _expect("the columns are there", "table_columns_to_match_set", column_set=[*COLUMNS], exact_match=False),
        _expect("every text is a string", "column_values_to_be_of_type", column="text", type_="str"),
        _expect("every row has a text", "column_values_to_not_be_null", column="text", **mostly),
        _expect("every row has a label", "column_values_to_not_be_null", column="label", **mostly),
        _expect(
            f"every text has {low:,} to {high:,} characters",
            "column_value_lengths_to_be_between",
            column="text",
            min_value=low,
            max_value=high,
            **mostly,
        ),
        _expect(
            "every label is a declared one", "column_values_to_be_in_set", column="label", value_set=[*labels], **mostly
        ),
    ]


def _expect(description: str, name: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{name}", "kwargs": kwargs, "description": description}


def load_processor(source: Path) -> Any:
    """The fast tokenizer in `source`."""
    from transformers import AutoTokenizer  # 3 s: validate asks for expectations only

    return AutoTokenizer.from_pretrained(source, use_fast=True, local_files_only=True)


def encode(texts: Sequence[str], processor: Any, max_length: int) -> tuple[list[list[int]], Ints]:
    """Token ids of each text, cut to `max_length` with the special tokens kept, and its uncut length, (n,) int64."""
    rust = processor.backend_tokenizer
    rust.no_padding()
    rust.enable_truncation(max_length)
    special = rust.num_special_tokens_to_add(is_pair=False)
    encoded = rust.encode_batch(list(texts))
    rust.no_truncation()
    lengths = [len(e.ids) + sum(len(rest.ids) - special for rest in e.overflowing) for e in encoded]
    return [e.ids for e in encoded], np.array(lengths, dtype=np.int64)


def loss(logits: Any, labels: Any) -> Any:
    """Cross-entropy of each text, nats, (n,)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels, reduction="none")


def build_model(source: Path, labels: Sequence[str], dropout: float) -> Any:
    """The base model with a fresh classification head, fp32.

    Attention probabilities are not dropped: the fast scaled-dot-product kernels do not support it.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(source, local_files_only=True)
    for name in [name for name in config.to_dict() if "dropout" in name]:
        setattr(config, name, 0.0 if "attention" in name or "attn" in name else dropout)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    options = {"local_files_only": True, "use_safetensors": True, "dtype": "float32", "output_loading_info": True}
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(source, config=config, **options)
    except ValueError as error:
        reason = f"{config.model_type} has no classifier in transformers ({str(error).splitlines()[0][:80]})"
        raise InputError(f"{source}: {reason}") from None
    encoder = f"{model.base_model_prefix}."
    missing = sorted(key for key in info["missing_keys"] if key.startswith(encoder) and "pooler" not in key)
    if missing:
        raise InputError(f"{source}: not the weights of a {config.model_type}: {len(missing)} lack, {missing[0]} first")
    return model


def predict(model: Any, batch: Any) -> Floats:
    """Class probabilities, (n, classes) float64; softmax in float64, so that rows sum to one."""
    logits = model(**batch.inputs).logits
    probabilities: Floats = logits.double().softmax(dim=-1).cpu().numpy()
    return probabilities


def score(labels: Ints, predictions: Floats) -> Metrics:
    """Accuracy, macro precision, recall and F1, MCC, log-loss and Brier score of class probabilities (n, classes)."""
    sums = row_sums(labels, predictions).sum(axis=0)
    return {name: float(value) for name, value in from_sums(sums, predictions.shape[1]).items()}
