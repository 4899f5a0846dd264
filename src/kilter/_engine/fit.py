"""``fit``: the results of ``model.fit``, with one compiled call per epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import keras

from kilter._engine.arrays import (
    Check,
    FiniteCheck,
    collect,
    is_array,
    row_count,
    split,
    warn_of_losses,
)
from kilter._engine.augmenting import Augment, as_augmentation, check_augmentation
from kilter._engine.batch_feed import BatchFeed, Replayed
from kilter._engine.batch_hooks import callback_list, say_price
from kilter._engine.checks import TargetCheck, check_inputs
from kilter._engine.cuts import Start
from kilter._engine.devices import require_same_rows, start_alike
from kilter._engine.divergence import Broken, DivergenceGuard
from kilter._engine.embedding_ids import IdCheck, Kind
from kilter._engine.epochs import epochs_told
from kilter._engine.feed import Order, ResidentFeed, StreamFeed, must_stream, warn_of_end
from kilter._engine.history import History
from kilter._engine.host_rows import with_sparse_rows
from kilter._engine.measuring_callback import measuring
from kilter._engine.overrides import check_loop
from kilter._engine.padding import padded
from kilter._engine.scheduling import RateGuard, RateKeeper, Schedule, check_schedule
from kilter._engine.session import Session
from kilter._models.variables import build, is_built
from kilter._progress import Verbose
from kilter._text import warn
from kilter._validation import whole_number
from kilter.data.augmentation import Augmentation
from kilter.errors import OptionError, about
from kilter.schedules import Performance

AnyFeed = ResidentFeed | StreamFeed | BatchFeed
KERAS_BATCH_SIZE: Final = 32  # where None is given
# Keras reads two batches of a generator ahead, and begins every validation with them.
KEPT_BY_KERAS: Final = 2


def fit(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    validation_split: float = 0.0,
    batch_size: int | None = KERAS_BATCH_SIZE,
    epochs: int = 1,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
    schedule: Schedule | Performance | None = None,
    augment: Augment | None = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | Iterable[int] = 1,
    evaluate_training: bool = False,
    measure: int | str | None = "auto",
    check: Check = "warn",
    chunk: Literal["exact", "fast"] = "exact",
    seed: int = 0,
    verbose: Verbose = "auto",
    goes_on: bool = True,
    start: Start | None = None,
    guard: bool = False,
) -> History:
    """Train a compiled Keras model; see :func:`kilter.fit` for the parameters, and Order for ``goes_on``.

    ``start``: where an interrupted ``initial_epoch`` begins. ``guard``: go back if the training breaks.
    """
    for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch), ("seed", seed)):
        whole_number(name, value, 0)
    epochs = _limited("epochs", epochs, keras.config.max_epochs())
    check_schedule(model, schedule, validated=validation_data is not None or bool(validation_split))
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
    limit, executed = counted_steps(model, steps_per_epoch, "steps_per_epoch")
    order = Order(checked_size(batch_size, x, limit), shuffle, seed, goes_on=goes_on)
    size = validation_batch_size or batch_size
    steps, once = executed if goes_on else limit, epochs - initial_epoch <= 1
    finite, of_validation = FiniteCheck(check), FiniteCheck(check)
    feed = training_feed(x, y, sample_weight, class_weight, order, steps=steps, once=once, check=finite)
    prepare(model, feed, augmentation := as_augmentation(augment))
    feed = feed if guard or augmentation else padded(model, feed, "train")
    history = History({"data": finite.found, "validation data": of_validation.found})
    own = [*measuring(history, feed, measure), *([RateKeeper(schedule)] if schedule else [])]
    validation = _validation(model, validation_data, size, validation_steps, of_validation)
    validates = _validates(validation_freq)
    forward(feed, validation, validates, initial_epoch if start else 0)
    with epochs_told(verbose) as shown:
        told = callback_list(model, [own, callbacks, shown, history], verbose, epochs, limit or feed.steps)
        say_price(told, chunk, validated=validation_data is not None)
        rows = _as_validated(feed, size or order.batch_size, class_weight) if evaluate_training else None
        return Session(
            *(model, feed, told, history, epochs, initial_epoch),
            *(rows, validation, validates, augmentation, seed, chunk),
            guard=RateGuard(model, schedule, told.callbacks),
            start=start,
            divergence=watching(model, schedule, feed, told, history, start) if guard else None,
        ).run()


def watching(
    model: keras.Model,
    schedule: Any,
    feed: AnyFeed,
    callbacks: keras.callbacks.CallbackList,
    history: History,
    start: Start | None,
) -> DivergenceGuard:
    """The divergence guard of a run; ``history`` and callbacks with ``kilter_broken`` get what it finds."""

    def report(broken: Broken) -> None:
        history.events.append(broken.event)
        for callback in callbacks.callbacks:
            hears = getattr(callback, "kilter_broken", None)
            if hears is not None:
                hears(broken)

    scheduled = schedule is not None and not isinstance(schedule, Performance)
    made = DivergenceGuard(model, scheduled, isinstance(feed, ResidentFeed), report)
    made.restore(None if start is None else start.divergence)
    return made


def forward(feed: AnyFeed, validation: AnyFeed | None, validates: Callable[[int], bool], epochs: int) -> None:
    """Bring sources of batches to where they were after so many epochs; others know by an epoch's number."""
    for epoch in range(epochs):
        if isinstance(feed, BatchFeed):
            feed.pass_over(epoch)
        if isinstance(validation, BatchFeed) and validates(epoch):
            validation.pass_over(0)  # each validation starts again


