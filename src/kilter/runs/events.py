"""TensorBoard scalars of a run: ``train/loss`` and ``validation/loss`` share a chart."""

import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from kilter.runs.atomic import errors_named
from kilter.runs.records import EpochRecord

# The TensorBoard group of logs with these prefixes; all others are in train/.
_GROUPS = {"val_": "validation", "train_": "train_in_inference"}


class EventWriter:
    """Writes an epoch's scalars to ``events.out.tfevents.*`` in the run's folder and flushes them.

    tensorboardX's ``SummaryWriter`` writes in a thread: if a full disk ends the thread, its queue of ten
    blocks the training forever. Its synchronous ``EventsWriter`` raises instead.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: EventsWriter | None = None

    def write(self, record: EpochRecord) -> None:
        """Add one epoch; :class:`~kilter.errors.RunError` if the disk is full."""
        with errors_named(self._folder):
            if self._writer is None:
                self._writer = EventsWriter(str(self._folder / "events"))
            for tag, value in scalars(record).items():
                event = _event(record.epoch, tag, value)
                self._writer.write_event(event)
            self._writer.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._writer is None:
            return
        with errors_named(self._folder):
            self._writer.close()
        self._writer = None


def scalars(record: EpochRecord) -> dict[str, float]:
    """Tag to value: ``val_loss`` becomes ``validation/loss``, ``train_loss`` (the training rows in inference
    mode) ``train_in_inference/loss``, any other log ``train/<log>``.

    Example:
        >>> scalars(EpochRecord(0, {"loss": 1.0, "val_loss": 2.0}, seconds=3.0))
        {'train/loss': 1.0, 'validation/loss': 2.0, 'train/seconds': 3.0}
    """
    values = {}
    for name, value in record.logs.items():
        prefix = next((prefix for prefix in _GROUPS if name.startswith(prefix)), "")
        if name != "learning_rate":  # Keras callbacks log it too; it has its own place
            values[f"{_GROUPS.get(prefix, 'train')}/{name.removeprefix(prefix)}"] = value
    values["train/seconds"] = record.seconds
    if record.learning_rate is not None:
        values["train/learning_rate"] = record.learning_rate
    return values


def _event(step: int, tag: str, value: float) -> Any:
    """The protobuf of one scalar; tensorboardX's own constructor prints a warning for every NaN."""
    make: Any = vars(event_pb2)["Event"]  # made at import, invisible to type checkers
    event = make(step=step, wall_time=time.time())
    event.summary.value.add(tag=tag, simple_value=value)
    return event
