"""``kilter.fit``: the engine's fit, with findings and an optional run directory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import keras
import numpy as np

from kilter._array_types import Arrays, ValidationData
from kilter._engine import fit as engine
from kilter._engine.arrays import is_array
from kilter._engine.augmenting import Augment
from kilter._engine.cuts import Start
from kilter._engine.devices import Devices, on_devices
from kilter._engine.history import History
from kilter._engine.host_rows import with_sparse_rows
from kilter._engine.program_cache import shelf
from kilter._engine.scheduling import Schedule
from kilter._engine.stable_losses import from_logits
from kilter._engine.training_spec import listed
from kilter._models.layers import require_model
from kilter._progress import Verbose
from kilter._records import Finding
from kilter._validation import is_whole
from kilter._xla.rewrite import rewriting
from kilter.errors import OptionError
from kilter.schedules import Performance


def fit(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    validation_data: ValidationData | None = None,
    validation_split: float = 0.0,
    batch_size: int | None = 32,
    epochs: int = 1,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Arrays | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = (),
    schedule: Schedule | Performance | None = None,
    augment: Augment | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    guard: bool | None = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | Iterable[int] = 1,
    evaluate_training: bool = False,
    measure: int | str | None = "auto",
    check: Literal["warn", "strict"] = "warn",
    chunk: Literal["exact", "fast"] = "exact",
    stable_loss: bool = True,
    rewrite: bool = True,
    devices: Devices = None,
    seed: int = 0,
    verbose: Verbose = "auto",
) -> History:
    """Train a compiled Keras model, with the same numbers as ``model.fit``, many steps in one compiled call.

    Args:
        model: any compiled Keras model; its weights change in place.
        x: arrays, or lists, tuples or dicts of arrays, rows first; or an iterable of batches ``(x, y)`` or
            ``(x, y, sample_weight)``: a list, a grain data set, a ``keras.utils.PyDataset``. A
            ``numpy.memmap`` is streamed, sparse arrays become dense. Integers keep their type until the
            training step casts them.
        y: targets, as the loss expects them.
        validation_data: ``(x, y)``, ``(x, y, sample_weight)`` or an iterable of batches.
        validation_split: the share of the rows at the end to hold out for validation, before any shuffling.
        batch_size: rows per step; the last step of an epoch takes the rest. None is Keras's: 32, or with
            ``steps_per_epoch`` (``validation_steps``) all rows of the arrays in so many steps.
        epochs: the index of the epoch to stop before; ``initial_epoch``: the index of the first epoch.
        shuffle: draw a new order of the rows (or of the batches of a ``keras.utils.PyDataset``) in each
            epoch. It depends on ``seed`` and the epoch, and on the optimiser's step count if a call starts at
            epoch 0 with a trained model. Dropout and similar layers draw from the model's own seed
            generators.
        class_weight: a weight for the rows of each class; or ``sample_weight``: a weight for each row.
        callbacks: Keras callbacks; they work as in Keras. With a callback that acts on batches, each step is
            a separate call, about as slow as ``model.fit``, and a warning says so once: see ``chunk``.
        schedule: one of :mod:`kilter.schedules`, a Keras ``LearningRateSchedule`` or a function iteration
            (int array of shape ()) -> learning rate, traced into the step; for an optimiser without a
            schedule. ``one_cycle`` also cycles momentum (SGD, RMSprop) or beta_1 (Adam's family). The history
            then has each epoch's last ``learning_rate``, and ``momentum`` if that is cycled.
        augment: a :class:`kilter.data.augmentation.Augmentation`, or a list of its transforms, applied to the
            training batches inside the compiled step; drawn from ``seed`` for every row of every step.
        run: a folder in which to create a run directory: history, TensorBoard events, checkpoints, the best
            weights. The model then ends with its best weights, by validation loss if there is one.
        resume: with ``run``: resume from the newest checkpoint of the newest run of this model in the folder
            (or of ``run``, if that is a run directory), bit for bit; begin a new run if there is none. Data
            and options must be the same; more ``epochs`` lengthen a finished run. A generator is read again
            up to where it was. The history has all epochs.
        guard: go back to the last good state, at a tenth of the learning rate, when the loss or a weight is
            not finite or the mean loss jumps; :class:`~kilter.errors.ModelError` after three times. A run
            directory keeps the step for ``kilter replay``. None: with ``run``. A healthy training is
            unchanged, to rounding. Has no effect with callbacks that act on batches.
        steps_per_epoch: batches per epoch, None for all. The next epoch continues where this one ended, so
            an iterable of batches may be a generator or infinite; a new pass over arrays has a new order.
        validation_steps: validate on this many batches; None for all.
        validation_batch_size: ``batch_size`` if None.
        validation_freq: validate every this many epochs, or after the epochs of a list, counted from 1.
        evaluate_training: evaluate the training rows like validation data: in inference mode, at the end of
            the epoch, without ``class_weight``. The history then has ``train_loss`` and the like, which are
            comparable with ``val_loss``; ``loss`` is the mean over the epoch's steps, with dropout and
            changing weights. Costs a forward pass over the rows; the training is unchanged. For arrays only.
        measure: measure signals and gradients of the layers every this many epochs; "auto": as often as
            costs at most 3 % of the estimated work, and never in short training runs (less than 2e11
            multiply-adds, about 20 s on two cores); None: never. The history then has ``.measurements``. The
            training is unchanged. For arrays that fit on the device.
        check: what NaN and infinity in ``x`` or ``y`` do: a warning, or with "strict" an error.
        chunk: "exact": a callback with batch hooks is called before and after every
            ``model.steps_per_execution`` steps (1 by default), as in Keras, unless it only reads: Keras's own
            that act by epoch, and those with ``kilter_chunked = True`` in their class. "fast": all are called
            at the ends of chunks of up to 2 s, with the number of the last batch.
        stable_loss: compute a cross-entropy after a softmax or sigmoid from the logits, so that saturated
            outputs still learn. False: from probabilities clipped to [1e-7, 1 - 1e-7], as Keras does.
        rewrite: rewrite the step for XLA on CPUs, which is faster. False, or ``KILTER_REWRITE=off``, runs the
            step as Keras wrote it; the numbers agree to rounding.
        devices: how many of ``jax.devices()`` to train on, "all", or a list of them. Each takes its share of
            every batch; the numbers are those of one device, to rounding. By default one, unless
            ``keras.distribution.set_distribution`` or ``jax.distributed`` says otherwise.
        verbose: 0 silent, 1 a bar, 2 a line an epoch, "auto" a bar on a terminal and in a notebook, lines
            elsewhere. In a notebook the bar is one line that changes in place.

    Returns Keras's history with ``.seconds``, ``.compile_seconds``, ``.stable_loss`` (whether a loss was
    computed from logits), ``.measurements``, ``.findings`` (problems in the training, computed on access) and
    ``.plot()``. Raises :class:`~kilter.errors.DataError`, :class:`~kilter.errors.ModelError` or
    :class:`~kilter.errors.OptionError` before training starts. Ctrl-C raises KeyboardInterrupt after the
    running chunk, with its weights in the model. With ``run``, Ctrl-C, SIGTERM and SIGHUP raise
    :class:`~kilter.runs.Interrupted` after a checkpoint of the last batch trained.

    Example:
        >>> import keras, kilter, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> history = kilter.fit(model, np.ones((8, 2)), np.ones((8, 1)), epochs=3, verbose=0)
        >>> len(history.history["loss"])
        3
    """
    require_model(model)
    arguments = {
        "validation_data": validation_data,
        "validation_split": validation_split,
        "batch_size": batch_size,
        "epochs": epochs,
        "shuffle": shuffle,
        "class_weight": class_weight,
        "sample_weight": sample_weight,
        "schedule": schedule,
        "augment": augment,
        "steps_per_epoch": steps_per_epoch,
        "validation_steps": validation_steps,
        "validation_batch_size": validation_batch_size,
        "validation_freq": validation_freq,
        "evaluate_training": evaluate_training,
        "measure": measure,
        "check": check,
        "chunk": chunk,
        "verbose": verbose,
        "guard": run is not None if guard is None else guard,
    }
    seed = _seed_of_call(model, seed, initial_epoch)
    with _brief_stop(), from_logits(stable_loss), rewriting(rewrite), on_devices(model, devices):
        return _kept((model, x, y), arguments, listed(callbacks), (seed, initial_epoch), run, resume=resume)


@contextmanager
def _brief_stop() -> Iterator[None]:
    """Ctrl-C without kilter's own lines of code, which would hide the message that says how to continue."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise stopped.with_traceback(None) from None


