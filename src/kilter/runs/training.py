"""``train`` and ``resume``: from a recipe to a run directory with a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np

from kilter._engine.devices import Devices, chosen, on_devices
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._progress import Verbose, shown
from kilter._transfer.fine_tuning import enter, train_in_phases
from kilter.data import Dataset, Source, Splits
from kilter.errors import RecipeError, RunError
from kilter.nn.zeros import l1_zeros
from kilter.recipe import Recipe, dump_recipe, load_recipe
from kilter.recipe.optimizer import AUTO
from kilter.runs import checkpoints
from kilter.runs.best_epoch import Watch
from kilter.runs.build import Prepared, prepare
from kilter.runs.checksums import require_same_recipe
from kilter.runs.consistency import newest_cut, restore_history
from kilter.runs.directory import Run, create_run, describe_environment, discarded_unless_begun, reopen_run
from kilter.runs.evaluating import (
    BATCH,
    chosen_threshold,
    evaluate_part,
    fitting_measure,
    positive_of,
)
from kilter.runs.processes import copied_from_first, written_by_first
from kilter.runs.reading import (
    FOUND_CLIP,
    FOUND_RATE,
    RECIPE,
    read_data,
    read_history,
    read_result,
)
from kilter.runs.recorder import Recorder, average_in, restore
from kilter.runs.records import DataRecord, Evaluation, Result, Status
from kilter.runs.termination import saving_what_is_done
from kilter.schedules import Performance


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What :func:`train` returns.

    `path`: the run directory. `model`: with its best weights. `history`: the epochs trained by this call; the
    directory of a resumed run has them all. `result`: the content of result.json.
    """

    path: Path
    model: keras.Model
    history: History
    result: Result


def train(
    recipe: Recipe,
    *,
    parent: Path | str = Path("runs"),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
    allow_code: bool = False,
) -> TrainResult:
    """Train `recipe` in a new run directory below `parent`.

    The same recipe on the same machine gives the same bits. Recipe, data and model are checked first; an
    error then leaves no directory behind. Ctrl-C, SIGTERM and SIGHUP raise :class:`Interrupted` after the
    last finished epoch and the best weights are saved. `allow_code` lets the recipe run code (see
    :func:`prepare`).
    """
    with shown(verbose) as progress:
        prepared = prepare(recipe, allow_code=allow_code, progress=progress)
    _require_devices(recipe.train.devices)
    text = dump_recipe(prepared.recipe)
    with (
        written_by_first(Path(parent)) as folder,
        create_run(folder, recipe.name, recipe_text=text) as run,
        discarded_unless_begun(run),
    ):
        run.write_environment(describe_environment(device=device_name(), seed=recipe.seed))
        run.write_data(data_record(prepared.source, prepared.parts))
        for name, found in ((FOUND_RATE, prepared.found_rate), (FOUND_CLIP, prepared.found_clip)):
            if found is not None:
                run.write_found(name, found.to_dict())
        recorder = Recorder(run, prepared.watch, average=average_in(prepared.spec.callbacks))
        with on_devices(prepared.model, recipe.train.devices):
            return _run(prepared, run, recorder, callbacks, verbose)


def resume(
    path: Path | str,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
    allow_code: bool = False,
    devices: Devices = None,
) -> TrainResult:
    """Continue an interrupted run from its newest checkpoint: the same bits as without the interruption.

    Epochs after the checkpoint are trained again. A damaged checkpoint is skipped for the previous one, and
    missing lines of history.jsonl are restored from the checkpoint, with a
    :class:`~kilter.errors.RunWarning`. Raises :class:`RunError` if the run is finished, another process
    writes to it, no checkpoint is usable, or the data or history.jsonl have changed. `allow_code`: see
    :func:`prepare`. `devices`: as in :func:`kilter.fit`, in place of the recipe's; the bits are then those
    of other devices.
    """
    with copied_from_first(Path(path)) as path, reopen_run(path) as run:
        result = read_result(path)
        if result is not None and result.status == "finished":
            raise RunError(
                expected=f"an interrupted run in {path}",
                received="one that is finished",
                remedy="for a longer run, train its recipe.toml again with a higher train.epochs",
            )
        require_same_recipe(path / RECIPE)
        with shown(verbose) as progress:
            prepared = prepare(load_recipe(path / RECIPE), allow_code=allow_code, progress=progress)
        require_same_data(prepared.recipe, prepared.source, prepared.parts, read_data(path))
        _require_devices(devices := devices or prepared.recipe.train.devices)
        recorder = _recorder_from_checkpoint(prepared, run)
        with on_devices(prepared.model, devices):
            return _run(prepared, run, recorder, callbacks, verbose)


