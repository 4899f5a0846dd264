"""``kilter.diagnose``: all checks, from cheap to expensive."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays, HeldOut
from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks import CHECKS
from kilter._diagnosis.checks.coverage import unchecked
from kilter._diagnosis.checks.data import found_not_finite
from kilter._diagnosis.context import Check, Context, Timing, check_history, check_names, check_validation
from kilter._diagnosis.outcome import Divided, Outcome, divided, outcome
from kilter._diagnosis.sequences import read_sequences
from kilter._diagnosis.severity import is_noise, weighed, with_causes
from kilter._diagnosis.thresholds import Thresholds
from kilter._engine.arrays import collect, is_array, pick, row_count
from kilter._engine.augmenting import Augment, as_augmentation, check_augmentation
from kilter._engine.batch_hooks import check_callbacks
from kilter._engine.divergence import Event
from kilter._engine.history import History
from kilter._engine.measuring import READINGS, Reader, measured_steps, probe
from kilter._engine.program_cache import QUICK_WEIGHTS, compiled_for, shared_programs
from kilter._engine.scheduling import Schedule, check_schedule
from kilter._engine.training_spec import TrainingSpec
from kilter._models.layers import require_model
from kilter._models.optimizers import OptimizerFacts, optimizer_facts
from kilter._models.reading import paired_targets, read_model
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import build, build_forward, check_compiled, fitting
from kilter._progress import Progress, Verbose, shown
from kilter._records import Diagnosis, Finding, Measurements, ranked
from kilter._validation import instance_of, whole_number
from kilter.errors import DataError, KilterError
from kilter.schedules import Performance


def training_findings(
    model: keras.Model, history: History, rows: Any, batch_size: int, work: float
) -> tuple[Finding, ...]:
    """The findings in the history of a training; nothing is computed.

    ``rows``: a few rows of the training data; None if the model was trained on a generator of batches.
    ``work``: that of a step, 0 if it is not known.
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
        training=history.measurements,
        history=history.history,
        timing=_timing(history, work),
    )
    not_finite = found_not_finite(history.not_finite, history.history)
    return (*map(_broken, history.events), *ranked([*not_finite, *run_checks(CHECKS["training"], context)]))


def _timing(history: History, work: float) -> Timing:
    parts = (history.seconds, history.compiling, history.waiting)
    steps = int((history.params or {}).get("steps") or 0)
    return Timing(*map(tuple, parts), steps=steps, work=work, memory=tuple(history.memory))


def _broken(event: Event) -> Finding:
    """The finding of a training run that broke and went back."""
    code = "non-finite" if event.kind == "not finite" else "rate-too-high"
    return finding(code, "warning", ("training",), detail=event.sentence.capitalize())


# Steps at which a schedule is evaluated: its warm-up is over by then, its decay has not ended.
_SAMPLED_STEPS = (0, 10, 100, 1_000, 10_000)
# Severe findings that make a training step fail, or measure nothing but the same fault again.
_BLOCKING = (
    "data-not-finite",
    "targets-loss",
    "stale-compile",
    "foreign-optimizer",
    "all-frozen",
    "output-activation-loss",
)


def diagnose(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    *,
    validation_data: tuple[HeldOut, ...] | None = None,
    batch_size: int = 32,
    epochs: int | None = None,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Arrays | None = None,
    schedule: Schedule | Performance | None = None,
    augment: Augment | None = None,
    steps: int = 64,
    history: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    features: Sequence[str] = (),
    verbose: Verbose = "auto",
) -> Diagnosis:
    """Find what is wrong with a compiled model, its data and its training. Changes neither model nor data.

    Runs four kinds of checks, in order of cost: of the model (nothing is computed), of the data (one pass),
    of one forward and backward pass (compiles a program), and of ``steps`` training steps on a copy of the
    weights; with ``epochs`` also of the outcome. The last two are skipped if a severe finding, such as NaN in
    the data, rules out training.

    Args:
        model: any compiled Keras model; it is built on ``x`` if necessary.
        x, y: training data as for :func:`kilter.fit`: arrays, or nests of arrays.
        validation_data: (x, y), checked for rows that are also training rows, and scored for the outcome;
            without it a fifth of the rows is held out for that.
        epochs: the number of epochs of the planned training. kilter then tries this training, as far as that
            is cheap, and compares it with a sibling: the same network with suitable initialisation,
            activations, optimiser and learning rate. A finding is severe only if the training falls short of
            the sibling, or of nearest neighbours and ridge regression. None: the severity of a finding
            depends on its rule alone.
        batch_size, shuffle, class_weight, sample_weight, schedule, augment: as in training, for the steps. A
            model with a fixed batch size uses its own. A :class:`kilter.schedules.Performance` changes no
            rate within an epoch, so it is only checked. There are no callbacks, because no whole epoch is
            trained.
        steps: the number of training steps to try; 0 skips them.
        history: the numbers of each epoch of an earlier training by name, such as ``History.history``.
        seed: selects the rows of the forward and backward pass and the order of the steps.
        thresholds: the limits of the checks.
        features: names of the columns of ``x``, for the findings; by default they are numbered.
        verbose: 0 shows nothing, 1 one updating line, 2 plain lines; "auto" is 1 on a terminal and in a
            notebook, otherwise 2.

    Raises :class:`~kilter.errors.ModelError` for a model that is not compiled,
    :class:`~kilter.errors.DataError` for data that do not fit the model, unless a finding explains it, and
    :class:`~kilter.errors.OptionError` for negative steps and for options that :func:`kilter.fit` refuses.
    """
    require_model(model)
    steps = whole_number("steps", steps, 0)
    check_names(x, features)
    check_history(history)
    instance_of("thresholds", thresholds, (Thresholds, NoneType), "kilter.Thresholds")
    spec = TrainingSpec(
        epochs=1 if epochs is None else epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        validation_data=validation_data,
        class_weight=class_weight,
        sample_weight=sample_weight,
        schedule=schedule,
        augment=augment,
        seed=seed,
    )
    with shown(verbose) as progress, shared_programs():
        asked = Asked(epochs is not None, steps, history, thresholds, tuple(features))
        return examined(model, x, y, spec, progress, asked).diagnosis


