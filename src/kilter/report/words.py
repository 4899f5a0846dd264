"""Numbers and outcomes in words."""

from __future__ import annotations

import math

from kilter.runs.reading import RunRecords

_SHARES = ("accuracy", "precision", "recall", "auc")


def measure(name: str, value: float | None) -> str:
    """A measured value: shares in percent, others with four digits; "–" for None.

    Example:
        >>> measure("val_accuracy", 0.98765), measure("loss", 0.0123456), measure("mae", 12345.6)
        ('98.77 %', '0.01235', '12,346')
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if name.endswith(_SHARES):
        return f"{100 * value:.2f} %"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def model_in_words(records: RunRecords) -> str:
    """The trained model: the builder with its layers, the file, or the function."""
    model = records.recipe.get("model", {})
    size = records.result.parameters if records.result else None
    weights = f" with {count(size, 'parameter')}" if size is not None else ""
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
    if data.task == "classification":
        goal = count(len(data.classes), "class", "classes")
    else:
        goal = count(data.outputs, "number") + " to predict"
    skipped = f"; {count(data.skipped, 'bad row')} left out" if data.skipped else ""
    return f"{data.name}: {rows} rows, {goal}{skipped}"


def outcome_in_words(records: RunRecords) -> str:
    """How the run ended."""
    epochs = count(len(records.history), "epoch")
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
