"""A Keras callback that diagnoses, for users of ``model.fit``."""

from __future__ import annotations

import sys
from typing import Any

import keras

from kilter._array_types import Arrays
from kilter._diagnosis.diagnose import diagnose
from kilter._layout import columns, wrapped
from kilter._models.keras_internals import io_utils
from kilter._records import Diagnosis


class Doctor(keras.callbacks.Callback):
    """Diagnoses a model before and after training, and prints severe findings.

    Works with ``model.fit`` and :func:`kilter.fit`, and does not change the training by a single bit.

    Args:
        x, y: training rows, as for :func:`kilter.diagnose`.
        validation_data: (x, y), checked for rows that are also training rows.
        batch_size: as in training.
        steps: training steps to try with a copy of the model beforehand; 0 for none.
        verbose: whether to print severe findings.

    Attributes:
        diagnosis: the latest one; None before training.
    """

    def __init__(
        self,
        x: Arrays,
        y: Arrays,
        *,
        validation_data: tuple[Any, Any] | None = None,
        batch_size: int = 32,
        steps: int = 0,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self._data = (x, y)
        self._options: dict[str, Any] = {"validation_data": validation_data, "batch_size": batch_size}
        self._steps = steps
        self._verbose = verbose
        self._history: dict[str, list[float]] = {}
        self.diagnosis: Diagnosis | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Diagnose model and data, and if asked some training steps of a copy."""
        self._history = {}
        self._diagnose(steps=self._steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the numbers of the epoch."""
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(float(value))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Diagnose the trained model and its learning curves."""
        self._diagnose(steps=0, history=self._history)

    def _diagnose(self, **options: Any) -> None:
        model: Any = self.model  # Keras has set it before any callback is called
        diagnosis = diagnose(model, *self._data, **self._options, **options, verbose=0)
        known = () if self.diagnosis is None else self.diagnosis.codes("severe")
        self.diagnosis = diagnosis
        for finding in diagnosis.findings:
            if self._verbose and finding.severity == "severe" and finding.code not in known:
                text = f"kilter: {finding.code}: {finding.explanation}"
                io_utils.print_msg("\n".join(wrapped(text, columns(sys.stdout), indent="    ")))
