"""A stage pays for what it uses: which large libraries each imports while it runs, and no other."""

import re
import sys

import pytest

pytestmark = pytest.mark.slow

LARGE = {
    *("torch", "transformers", "tokenizers", "safetensors", "scipy", "sklearn", "pandas", "pyarrow"),
    *("great_expectations", "datasketch", "mlflow", "dvc", "typer", "fastapi"),
}
MODEL = {"torch", "transformers", "tokenizers", "safetensors", "scipy", "pyarrow"}
MAY = {
    "fetch": {"pandas", "pyarrow"},  # its dry run is remembered
    "validate": {"great_expectations", "datasketch", "pandas", "pyarrow", "scipy"},
    "tokenize": {"torch", "transformers", "tokenizers", "pandas", "pyarrow"},
    "train": MODEL,
    "evaluate": MODEL | {"sklearn", "pandas"},
    "report": set(),
}


@pytest.mark.parametrize(("stage", "allowed"), MAY.items())
def test_a_stage_imports_what_it_uses(finished, stage, allowed):
    done = finished.run(sys.executable, "-X", "importtime", "-m", f"stages.{stage}")
    assert done.returncode == 0, done.stderr
    imported = set(re.findall(r"^import time: .*\| +(\w+)$", done.stderr, re.MULTILINE))
    assert (imported & LARGE) - allowed == set()
