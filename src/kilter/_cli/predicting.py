"""``kilter evaluate`` and ``kilter predict``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars
import typer

from kilter._cli.options import check_out, say, say_table
from kilter._cli.trained import Trained, open_trained, read_for
from kilter._engine import inference
from kilter._engine.objective_for import Objective, objective_for
from kilter._infer.calibration import calibration
from kilter._infer.monte_carlo import predict_mc
from kilter._infer.outputs import Outputs
from kilter._progress import Display, Progress
from kilter._text import measures, number, printable
from kilter.data import Dataset
from kilter.errors import DataError, ModelError, OptionError
from kilter.recipe import load_recipe
from kilter.runs.atomic import write_with
from kilter.runs.build import compile_for, read_parts
from kilter.runs.checksums import require_same_recipe
from kilter.runs.reading import RECIPE
from kilter.runs.training import require_same_data


def uncertain(
    trained: Trained, parts: Sequence[Dataset], *, samples: int, seed: int, progress: Progress
) -> Predictions:
    """The mean answers of ``samples`` predictions for the rows of all ``parts``, and their spread."""
    outputs = _outputs(trained, parts[0])
    how: dict[str, Any] = {"samples": samples, "seed": seed, "outputs": outputs, "verbose": progress}
    drawn = [predict_mc(trained.model, part.x, **how) for part in parts]
    mean = drawn[0].mean if len(drawn) == 1 else np.concatenate([one.mean for one in drawn])
    found = predictions(trained, mean, parts[0], averaged=True)
    std = np.concatenate([one.std for one in drawn]).reshape(len(mean), -1)
    if found.probabilities is not None and std.shape[1] == 1:
        std = np.repeat(std, 2, axis=1)  # p and 1 - p have the same spread
    if outputs == "numbers":
        return replace(found, uncertainty=Uncertainty(std))
    entropy, doubt = (
        np.concatenate([getattr(one, name) for one in drawn]) for name in ("entropy", "mutual_information")
    )
    return replace(found, uncertainty=Uncertainty(std, entropy, doubt))


COMPARED: Final = ("", "accuracy", "negative log-likelihood", "Brier score", "expected calibration error")


def compared(
    plain: Predictions, mean: Predictions, samples: int, parts: Sequence[Dataset]
) -> list[list[str]]:
    """Rows of a table below :data:`COMPARED`, one for each; none for numbers, and for data without labels."""
    labels = [part.y for part in parts if part.y is not None]
    if len(labels) < len(parts) or plain.probabilities is None:
        return []
    y = np.concatenate(labels)
    rows = []
    for name, found in (("without dropout", plain), (f"mean of {samples} samples", mean)):
        measured = calibration(found.probabilities, y)
        figures = (
            measured.accuracy,
            measured.negative_log_likelihood,
            measured.brier,
            measured.expected_calibration_error,
        )
        rows.append([name, *map(number, figures)])
    return rows


def _outputs(trained: Trained, rows: Dataset) -> Outputs:
    # A bare .keras file does not say what its outputs stand for: they are averaged as they are.
    if trained.data is None or trained.data.task == "regression":
        return "numbers"
    return "logits" if objective_for(trained.model, rows).from_logits else "probabilities"


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


BATCH: Final = 1024  # rows at once: only memory and speed depend on it, never a figure


def evaluate(
    path: Path, source: str | None, *, target: str | None, allow_code: bool, progress: Display
) -> None:
    """Print loss and metrics of the model at ``path``, part by part of the data."""
    trained = open_trained(path, allow_code=allow_code)
    if source is None:
        _evaluate_own(trained, progress)
        return
    progress.stage(f"Reading {printable(source)}")
    read = read_for(trained, source, target=target, unlabelled=False)
    parts = {"data": read.train} if read.test is None else {"train": read.train, "test": read.test}
    for name, part in parts.items():
        _require_labels(part)
        objective = objective_for(trained.model, part)
        trained.model.compile(loss=objective.loss, metrics=objective.make_metrics())
        _print_metrics(name, trained, part, progress)


def predict(
    path: Path,
    source: str,
    out: Path | None,
    *,
    samples: int | None,
    seed: int | None,
    allow_code: bool,
    progress: Display,
) -> None:
    """Write the predictions of the model at ``path`` for each row of ``source``, in order.

    With ``samples``, the mean of so many with dropout left on, and how they spread.
    """
    _check_seed(samples, seed)
    if out is not None:
        check_out(out, WRITERS)
    trained = open_trained(path, allow_code=allow_code)
    progress.stage(f"Reading {printable(source)}")
    read = read_for(trained, source, unlabelled=True)
    parts = [part for part in (read.train, read.test) if part is not None]
    outputs = joined(
        [inference.predict(trained.model, part.x, batch_size=BATCH, verbose=progress) for part in parts]
    )
    found, comparison = predictions(trained, outputs, parts[0]), []
    if samples is not None:
        mean = uncertain(trained, parts, samples=samples, seed=seed or 0, progress=progress)
        found, comparison = mean, compared(found, mean, samples, parts)
    progress.close()
    if out is None:
        typer.echo(found.frame().write_csv(), nl=False)
    else:
        write(found, out)
        say(f"{len(outputs)} rows: {out}")
    if comparison:  # beside the table of predictions, not in it
        say_table(COMPARED, comparison, right=range(1, len(COMPARED)), err=out is None)


def _evaluate_own(trained: Trained, progress: Display) -> None:
    if trained.run is None:
        raise OptionError(
            expected="data to evaluate the model on",
            received="a .keras file alone, which does not say what it was trained on",
            remedy="name the data after the model",
        )
    progress.stage(f"Reading the data of {printable(str(trained.run))}")
    require_same_recipe(trained.run / RECIPE)
    recipe = load_recipe(trained.run / RECIPE)
    source, parts = read_parts(recipe, trained.data, same_task=True)
    require_same_data(recipe, source, parts, trained.data)
    if not parts.evaluated:
        raise DataError(
            expected="validation or test rows in the run's own data",
            received='validation = "none" and no test part',
            remedy="name the data to evaluate on after the run",
        )
    # The saved model is evaluated, not one built anew: nothing that the recipe names is run.
    objective = objective_for(trained.model, parts.train, recipe.regularize.label_smoothing)
    compile_for(trained.model, "sgd", objective)
    for name, part in parts.evaluated.items():
        _print_metrics(name, trained, part, progress)


def _print_metrics(name: str, trained: Trained, part: Dataset, progress: Display) -> None:
    metrics = inference.evaluate(trained.model, part.x, part.y, batch_size=BATCH, verbose=progress)
    progress.close()
    say(f"{name}: {len(part)} rows  {measures(metrics)}")


def _require_labels(part: Dataset) -> None:
    if part.y is None:
        raise DataError(
            expected="data with labels, to compare the predictions with",
            received=f"{part.name}, which has none",
            remedy="name the column with the right answers with --target, or use kilter predict",
        )


def _check_seed(samples: int | None, seed: int | None) -> None:
    if samples is None and seed is not None:
        raise OptionError(
            expected="--seed together with --mc",
            received=f"--seed {seed} alone, which would change nothing: only samples are drawn",
            remedy="add --mc 100, or leave --seed out",
        )
