"""The base model of a causal language model: any that transformers has with such a head; or none."""

from pathlib import Path

from bonafide.pretrained.dry_run_cache import once
from bonafide.project.errors import InputError

HEAD = "CAUSAL_LM"


def check(folder: Path | None) -> None:
    """Raise InputError unless the model in `folder` can be loaded and predicts the next token."""
    if folder is not None:
        once(f"is a {HEAD}", folder, lambda: _try(folder))


def _try(folder: Path) -> int:
    from bonafide.pretrained.dry_run import check_tokenizer, check_weights, hollow  # imports torch

    processor = check_tokenizer(folder)
    model, info = hollow(folder, HEAD)
    check_weights(model, info)
    rows, tokens = model.get_input_embeddings().num_embeddings, len(processor)
    if model.config.is_encoder_decoder:
        raise InputError(f"base model: {model.config.model_type} reads with an encoder: it goes on with no text")
    if tokens > rows:
        raise InputError(
            f"base model: the tokenizer has {tokens:,} tokens, the embedding {rows:,} rows: they do not belong together"
        )
    return 1