def _require_devices(devices: Devices) -> None:
    """Raise :class:`OptionError` before anything is written if there are not so many."""
    if devices is not None:
        chosen(devices)


def device_name() -> str:
    """What JAX computes on: "cpu", or the number and kind of GPUs."""
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
    """Train the remaining epochs and evaluate the best weights; result.json says how it ended."""
    recorder.set_model(prepared.model)

    def finish(status: Status, reason: str, evaluations: Mapping[str, Evaluation] | None = None) -> Result:
        model = prepared.model
        found = {"evaluations": evaluations or {}, "l1_zeros": l1_zeros(model)}
        result = recorder.result(status, reason, parameters=int(model.count_params()), **found)
        run.finish(result)
        return result

    with saving_what_is_done(recorder, finish, lambda: f"To continue: kilter resume {run.path}"):
        with on_devices(prepared.model):  # what comes after it needs the weights on one again
            history = _fit(prepared, recorder, callbacks, verbose)
        recorder.keep_best()
        reason = "patience" if recorder.watch.has_waited_enough else "epochs"
        record = _with_threshold(prepared, data_record(prepared.source, prepared.parts))
        if record.threshold is not None:
            run.write_data(record)
        result = finish("finished", reason, _evaluations(prepared, record))
    return TrainResult(run.path, prepared.model, history, result)


def _fit(
    prepared: Prepared, recorder: Recorder, callbacks: Sequence[keras.callbacks.Callback], verbose: Verbose
) -> History:
    """Train the epochs after the last one; none if a resumed run had finished them all."""
    spec, watch, train = prepared.spec, recorder.watch, prepared.parts.train
    next_epoch = 0 if watch.last_epoch is None else watch.last_epoch + 1
    if next_epoch >= spec.epochs or watch.has_waited_enough:
        return History()
    if isinstance(spec.schedule, Performance):
        replayed = spec.schedule.replayed(line.logs for line in read_history(recorder.run.path))
        spec = replace(spec, schedule=replayed)
    # The recorder stops early itself. It comes last, so that its checkpoint has what the others did to the
    # model, and the average first, so that the others see it.
    spec = replace(spec, early_stopping=None, callbacks=(*spec.callbacks, *callbacks, recorder))
    arguments = spec.arguments() | {
        "initial_epoch": next_epoch,
        "validation_batch_size": BATCH,
        "verbose": verbose,
    }
    if not prepared.phases:
        return fit(prepared.model, train.x, train.y, **arguments)
    if next_epoch in [phase.begin for phase in prepared.phases[1:]]:
        recorder.keep_best()  # as at the end of the previous stage
    for name in ("epochs", "schedule"):  # each stage has its own
        del arguments[name]
    return train_in_phases(
        prepared.model, prepared.phases, prepared.recompile, (train.x, train.y), **arguments
    )


def _recorder_from_checkpoint(prepared: Prepared, run: Run) -> Recorder:
    """The recorder as it was at the newest checkpoint, or at the start if there is none."""
    checkpoint = newest_cut(run.path)
    average = average_in(prepared.spec.callbacks)
    for phase in prepared.phases:
        if checkpoint is not None and phase.begin <= checkpoint.epoch < phase.end:
            enter(prepared.model, phase, prepared.recompile)
    best = None if checkpoint is None else restore(prepared.model, checkpoint, average)
    # Only drop anything once the checkpoint is known to fit.
    history = restore_history(run, checkpoint)
    if checkpoint is not None:
        checkpoints.drop_newer(run.path, checkpoint.epoch)
    watch = prepared.watch
    for line in read_history(run.path):
        watch = watch.saw(line.epoch, line.logs)
    return Recorder(run, watch, best=best, average=average, history=history)


