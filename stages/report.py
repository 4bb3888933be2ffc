"""Report: say in one page, one comment and one card what was found, and from which bytes.

in   reports/evaluate/evaluation.json   from evaluate
     reports/validate/findings.json     from validate
     reports/fetch/sources.json         from fetch
     reports/tokenize/tokens.json       from tokenize
     reports/train/history.csv          from train
     requirements.lock                  its hash only
out  reports/index.html     the page: self-contained, script-free
     reports/report.md      the pull-request comment: no words of the data
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
from bonafide.protocol import Card, load
from bonafide.reporting import figures
from bonafide.reporting.html import render
from bonafide.stage import run_stage

Facts = dict[str, Any]

PAGES = {"report.html": "index.html", "report.md": "report.md", "model_card.md": "model_card.md"}


def report(params: Params) -> Metrics:
    """Write the page, the comment and the card; return the verdict's difference and whether the reference is beaten."""
    evaluation, findings = read_json(EVALUATION), read_json(FINDINGS)
    verdict, card = evaluation["verdict"], load(params.task.name, Card)
    split = evaluation["splits"][verdict["split"]]
    context: Facts = {
        "task": params.task.name,
        "evaluation": evaluation,
        "primary": evaluation["metrics"][0],
        "sliced": by_name(evaluation["metrics"], evaluation["rate"] or evaluation["metrics"][0]["name"]),
        "reference": by_name(evaluation["systems"], verdict["against"]),
        "verdict": verdict,
        "split": split,
        "held_out": {name: facts for name, facts in evaluation["splits"].items() if facts["held_out"]},
        "findings": findings,
        "tokens": read_json(TRUNCATION),
        "provenance": provenance(params),
        "card": {"description": card.describe(params), "usage": card.usage(params), "hub": card.HUB_METRICS},
        "pipeline": card.PIPELINE,
        "library": card.LIBRARY,
        "draw": draw(evaluation, findings, params.report.worst_errors),
        "in_order": figures.in_order,
        "weakest": figures.weakest,
    }
    for template, path in PAGES.items():
        write_text(REPORTS / path, render(template, **context))
    return {
        "report/verdict_difference": verdict["difference"],
        "report/beats_reference": float(verdict["outcome"] == "improved"),
    }


def by_name(named: list[Facts], name: str) -> Facts:
    """The metric or system of a name."""
    return next(one for one in named if one["name"] == name)


def draw(evaluation: Facts, findings: Facts, worst_errors: int) -> Facts:
    """Every figure of the page, and every table's rows."""
    verdict, primary = evaluation["verdict"], evaluation["metrics"][0]
    sliced = evaluation["rate"] or primary["name"]
    split = evaluation["splits"][verdict["split"]]
    samples = [panel for panel in of_kind(split["panels"], "samples") if panel["rows"][:worst_errors]]
    galleries = [(panel, figures.pictures(panel, worst_errors)) for panel in of_kind(split["panels"], "gallery")]
    reasons = sorted(findings["quarantine"].items(), key=lambda reason: (-reason[1], reason[0]))
    return {
        "ladders": {
            name: figures.systems_ladder(facts, evaluation["systems"], primary["name"], f"{primary['words']} on {name}")
            for name, facts in evaluation["splits"].items()
        },
        "training": figures.training(figures.read_history(HISTORY), evaluation["metrics"]),
        "charts": [(panel, figures.draw(panel)) for panel in split["panels"] if panel["kind"] in figures.CHARTS],
        "tables": [(panel, figures.cells(panel)) for panel in of_kind(split["panels"], "table")],
        "samples": [(panel, figures.cells(panel, worst_errors)) for panel in samples],
        "galleries": [(panel, groups) for panel, groups in galleries if groups],
        "slice": figures.interval_cell(
            [one[sliced] for one in split["slices"]], split["systems"]["model"][sliced]["value"]
        ),
        "data": [(panel, figures.draw(panel)) for panel in findings["figures"] if figures.is_plain(panel)],
        "quarantine": figures.draw({"kind": "bars", "title": "Rows set aside by reason", "rows": reasons[:12]})
        if reasons
        else "",
    }


def of_kind(panels: list[Facts], kind: str) -> list[Facts]:
    """The panels of a kind, in their order."""
    return [panel for panel in panels if panel["kind"] == kind]


def provenance(params: Params) -> Facts:
    """Hash everything that the figures follow from, but for the code."""
    sources = read_json(SOURCES)
    base = sources["model"]
    return {
        **sources,
        "license_id": license_id(base["license"] if base else None),
        "params": hash_params(params),
        "lock": sha256(LOCK),
    }


def license_id(license_: str | None) -> str:
    """Turn what the base model states into what Hugging Face's card takes: an identifier, `other` or `unknown`."""
    stated = (license_ or "unknown").lower()
    return stated if re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,40}", stated) else "other"


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


if __name__ == "__main__":
    run_stage(report)
