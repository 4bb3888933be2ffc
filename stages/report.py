"""Report: say in one page, one comment and one card what was found, and from which bytes.

in   reports/evaluate/evaluation.json   from evaluate
     reports/validate/findings.json     from validate
     reports/fetch/sources.json         from fetch
     reports/tokenize/tokens.json       from tokenize
     reports/train/history.csv          from train
     requirements.lock                  its hash only
out  reports/index.html     the page: self-contained, script-free
     reports/report.md      the pull-request comment: no texts
     reports/model_card.md  in Hugging Face's format
     reports/report.json    metrics

No time, commit or machine is written: the same inputs give the same bytes. What varies is on the MLflow run, and the
hashes of the code are in dvc.lock.
"""

import hashlib
import json
import re
from typing import Any

from bonafide.params.sections import Params
from bonafide.project.arrays import Metrics
from bonafide.project.files import read_json, sha256, write_text
from bonafide.project.paths import EVALUATION, FINDINGS, HISTORY, LOCK, REPORTS, SOURCES, TRUNCATION
from bonafide.reporting import figures
from bonafide.reporting.html import render
from bonafide.stage import run_stage

Facts = dict[str, Any]


def hash_params(params: Params) -> str:
    """SHA-256 of all that shapes a result in params.yaml, as sorted JSON: comments, order and tracking do not count."""
    shaping = {
        "task": params.task,
        "seed": params.seed,
        "threads": params.threads,
        "data": params.data,
        "model": params.model,
        "validate": params.validate,
        "tokenize": params.tokenize,
        "train": params.train,
        "evaluate": params.evaluate,
        "report": params.report,
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True, default=vars).encode()).hexdigest()


def provenance(params: Params) -> Facts:
    """Hash everything that the figures follow from, but for the code."""
    sources = read_json(SOURCES)
    return {
        **sources,
        "license_id": license_id(sources["model"]["license"]),
        "params": hash_params(params),
        "lock": sha256(LOCK),
    }


def license_id(license_: str | None) -> str:
    """Turn what the base model states into what Hugging Face's card takes: an identifier, `other` or `unknown`."""
    stated = (license_ or "unknown").lower()
    return stated if re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,40}", stated) else "other"


def draw(evaluation: Facts, findings: Facts) -> Facts:
    """Every figure of the page."""
    verdict, systems, primary = evaluation["verdict"], evaluation["systems"], evaluation["primary"]
    split = evaluation["splits"][verdict["split"]]
    ladders = {
        name: figures.systems_ladder(facts, systems, primary, f"{figures.name(primary)} on {name}")
        for name, facts in evaluation["splits"].items()
    }
    return {
        "ladders": ladders,
        "training": figures.training(figures.read_history(HISTORY), primary),
        "class_f1": figures.cell(
            list(split["per_class"].values()), "f1", split["systems"]["model"]["f1_macro"]["value"]
        ),
        "slice_accuracy": figures.cell(split["slices"], "accuracy", split["systems"]["model"]["accuracy"]["value"]),
        "data": figures.data(findings),
        **figures.errors(split, evaluation["labels"]),
    }


def worst(errors: list[Facts], limit: int) -> list[Facts]:
    """The wrong predictions that the model was surest of; ties by id."""
    return sorted(errors, key=lambda error: (-error["probability"], str(error["id"])))[:limit]


def report(params: Params) -> Metrics:
    """Write the page, the comment and the card; return the verdict's difference and whether the shell is beaten."""
    evaluation, findings = read_json(EVALUATION), read_json(FINDINGS)
    verdict = evaluation["verdict"]
    split = evaluation["splits"][verdict["split"]]
    context: Facts = {
        "task": params.task,
        "model": params.model,
        "labels": evaluation["labels"],
        "evaluation": evaluation,
        "verdict": verdict,
        "split": split,
        "held_out": {name: facts for name, facts in evaluation["splits"].items() if facts["held_out"]},
        "errors": worst(split["errors"], params.report.worst_errors),
        "findings": findings,
        "tokens": read_json(TRUNCATION),
        "provenance": provenance(params),
        "draw": draw(evaluation, findings),
        "max_length": getattr(params.tokenize, "max_length", 0),
        "name": figures.name,
        "in_order": figures.in_order,
        "weakest": figures.weakest,
    }
    for template, path in (
        ("report.html", "index.html"),
        ("report.md", "report.md"),
        ("model_card.md", "model_card.md"),
    ):
        write_text(REPORTS / path, render(template, **context))
    return {
        "report/verdict_difference": verdict["difference"],
        "report/beats_shell": float(verdict["outcome"] == "beats the shell"),
    }


if __name__ == "__main__":
    run_stage(report)
