"""No floor but the tasks' knows what a label, a class or a probability is: a search for their words."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = re.compile(
    r"\b(f1_\w+|\w+_f1|accuracy|confusion|calibration|probabilit(y|ies)|negation|shell|tfidf|per_class)\b"
    r"|\b(bleu|chrf|nats\w*|bits_per_\w+|perplexity|translations?|causal_lm|masked_lm|kneser\w*)\b"
    r"|SequenceClassification|SEQUENCE_CLASSIFICATION|Seq2SeqLM|CausalLM|MaskedLM",
    re.IGNORECASE,
)
LABELS = re.compile(r"\b(labels?|num_labels|classes)\b")
SHARED = (
    "evaluation/class_probabilities.py",
    "evaluation/classification_metrics.py",
    "evaluation/classification_panels.py",
    "evaluation/softmax_regression.py",
    "evaluation/calibration.py",
    "evaluation/ngrams.py",
)  # formulas that several tasks share
ROOMS = ("comparison", "evaluation", "registry", "reporting", "review", "sweeps", "cli")


def words(path: Path) -> list[str]:
    """The names and strings of a module, but for what is only said: docstrings and comments."""
    tree = ast.parse(path.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            found.append(node.value)
        found += [getattr(node, name) for name in ("id", "attr", "arg") if isinstance(getattr(node, name, None), str)]
    return found


def modules(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if not path.as_posix().endswith(SHARED)]


@pytest.mark.parametrize("path", [p for room in ROOMS for p in modules(ROOT / "bonafide" / room)], ids=str)
def test_no_room_but_tasks_knows_a_metric_or_an_architecture(path):
    assert [word for word in words(path) if WORDS.search(word)] == []


@pytest.mark.parametrize("path", modules(ROOT / "stages"), ids=str)
def test_no_stage_knows_a_label(path):
    assert [word for word in words(path) if WORDS.search(word) or LABELS.search(word)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "bonafide").rglob("templates/*.[hm]*")), ids=str)
def test_no_template_knows_a_label(path):
    content = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    assert [m[0] for m in [*WORDS.finditer(content), *LABELS.finditer(content)]] == []


def test_a_planted_word_is_found(tmp_path):
    module = tmp_path / "planted.py"
    module.write_text('"""The f1 of labels."""\nbest = facts["f1_macro"]\n')
    assert [word for word in words(module) if WORDS.search(word)] == ["f1_macro"]