def _evaluations(prepared: Prepared, record: DataRecord) -> dict[str, Evaluation]:
    """The model's measures on validation and test data."""
    how: dict[str, Any] = {"first": fitting_measure(prepared.parts.train), "record": record}
    return {
        name: evaluate_part(prepared.model, prepared.objective, part, **how)
        for name, part in prepared.parts.evaluated.items()
    }


def _with_threshold(prepared: Prepared, record: DataRecord) -> DataRecord:
    """The record with the threshold of the recipe, or the one chosen on the validation rows."""
    threshold = prepared.recipe.train.threshold
    if threshold == AUTO:
        parts = prepared.parts
        threshold = chosen_threshold(prepared.model, prepared.objective, parts.train, parts.validation)
    elif threshold is not None and len(record.classes) != 2:
        raise RecipeError(
            expected="train.threshold for two classes",
            received=f"threshold={threshold} and {len(record.classes) or 'no'} classes",
            remedy="leave train.threshold out",
        )
    return replace(record, threshold=None if threshold is None else float(threshold))


def data_record(source: Source, parts: Splits) -> DataRecord:
    """The record of the data that a model is trained on."""
    train = parts.train
    return DataRecord(
        name=train.name,
        kind=source.kind,
        origin=str(source.origin),
        task=train.task,
        classes=train.classes,
        input_shape=train.input_shape,
        outputs=train.outputs,
        rows={"train": len(train), **{name: len(part) for name, part in parts.evaluated.items()}},
        skipped=len(source.train.skipped),
        image_size=source.image_size,
        encoding=None if source.encoding is None else source.encoding.to_json(),
        sha256=_fingerprint(train),
        parts_sha256={name: _fingerprint(part) for name, part in parts.evaluated.items()},
        shifts=source.shifts,
        positive=positive_of(train),
    )


def _fingerprint(part: Dataset) -> str:
    """SHA-256 of the rows and targets of one part of the data, in order."""
    digest = hashlib.sha256()
    for array in (part.x, part.y):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def require_same_data(recipe: Recipe, source: Source, parts: Splits, record: DataRecord | None) -> None:
    """Raise :class:`RunError` if any part of the data differs from what the run was started with."""
    if record is None:
        return
    given = {"validation": recipe.data.validation, "test": recipe.data.test}
    found = {"training": parts.train, **parts.evaluated}
    for name, sha256 in {"training": record.sha256, **record.parts_sha256}.items():
        part = found.get(name)
        if part is None or _fingerprint(part) != sha256:
            file = given.get(name)  # a file of its own, or a share of the source
            raise RunError(
                expected=f"the {name} data that the run was started with (SHA-256 {sha256[:12]}…)",
                received=f"other rows or targets from {file if isinstance(file, str) else source.origin}",
                remedy="restore the data, or train the run's recipe.toml again",
            )


def keep(
    model: keras.Model,
    parent: Path,
    seed: int,
    callbacks: list[keras.callbacks.Callback],
    train: Callable[[list[keras.callbacks.Callback]], History],
    *,
    validated: bool,
) -> History:
    """Train with a recorder that fills a new run directory; an error before the first epoch leaves none."""
    watch = Watch("val_loss" if validated else "loss", "min")
    with create_run(parent, model.name) as directory, discarded_unless_begun(directory):
        directory.write_environment(describe_environment(device=device_name(), seed=seed))
        recorder = Recorder(directory, watch, average=average_in(callbacks))
        recorder.set_model(model)

        def finish(status: Status, reason: str) -> None:
            directory.finish(recorder.result(status, reason))

        with saving_what_is_done(recorder, finish, lambda: _where(recorder)):
            history = train([*callbacks, recorder])
            finish("finished", "a callback" if model.stop_training else "epochs")
        return history


def _where(recorder: Recorder) -> str:
    """Where the state is; without a recipe ``kilter resume`` does not apply."""
    if recorder.watch.last_epoch is None:
        return f"Nothing was trained yet; the run directory is {recorder.run.path}"
    return f"Its checkpoint and its best weights, which the model has now, are in {recorder.run.path}"
