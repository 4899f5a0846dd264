"""The page of a run: ``report.html``, self-contained and made from the files of the run alone."""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from kilter._layout import unbroken
from kilter._text import counted, duration, number
from kilter.nn.zeros import NEAR_ZERO
from kilter.report import charts
from kilter.runs.atomic import write_bytes
from kilter.runs.reading import RunRecords, open_run
from kilter.runs.records import EpochRecord, best_epoch, default_monitor

REPORT = "report.html"
_MOST_CLASSES = 20  # that a table shows
# The columns of the table of measures, by the prefix of the log name.
_PARTS = {"": "training", "train_": "training, in inference mode", "val_": "validation"}


def write_report(run_path: Path | str) -> Path:
    """Write ``report.html`` into a run directory, from its other files; returns its path.

    It can be written during training, and again later. It is a single file of about 5 MB, mostly plotly's
    script, that loads nothing else. Names from recipe and data are escaped.

    Raises :class:`~kilter.errors.RunError` if `run_path` is not a run directory, or the disk is full.
    """
    records = open_run(Path(run_path))
    path = records.path / REPORT
    write_bytes(path, render(records).encode("utf-8", "backslashreplace"))  # a path may be in another code
    return path


def render(records: RunRecords) -> str:
    """The report as HTML text."""
    return fill("report.html", drawn=bool(records.history or records.found), **_content(records))


def _content(records: RunRecords) -> dict[str, Any]:
    history = records.history
    best = best_epoch(history, *_monitor(records))
    return {
        "name": records.recipe.get("name") or records.path.name,
        "folder": records.path.name,
        "status": records.status,
        "outcome": outcome_in_words(records),
        "journal": records.journal,
        "model": model_in_words(records),
        "data": data_in_words(records),
        "tiles": _tiles(records, best),
        "table": _table(records, best),
        "not_finite": _not_finite(records),
        "curves": charts.learning_curves(history, best.epoch if best else None),
        "found": charts.searches(records),
        "confusions": _confusions(records),
        "classes": _classes(records),
        "compared": _compared(records),
        "l1_zeros": [
            (one.path, [f"{one.count:,}", f"{one.zeros:.2%}", f"{one.near_zeros:.2%}"])
            for one in (records.result.l1_zeros if records.result else ())
        ],
        "near_zero": NEAR_ZERO,
        "timings": [charts.epoch_seconds(history), *charts.scheduled(history)] if history else [],
        "recipe": records.recipe_text,
        "environment": _environment(records.environment),
    }


def _monitor(records: RunRecords) -> tuple[str, Any]:
    result = records.result
    return (result.monitor, result.direction) if result else default_monitor(records.history)


def _tiles(records: RunRecords, best: EpochRecord | None) -> list[tuple[str, str, str]]:
    """(label, value, small print) of the key figures."""
    tiles = []
    for part, evaluation in (records.result.evaluations if records.result else {}).items():
        name = next((name for name in evaluation.metrics if name != "loss"), "loss")
        value = measure(name, evaluation.metrics.get(name))
        tiles.append(
            (
                f"{part} {name}",
                value,
                "; ".join([counted(evaluation.rows, "row"), *evaluation.remarks]),
            )
        )
    monitor, _ = _monitor(records)
    if best is not None:
        tiles.append((f"best {monitor}", measure(monitor, best.logs[monitor]), f"epoch {best.epoch + 1}"))
    if records.history:
        total = sum(line.seconds + line.compile_seconds for line in records.history)
        typical = statistics.median(line.seconds for line in records.history)
        tiles.append(("time", duration(total), f"{duration(typical)} per epoch"))
    return tiles


def _table(records: RunRecords, best: EpochRecord | None) -> dict[str, Any]:
    """The measures of the best weights: a row for each, a column for each part of the data."""
    columns: dict[str, dict[str, float]] = {part: {} for part in _PARTS.values()}
    if best is not None:
        for name, value in best.logs.items():
            prefix = next((prefix for prefix in _PARTS if prefix and name.startswith(prefix)), "")
            columns[_PARTS[prefix]][name.removeprefix(prefix)] = value
    for part, evaluation in (records.result.evaluations if records.result else {}).items():
        columns[part] = dict(evaluation.metrics)
        columns[f"{part}, always the {evaluation.constant_answer}"] = dict(evaluation.constant)
    columns = {part: metrics for part, metrics in columns.items() if metrics}
    names = sorted({name for metrics in columns.values() for name in metrics}, key=lambda n: (n != "loss", n))
    rows = [
        (name, [measure(name, metrics.get(name)) for metrics in columns.values()])
        for name in names
        if name not in charts.SCHEDULED
    ]
    return {"columns": list(columns), "rows": rows}


def _not_finite(records: RunRecords) -> str:
    """A sentence about epochs with NaN or infinity; "" without any."""
    bad = [line for line in records.history if not all(map(math.isfinite, line.logs.values()))]
    if not bad:
        return ""
    names = sorted(name for name, value in bad[0].logs.items() if not math.isfinite(value))
    epochs = counted(len(bad), "epoch")
    return f"NaN or infinity in {epochs}, first in epoch {bad[0].epoch + 1}: {', '.join(names)}."


