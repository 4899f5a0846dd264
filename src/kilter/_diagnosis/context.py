"""What the checks are given: the facts of model, loss and optimiser, the data, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kilter._diagnosis.thresholds import Thresholds
from kilter._models.layers import LayerFacts, OutputFacts
from kilter._models.optimizers import OptimizerFacts
from kilter._records import Measurements


@dataclass(frozen=True, eq=False)
class Context:
    """All that a check may look at; a check changes nothing of it.

    Attributes:
        model: compiled and built.
        layers: the calls of leaf layers in the order of a forward pass.
        outputs: the model's outputs, each with its loss and targets.
        optimizer: the compiled optimiser.
        inputs: the training inputs, one array for each input of the model, rows first.
        x, y, x_val, y_val: the data as they were given; None for no validation part.
        batch_size, shuffle: how batches are drawn in training.
        probe: of the model as it stands, len 1; None where it could not be read.
        training: of some steps taken with a copy; None if none were.
        history: numbers an epoch by the name of their log ("loss", "val_loss", metrics); None if unknown.
        thresholds: what numbers are held to.
    """

    model: keras.Model
    layers: tuple[LayerFacts, ...]
    outputs: tuple[OutputFacts, ...]
    optimizer: OptimizerFacts
    inputs: tuple[np.ndarray, ...]
    x: Any
    y: Any
    x_val: Any = None
    y_val: Any = None
    batch_size: int = 32
    shuffle: bool = True
    probe: Measurements | None = None
    training: Measurements | None = None
    history: Mapping[str, Sequence[float]] | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def rows(self) -> int:
        """How many rows there are to train on."""
        return len(self.inputs[0])

    @property
    def steps_per_epoch(self) -> int:
        """How many steps one pass over the training data takes."""
        return -(-self.rows // self.batch_size)

    @property
    def weighted(self) -> tuple[LayerFacts, ...]:
        """The calls of dense layers and convolutions, each layer once."""
        return tuple(one for one in self.layers if one.is_weighted and not one.repeated)

    @property
    def hidden(self) -> tuple[LayerFacts, ...]:
        """Of :attr:`weighted`, those whose output is not one of the model's own."""
        return tuple(one for one in self.weighted if not one.is_output)

    def layer(self, path: str) -> LayerFacts | None:
        """The facts of the layer at ``path``, None for an unknown one; "name#2" is a second call of name."""
        bare = path.partition("#")[0]
        return next((one for one in self.layers if one.path == bare), None)
