"""What a model card says of a classifier of texts."""

from typing import Any

from markupsafe import Markup

from bonafide.reporting.markdown import code

PIPELINE = "text-classification"
LIBRARY = "transformers"
HUB_METRICS = {"f1_macro": "f1", "accuracy": "accuracy", "mcc": "matthews_correlation"}
NAMED = 50  # labels in a sentence

USAGE = Markup("""```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("models/model")
tokenizer = AutoTokenizer.from_pretrained("models/model")
```

Texts are cut at {} tokens.""")


def describe(params: Any) -> Markup:
    """The classes."""
    labels = params.task.labels
    more = f" and {len(labels) - NAMED:,} more" if len(labels) > NAMED else ""
    return Markup("A text classifier with the classes {}{}").format(Markup(", ").join(map(code, labels[:NAMED])), more)


def usage(params: Any) -> Markup:
    """With transformers alone."""
    return USAGE.format(f"{params.tokenize.max_length:,}")
