"""``kilter.diagnose``: all checks, from cheap to expensive."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np

from kilter._array_types import Arrays, HeldOut
from kilter._diagnosis.checks import CHECKS
from kilter._diagnosis.context import Check, Context
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
from kilter._validation import whole_number
from kilter._xla.compilation import quick_compilation
from kilter.errors import DataError, KilterError


def two_rows(x: Any) -> Any:
    """Copies of the first two rows, as a sample; None for anything but arrays."""
    return jax.tree.map(lambda array: np.array(array[:2]), x) if is_array(x) else None


def training_findings(
    model: keras.Model,
    rows: Any,
    *,
    history: Mapping[str, Sequence[float]],
    measurements: Measurements | None,
    batch_size: int,
) -> tuple[Finding, ...]:
    """The findings in the learning curves and measurements of a training.

    Args:
        model: the trained model; its layers are read, nothing is computed.
        rows: a few rows of its training data; None if it was trained on a generator of batches.
        history, measurements: as in the training's History.
        batch_size: rows per step.
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
    return ranked([one for check in CHECKS["training"] for one in check(context)])


# Severe findings that make a training step fail, or measure nothing but the same fault again.
_BLOCKING = ("data-not-finite", "targets-loss", "stale-compile", "all-frozen", "output-activation-loss")


def diagnose(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    *,
    validation_data: tuple[HeldOut, HeldOut] | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    steps: int = 64,
    history: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    verbose: Verbose = "auto",
) -> Diagnosis:
    """Find what is wrong with a compiled model, its data and its training. Neither model nor data change.

    Runs four kinds of checks, in order of cost: of the model (nothing is computed), of the data (one pass),
    of one forward and backward pass (compiles a program), and of ``steps`` training steps on a copy of the
    weights. The last two are skipped if a severe finding, such as NaN in the data, rules out training.

    Args:
        model: any compiled Keras model; it is built on ``x`` if necessary.
        x, y: training data as for :func:`kilter.fit`: arrays, or nests of arrays.
        validation_data: (x, y), checked for rows that are also training rows.
        batch_size, shuffle: as in training. A model with a fixed batch size uses its own.
        steps: the number of training steps to try; 0 skips them.
        history: the numbers of each epoch of an earlier training by name, such as ``History.history``.
        seed: selects the rows of the forward and backward pass and the order of the steps.
        thresholds: the limits of the checks.
        verbose: 0 shows nothing, 1 one updating line, 2 plain lines; "auto" is 1 on a terminal and in a
            notebook, otherwise 2.

    Raises :class:`~kilter.errors.ModelError` for a model that is not compiled,
    :class:`~kilter.errors.DataError` for data that do not fit the model, unless a finding explains it, and
    :class:`~kilter.errors.OptionError` for a batch_size below 1 or negative steps.
    """
    steps = whole_number("steps", steps, 0)
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
        findings = run_checks((*CHECKS["data"], *CHECKS["model"]), context)
        blocking = [one for one in findings if one.severity == "severe" and one.code in _BLOCKING]
        with _compilation(context):
            progress.stage("Diagnosing: compiling a forward and a backward pass")
            reader, taken = _probed(context, seed, blocking, once=steps == 0)
            context = Context(**{**vars(context), "probe": taken})
            findings += run_checks(CHECKS["probe"], context)
            if steps and taken is not None and not blocking:
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
        findings += run_checks(CHECKS["training"], context)
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
    """The input of the checks. Builds the model if necessary; raises as :func:`diagnose`."""
    check_compiled(model)
    check_batch_size(batch_size)
    batch_size = fixed_batch_size(model) or batch_size
    if not is_array(x):
        raise DataError(
            expected="x as an array, or a list, tuple or dict of arrays",
            received=f"x of type {type(x).__name__}",
            remedy="collect batches into arrays; a few thousand rows are enough",
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
    """Raise :class:`DataError` if there are fewer rows than the model's fixed batch size."""
    fixed = fixed_batch_size(model, batch_size)
    if fixed is not None and rows < fixed:
        raise DataError(
            expected=f"at least {fixed} rows, the fixed batch size of model {model.name!r}",
            received=f"{rows} rows",
            remedy="pass more rows, or build the model for smaller batches",
        )


def run_checks(checks: Sequence[Check], context: Context) -> list[Finding]:
    """The findings of all checks in order."""
    return [found for check in checks for found in check(context)]


def _probed(
    context: Context, seed: int, blocking: list[Finding], *, once: bool
) -> tuple[Reader, Measurements] | tuple[None, None]:
    """Reader and measurements of a forward and backward pass; None if it failed for a known reason."""
    try:
        reader = Reader(context.model, context.x, context.y, seed=seed, once=once)
        return reader, probe(context.model, context.x, context.y, seed=seed, reader=reader)
    except KilterError:
        if blocking:
            return None, None
        raise


def _compilation(context: Context) -> contextlib.AbstractContextManager[None]:
    """Fast compilation, as only a few steps run; convolutions are optimised, being slow otherwise."""
    convolves = any(isinstance(one.layer, CONVOLUTIONS) for one in context.layers)
    return contextlib.nullcontext() if convolves else quick_compilation()
