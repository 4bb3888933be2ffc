"""A process that trains pays for torch and transformers, and for nothing that other stages need."""

import json
import subprocess
import sys

from tests.project import ROOT

ROOMS = ("engine", "forward", "training/checkpoints")
MODULES = [
    f"bonafide.{room.replace('/', '.')}.{path.stem}"
    for room in ROOMS
    for path in sorted((ROOT / "bonafide" / room).glob("[!_]*.py"))
]
FOREIGN = {"pydantic", "mlflow", "dvc", "pandas", "pyarrow", "great_expectations", "ruamel", "sklearn"}
PROGRAM = """
import json, sys
import torch, numpy, safetensors, transformers
from transformers import AutoModelForSequenceClassification
stock = {name.split(".")[0] for name in sys.modules}
import importlib
found = {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    found[module] = sorted({name.split(".")[0] for name in sys.modules} - stock)
print(json.dumps(found))
"""


def test_the_engine_brings_nothing_foreign():
    command = [sys.executable, "-c", PROGRAM, *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert list(found) == MODULES
    assert {module: sorted(FOREIGN & set(names)) for module, names in found.items()} == {name: [] for name in MODULES}
