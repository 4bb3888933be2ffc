"""What a model card says of a causal language model."""

from typing import Any

from markupsafe import Markup

PIPELINE = "text-generation"
LIBRARY = "transformers"
HUB_METRICS: dict[str, str] = {}

USAGE = Markup("""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("models/model")
tokenizer = AutoTokenizer.from_pretrained("models/model")
print(tokenizer.decode(model.generate(do_sample=True, max_new_tokens=200)[0], skip_special_tokens=True))
```

It was trained and judged on windows of {} tokens.""")


def describe(params: Any) -> Markup:
    """What it predicts from what."""
    units = {"characters": "character", "bpe": "token", "base": "token"}[params.tokenize.vocabulary]
    return Markup("A language model that predicts each {} of a text from those before it").format(units)


def usage(params: Any) -> Markup:
    """With transformers alone."""
    return USAGE.format(f"{params.tokenize.context:,}")
