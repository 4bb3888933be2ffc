"""The environment a stage runs in: pinned, and described well enough to say which promise holds."""

import hashlib
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bonafide.project import git

CPUINFO = Path("/proc/cpuinfo")
VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx")  # on which kernels of torch and MKL depend
CHOOSERS = (  # variables by which a person chooses kernels; OPENBLAS_CORETYPE alone gives the baselines other last bits
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "NPY_DISABLE_CPU_FEATURES"),
)
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "pyarrow", "pandas")

PINNED = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",  # bf16's kernels are made for each number of rows, 0.8 MB each: with its
    "LRU_CACHE_CAPACITY": "64",  # 1,024, and torch's own as many, the default job grows to 3.1 GB
}
"""Set before any of these libraries is imported; none may use a network or a pickle behind our back."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""How long a stage waits for a tracking server: MLflow's own 7 retries take 244 s a call. The user's setting wins."""


def prepare() -> None:
    """Set the environment; must run before the stage imports its libraries."""
    os.environ.update(PINNED)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


def pin(seed: int, threads: int) -> None:
    """Seed torch and fix its threads and algorithms, where a stage has imported it.

    The global seed is a belt: whatever draws chance has its own generator, seeded from params.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms, without its import of inductor
        torch.utils.deterministic.fill_uninitialized_memory = False  # fills every empty(): pure overhead
        torch.backends.cudnn.benchmark = False


def _cpu_model() -> str:
    """Name, family, model and widest vectors: virtual machines of several generations all say "AMD EPYC"."""
    lines = CPUINFO.read_text().partition("\n\n")[0].splitlines() if CPUINFO.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in facts:
        return platform.processor()
    vectors = next((name for name in VECTORS if name in facts.get("flags", "").split()), "")
    detail = f"family {facts.get('cpu family', '')} model {facts.get('model', '')} {vectors}"
    return f"{facts['model name']} ({detail.strip()})"


def _accelerator() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "none"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def fingerprint(threads: int) -> dict[str, str]:
    """What the same bytes depend on besides the inputs: machine and libraries, with `hash` over all of it."""
    facts = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "accelerator": _accelerator(),
        "threads": str(threads),
        **{name: " ".join(os.environ[name].replace(",", " ").split()) for name in CHOOSERS if name in os.environ},
        **{name: found for name in LIBRARIES if (found := _version(name))},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return {**facts, "hash": digest[:16]}


def git_state() -> dict[str, str]:
    """The commit, its subject, and whether the tree differs from it; dvc.lock and reports change while we run."""
    changed = git.ask("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
    return {
        "commit": git.ask("rev-parse", "HEAD"),
        "subject": git.ask("log", "-1", "--format=%s"),
        "dirty": str(bool(changed)).lower(),
    }


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"train": {"epochs": 2}}` as `{"train.epochs": "2"}`; lists and mappings with odd keys become JSON."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and prefix == "":
            flat |= flatten(value, f"{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
