"""``train`` and ``resume``: from a recipe to a run directory with a trained model."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jax
import keras

from kilter._engine.cuts import Start
from kilter._engine.devices import Devices, chosen, on_devices
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._progress import Verbose, shown
from kilter._transfer.fine_tuning import enter, train_in_phases
from kilter.data import Dataset, Source, Splits
from kilter.data.encoding import TableEncoding
from kilter.errors import RecipeError, RunError, RunWarning
from kilter.nn.zeros import l1_zeros
from kilter.recipe import Recipe, dump_recipe, with_overrides
from kilter.recipe.optimizer import AUTO
from kilter.runs.build import Prepared, prepare
from kilter.runs.callback_states import restore_states
from kilter.runs.checksums import bytes_of
from kilter.runs.consistency import newest_cut, recorder_at
from kilter.runs.directory import Run, create_run, discarded_unless_begun, reopen_run
from kilter.runs.environment import describe_environment, differences
from kilter.runs.evaluating import (
    BATCH,
    chosen_threshold,
    constant_of,
    evaluate_part,
    fitting_measure,
    positive_of,
)
from kilter.runs.packing import copied_from_first, resume_command, written_by_first
from kilter.runs.reading import (
    FOUND_CLIP,
    FOUND_RATE,
    read_data,
    read_environment,
    read_history,
    read_result,
)
from kilter.runs.recipe_data import recipe_of_run
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
    guard: bool = True,
    source: Source | None = None,
) -> TrainResult:
    """Train `recipe` in a new run directory below `parent`, and return its path, model and history.

    The same recipe on the same machine gives bit-identical results. Recipe, data and model are checked first;
    an error then leaves no directory behind. Ctrl-C, SIGTERM and SIGHUP raise :class:`Interrupted` once the
    last finished epoch and the best weights are saved.

    `callbacks`: Keras callbacks beside those of the recipe. `verbose`: as in :func:`kilter.fit`.
    `allow_code=True` runs code that comes with the recipe, such as a factory or a Lambda layer: only if you
    trust its author. `guard=False`: a training run that diverges continues unchanged. `source`: the recipe's
    data, if they are loaded already.
    """
    with shown(verbose) as progress:
        prepared = prepare(recipe, allow_code=allow_code, progress=progress, source=source, all_notes=True)
        prepared = replace(prepared, guard=guard)
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
    epochs: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
    allow_code: bool = False,
    devices: Devices = None,
    guard: bool = True,
) -> TrainResult:
    """Continue an interrupted run from its newest checkpoint, bit for bit as without the interruption.

    Everything after the checkpoint of the run at `path` is trained again. With `epochs`, the run is trained
    up to that many epochs, even if it had finished. If a checkpoint is damaged, the previous one is used, and
    missing lines of history.jsonl are restored from the checkpoint, both with a
    :class:`~kilter.errors.RunWarning`. Raises :class:`RunError` if the run is finished, another process
    writes to it, no checkpoint is usable, or the data or history.jsonl have changed. `callbacks`,
    `verbose`, `allow_code` and `guard`: as in :func:`train`. `devices`: as in :func:`kilter.fit`, in place of
    the recipe's; the last bits may then differ.
    """
    with copied_from_first(Path(path)) as path, reopen_run(path) as run:
        recipe = recipe_of_run(path)
        if epochs is not None:
            recipe = with_overrides(recipe, [f"train.epochs={epochs}"])
        lengthened = require_unfinished(path, recipe.train.epochs)
        with shown(verbose) as progress:
            prepared = replace(prepare(recipe, allow_code=allow_code, progress=progress), guard=guard)
        record = read_data(path)
        require_same_data(prepared.recipe, prepared.source, prepared.parts, record)
        if record is None:  # killed before it was written
            run.write_data(data_record(prepared.source, prepared.parts))
        _require_devices(devices := devices or prepared.recipe.train.devices)
        recorder, start = _recorder_from_checkpoint(prepared, run)
        tell_differences(run, recipe.seed)
        if lengthened and recorder.watch.has_waited_enough:
            raise RunError(
                expected=f"in {path} a run that ended with its last epoch",
                received="a run that early stopping ended, and would end again",
                remedy="set a higher patience for train.early_stopping in its recipe.toml first",
            )
        if lengthened or epochs is not None:
            recorder.stopped = recorder.stopped and epochs is None
            run.write_recipe(dump_recipe(prepared.recipe))
            run.remove_result()
        with on_devices(prepared.model, devices):
            return _run(prepared, run, recorder, callbacks, verbose, start)


def require_unfinished(path: Path, epochs: int = 0) -> bool:
    """Whether the run is finished and has fewer than `epochs`; :class:`RunError` if it has as many."""
    result = read_result(path)
    if result is None or result.status != "finished":
        return False
    if epochs <= result.epochs:
        raise RunError(
            expected=f"an interrupted run in {path}, or more epochs than it has",
            received=f"a finished run with {result.epochs} epochs",
            remedy=f"add --epochs {2 * result.epochs} (in Python: epochs=) to train it for longer",
        )
    return True


def tell_differences(run: Run, seed: int) -> None:
    """Warn if version, device or processor differ from those at the start of the run, and note it."""
    before = read_environment(run.path)
    found = differences(before, describe_environment(device=device_name(), seed=seed)) if before else []
    if found:
        text = f"{'; '.join(found)}: the last bits of the results may differ from those of an unbroken run"
        warnings.warn(text, RunWarning, stacklevel=3)
        run.note(f"resumed with {text}")


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
    start: Start | None = None,
) -> TrainResult:
    """Train the remaining epochs and evaluate the best weights; result.json says how it ended."""
    recorder.set_model(prepared.model)
    recorder.beside = callbacks

    def finish(status: Status, reason: str, evaluations: Mapping[str, Evaluation] | None = None) -> Result:
        model = prepared.model
        found = {"evaluations": evaluations or {}, "l1_zeros": l1_zeros(model)}
        result = recorder.result(status, reason, parameters=int(model.count_params()), **found)
        run.finish(result)
        return result

    with saving_what_is_done(recorder, finish, lambda: f"To continue: {resume_command(run.path)}"):
        recorder.save_model()  # a resumed run's, which may be of an epoch after the checkpoint
        with on_devices(prepared.model):  # what comes after it needs the weights on one again
            history = _fit(prepared, recorder, callbacks, verbose, start)
        recorder.keep_best()
        reason = "patience" if recorder.watch.has_waited_enough else "epochs"
        record = _with_threshold(prepared, data_record(prepared.source, prepared.parts))
        if record.threshold is not None:
            run.write_data(record)
        result = finish("finished", reason, _evaluations(prepared, record))
    return TrainResult(run.path, prepared.model, history, result)


def _fit(
    prepared: Prepared,
    recorder: Recorder,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: Verbose,
    start: Start | None,
) -> History:
    """Train the epochs after the last one; none if a resumed run had finished them all."""
    spec, watch, train = prepared.spec, recorder.watch, prepared.parts.train
    next_epoch = 0 if watch.last_epoch is None else watch.last_epoch + 1
    if next_epoch >= spec.epochs or watch.has_waited_enough or recorder.stopped:
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
        "guard": prepared.guard,
        "verbose": verbose,
    }
    if not prepared.phases:
        return fit(prepared.model, train.x, train.y, start=start, **arguments)
    within = start is not None and start.metrics is not None
    if not within and next_epoch in [phase.begin for phase in prepared.phases[1:]]:
        recorder.keep_best()  # as at the end of the previous stage
    for name in ("epochs", "schedule"):  # each stage has its own
        del arguments[name]
    return train_in_phases(
        *(prepared.model, prepared.phases, prepared.recompile, (train.x, train.y)),
        start=start if within else None,
        **arguments,
    )


def _recorder_from_checkpoint(prepared: Prepared, run: Run) -> tuple[Recorder, Start | None]:
    """The recorder as it was at the newest checkpoint, and where that is; or as at the start."""
    checkpoint = newest_cut(run.path)
    average = average_in(prepared.spec.callbacks)
    for phase in prepared.phases:
        if checkpoint is not None and phase.begin <= checkpoint.epoch < phase.end:
            enter(prepared.model, phase, prepared.recompile)
    if checkpoint is not None:  # drop nothing before it is known to fit
        restore(prepared.model, checkpoint, average)
    counts = [] if checkpoint is None else checkpoint.scalars.get("callbacks", [])
    return recorder_at(
        *(run, prepared.watch, checkpoint),
        average=average,
        restored=lambda recorder: restore_states(recorder.beside, counts),
    )


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
        skipped=source.train.left_out,
        image_size=source.image_size,
        encoding=None if source.encoding is None else source.encoding.to_json(),
        sha256=_fingerprint(train),
        parts_sha256={name: _fingerprint(part) for name, part in parts.evaluated.items()},
        shifts=source.shifts,
        positive=positive_of(train),
        constant=constant_of(train),
        target=source.target,
    )


def _fingerprint(part: Dataset) -> str:
    """SHA-256 of the rows and targets of one part of the data, in order."""
    digest = hashlib.sha256()
    for array in (part.x, part.y):
        if array is not None:
            digest.update(bytes_of(array))
    return digest.hexdigest()


def _require_same_columns(source: Source, record: DataRecord) -> None:
    if source.encoding is None or record.encoding is None:
        return
    names = [[one.name for one in TableEncoding.from_json(record.encoding).columns]]
    names.append([one.name for one in source.encoding.columns])
    for before, now in zip_longest(*names, fillvalue="none"):
        if before != now:
            raise RunError(
                expected=f'the columns that the run was started with, in their order: "{before}" here',
                received=f'"{now}" from {source.origin}',
                remedy="restore the data, or train the run's recipe.toml again",
            )


def require_same_data(recipe: Recipe, source: Source, parts: Splits, record: DataRecord | None) -> None:
    """Raise :class:`RunError` if any part of the data differs from what the run was started with."""
    if record is None:
        return
    _require_same_columns(source, record)
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
