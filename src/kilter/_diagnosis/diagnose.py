"""``diagnose``: every check, from those that need a look to those that need some steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np

from kilter._diagnosis.checks import (
    architecture,
    data,
    initializers,
    normalization,
    optimizer,
    output,
    regularization,
    training,
)
from kilter._diagnosis.checks import probe as probe_checks
from kilter._diagnosis.checks import training as training_checks
from kilter._diagnosis.context import Context
from kilter._diagnosis.thresholds import Thresholds
from kilter._engine.arrays import check_batch_size, is_array, pick, row_count
from kilter._engine.measuring import Reader, measured_steps, probe
from kilter._models.layers import CONVOLUTIONS
from kilter._models.optimizers import optimizer_facts
from kilter._models.reading import paired_targets, read_model
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import build_forward, check_compiled, fitting
from kilter._progress import Verbose, shown
from kilter._records import Diagnosis, Finding, Measurements, ranked
from kilter._xla.compilation import quick_compilation
from kilter.errors import DataError, KilterError, OptionError

CHECKS: tuple[Callable[[Context], list[Finding]], ...] = (
    *output.CHECKS,
    *initializers.CHECKS,
    *architecture.CHECKS,
    *regularization.CHECKS,
    *normalization.CHECKS,
    *optimizer.CHECKS,
)


def two_rows(x: Any) -> Any:
    """Copies of two rows of arrays, as a sample of their shapes; None of anything else."""
    return jax.tree.map(lambda array: np.array(array[:2]), x) if is_array(x) else None


def training_findings(
    model: keras.Model,
    rows: Any,
    *,
    history: Mapping[str, Sequence[float]],
    measurements: Measurements | None,
    batch_size: int,
) -> tuple[Finding, ...]:
    """The findings in a training's curves and, where there are any, its measurements.

    Args:
        model: that was trained; its layers are looked at, and nothing is computed.
        rows: some rows like those it was trained on; None where there are none, as with batches.
        history, measurements: as the training's history has them.
        batch_size: rows a step.
    """
    layers, outputs = ((), ()) if rows is None else read_model(model, rows, ())
    context = Context(
        model=model,
        layers=layers,
        outputs=outputs,
        optimizer=optimizer_facts(model),
        inputs=() if rows is None else tuple(jax.tree.leaves(rows)),
        x=rows,
        y=None,
        batch_size=batch_size,
        training=measurements,
        history=history,
    )
    return ranked([one for check in training.CHECKS for one in check(context)])


# What makes a probe impossible or worthless: it would only show the same again, as NaN or as an error.
_HOPELESS = ("data-not-finite", "targets-loss", "stale-compile", "all-frozen", "output-activation-loss")


def diagnose(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    validation_data: tuple[Any, Any] | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    steps: int = 64,
    history: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    verbose: Verbose = "auto",
) -> Diagnosis:
    """Say what is wrong with a compiled model, its data and how it trains. Neither model nor data change.

    Four families of checks, each with its own cost: of the model and its compilation (nothing is computed),
    of the data (a pass over them), of one forward and backward pass (a program is compiled), and of ``steps``
    steps with a copy of the weights, which the model never sees. Where something severe makes training
    impossible, such as NaN in the data, the last two are left out.

    Args:
        model: any compiled Keras model; it is built on ``x`` if it is not yet.
        x, y: training data as for :func:`kilter.fit`; arrays, or nests of arrays.
        validation_data: (x, y), to look for rows that are in both.
        batch_size, shuffle: as the training uses them. A model that is made for one batch size is read and
            trained with that one.
        steps: 0 leaves out the training of a copy.
        history: of a training that was done: numbers an epoch by name, such as ``History.history``.
        seed: of the rows that are probed and of the order of the steps.
        thresholds: what numbers are held to.
        verbose: 0 shows nothing, 1 a line that changes in place, 2 plain lines; "auto" is 1 on a terminal and
            in a notebook, otherwise 2.

    Raises :class:`~kilter.errors.ModelError` for a model without compile(),
    :class:`~kilter.errors.DataError` for data that do not fit the model, where no finding says why, and
    :class:`~kilter.errors.OptionError` for a batch_size below 1 or negative steps.
    """
    if steps < 0:
        raise OptionError(expected="steps of 0 or more", received=f"steps={steps}", remedy="64 are usual")
    with shown(verbose) as progress:
        progress.stage("Diagnosing: checking the model and the data")
        context = read_context(
            model,
            x,
            y,
            validation_data=validation_data,
            batch_size=batch_size,
            shuffle=shuffle,
            history=history,
            thresholds=thresholds,
        )
        findings = run_checks((*data.CHECKS, *CHECKS), context)
        hopeless = [one for one in findings if one.severity == "severe" and one.code in _HOPELESS]
        with _compilation(context):
            progress.stage("Diagnosing: compiling a forward and a backward pass")
            reader, taken = _probed(context, seed, hopeless, once=steps == 0)
            context = Context(**{**vars(context), "probe": taken})
            findings += run_checks(probe_checks.CHECKS, context)
            if steps and taken is not None and not hopeless:
                training = measured_steps(
                    model,
                    x,
                    y,
                    steps=steps,
                    batch_size=context.batch_size,
                    shuffle=shuffle,
                    seed=seed,
                    reader=reader,
                    progress=progress,
                )
                context = Context(**{**vars(context), "training": training})
        findings += run_checks(training_checks.CHECKS, context)
    return Diagnosis(ranked(findings))


def read_context(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    validation_data: tuple[Any, Any] | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    probe: Measurements | None = None,
    training: Measurements | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    thresholds: Thresholds | None = None,
) -> Context:
    """What checks look at, read once. Builds the model if it is not yet; otherwise nothing changes.

    Raises as :func:`diagnose`.
    """
    check_compiled(model)
    check_batch_size(batch_size)
    batch_size = fixed_batch_size(model) or batch_size
    if not is_array(x):
        raise DataError(
            expected="x as an array, or a list, tuple or dict of arrays",
            received=f"x of type {type(x).__name__}",
            remedy="collect the batches into arrays; a few thousand rows are enough",
        )
    y = np.asarray(y) if isinstance(y, list | tuple) and all(map(np.isscalar, y)) else y
    check_rows(model, row_count(x=x, y=y), batch_size)
    x_val, y_val = (None, None) if validation_data is None else validation_data[:2]
    inputs = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    with fitting(model, (x, y)):
        # A whole batch, since stateful layers are made for its size.
        build_forward(model, pick(x, slice(batch_size)))
    layers, outputs = read_model(model, x, paired_targets(model, y))
    return Context(
        model=model,
        layers=layers,
        outputs=outputs,
        optimizer=optimizer_facts(model),
        inputs=tuple(inputs),
        x=x,
        y=y,
        x_val=x_val,
        y_val=y_val,
        batch_size=batch_size,
        shuffle=shuffle,
        probe=probe,
        training=training,
        history=history,
        thresholds=Thresholds() if thresholds is None else thresholds,
    )


def check_rows(model: keras.Model, rows: int, batch_size: int) -> None:
    """Raise :class:`DataError` where a model with a fixed batch size is given fewer rows than that."""
    fixed = fixed_batch_size(model, batch_size)
    if fixed is not None and rows < fixed:
        raise DataError(
            expected=f"at least {fixed} rows, the batch size that model {model.name!r} is made for",
            received=f"{rows} rows",
            remedy="give more rows, or make the model for smaller batches",
        )


def run_checks(checks: Sequence[Callable[[Context], Sequence[Finding]]], context: Context) -> list[Finding]:
    """The findings of all checks in order."""
    return [found for check in checks for found in check(context)]


def _probed(
    context: Context, seed: int, hopeless: list[Finding], *, once: bool
) -> tuple[Reader, Measurements] | tuple[None, None]:
    """One reading of the model as it stands, and what reads it; None where a severe finding says why not."""
    try:
        reader = Reader(context.model, context.x, context.y, seed=seed, once=once)
        return reader, probe(context.model, context.x, context.y, seed=seed, reader=reader)
    except KilterError:
        if hopeless:
            return None, None
        raise


def _compilation(context: Context) -> contextlib.AbstractContextManager[None]:
    """Readings and steps are few, so that compiling them well takes longer than they do; not convolutions."""
    convolves = any(isinstance(one.layer, CONVOLUTIONS) for one in context.layers)
    return contextlib.nullcontext() if convolves else quick_compilation()
