"""``kilter predict --mc``: predictions with dropout left on, and whether they are better calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from kilter._cli.predictions import Predictions, Uncertainty, predictions
from kilter._cli.trained import Trained
from kilter._engine.objective_for import objective_for
from kilter._infer.calibration import calibration
from kilter._infer.monte_carlo import predict_mc
from kilter._infer.outputs import Outputs
from kilter._progress import Progress
from kilter._text import number
from kilter.data import Dataset


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