def _confusions(records: RunRecords) -> list[dict[str, Any]]:
    """The confusion matrix and the most frequent mistakes, for each part of the data that has one."""
    classes = records.data.classes if records.data else ()
    evaluations = records.result.evaluations if records.result else {}
    return [
        {
            "chart": charts.confusion(part, evaluation, classes),
            "mistakes": [
                (true, [answer, f"{rows:,}"])
                for true, answer, rows in charts.worst_confusions(evaluation, classes)
            ],
        }
        for part, evaluation in evaluations.items()
        if evaluation.confusion and len(classes) == len(evaluation.confusion)
    ]


def _classes(records: RunRecords) -> list[dict[str, Any]]:
    """The results for each class, for each part of the data; of many classes those with the lowest recall."""
    tables = []
    for part, evaluation in (records.result.evaluations if records.result else {}).items():
        shown, names = evaluation.hardest_classes(_MOST_CLASSES), evaluation.class_measures
        if not shown:
            continue
        rest = len(evaluation.per_class) - len(shown)
        rows = [
            (
                one.name,
                [f"{one.rows:,}", f"{one.found:,}", *(measure(name, getattr(one, name)) for name in names)],
            )
            for one in shown
        ]
        note = f"{part} {evaluation.unit}" + (f"; {rest} more classes have a higher recall" if rest else "")
        tables.append({"note": note, "columns": [evaluation.unit, "correct", *names], "rows": rows})
    return tables


def _compared(records: RunRecords) -> list[charts.Chart]:
    """Predictions against true values, for each part of the data and each output."""
    return [
        charts.compared(part, evaluation, output)
        for part, evaluation in (records.result.evaluations if records.result else {}).items()
        for output in range(len(evaluation.compared))
    ]


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """environment.json as the flat rows of a table."""
    rows = []
    for name, value in environment.items():
        nested = value.items() if isinstance(value, Mapping) else [(name.replace("_", " "), value)]
        rows += [(str(key), [str(item)]) for key, item in nested]
    return rows


def fill(template: str, *, drawn: bool, **content: Any) -> str:
    """The page from a template of this package; `drawn` says whether it has plots, which need a script."""
    # Autoescaping is on for every template, regardless of its name.
    environment = Environment(
        loader=PackageLoader("kilter.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        # Code is escaped already, and stays as it is.
        finalize=lambda value: unbroken(value) if type(value) is str else value,
    )
    # Only plotly's script is not escaped: it comes from the package, not from the run.
    return environment.get_template(template).render(plotly=get_plotlyjs(), drawn=drawn, **content)


_SHARES = ("accuracy", "precision", "recall", "auc", "f1", "iou", "dice")


def measure(name: str, value: float | None) -> str:
    """A measured value: shares in percent, others with four digits; "–" for None.

    Example:
        >>> measure("val_accuracy", 0.98765), measure("loss", 0.0123456), measure("mae", 12345.6)
        ('98.77 %', '0.01235', '12,346')
    """
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" if name.endswith(_SHARES) and math.isfinite(value) else number(value)


def difference(name: str, value: float) -> str:
    """The difference of two measured values: of shares in percentage points; "–" where it is not finite.

    Example:
        >>> difference("val_accuracy", 0.12), difference("loss", -0.0123456), difference("loss", math.nan)
        ('+12.00 points', '-0.01235', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:+.2f} points" if name.endswith(_SHARES) else f"{value:+.4g}"


def model_in_words(records: RunRecords) -> str:
    """The trained model: the builder with its layers, the file, or the function."""
    model = records.recipe.get("model", {})
    size = records.result.parameters if records.result else None
    weights = f" with {counted(size, 'parameter')}" if size is not None else ""
    if "builder" in model:
        parts = [f"{_layers(model[key])} {key}" for key in ("filters", "hidden") if key in model]
        return (
            f"{model['builder']}{weights} ({', '.join(parts)})" if parts else f"{model['builder']}{weights}"
        )
    return f"{model.get('file') or model.get('factory') or 'a Keras model'}{weights}"


def data_in_words(records: RunRecords) -> str:
    """The data: name, rows of each part, and what is predicted."""
    data = records.data
    if data is None:
        return "data given in Python"
    named = {"training" if part == "train" else part: number for part, number in data.rows.items()}
    rows = ", ".join(f"{number:,} {part}" for part, number in named.items())
    if data.classes:
        goal = counted(len(data.classes), "class", "classes")
    else:
        goal = counted(data.outputs, "number") + " to predict"
    skipped = f"; {counted(data.skipped, 'bad row')} left out" if data.skipped else ""
    return f"{data.name}: {rows} rows, {goal}{skipped}"


def outcome_in_words(records: RunRecords) -> str:
    """How the run ended."""
    epochs = counted(len(records.history), "epoch")
    if records.status == "training":
        return f"Training now; {epochs} done."
    result = records.result
    if result is None or records.status == "interrupted":
        return f"Interrupted after {epochs}. To resume: kilter resume {records.path}"
    if records.status == "failed":
        return f"Failed after {epochs}: {result.reason}"
    if result.reason == "patience":
        return f"Stopped early after {epochs}: {result.monitor} stopped improving."
    return f"Trained for all {epochs}."


def _layers(widths: object) -> str:
    if isinstance(widths, dict):
        return f"{widths.get('layers')} × {widths.get('units')}"
    if isinstance(widths, list):
        return "–".join(str(width) for width in widths) or "no"
    return str(widths)