def training_feed(
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
    order: Order,
    *,
    steps: int | None = None,
    once: bool = False,
    check: Check | FiniteCheck = "strict",
) -> AnyFeed:
    """The feed for this kind of data: arrays on the device, arrays too large for it, or batches.

    ``steps``: batches per epoch. ``once``: there will be one epoch. ``check``: what NaN and infinity do.
    """
    finite = check if isinstance(check, FiniteCheck) else FiniteCheck(check)
    if not is_array(x):
        _check_alone(y=y, sample_weight=sample_weight)
        return BatchFeed(x, order, most=steps, once=once, class_weight=class_weight, finite=finite)
    x = with_sparse_rows(x)
    warn_of_losses(x)
    if must_stream(x):
        feed = StreamFeed.of(x, y, sample_weight, class_weight, order, finite)
    else:
        feed = ResidentFeed(collect(x, y, sample_weight, class_weight, wait=True, finite=finite), order)
    if steps is None or steps == feed.steps:
        return feed
    if steps > feed.steps:
        warn_of_end(feed.steps, steps)
        return feed
    return replace(feed, order=replace(order, most=steps))


def _check_alone(**others: Any) -> None:
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise OptionError(
            expected="batches that carry their own targets and weights",
            received=f"an iterable of batches together with {', '.join(given)}",
            remedy="make the batches (x, y) or (x, y, sample_weight)",
        )


def _as_validated(feed: AnyFeed, batch_size: int, class_weight: Mapping[int, float] | None) -> AnyFeed:
    """The training rows as validation data: in order, and without class weights."""
    if isinstance(feed, BatchFeed):
        raise OptionError(
            expected="evaluate_training for arrays",
            received="an iterable of batches, which may shuffle itself on each pass",
            remedy="pass x and y as arrays, or leave evaluate_training out",
        )
    x, y, weights = feed.rows.data
    rows = replace(feed.rows, data=(x, y, weights if class_weight is None else None))
    return replace(feed, rows=rows, order=Order(batch_size, shuffle=False, seed=0))


def validation_feed(
    data: Any, batch_size: int | None, steps: int | None = None, check: Check | FiniteCheck = "strict"
) -> AnyFeed:
    """The feed of ``validation_data`` as :func:`kilter.fit` takes it, of at most ``steps`` batches.

    The batches of a generator are kept for later epochs; with ``steps`` only the first two, as in Keras.
    """
    is_list = isinstance(data, list) and is_array(data) and len(data) > 1  # Keras takes lists too
    if (isinstance(data, tuple) or is_list) and len(data) in (1, 2, 3):
        x, y, weights = (*data, None, None)[:3]
    else:
        x, y, weights = data, None, None
    if isinstance(x, Iterator):
        x = Replayed(x, None if steps is None else KEPT_BY_KERAS)
    order = Order(checked_size(batch_size, x, steps), shuffle=False, seed=0)
    return training_feed(x, y, weights, None, order, steps=steps, check=check)


