"""Make a recipe small: the whole pipeline on little data, to see that everything works, not how well.

    python -m dev.smoke RECIPE params.yaml

`make smoke RECIPE=translation` calls it in its copy of the working tree.
"""

import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

SHORT = {"train.epochs": 1, "evaluate.bootstrap_samples": 100, "tracking.experiment": "smoke"}
SHAPES = {  # drawn, where CIFAR-10 is a download of 170 MB
    "data.source": "data/shapes.py",
    "data.downloads": [],
    "data.columns": {"image": "image", "label": "label"},
    "data.sample": 0.99,
    "task.labels": ["cross", "disc", "ring", "square", "stripes", "triangle"],
    "validate.validation_fraction": 0.1,
    "validate.max_label_shift": 0.2,
}
SMALL: dict[str, dict[str, Any]] = {
    "adapt_domain": {"data.sample": 0.1, "validate.max_unknown_characters": 0.05},
    "bert_mlm": {"data.sample": 0.2, "validate.max_unknown_characters": 0.05, "validate.min_rows": 3},
    "bert_mlm_zh": {"data.sample": 0.05, "validate.max_unknown_characters": 0.05},
    "cifar10": SHAPES | {"train.architecture": {"kind": "cnn", "widths": [16, 32, 32]}, "train.batch_size": 100},
    "cifar10_mlp": SHAPES,
    "gpt_shakespeare": {
        "data.sample": 0.2,
        "validate.max_unknown_characters": 0.05,
        "validate.min_rows": 3,
        "evaluate.samples.tokens": 60,
    },
    "gpt_songci": {
        "data.sample": 0.25,  # one poet has 302 poems
        "validate.max_unknown_characters": 0.05,
        "validate.max_quarantine_fraction": 0.1,
        "validate.min_rows": 20,
    },
    "translation": {"data.sample": 0.1, "validate.min_rows": 20},
}


def main(recipe: str, path: Path) -> None:
    """Change the keys of `SHORT` and of the recipe in a params file."""
    yaml = YAML()
    params = yaml.load(path)
    for key, value in (SHORT | SMALL[recipe]).items():
        *sections, name = key.split(".")
        section = params
        for one in sections:
            section = section[one]
        section[name] = value
    yaml.dump(params, path)


if __name__ == "__main__":
    if sys.argv[1] not in SMALL:
        sys.exit(f"{sys.argv[1]}: has no small form; there are: {', '.join(SMALL)}")
    main(sys.argv[1], Path(sys.argv[2]))