@dataclass(frozen=True)
class Asked:
    """What an examination is asked for beside the training itself: see :func:`diagnose`.

    ``outcome``: whether to say if the training, of ``epochs``, will get there. ``trained``: trains a copy of
    the model for all of them, if the caller needs that training too; None if it cannot be trained.
    """

    outcome: bool = True
    steps: int = 64
    history: Mapping[str, Sequence[float]] | None = None
    thresholds: Thresholds | None = None
    features: tuple[str, ...] = ()
    trained: Callable[[], keras.Model | None] | None = None


@dataclass(frozen=True, eq=False)
class Examined:
    """A diagnosis, and the outcome that its severities were weighed with; None if it was not tried.

    ``noise``: whether nothing can be learnt from these rows, see :meth:`Outcome.is_noise`. ``rows``: those of
    the outcome.
    """

    diagnosis: Diagnosis
    outcome: Outcome | None = None
    noise: bool = False
    rows: Divided | None = None


def examined(
    model: keras.Model, x: Any, y: Any, spec: TrainingSpec, progress: Progress, asked: Asked | None = None
) -> Examined:
    """All checks in order; raises as :func:`diagnose`."""
    asked = Asked() if asked is None else asked
    progress.stage("Diagnosing: checking the model and the data")
    context = read_context(model, x, y, spec, history=asked.history, thresholds=asked.thresholds)
    epochs = spec.epochs if asked.outcome else None
    context = replace(context, features=asked.features, epochs=epochs)
    findings = run_checks((*CHECKS["data"], *CHECKS["model"]), context)
    blocking = [one for one in findings if one.severity == "severe" and one.code in _BLOCKING]
    with compiled_for(context.model, asked.steps, QUICK_WEIGHTS if asked.outcome else math.inf):
        progress.stage("Diagnosing: compiling a forward and a backward pass")
        reader, taken = _probed(context, spec.seed, asked.steps, blocking)
        read = None if taken is None or blocking else read_sequences(context, spec.seed)
        context = replace(context, probe=taken, sequences=read)
        findings += run_checks(CHECKS["probe"], context)
        finite = all(one.code != "data-not-finite" for one in blocking)
        planned = asked.outcome and asked.steps and taken is not None and finite
        rows = divided(context, spec) if planned else None
        if asked.steps and taken is not None and not blocking:
            # On the rows of the outcome, in whose program these steps run.
            training = _stepped(rows.context if rows else context, spec, asked.steps, reader, progress)
            context = replace(context, training=training)
        findings += run_checks(CHECKS["training"], context)
        findings = with_causes(findings)
        unseen = tuple(unchecked(context, planned=asked.outcome))
        if rows is None:
            return Examined(Diagnosis(ranked(findings), unseen))
        severe = any(one.severity == "severe" for one in findings)
        margin, given = context.thresholds.short_margin, asked.trained
        reached = outcome(rows, spec, margin, progress, explained=severe, trained=given)
        noise = reached is not None and is_noise(findings, context, reached)
        return Examined(Diagnosis(ranked(weighed(findings, context, reached)), unseen), reached, noise, rows)


