"""Classification: one text, one label of a declared set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bonafide.evaluation.metrics import from_sums, row_sums
from bonafide.pretrained import classifier, tokenizer
from bonafide.project.arrays import Floats, Ints, Metrics
from bonafide.project.errors import InputError

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


load_processor, settle_processor = tokenizer.load, tokenizer.settle
encode, probe = tokenizer.encode, tokenizer.probe


def loss(logits: Any, labels: Any) -> Any:
    """Cross-entropy of each text, nats, (n,)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels, reduction="none")


def build_model(source: Path, labels: Sequence[str], dropout: float) -> Any:
    """The base model with a fresh classification head, fp32.

    Attention probabilities are not dropped: the fast scaled-dot-product kernels do not support it.
    """
    config = classifier.read_config(source)
    _set_dropout(config, dropout)
    if getattr(config, "attention_type", "") == "block_sparse":  # it gives it up for good at the first short batch
        config.attention_type = "original_full"
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if config.problem_type not in (None, "single_label_classification"):
        config.problem_type = "single_label_classification"
    model, info = classifier.build(config, **classifier.fresh(config, source))
    lacking = classifier.missing(model, info)
    if lacking:
        raise InputError(
            f"base model: not the weights of a {config.model_type}: {len(lacking)} lack, {lacking[0]} first"
        )
    return model


def _set_dropout(config: Any, dropout: float) -> None:
    """Set every dropout of a config and of those within it."""
    parts = [config, *(getattr(config, name) for name in config.sub_configs)]
    for part in filter(None, parts):
        for name, value in part.to_dict().items():
            share = 0.0 if "attention" in name or "attn" in name else dropout
            if ("dropout" in name or name.endswith("pdrop")) and not isinstance(value, bool) and value != share:
                setattr(part, name, share)


def predict(model: Any, batch: Any) -> Floats:
    """Class probabilities, (n, classes) float64; softmax in float64, so that rows sum to one."""
    logits = model(**batch.inputs).logits
    probabilities: Floats = logits.double().softmax(dim=-1).cpu().numpy()
    return probabilities


def score(labels: Ints, predictions: Floats) -> Metrics:
    """Accuracy, macro precision, recall and F1, MCC, log-loss and Brier score of class probabilities (n, classes)."""
    sums = row_sums(labels, predictions).sum(axis=0)
    return {name: float(value) for name, value in from_sums(sums, predictions.shape[1]).items()}
