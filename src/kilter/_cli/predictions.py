"""A model's outputs as answers: classes with probabilities, or numbers; and the files they are written to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars

from kilter._cli.trained import Trained
from kilter._engine.objective_for import Objective, objective_for
from kilter.data import Dataset
from kilter.errors import ModelError
from kilter.runs.atomic import write_with


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How the samples of a row spread: ``std`` ``[n, k]`` as the answers or probabilities; nats ``[n]``."""

    std: np.ndarray
    entropy: np.ndarray | None = None
    mutual_information: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Predictions:
    """One answer a row.

    Attributes:
        answers: the class names ``[n]`` (text) of a classifier, else the numbers ``[n, k]`` of the outputs.
        classes: the class names by index; () for numbers.
        probabilities: ``[n, classes]``, rows that add up to 1; None for numbers.
        column: what a column of numbers is called.
        uncertainty: of the mean of many predictions; None for a single one.
    """

    answers: np.ndarray
    classes: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None
    column: str = "prediction"
    uncertainty: Uncertainty | None = None

    def frame(self) -> polars.DataFrame:
        """The table of answers: ``prediction`` and ``probability_CLASS`` for each class, or the numbers.

        With an uncertainty also ``std_CLASS`` for each class, ``entropy`` and ``mutual_information``, or the
        ``std`` of the numbers.
        """
        if self.probabilities is not None:
            shares = self._columns("probability", self.probabilities)
            columns = {"prediction": self.answers.tolist(), **shares}
        else:
            columns = self._columns(self.column, self.answers)
        if self.uncertainty is not None:
            spread = self.uncertainty.arrays()
            columns |= self._columns("std", spread.pop("std")) | spread
        return polars.DataFrame(columns)

    def _columns(self, name: str, values: np.ndarray) -> dict[str, Any]:
        """Columns of values [n, k] by name: each with its class, else numbered where there are several."""
        if values.shape[1] == 1:
            return {name: values[:, 0]}
        endings = self.classes or range(1, values.shape[1] + 1)
        return {f"{name}_{ending}": column for ending, column in zip(endings, values.T, strict=True)}

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays; text has NumPy's unicode type, so that reading them needs no pickle."""
        spread = {} if self.uncertainty is None else self.uncertainty.arrays()
        if self.probabilities is None:
            return {self.column: self.answers, **spread}
        return {
            "prediction": self.answers,
            "probabilities": self.probabilities,
            "classes": np.array(self.classes, dtype=np.str_),
            **spread,
        }


def joined(pieces: Sequence[Any]) -> np.ndarray:
    """The outputs for several parts of the data in one array; :class:`ModelError` for several outputs."""
    for outputs in pieces:
        if not isinstance(outputs, np.ndarray):
            raise ModelError(
                expected="a model with one output",
                received=f"a {type(outputs).__name__} of {len(outputs)}",
                remedy="predict with kilter.predict",
            )
    return np.concatenate(pieces)


def predictions(
    trained: Trained, outputs: np.ndarray, rows: Dataset, *, averaged: bool = False
) -> Predictions:
    """What ``outputs`` [n, k] of the model mean for ``rows``; ``averaged`` ones are no logits any more.

    A bare .keras file does not say what its outputs stand for: they are given as they are, as ``output``.
    """
    outputs = outputs.reshape(len(outputs), -1)
    if trained.data is None:
        return Predictions(outputs, column="output")
    if trained.data.task == "regression":
        return Predictions(outputs)
    objective = objective_for(trained.model, rows)
    if averaged:
        objective = replace(objective, from_logits=False)
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
