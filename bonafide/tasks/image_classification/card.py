"""What a model card says of a classifier of images."""

from typing import Any

from markupsafe import Markup

from bonafide.reporting.markdown import code

PIPELINE = "image-classification"
LIBRARY = "transformers"
HUB_METRICS = {"accuracy": "accuracy", "f1_macro": "f1", "mcc": "matthews_correlation"}
NAMED = 50  # labels in a sentence

USAGE = Markup("""```python
{}from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("models/model")
processor = AutoImageProcessor.from_pretrained("models/model")
logits = model(**processor(Image.open("image.png"), return_tensors="pt")).logits
```

It reads {size} x {size} pixels. {others}, and transformers' processor distorts them with another filter:
`bonafide.tasks.image_classification.serve` reads files of any size as it was measured{mirrored}.""")
REGISTERED = Markup("import bonafide.vision.registered  # its architecture, which transformers has not\n")
FITS = {
    "crop": "Of others it was shown the middle square",
    "stretch": "Others were distorted to a square",
    "pad": "Others were shown whole, with black margins",
}


def describe(params: Any) -> Markup:
    """The classes."""
    labels = params.task.labels
    more = f" and {len(labels) - NAMED:,} more" if len(labels) > NAMED else ""
    return Markup("A classifier of images with the classes {}{}").format(
        Markup(", ").join(map(code, labels[:NAMED])), more
    )


def usage(params: Any) -> Markup:
    """With transformers, and with this package where the architecture is its own."""
    architecture = params.train.architecture
    is_own = architecture is not None and architecture.kind in ("mlp", "cnn")
    return USAGE.format(
        REGISTERED if is_own else "",
        size=params.tokenize.size,
        others=FITS[params.tokenize.fit],
        mirrored=", and averages over each image and its mirror image" if params.train.mirror else "",
    )
