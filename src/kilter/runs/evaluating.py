"""A model's predictions and measures on a part of the data, and the measure for the best epoch."""

from typing import Any, Final

import keras
import numpy as np

from kilter import _measures
from kilter._engine.inference import evaluate, predict
from kilter._engine.objective_for import Objective, objective_for
from kilter._measures import POLICY, Answers
from kilter._progress import Verbose
from kilter._text import did_you_mean
from kilter.data import Dataset, Splits, Task
from kilter.errors import RecipeError
from kilter.recipe import Recipe
from kilter.recipe.optimizer import AUTO
from kilter.runs.best_epoch import Watch, direction_of
from kilter.runs.records import DataRecord, Evaluation

KINDS: Final[dict[Task, _measures.Kind]] = {
    "classification": "classes",
    "regression": "numbers",
    "segmentation": "masks",
}
BATCH = 1024  # rows at once; enough to keep a GPU busy
_DRAWN_ROWS: Final = 400  # of a regression; more points hide each other
_DRAWN_OUTPUTS: Final = 6


def answers_of(
    objective: Objective,
    outputs: np.ndarray,
    part: Dataset,
    *,
    positive: int = 1,
    threshold: float | None = None,
) -> Answers:
    """The model's predictions for a labelled part, from its outputs ``[n, k]``."""
    if objective.task == "segmentation":
        return Answers("masks", np.asarray(part.y), objective.classes_of(outputs), classes=len(part.classes))
    outputs, y = outputs.reshape(len(outputs), -1).astype(np.float64), np.asarray(part.y)
    if objective.task == "regression":
        return Answers("numbers", y.reshape(len(y), -1).astype(np.float64), outputs)
    shares = objective.probabilities(outputs)
    given = objective.classes_of(outputs, positive=positive, threshold=threshold)
    return Answers("classes", y, given, shares, positive)


def positive_of(part: Dataset) -> int:
    """The rarer of two classes; the second if both have equally many rows or there are more classes."""
    if part.y is None or part.task != "classification" or len(part.classes) != 2:
        return 1
    counts = np.bincount(part.y, minlength=2)
    return 0 if counts[0] < counts[1] else 1


def constant_of(train: Dataset) -> tuple[float, ...]:
    """The best constant prediction to the training part, for its measures beside a model's."""
    if train.y is None:
        return ()
    return _measures.constant_for(KINDS[train.task], np.asarray(train.y), len(train.classes))


def fitting_measure(part: Dataset) -> str:
    """The measure to judge by for the training part: never the accuracy if a class is rare."""
    if part.task != "classification" or part.y is None:
        return _measures.fitting("numbers" if part.y is None else KINDS[part.task])
    return _measures.fitting("classes", np.bincount(part.y, minlength=len(part.classes)))


def measure_names(train: Dataset) -> list[str]:
    """The names of all measures of a model for these data, with the one to judge by first."""
    return _measures.names_of(KINDS[train.task], first=fitting_measure(train))


def chosen_threshold(
    model: keras.Model, objective: Objective, train: Dataset, validation: Dataset | None
) -> float | None:
    """For a rare class of two: the probability from which it is predicted, chosen on the validation rows."""
    if objective.task != "classification" or validation is None or len(train.classes) != 2:
        return None
    if fitting_measure(train) == "accuracy":
        return None
    outputs = predict(model, validation.x, batch_size=BATCH, verbose=0)
    positive = positive_of(train)
    shares = objective.probabilities(outputs.reshape(len(outputs), -1))[:, positive]
    share = float(np.mean(np.asarray(train.y) == positive))
    return _measures.best_threshold(np.asarray(validation.y) == positive, shares, share)


def evaluate_part(
    model: keras.Model,
    objective: Objective,
    part: Dataset,
    *,
    first: str | None = None,
    record: DataRecord | None = None,
    verbose: Verbose = 0,
) -> Evaluation:
    """Loss and measures of a compiled model on a labelled part.

    ``first``: the measure to judge by. ``record``: of the training data, with its threshold.
    """
    loss = evaluate(model, part.x, part.y, batch_size=BATCH, verbose=verbose)["loss"]
    outputs = predict(model, part.x, batch_size=BATCH, verbose=0)
    how: dict[str, Any] = {}
    if record is not None:
        how = {"positive": record.positive, "threshold": record.threshold}
    answers = answers_of(objective, outputs, part, **how)
    metrics = {"loss": loss, **_measures.measured(answers, first=first)}
    constant = _measures.of_constant(answers, () if record is None else record.constant)
    if answers.kind == "numbers":
        return Evaluation(len(part), metrics, constant=constant, compared=_compared(answers))
    counts = _measures.confusion_of(answers.true, answers.given, len(part.classes))
    confusion = tuple(tuple(row) for row in counts.tolist())
    return Evaluation(len(part), metrics, confusion, constant, _measures.by_class(counts, part.classes))


