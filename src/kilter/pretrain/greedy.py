"""A stack trained from the lowest layer up: each stage gives back the codes of the stages below it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.history import History
from kilter._engine.inference import predict
from kilter._models.tracing import some_rows
from kilter.pretrain.decoder import Layers, as_model
from kilter.pretrain.encoder_chain import Link, stages
from kilter.pretrain.pretext import PretextModel, Training
from kilter.pretrain.running import Subject
from kilter.pretrain.targets import Targets
from kilter.pretrain.tasks.reconstruction import Reconstruction

_LOOKED_AT = 1024  # rows from which the variance of a stage's codes is known well enough to scale a loss


def train_greedily(
    subject: Subject, line: Sequence[Link], images: Sequence[Layers], task: Reconstruction, training: Training
) -> list[History]:
    """Train each stage of the encoder with its mirror image, on the codes below; the layers are changed.

    The first stage has the task as it is. The stages above give back codes, whatever their range, by squared
    error over the codes' variance, with the task's noise in units of their deviation.
    """
    histories, lower = [], []
    for stage, image in zip(stages(line), images, strict=True):
        below = as_model(lower, subject.shape, "below") if lower else None
        encoder = as_model([link.layer for link in stage], stage[0].before, "stage")
        head = as_model(image, stage[-1].after, "image")
        own = task if below is None else _of_codes(task, below, subject, training.seed)
        with _frozen(lower):
            # A stage that stands frozen in the encoder has nothing to learn itself; its image would not help.
            if encoder.trainable_variables:
                model = PretextModel(encoder, head, own, seed=training.seed, below=below)
                histories.append(training.run(model, subject.rows, subject.held_out))
        lower += [link.layer for link in stage]
    return histories


def _of_codes(task: Reconstruction, below: keras.Model, subject: Subject, seed: int) -> Reconstruction:
    codes = predict(below, some_rows(subject.rows, _LOOKED_AT, seed), verbose=0)
    variance = float(codes.var(dtype="float64")) or 1.0
    noise = task.noise
    if noise is not None and noise.corruption == "gaussian":
        noise = replace(noise, strength=noise.strength * variance**0.5)
    return replace(task, targets=Targets("mse", (0.0,), (1.0,)), noise=noise, importance=1 / variance)


@contextlib.contextmanager
def _frozen(layers: Sequence[Any]) -> Iterator[None]:
    """While active, the layers do not train; their flags are put back afterwards, also on an error."""
    flags = [layer.trainable for layer in layers]
    try:
        for layer in layers:
            layer.trainable = False
        yield
    finally:
        for layer, flag in zip(layers, flags, strict=True):
            layer.trainable = flag
