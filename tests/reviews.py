"""A review as `bonafide review` writes it, with a word of somebody else in every place that takes one."""

import copy
from typing import Any

COMMIT = "a" * 40


def difference(base: float, head: float, half: float = 0.012) -> dict[str, float]:
    step = head - base
    return {"base": base, "head": head, "difference": step, "low": step - half, "high": step + half}


def comparison(words: list[str]) -> dict[str, Any]:
    sentence = (
        "Macro F1 on test fell from 0.880 to 0.861, by 0.019 (95% interval -0.031 to -0.007, p = 0.001): regressed."
    )
    shown = [
        {"column": word, "value": words[-1 - place], "rows": 120 + place, **difference(0.88, 0.80, 0.05)}
        for place, word in enumerate(words)
    ]
    return {
        "outcome": "regressed",
        "sentence": f"{sentence} {words[0]}",
        "split": "test",
        "primary": "f1_macro",
        "alpha": 0.05,
        "margin": 0.01,
        "detectable": 0.0141,
        "rows": {
            "common": 1439,
            "base_only": 3,
            "head_only": 5,
            "targets_changed": 2,
            "inputs_changed": 1,
            "groups": 1200,
        },
        "metrics": [
            {"name": name, "words": words, "outcome": outcome, **difference(base, base + step)}
            for name, words, base, step, outcome in [
                ("f1_macro", "macro F1", 0.880, -0.019, "regressed"),
                ("accuracy", "accuracy", 0.881, -0.018, "regressed"),
                ("log_loss", "log-loss", 0.300, 0.004, "equivalent"),
                ("mcc", "MCC", 0.760, -0.010, "not enough evidence"),
            ]
        ],
        "slices": {"tested": 31, "regressed": len(words), "shown": shown, "lacking": words[0]},
    }


def review(words: list[str] | None = None, **other: Any) -> dict[str, Any]:
    words = words or ["domain", "movies"]
    params = [("train.learning_rate", "5e-05", "3e-05"), ("train.epochs", "2", None)]
    found = {
        "version": 1,
        "pull_request": 7,
        "mode": "train",
        "recipe": words[0],
        "trial": True,
        "base": {"name": words[0], "commit": "b" * 40},
        "head": {"name": words[-1], "commit": COMMIT},
        "comparison": comparison(words),
        "changes": {
            "total": len(params) + len(words),
            "shown": [
                *({"file": "params.yaml", "key": key, "base": base, "head": head} for key, base, head in params),
                *({"file": word, "key": word, "base": word, "head": word} for word in words),
            ],
        },
        "data": {
            "changed": {"added": 12, "removed": 3, "targets_changed": 2, "inputs_changed": 0, "moved": 0},
            "rows": {"base": 19459, "head": 19468},
            "quarantined": {"base": 113, "head": 115},
        },
        "stages": [
            {"name": "fetch", "why": []},
            *({"name": word, "why": ["code", "params"]} for word in words),
        ],
        "stale": ["train", *words],
        "gate": {"passed": False, "reasons": words},
    }
    return copy.deepcopy(found) | other


def rendered(**other: Any) -> dict[str, Any]:
    """The same in mode render, with the words that the default job has."""
    found = review(mode="render", recipe="params.yaml", trial=False, stale=[])
    found["base"]["name"] = "main"
    found["comparison"]["sentence"] = found["comparison"]["sentence"].removesuffix(" domain")
    found["comparison"]["slices"]["shown"] = [
        {"column": "domain", "value": "movies", "rows": 720, **difference(0.885, 0.850, 0.02)},
        {"column": "rating_sd", "value": "(1.2, 1.6]", "rows": 311, **difference(0.82, 0.77, 0.03)},
    ]
    found["changes"] = {"total": 2, "shown": found["changes"]["shown"][:2]}
    found["stages"] = [
        {"name": name, "why": why}
        for name, why in [
            ("fetch", []),
            ("validate", []),
            ("tokenize", []),
            ("train", ["code", "params"]),
            ("evaluate", ["data"]),
            ("report", ["data"]),
        ]
    ]
    found["gate"] = {"passed": False, "reasons": [found["comparison"]["sentence"]]}
    return found | other
