"""Everyday tables: one command trains, one predicts, without an option; beside scikit-learn on the same rows.

    .venv/bin/python benchmarks/everyday.py                     all ten
    .venv/bin/python benchmarks/everyday.py --tables houses,air

Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bench import machine
from programs.everyday import SEPARATORS, TABLES

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure the tables asked for; 1 if a command failed."""
    options = _options()
    rows = []
    for name in options.tables.split(","):
        rows.append(measured(name, options.seed))
        print(_line(rows[-1]), flush=True)
    stem = f"{datetime.date.today()}-everyday-tables"
    found = {"machine": machine.machine_label(machine.describe()), "seed": options.seed, "tables": rows}
    (options.results / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / f"{stem}.md").write_text(_page(rows, options.seed))
    return int(any(row["error"] for row in rows))


def measured(name: str, seed: int) -> dict[str, Any]:
    """One table: scores of kilter's two commands and of scikit-learn's pipelines on a held-out quarter."""
    frame, target = TABLES[name](np.random.default_rng(seed))
    order = np.random.default_rng(seed + 1).permutation(frame.height)
    held, kept = np.sort(order[: frame.height // 4]), np.sort(order[frame.height // 4 :])
    train, new = frame[kept], frame[held]
    regression = train[target].dtype.is_numeric() and train[target].n_unique() > 20
    separator = SEPARATORS.get(name, ",")
    row: dict[str, Any] = {"table": name, "rows": frame.height, "columns": frame.width - 1, "error": ""}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        train.write_csv(here / "train.csv", separator=separator)
        new.drop(target).write_csv(here / "new.csv", separator=separator)
        said = _kilter("train", "train.csv", "--target", target, "--runs", "runs", "--quiet", folder=here)
        if said.returncode == 0:
            run = next((here / "runs").iterdir())
            said = _kilter("predict", str(run), "new.csv", "--out", "answers.csv", folder=here)
        if said.returncode:
            row["error"] = said.stderr.strip()[-400:]
        else:
            answers = pl.read_csv(here / "answers.csv", infer_schema_length=None)["prediction"]
            row["kilter"] = _scores(new[target], answers, regression)
    for label, found in _scikit_learn(train, new, target, regression).items():
        row[label] = _scores(new[target], found, regression)
    return row


def _kilter(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kilter")), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _scores(truth: pl.Series, found: Any, regression: bool) -> dict[str, float]:
    if regression:
        return {"R2": float(r2_score(truth.to_numpy(), np.asarray(found, float)))}
    texts = [np.asarray(pl.Series(values).cast(pl.String)) for values in (truth, found)]
    return {
        "accuracy": float(accuracy_score(*texts)),
        "balanced": float(balanced_accuracy_score(*texts)),
    }


def _scikit_learn(train: pl.DataFrame, new: pl.DataFrame, target: str, regression: bool) -> dict[str, Any]:
    """Predictions of boosted trees and a linear model: numbers imputed, texts one-hot."""
    features = [name for name in train.columns if name != target]
    numbers = [name for name in features if train[name].dtype.is_numeric()]
    texts = [name for name in features if name not in numbers]

    def rows(frame: pl.DataFrame) -> np.ndarray:
        columns = [frame[one].cast(pl.Float64).fill_null(float("nan")).to_numpy() for one in numbers]
        words = [frame[one].fill_null("missing").to_numpy().astype(object) for one in texts]
        return np.array([*columns, *words], dtype=object).T

    def transformer(*steps: Any) -> Any:
        places = list(range(len(numbers))), list(range(len(numbers), len(features)))
        one_hot = OneHotEncoder(handle_unknown="ignore", max_categories=50, sparse_output=False)
        return make_column_transformer((make_pipeline(*steps), places[0]), (one_hot, places[1]))

    trees = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    linear = Ridge() if regression else LogisticRegression(max_iter=2000)
    y = train[target].to_numpy()
    fitted = {
        "trees": make_pipeline(transformer(SimpleImputer()), trees(random_state=0)),
        "linear": make_pipeline(transformer(SimpleImputer(), StandardScaler()), linear),
    }
    return {name: one.fit(rows(train), y).predict(rows(new)) for name, one in fitted.items()}


def _line(row: dict[str, Any]) -> str:
    scores = "  ".join(
        f"{who} {', '.join(f'{name} {value:.3f}' for name, value in row[who].items())}"
        for who in ("kilter", "trees", "linear")
        if who in row
    )
    return f"{row['table']:12} {row['rows']:5} × {row['columns']:<6} {scores} {row['error']}"


def _page(rows: list[dict[str, Any]], seed: int) -> str:
    lines = [
        "# Everyday tables: one command each, beside scikit-learn",
        "",
        f"{machine.machine_label(machine.describe())}; seed {seed}; scores on a held-out quarter.",
        "",
        "| table | rows × columns | kilter | boosted trees | linear |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            ", ".join(f"{name} {value:.3f}" for name, value in row[who].items())
            if who in row
            else row["error"]
            for who in ("kilter", "trees", "linear")
        ]
        lines.append(f"| {row['table']} | {row['rows']} × {row['columns']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default=",".join(TABLES), help="names with commas")
    parser.add_argument("--seed", type=int, default=0, help="of the tables and the held-out rows")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