def prepare(
    model: keras.Model, feed: AnyFeed, augmentation: Augmentation | None = None, *, training: bool = True
) -> None:
    """Check data against model, loss and augmentation, and create the variables that do not exist yet."""
    check_loop(model, "train" if training else "test")
    if not isinstance(feed, BatchFeed):
        check_inputs(model, feed.rows)
    elif is_built(model):
        feed.hooks = ("on_epoch_end",)  # Keras then reads no batch before the first epoch
    build(model, feed.example(), training=training)
    _check(model, feed, "train" if training else "test")
    if augmentation is not None:
        check_augmentation(model, augmentation, feed.example())
    start_alike(model, feed)


def _validation(
    model: keras.Model, data: Any, batch_size: int | None, steps: int | None, check: FiniteCheck
) -> AnyFeed | None:
    whole_number("validation_batch_size", batch_size or 1, 1)
    executed = counted_steps(model, steps, "validation_steps")[1]
    if data is None:
        return None
    check_loop(model, "test")
    with about("validation_data"):
        feed = validation_feed(data, batch_size, executed, check)
        _check(model, feed, "test")
        require_same_rows(feed)
    if isinstance(feed, BatchFeed):
        feed.restart()
    return padded(model, feed, "test")


def _check(model: keras.Model, feed: AnyFeed, kind: Kind) -> None:
    if isinstance(feed, BatchFeed):
        feed.check = TargetCheck(model)
    else:
        check_inputs(model, feed.rows)
        TargetCheck(model)(feed.rows.data)
    check_ids(model, feed, kind)


def check_ids(model: keras.Model, feed: AnyFeed, kind: Kind) -> None:
    """Check the ids for Embedding layers: of rows in memory now, of others as they are read."""
    check = IdCheck(model, kind)
    if isinstance(feed, ResidentFeed):
        check.rows(feed.rows.data, feed.order.batch_size, feed.rows.count)
    elif check.needed:
        feed.check_block = lambda block, numbers: check.block(block.data, block.order, numbers)


def checked_size(batch_size: int | None, x: Any, steps: int | None) -> int:
    """``batch_size``; if None, as in Keras: ``steps`` batches of all rows if ``x`` is arrays, else 32.

    Raises :class:`OptionError` for no number of rows.
    """
    if batch_size is None and steps and is_array(x):
        return -(-row_count(x=x) // steps)
    return whole_number("batch_size", KERAS_BATCH_SIZE if batch_size is None else batch_size, 1)


def counted_steps(model: keras.Model, steps: int | None, name: str) -> tuple[int | None, int | None]:
    """The steps of an epoch, as limited by ``keras.config.set_max_steps_per_epoch``, and those that are run.

    As in Keras, an epoch consists of whole executions of ``steps_per_execution`` steps. Raises
    :class:`OptionError` unless ``steps`` is None or a number of steps; ``name``: of that option.
    """
    if steps is not None:
        whole_number(name, steps, 1)
    limit = _limited("steps_per_epoch", steps, keras.config.max_steps_per_epoch())
    every = int(getattr(model, "steps_per_execution", 1) or 1)
    return limit, None if limit is None else -(-limit // every) * every


def _limited(name: str, value: Any, most: int | None) -> Any:
    if not most or (value is not None and value <= most):
        return value
    warn(f"Limiting {name} to {most}")  # Keras's words
    return most


def _validates(frequency: Any) -> Callable[[int], bool]:
    """Whether to validate after an epoch, counted from 0: every so many, or after these, counted from 1."""
    if isinstance(frequency, Iterable) and not isinstance(frequency, str):
        epochs = {whole_number("validation_freq", epoch, 1) for epoch in frequency}
        return lambda epoch: epoch + 1 in epochs
    every = whole_number("validation_freq", frequency, 1)
    return lambda epoch: (epoch + 1) % every == 0
