"""The main job: a recipe in, a run directory with a trained model out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.data import Dataset
from kilter.engine.averaging import (
    ExponentialMovingAverage,
    StochasticWeightAverage,
    WeightAverage,
    normalizes_batches,
)
from kilter.engine.fit import fit
from kilter.engine.history import History
from kilter.engine.inference import evaluate, predict
from kilter.errors import RunError
from kilter.nn.zeros import l1_zeros
from kilter.progress import Verbose, shown
from kilter.recipe import Recipe, dump_recipe, load_recipe
from kilter.runs import checkpoints
from kilter.runs.build import Prepared, prepare
from kilter.runs.directory import Run, create_run, reopen_run
from kilter.runs.environment import describe_environment
from kilter.runs.reading import FOUND_CLIP, FOUND_RATE, RECIPE, open_run, read_history, require_run
from kilter.runs.recorder import Recorder, restore
from kilter.runs.records import DataRecord, Evaluation, Result, Status
from kilter.runs.watch import Watch
from kilter.schedules import Performance
from kilter.transfer.fine_tuning import enter, train_in_phases

# Rows predicted at once for the confusion matrix: a multiple of what keeps two cores or a GPU busy.
_PREDICTION_BATCH = 1024


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What :func:`train` gives back.

    `path` is the run directory, `model` the model with its best weights, `history` the epochs trained now (a
    resumed run's directory has them all), `result` what result.json says.
    """

    path: Path
    model: keras.Model
    history: History
    result: Result


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; says how to go on. The best weights are in the run directory at `path`."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def train(
    recipe: Recipe,
    *,
    parent: Path | str = Path("runs"),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> TrainResult:
    """Train what `recipe` describes, and keep all of it in a new run directory below `parent`.

    The same recipe on the same machine gives the same bits. Recipe, data and model are checked first; a
    :class:`~kilter.errors.KilterError` then leaves no directory behind. Ctrl-C raises :class:`Interrupted`
    after the best weights are saved.
    """
    with shown(verbose) as progress:
        prepared = prepare(recipe, progress)
    text = dump_recipe(prepared.recipe)
    with create_run(Path(parent), recipe.name, recipe_text=text) as run:
        run.write_environment(describe_environment(device=device_name(), seed=recipe.seed))
        run.write_data(_data_record(prepared))
        for name, found in ((FOUND_RATE, prepared.found_rate), (FOUND_CLIP, prepared.found_clip)):
            if found is not None:
                run.write_found(name, found.to_dict())
        recorder = Recorder(run, prepared.watch, average=_weight_average(prepared))
        return _run(prepared, run, recorder, callbacks, verbose)


def resume(
    path: Path | str, *, callbacks: Sequence[keras.callbacks.Callback] = (), verbose: Verbose = "auto"
) -> TrainResult:
    """Go on with a run that was interrupted or killed, from its newest checkpoint: the same bits as without.

    Epochs after the checkpoint are trained again. Raises :class:`RunError` where the run is finished, where
    another process writes to it, or where the data are no longer those it was started with.
    """
    path = Path(path)
    require_run(path)
    with reopen_run(path) as run:
        records = open_run(path)
        if records.result is not None and records.result.status == "finished":
            raise RunError(
                expected=f"an interrupted run in {path}",
                received="one that is finished",
                remedy="for a longer run, train its recipe.toml anew with a higher train.epochs",
            )
        with shown(verbose) as progress:
            prepared = prepare(load_recipe(path / RECIPE), progress)
        _check_same_data(prepared, records.data)
        recorder = _recorder_from_checkpoint(prepared, run)
        return _run(prepared, run, recorder, callbacks, verbose)


def device_name() -> str:
    """What JAX computes on, for people: "cpu", or as many GPUs of which kind."""
    devices = jax.devices()
    kind = devices[0].device_kind
    return kind if len(devices) == 1 else f"{len(devices)} × {kind}"


def _run(
    prepared: Prepared,
    run: Run,
    recorder: Recorder,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: Verbose,
) -> TrainResult:
    """Train what is left to train, then judge the best weights; however it ends, result.json says so."""
    recorder.set_model(prepared.model)
    try:
        history = _fit(prepared, recorder, callbacks, verbose)
        recorder.keep_best()
        reason = "patience" if recorder.watch.has_waited_enough else "epochs"
        evaluations = _evaluations(prepared)
    except KeyboardInterrupt:
        recorder.keep_best()
        run.finish(_result(prepared, run, recorder.watch, "interrupted", "Ctrl-C", {}))
        raise Interrupted(run.path, _how_to_go_on(run.path, recorder.watch)) from None
    except RunError:
        # The disk does not take what is written: not even how the run ended. It can be resumed.
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        run.finish(_result(prepared, run, recorder.watch, "failed", reason, {}))
        raise
    result = _result(prepared, run, recorder.watch, "finished", reason, evaluations)
    run.finish(result)
    return TrainResult(run.path, prepared.model, history, result)


