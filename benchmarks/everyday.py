"""Everyday tables: one command trains, one predicts, without an option; beside scikit-learn on the same rows.

    .venv/bin/python benchmarks/everyday.py                     the ten everyday tables and ten others
    .venv/bin/python benchmarks/everyday.py --tables houses,air --seeds 0

The defaults were chosen on the first ten (docs/decisions/044); the others check them.

Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bench import machine
from programs import everyday, other_tables

ROOT = Path(__file__).resolve().parent.parent
RARE = 0.2  # the share of one of two classes below which accuracy says nothing, as in kilter._measures
SETS = {"Everyday tables": everyday.TABLES, "Other tables, to check": other_tables.TABLES}
TABLES = everyday.TABLES | other_tables.TABLES


def main() -> int:
    """Measure the tables asked for; 1 if a command failed."""
    options = _options()
    rows = []
    for name in options.tables.split(","):
        rows.append(_mean([measured(name, seed) for seed in options.seeds]))
        print(_line(rows[-1]), flush=True)
    stem = f"{datetime.date.today()}-everyday-tables"
    found = {"machine": machine.machine_label(machine.describe()), "seeds": options.seeds, "tables": rows}
    (options.results / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / f"{stem}.md").write_text(_page(rows, options.seeds))
    return int(any(row["error"] for row in rows))


def measured(name: str, seed: int) -> dict[str, Any]:
    """One table: scores of kilter's two commands and of scikit-learn's pipelines on a held-out quarter."""
    frame, target = TABLES[name](np.random.default_rng(seed))
    order = np.random.default_rng(seed + 1).permutation(frame.height)
    held, kept = np.sort(order[: frame.height // 4]), np.sort(order[frame.height // 4 :])
    train, new = frame[kept], frame[held]
    distinct = frame[target].n_unique()
    regression = frame[target].dtype.is_numeric() and (distinct > 20 or 2 * distinct > train.height)
    separator = everyday.SEPARATORS.get(name, ",")
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
            answers = pl.read_csv(here / "answers.csv", infer_schema_length=None)
            shares = {
                one: answers[one].to_numpy() for one in answers.columns if one.startswith("probability_")
            }
            row["kilter"] = _scores(new[target], answers["prediction"], regression, list(shares.values()))
    for label, (found, shares) in _scikit_learn(train, new, target, regression).items():
        row[label] = _scores(new[target], found, regression, shares)
    common = train[target].value_counts(name="rows")["rows"].max() / train.height
    rare = not regression and distinct == 2 and common > 1 - RARE
    row["judged by"] = "R2" if regression else "AUC" if rare else "accuracy"
    return row


def _kilter(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kilter")), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _scores(truth: pl.Series, found: Any, regression: bool, shares: Sequence[np.ndarray]) -> dict[str, float]:
    """``shares``: the probabilities of the classes in their order."""
    if regression:
        return {"R2": float(r2_score(truth.to_numpy(), np.asarray(found, float)))}
    texts = [np.asarray(pl.Series(values).cast(pl.String)) for values in (truth, found)]
    scores = {
        "accuracy": float(accuracy_score(*texts)),
        "balanced": float(balanced_accuracy_score(*texts)),
    }
    if len(shares) == 2:
        scores["AUC"] = float(roc_auc_score(texts[0] == max(texts[0]), shares[1]))
    return scores


def _scikit_learn(train: pl.DataFrame, new: pl.DataFrame, target: str, regression: bool) -> dict[str, Any]:
    """Predictions and probabilities of boosted trees and a linear model: numbers imputed, texts one-hot."""
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
    found = {}
    for name, one in fitted.items():
        one.fit(rows(train), y)
        shares = [] if regression else list(one.predict_proba(rows(new)).T)
        found[name] = one.predict(rows(new)), shares
    return found


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each score over the seeds, and the gap of each seed to the better pipeline."""
    found = {**rows[0], "error": next((row["error"] for row in rows if row["error"]), "")}
    if found["error"]:
        return found
    for who in ("kilter", "trees", "linear"):
        found[who] = {name: float(np.mean([row[who][name] for row in rows])) for name in rows[0][who]}
    first = [{who: row[who][row["judged by"]] for who in ("kilter", "trees", "linear")} for row in rows]
    return {**found, "gaps": [one["kilter"] - max(one["trees"], one["linear"]) for one in first]}


def _line(row: dict[str, Any]) -> str:
    scores = "  ".join(
        f"{who} {', '.join(f'{name} {value:.3f}' for name, value in row[who].items())}"
        for who in ("kilter", "trees", "linear")
        if who in row
    )
    return f"{row['table']:12} {row['rows']:5} × {row['columns']:<6} {scores} {row['error']}"


def _page(rows: list[dict[str, Any]], seeds: list[int]) -> str:
    shown = f"seeds {', '.join(map(str, seeds))} of the tables and of the rows held out"
    lines = [
        "# Everyday tables: one command each, beside scikit-learn",
        "",
        f"{machine.machine_label(machine.describe())}; scores on a held-out quarter, the mean of {shown}.",
        "Gap: to the better of boosted trees and the linear model, mean and each seed; in accuracy or R2,",
        "or, if one of two classes has less than a fifth of the rows, in the area under the ROC curve (AUC).",
        "There the most frequent class alone has a better accuracy than many models; the area needs no",
        "threshold, which kilter chooses for the balanced accuracy then.",
    ]
    for title, tables in SETS.items():
        head = "| table | rows × columns | kilter | boosted trees | linear | gap |"
        lines += ["", f"## {title}", "", head, "|---|---|---|---|---|---|"]
        lines += [_cells(row) for row in rows if row["table"] in tables]
    return "\n".join([*lines, ""])


def _cells(row: dict[str, Any]) -> str:
    cells = [
        ", ".join(f"{name} {value:.3f}" for name, value in row[who].items()) if who in row else row["error"]
        for who in ("kilter", "trees", "linear")
    ]
    gaps = row.get("gaps", [])
    each = f" ({', '.join(f'{one:+.3f}' for one in gaps)})" if len(gaps) > 1 else ""
    gap = f"{np.mean(gaps):+.3f}{each}{' AUC' * (row['judged by'] == 'AUC')}" if gaps else ""
    return f"| {row['table']} | {row['rows']} × {row['columns']} | {' | '.join(cells)} | {gap} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default=",".join(TABLES), help="names with commas")
    parser.add_argument(
        "--seeds",
        type=lambda text: [int(one) for one in text.split(",")],
        default=[0, 1, 2],
        help="of the tables and the held-out rows, with commas",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