def _kept(
    data: tuple[keras.Model, Any, Any],
    arguments: dict[str, Any],
    callbacks: list[Any],
    beginning: tuple[Any, int],
    run: str | Path | None,
    *,
    resume: bool,
) -> History:
    """The training, kept in a run directory if there is to be one. ``beginning``: seed and first epoch."""
    model, x, y = data
    seed, initial_epoch = beginning

    def train(
        told: Sequence[keras.callbacks.Callback], first: int, start: Start | None, seed: int
    ) -> History:
        place: dict[str, Any] = {"callbacks": told, "initial_epoch": first, "start": start, "seed": seed}
        history = engine.fit(model, x, y, **arguments, **place)
        size = engine.checked_size(arguments["batch_size"], x, arguments["steps_per_epoch"])
        return _examined(history, model, _two_rows(x), size)

    if run is None:
        if resume:
            raise OptionError(
                expected="resume=True together with run=",
                received="run=None",
                remedy="pass the folder of the runs, or the run directory, as run=",
            )
        return train(callbacks, initial_epoch, None, seed)
    from kilter.runs.keeping import Call, keep

    call = Call(seed, initial_epoch, {"x": x, "y": y}, arguments, callbacks)
    return keep(model, Path(run), call, train, resumes=resume)


def _seed_of_call(model: keras.Model, seed: Any, initial_epoch: int) -> Any:
    """``seed``, or one drawn from it if a call begins at epoch 0 with an optimiser that has taken steps.

    Otherwise a loop of one-epoch calls would repeat the same batches, which batch normalisation memorises.
    """
    taken = int(getattr(getattr(model, "optimizer", None), "iterations", 0))
    if initial_epoch or not taken or not is_whole(seed, 0):
        return seed
    return int(np.random.SeedSequence([int(seed), taken]).generate_state(1)[0])


def _two_rows(x: Any) -> Any:
    """Copies of the first two rows, as a sample; None for anything but arrays."""
    if not is_array(x):
        return None
    return jax.tree.map(lambda array: np.asarray(array[:2]).copy(), with_sparse_rows(x))


def _examined(history: History, model: keras.Model, rows: Any, batch_size: int) -> History:
    """The history, with a function that computes its findings on access."""
    cost = shelf(model).cost("train")

    def examine() -> tuple[Finding, ...]:
        from kilter._diagnosis.diagnose import training_findings

        return training_findings(model, history, rows, batch_size, 0.0 if cost is None else float(cost.work))

    history.examine = examine
    return history
