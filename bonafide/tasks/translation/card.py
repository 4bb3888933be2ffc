"""What a model card says of a translator."""

from typing import Any

from markupsafe import Markup

from bonafide.reporting.markdown import code

PIPELINE = "translation"
LIBRARY = "transformers"
HUB_METRICS = {"bleu": "sacrebleu", "chrf": "chrf", "exact_match": "exact_match"}

USAGE = Markup("""```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = AutoModelForSeq2SeqLM.from_pretrained("models/model")
tokenizer = AutoTokenizer.from_pretrained("models/model")
inputs = tokenizer(["..."], return_tensors="pt", truncation=True)
print(tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True))
```

Texts are cut at {} tokens{}. generation_config.json has the search that it was judged with: {}.""")


def describe(params: Any) -> Markup:
    """From which language into which."""
    task = params.task
    return Markup("A translator from {} to {}").format(code(task.source_language), code(task.target_language))


def usage(params: Any) -> Markup:
    """With transformers alone."""
    beams, prefix = params.train.decoding.beams, params.tokenize.prefix
    before = Markup(", and begin with {}").format(code(prefix)) if prefix else ""
    return USAGE.format(f"{params.tokenize.max_length:,}", before, "greedy" if beams == 1 else f"{beams} beams")