def _stepped(
    context: Context, spec: TrainingSpec, steps: int, reader: Reader | None, progress: Progress
) -> Measurements:
    """Measurements of the first steps of the training."""
    return measured_steps(
        context.model,
        context.x,
        context.y,
        steps=steps,
        batch_size=context.batch_size,
        shuffle=spec.shuffle,
        sample_weight=context.row_weights,
        schedule=None if isinstance(spec.schedule, Performance) else spec.schedule,
        augment=spec.augment,
        seed=spec.seed,
        reader=reader,
        progress=progress,
    )


def read_context(
    model: keras.Model,
    x: Any,
    y: Any,
    spec: TrainingSpec,
    *,
    history: Mapping[str, Sequence[float]] | None = None,
    thresholds: Thresholds | None = None,
) -> Context:
    """The input of the checks before training. Builds the model if necessary; raises as :func:`diagnose`."""
    if not is_array(x):
        raise DataError(
            expected="x as an array, or a list, tuple or dict of arrays",
            received=f"x of type {type(x).__name__}",
            remedy="collect batches into arrays; a few thousand rows are enough",
        )
    y = targets_of(y)
    spec = checked_training(model, x, y, spec)
    check_rows(model, row_count(x=x), spec.batch_size)
    x_val, y_val = (None, None) if spec.validation_data is None else spec.validation_data[:2]
    with fitting(model, (x, y)):
        # A whole batch, since stateful layers are made for its size.
        build_forward(model, pick(x, slice(spec.batch_size)))
    layers, outputs = read_model(model, x, paired_targets(model, y))
    return Context(
        model=model,
        layers=layers,
        outputs=outputs,
        optimizer=_scheduled(optimizer_facts(model), spec.schedule),
        inputs=tuple(np.asarray(leaf) for leaf in jax.tree.leaves(x)),
        x=x,
        y=y,
        x_val=x_val,
        y_val=y_val,
        batch_size=spec.batch_size,
        shuffle=spec.shuffle,
        row_weights=row_weights(y, spec),
        history=history,
        thresholds=Thresholds() if thresholds is None else thresholds,
    )


def targets_of(y: Any) -> Any:
    """The targets, a list of numbers as an array."""
    return np.asarray(y) if isinstance(y, list | tuple) and all(map(np.isscalar, y)) else y


def checked_training(model: keras.Model, x: Any, y: Any, spec: TrainingSpec) -> TrainingSpec:
    """The spec, with the batch size of a model that is made for one.

    Raises the errors that would make every training fail, so that they do not count as faults of the model.
    """
    check_compiled(model)
    whole_number("batch_size", spec.batch_size, 1)
    whole_number("epochs", spec.epochs, 1)
    whole_number("seed", spec.seed, 0)
    check_schedule(model, spec.schedule, validated=True)
    check_callbacks(spec.callbacks)
    row_count(x=x, y=y, sample_weight=spec.sample_weight)
    if spec.validation_data is not None:
        check_validation(spec.validation_data)
        named = ("x of validation_data", "y of validation_data", "their weights")
        held = (*spec.validation_data[:1], *map(targets_of, spec.validation_data[1:]))
        row_count(**dict(zip(named, held, strict=False)))
    augmentation = as_augmentation(spec.augment)
    spec = replace(spec, batch_size=fixed_batch_size(model, spec.batch_size) or spec.batch_size)
    if augmentation is not None:
        batch = pick((x, y, spec.sample_weight), slice(spec.batch_size))
        if augmentation.mixes:  # whether targets can be mixed depends on the loss, which must be built
            build(model, collect(*jax.tree.map(np.zeros_like, batch)).example(spec.batch_size))
        check_augmentation(model, augmentation, batch)
    row_weights(y, spec)
    return spec


def row_weights(y: Any, spec: TrainingSpec) -> Any:
    """The weights of the rows, those of their classes included; None without any."""
    if spec.class_weight is None:
        return spec.sample_weight
    return collect(np.zeros(row_count(y=y)), y, spec.sample_weight, spec.class_weight).data[2]


def _scheduled(facts: OptimizerFacts, schedule: Schedule | Performance | None) -> OptimizerFacts:
    """The optimiser with the largest rate of the schedule, as if the schedule were the optimiser's own."""
    if schedule is None or isinstance(schedule, Performance):
        return facts
    rate = max(float(np.asarray(schedule(jnp.asarray(step)))) for step in _SAMPLED_STEPS)
    return replace(facts, learning_rate=rate, scheduled=True)


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
    context: Context, seed: int, steps: int, blocking: list[Finding]
) -> tuple[Reader, Measurements] | tuple[None, None]:
    """Reader and measurements of a forward and backward pass; None if it failed for a known reason."""
    try:
        rows = context.x, context.y, context.row_weights
        reader = Reader(context.model, *rows, seed=seed, readings=1 + 2 * min(steps, READINGS))
        return reader, probe(context.model, context.x, context.y, seed=seed, reader=reader)
    except KilterError:
        if blocking:
            return None, None
        raise
