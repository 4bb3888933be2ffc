"""What a model card says of a masked language model."""

from typing import Any

from markupsafe import Markup

PIPELINE = "fill-mask"
LIBRARY = "transformers"
HUB_METRICS = {"token_accuracy": "accuracy"}

USAGE = Markup("""```python
from transformers import pipeline

fill = pipeline("fill-mask", model="models/model")
fill(f"... {{fill.tokenizer.mask_token}} ...")
```

Or as the base of another job: `model.source: models/model` in its `params.yaml`. It was trained on texts of up to {}
tokens.""")


def describe(params: Any) -> Markup:
    """How much it hides, and whether it tells pairs."""
    pairs = Markup(" and whether one part of a text follows another") if params.tokenize.next_sentence else ""
    return Markup("A masked language model: it tells {:.0%} of a text's tokens from the others{}").format(
        params.tokenize.mlm_probability, pairs
    )


def usage(params: Any) -> Markup:
    """With transformers alone."""
    return USAGE.format(f"{params.tokenize.max_length:,}")
