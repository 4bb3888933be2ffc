"""A trained model as MLflow keeps and loads it: its files, a file of code that names ours, and no pickle.

MLmodel                what MLflow is to run, and with which signature
pyfunc.py              bonafide/registry/serving/loader.py
requirements.txt       the libraries that it was packaged with
artifacts/model/       models/model/, byte for byte
artifacts/probe.json   made-up rows and the model's outputs for them
"""

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bonafide.project import files
from bonafide.project.environment import LIBRARIES
from bonafide.project.errors import InputError
from bonafide.project.paths import MODEL
from bonafide.project.yaml_files import parse_yaml
from bonafide.provenance.revisions import Revision, in_repository
from bonafide.registry.serving import predictor
from bonafide.registry.serving.predictor import Config, Predictor

MODEL_PART, PROBE_PART, CODE_PART = Path("artifacts/model"), Path("artifacts/probe.json"), Path("pyfunc.py")
CODE = Path(__file__).parent / "serving" / "loader.py"
FLAVOR: dict[str, Any] = {
    "loader_module": "mlflow.pyfunc.loaders.code_model",
    "model_code_path": str(CODE_PART),
    "artifacts": {"model": {"path": str(MODEL_PART)}, "probe": {"path": str(PROBE_PART)}},
}
"""What MLflow is told to run; a model that says anything else is not of ours."""
Seal = dict[str, str]
"""Path to SHA-256 of every file."""


def settings(revision: Revision) -> Config:
    """How a revision's rows were treated, from its params.yaml; raise InputError where that does not say."""
    try:
        return predictor.config(revision.params())
    except (ImportError, KeyError, TypeError) as error:
        raise InputError(f"{revision.name}: params.yaml: no {error}") from None


def locked_model(revision: Revision) -> str:
    """The MD5 of models/model/ in a revision's dvc.lock: what git vouches for."""
    outs = revision.lock().get("train", {}).get("outs", [])
    found = [out["md5"] for out in outs if out["path"] == MODEL.as_posix()]
    if not found:
        raise InputError(f"{revision.name}: its dvc.lock has no {MODEL}")
    return str(found[0])


def fetch_model(revision: Revision, folder: Path) -> Path:
    """Put a revision's model into a package's folder; raise InputError unless it is what its dvc.lock names."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    to = folder / MODEL_PART
    to.parent.mkdir(parents=True)
    try:
        DVCFileSystem(rev=revision.commit, subrepos=True).get(in_repository(MODEL), str(to), recursive=True)
    except (DvcException, DataIndexDirError, OSError):
        raise InputError(f"{revision.name}: {MODEL} is not in DVC's cache; try: dvc fetch") from None
    check_model_bytes(revision, folder)
    return to


def check_model_bytes(revision: Revision, folder: Path) -> None:
    """Raise InputError unless a package's model is the one in a revision's dvc.lock."""
    if files.md5(folder / MODEL_PART) != locked_model(revision):
        raise InputError(f"{MODEL}: not the bytes that dvc.lock has at {revision.name}: refused")


def complete(folder: Path, model: Predictor) -> Seal:
    """Add everything else to a folder that has the model; return its seal."""
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import add_to_model

    rows = model.role.examples(model.model)
    files.write_json(folder / PROBE_PART, {"rows": rows, "outputs": predictor.as_json(model.predict(rows))})
    shutil.copyfile(CODE, folder / CODE_PART)
    pins = [f"{name}=={version(name)}\n" for name in ("mlflow", *LIBRARIES)]
    files.write_text(folder / "requirements.txt", "".join(pins))
    recipe = Model(signature=ModelSignature(*model.role.signature(model.model)))
    add_to_model(recipe, **FLAVOR, model_config=model.config)  # type: ignore[no-untyped-call]  # MLflow's
    recipe.save(str(folder / "MLmodel"))
    return seal(folder)


def identity(model: str, config: Config) -> str:
    """One hash for equal weights that are used in the same way."""
    return hashlib.sha256(json.dumps([model, config], sort_keys=True).encode()).hexdigest()


def seal(folder: Path) -> Seal:
    """The SHA-256 of every file in a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}


def check(folder: Path, sealed: Seal) -> None:
    """Raise InputError where a file is not as it was sealed, or MLflow would run anything but our own code.

    To be called before MLflow sees the folder: it imports what MLmodel names.
    """
    found = seal(folder)
    for name in sorted(found.keys() | sealed.keys()):
        if found.get(name) != sealed.get(name):
            what = "was added" if name not in sealed else "is missing" if name not in found else "is another file now"
            raise InputError(f"{name!r} {what} since the promotion: refused")
    runs = parse_yaml((folder / "MLmodel").read_text(encoding="utf-8"), "MLmodel")["flavors"]["python_function"]
    if {key: value for key, value in runs.items() if key not in ("config", "python_version")} != FLAVOR:
        raise InputError("MLmodel: asks for other code than bonafide's: refused")
    if (folder / CODE_PART).read_bytes() != CODE.read_bytes():
        raise InputError(f"{CODE_PART}: is not bonafide's own: refused")