def _compared(answers: Answers) -> tuple[tuple[tuple[float, float], ...], ...]:
    """(True value, prediction) of rows at even distances, for each of the first outputs; () of no rows."""
    rows = np.linspace(0, len(answers.true) - 1, min(len(answers.true), _DRAWN_ROWS)).astype(int)
    outputs = range(min(answers.true.shape[1], _DRAWN_OUTPUTS)) if len(rows) else ()
    return tuple(
        tuple(zip(answers.true[rows, one].tolist(), answers.given[rows, one].tolist(), strict=True))
        for one in outputs
    )


def require_measure(recipe: Recipe) -> None:
    """Raise :class:`RecipeError` for a train.metric that no data have, before any are read."""
    known = [AUTO, "loss", *(one.name for one in _measures.REGISTRY)]
    name = recipe.train.metric.removeprefix("val_")
    if name not in known:
        raise RecipeError(
            expected=f"train.metric to be one of {', '.join(known)}",
            received=f"metric={recipe.train.metric!r}",
            remedy=did_you_mean(name, known, "choose one of these; auto picks one"),
        )


def watch_for(recipe: Recipe, objective: Objective, parts: Splits) -> Watch:
    """The measure that decides which epoch is best, and when to stop."""
    stopping, metric = recipe.train.early_stopping, recipe.train.metric
    validated = parts.validation is not None
    measured = ["loss", *objective.metrics]
    evaluated = (("train_", recipe.train.evaluate_training), ("val_", validated))
    known = measured + [f"{prefix}{name}" for prefix, is_done in evaluated if is_done for name in measured]
    known += [
        f"val_{name}" for name in measure_names(parts.train) if validated and f"val_{name}" not in known
    ]
    default, given = "val_loss" if validated else "loss", None if stopping is None else stopping.monitor
    name, key = given, "early_stopping.monitor"
    if given is None and metric != AUTO:
        name, key = ("val_" if validated else "") + metric.removeprefix("val_"), "metric"
    elif given is None:
        rare = validated and fitting_measure(parts.train) not in measured and _can_tell_recalls(parts)
        name = f"val_{fitting_measure(parts.train)}" if rare else default
    assert name is not None
    if name not in known:
        if key == "metric":
            known = [one.removeprefix("val_") for one in known if validated == one.startswith("val_")]
            given, default = metric, known[1]
        raise RecipeError(
            expected=f"train.{key} to be one of {', '.join(known)}",
            received=f"{key.rpartition('.')[2]}={given!r}",
            remedy=did_you_mean(given, known, f"choose one of these, such as {default!r}"),
        )
    limits = (None, 0.0) if stopping is None else (stopping.patience, stopping.min_delta)
    return Watch(name, direction_of(name), *limits)


def _can_tell_recalls(parts: Splits) -> bool:
    """Whether no recall depends on a few validation rows; two classes are judged by the order of all rows."""
    train, validation = parts.train, parts.validation
    if validation is None or train.y is None or validation.y is None:
        return True
    if train.task == "segmentation" or len(train.classes) == 2:
        return True
    rows = np.bincount(validation.y, minlength=len(train.classes))
    return bool((rows[np.unique(train.y)] >= POLICY.fewest_rows).all())


class ValidationMeasure(keras.callbacks.Callback):
    """Adds a measure of the validation rows to the logs of each epoch, as ``val_`` and its name."""

    def __init__(self, name: str, validation: Dataset, positive: int) -> None:
        super().__init__()
        self.name = name
        self._validation = validation
        self._positive = positive

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the validation rows; does nothing if there are no logs to add to."""
        if logs is None or self.model is None:
            return
        outputs = predict(self.model, self._validation.x, batch_size=BATCH, verbose=0)
        objective = objective_for(self.model, self._validation)
        answers = answers_of(objective, outputs, self._validation, positive=self._positive)
        logs[f"val_{self.name}"] = _measures.value(self.name, answers)
