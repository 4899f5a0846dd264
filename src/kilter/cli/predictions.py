"""A model's outputs as answers: classes with probabilities, or numbers; and the files they are written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars

from kilter.cli.trained import Trained
from kilter.data import Dataset
from kilter.errors import ModelError
from kilter.runs.atomic import write_with
from kilter.runs.objective import Objective, objective_for


@dataclass(frozen=True, eq=False)
class Predictions:
    """One answer a row.

    Attributes:
        answers: the class names ``[n]`` (text) of a classifier, else the numbers ``[n, k]`` of the outputs.
        classes: the class names by index; () for numbers.
        probabilities: ``[n, classes]``, rows that add up to 1; None for numbers.
        column: what a column of numbers is called.
    """

    answers: np.ndarray
    classes: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None
    column: str = "prediction"

    def frame(self) -> polars.DataFrame:
        """The table of answers: ``prediction`` and ``probability_CLASS`` for each class, or the numbers."""
        if self.probabilities is not None:
            names = [f"probability_{name}" for name in self.classes]
            columns = dict(zip(names, self.probabilities.T, strict=True))
            return polars.DataFrame({"prediction": self.answers.tolist(), **columns})
        if self.answers.shape[1] == 1:
            return polars.DataFrame({self.column: self.answers[:, 0]})
        return polars.DataFrame(
            {f"{self.column}_{i}": column for i, column in enumerate(self.answers.T, start=1)}
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays; text has NumPy's unicode type, so that reading them needs no pickle."""
        if self.probabilities is None:
            return {self.column: self.answers}
        return {
            "prediction": self.answers,
            "probabilities": self.probabilities,
            "classes": np.array(self.classes, dtype=np.str_),
        }


def predictions(trained: Trained, outputs: Any, rows: Dataset) -> Predictions:
    """What ``outputs`` [n, k] of the model mean for ``rows``.

    A bare .keras file does not say what its outputs stand for: they are given as they are, as ``output``.
    """
    if not isinstance(outputs, np.ndarray):
        raise ModelError(
            expected="a model with one output",
            received=type(outputs).__name__,
            remedy="predict with kilter.predict",
        )
    outputs = outputs.reshape(len(outputs), -1)
    if trained.data is None:
        return Predictions(outputs, column="output")
    if trained.data.task == "regression":
        return Predictions(outputs)
    objective = objective_for(trained.model, rows)
    names = np.array(trained.data.classes, dtype=np.str_)
    return Predictions(
        answers=names[objective.classes_of(outputs)],
        classes=trained.data.classes,
        probabilities=probabilities(objective, outputs),
    )


def probabilities(objective: Objective, outputs: np.ndarray) -> np.ndarray:
    """Class probabilities [n, classes], float64, from logits or probabilities [n, classes], if binary [n, 1].

    NaN stays NaN.
    """
    outputs = outputs.astype(np.float64)
    if objective.binary:
        # Through the softmax of (0, logit), which is the sigmoid and overflows nowhere.
        if objective.from_logits:
            return _softmax(np.concatenate([np.zeros_like(outputs), outputs], axis=1))
        return np.concatenate([1 - outputs, outputs], axis=1)
    return _softmax(outputs) if objective.from_logits else outputs


# By the ending of the file.
WRITERS: Final[dict[str, Callable[[Predictions, Path], Any]]] = {
    ".csv": lambda found, path: found.frame().write_csv(path),
    ".npz": lambda found, path: np.savez(path, allow_pickle=False, **found.arrays()),
    ".parquet": lambda found, path: found.frame().write_parquet(path),
}


def write(found: Predictions, out: Path) -> None:
    """Write a file of one of the :data:`WRITERS`' formats, whole or not at all."""
    write_with(out, lambda temporary: WRITERS[out.suffix](found, temporary))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