def _fit(
    prepared: Prepared, recorder: Recorder, callbacks: Sequence[keras.callbacks.Callback], verbose: Verbose
) -> History:
    """Train from the epoch after the last one seen; nothing where a resumed run had come to its end."""
    options, parts, watch = prepared.recipe.train, prepared.parts, recorder.watch
    next_epoch = 0 if watch.last_epoch is None else watch.last_epoch + 1
    if next_epoch >= options.epochs or watch.has_waited_enough:
        return History()
    validation, schedule = parts.validation, prepared.schedule()
    if isinstance(schedule, Performance):
        schedule = schedule.replayed(line.logs for line in read_history(recorder.run.path))
    shared: dict[str, Any] = {
        "validation_data": None if validation is None else (validation.x, validation.y),
        "validation_batch_size": _PREDICTION_BATCH,
        "batch_size": options.batch_size,
        "initial_epoch": next_epoch,
        "shuffle": options.shuffle,
        "class_weight": prepared.class_weight,
        # The average comes first: the others then see it. The recorder comes last: its checkpoint then has
        # what the others did to the model.
        "callbacks": [*([recorder.average] if recorder.average else []), *callbacks, recorder],
        "evaluate_training": options.evaluate_training,
        "augment": prepared.augmentation(),
        "seed": prepared.recipe.seed,
        "verbose": verbose,
    }
    rows = (parts.train.x, parts.train.y)
    if prepared.phases:
        if next_epoch in [phase.begin for phase in prepared.phases[1:]]:
            recorder.keep_best()  # as at the end of the stage before, where the recorder was told of it
        return train_in_phases(prepared.model, prepared.phases, prepared.recompile, rows, **shared)
    return fit(prepared.model, *rows, **shared, epochs=options.epochs, schedule=schedule)


def _recorder_from_checkpoint(prepared: Prepared, run: Run) -> Recorder:
    """The recorder as it was when the newest checkpoint was saved; from the start where there is none."""
    checkpoint = checkpoints.latest(run.path)
    average = _weight_average(prepared)
    for phase in prepared.phases:
        if checkpoint is not None and phase.begin <= checkpoint.epoch < phase.end:
            enter(prepared.model, phase, prepared.recompile)
    best = None if checkpoint is None else restore(prepared.model, checkpoint, average)
    # Nothing is dropped before the checkpoint is known to fit.
    run.keep_history(0 if checkpoint is None else checkpoint.epoch + 1)
    watch = prepared.watch
    for line in read_history(run.path):
        watch = watch.saw(line.epoch, line.logs)
    return Recorder(run, watch, best=best, average=average)


def _weight_average(prepared: Prepared) -> WeightAverage | None:
    """The average of the weights that the recipe asks for."""
    swa = prepared.recipe.train.swa
    if swa is not None:
        refresh = prepared.parts.train.x if normalizes_batches(prepared.model) else None
        return StochasticWeightAverage(swa.start, swa.every, refresh)
    optimizer: Any = prepared.model.optimizer
    return ExponentialMovingAverage() if optimizer.use_ema else None


def _evaluations(prepared: Prepared) -> dict[str, Evaluation]:
    """The model as it is now, on validation and test data."""
    found = {}
    for name, part in prepared.evaluated_parts().items():
        metrics = evaluate(prepared.model, part.x, part.y, batch_size=_PREDICTION_BATCH, verbose=0)
        found[name] = Evaluation(len(part), metrics, _confusion(prepared, part))
    return found


def _confusion(prepared: Prepared, part: Dataset) -> tuple[tuple[int, ...], ...]:
    """How often each class (row) was taken for each class (column); () for regression."""
    if prepared.objective.task == "regression" or part.y is None:
        return ()
    outputs = predict(prepared.model, part.x, batch_size=_PREDICTION_BATCH, verbose=0)
    counts = np.zeros((part.outputs, part.outputs), dtype=np.int64)
    np.add.at(counts, (part.y, prepared.objective.classes_of(outputs)), 1)
    return tuple(tuple(int(count) for count in row) for row in counts)


def _result(
    prepared: Prepared,
    run: Run,
    watch: Watch,
    status: Status,
    reason: str,
    evaluations: Mapping[str, Evaluation],
) -> Result:
    history = read_history(run.path)
    return Result(
        status=status,
        reason=reason,
        monitor=watch.monitor,
        direction=watch.direction,
        best_epoch=watch.best_epoch,
        epochs=len(history),
        seconds=sum(line.seconds + line.compile_seconds for line in history),
        parameters=int(prepared.model.count_params()),
        evaluations=evaluations,
        l1_zeros=l1_zeros(prepared.model),
    )


def _how_to_go_on(path: Path, watch: Watch) -> str:
    done = (
        "before the first epoch ended" if watch.last_epoch is None else f"after epoch {watch.last_epoch + 1}"
    )
    best = (
        "" if watch.best_epoch is None else f" The best weights, of epoch {watch.best_epoch + 1}, are kept."
    )
    return f"Stopped {done}.{best} To go on: kilter resume {path}"


def _data_record(prepared: Prepared) -> DataRecord:
    source, train = prepared.source, prepared.parts.train
    return DataRecord(
        name=train.name,
        kind=source.kind,
        origin=str(source.origin),
        task=train.task,
        classes=train.classes,
        input_shape=train.input_shape,
        outputs=train.outputs,
        rows={"train": len(train), **{name: len(part) for name, part in prepared.evaluated_parts().items()}},
        skipped=len(source.train.skipped),
        image_size=source.image_size,
        encoding=None if source.encoding is None else source.encoding.to_json(),
        sha256=_fingerprint(train),
    )


def _fingerprint(train: Dataset) -> str:
    """SHA-256 of the training rows and targets, in their order."""
    digest = hashlib.sha256()
    for array in (train.x, train.y):
        digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def _check_same_data(prepared: Prepared, record: DataRecord | None) -> None:
    if record is not None and record.sha256 != _fingerprint(prepared.parts.train):
        raise RunError(
            expected=f"the training data that the run was started with (SHA-256 {record.sha256[:12]}…)",
            received=f"other rows or targets from {prepared.source.origin}",
            remedy="put the data back as they were, or train the run's recipe.toml anew",
        )
