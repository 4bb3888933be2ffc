"""Where things lie, relative to the repository's root, which is every stage's working folder."""

from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("requirements.lock")

RAW = Path("data/raw")
VALIDATED = Path("data/validated")
TOKENIZED = Path("data/tokenized")
BASE_MODEL = Path("models/base")
MODEL = Path("models/model")
REPORTS = Path("reports")

RAW_TABLE = RAW / "table.parquet"
QUARANTINE = VALIDATED / "quarantine.parquet"
PROCESSOR = "processor.json"  # what turns rows into arrays, in TOKENIZED
SOURCES = REPORTS / "fetch" / "sources.json"
FINDINGS = REPORTS / "validate" / "findings.json"
TRUNCATION = REPORTS / "tokenize" / "tokens.json"
HISTORY = REPORTS / "train" / "history.csv"
PREDICTIONS = REPORTS / "evaluate" / "predictions.parquet"
ROWS = REPORTS / "evaluate" / "rows.parquet"
EVALUATION = REPORTS / "evaluate" / "evaluation.json"
