"""The contents of a run directory as frozen records, and their JSON.

JSON has no NaN and infinity: they become the strings "nan", "inf" and "-inf" and are read back as numbers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kilter import _measures
from kilter._measures import ClassFigures, Direction, direction_of
from kilter._text import counted, number
from kilter._validation import errors_as, record_from_json
from kilter.data.dataset import Task
from kilter.data.encoding import TableEncoding
from kilter.data.precision import Shift, require_usable
from kilter.errors import RunError
from kilter.nn.zeros import PenalizedWeights

# The errors that reading a damaged or foreign JSON or TOML file can raise.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)

_SAID = 5  # classes that a remark names
_FEWEST = 4  # rows of a class: to find none of fewer is often chance

Status = Literal["training", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class EpochRecord:
    """A line of history.jsonl.

    `epoch` counts from 0 as in Keras. `logs` are the epoch's mean loss and metrics, validation ones with the
    prefix ``val_``. `seconds` covers the epoch with its validation, without `compile_seconds`.
    `learning_rate` is the last one used.
    """

    epoch: int
    logs: Mapping[str, float]
    seconds: float
    compile_seconds: float = 0.0
    learning_rate: float | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return to_json(asdict(self))

    @staticmethod
    def from_json(line: str) -> "EpochRecord":
        """The record of one line; ``ValueError`` for any other line."""
        return record_from_json(EpochRecord, line)


@dataclass(frozen=True)
class DataRecord:
    """data.json: what the model was trained on, and how to read new data the same way.

    `rows`: of each part, by name. `encoding`: a table's ``TableEncoding`` as JSON text, None for other data.
    `sha256`: of the training rows and targets in order; `parts_sha256`: of the other parts, {} in a run of
    kilter 0.1.0. `shifts`: how arrays are stored. For two classes, `positive` is the index of the one that is
    rarer in training, and `threshold` the probability from which it is predicted; None predicts the more
    probable class. `constant`: the best constant prediction for the training part: the index of its most
    frequent class, or its medians. `target`: the column of the labels of images.
    """

    name: str
    kind: str
    origin: str
    task: Task
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    outputs: int
    rows: Mapping[str, int]
    skipped: int
    image_size: tuple[int, int] | None
    encoding: str | None
    sha256: str
    parts_sha256: Mapping[str, str] = field(default_factory=dict)
    shifts: tuple[Shift, ...] = ()
    positive: int = 1
    threshold: float | None = None
    constant: tuple[float, ...] = ()
    target: str | None = None

    @property
    def table_encoding(self) -> TableEncoding | None:
        """The encoding of a table, None for other data; DataError if its text is damaged."""
        return None if self.encoding is None else TableEncoding.from_json(self.encoding)

    def to_json(self) -> str:
        """Indented JSON."""
        return to_json(asdict(self), indent=2)

    @staticmethod
    def from_json(text: str) -> "DataRecord":
        """The record of a data.json; ``ValueError`` for any other text."""
        record = record_from_json(DataRecord, text)
        if record.task != "regression" and len(record.classes) != record.outputs:
            raise ValueError(f"{record.outputs} outputs for {len(record.classes)} classes")
        for shift in record.shifts:
            require_usable(shift)
        return record


@dataclass(frozen=True)
class Evaluation:
    """The best weights on one part of the data. `confusion[true][predicted]` counts rows.

    `metrics`: the loss, then every measure of :mod:`kilter._measures`, with the one to judge by first.
    `constant`: the measures of the training part's best constant prediction, its most frequent class or
    median. `per_class`: the results for each class. `compared`: for each of the first outputs of a
    regression, (true value, prediction) of rows taken at even distances.
    """

    rows: int
    metrics: Mapping[str, float]
    confusion: tuple[tuple[int, ...], ...] = ()
    constant: Mapping[str, float] = field(default_factory=dict)
    per_class: tuple[ClassFigures, ...] = ()
    compared: tuple[tuple[tuple[float, float], ...], ...] = ()

    @property
    def constant_answer(self) -> str:
        """What the best constant prediction is."""
        return "most frequent class" if self.per_class else "median"

    @property
    def class_measures(self) -> tuple[str, ...]:
        """The measures that :attr:`per_class` is shown with."""
        return ("iou", "dice", "precision", "recall") if "iou" in self.metrics else ("precision", "recall")

    @property
    def unit(self) -> str:
        """What is counted for each class."""
        return "pixels" if "iou" in self.metrics else "rows"

    def hardest_classes(self, most: int) -> Sequence[ClassFigures]:
        """All classes in their order; if there are more than ``most``, those with the lowest recall."""
        if len(self.per_class) <= most:
            return self.per_class
        return sorted(self.per_class, key=lambda one: (math.isnan(one.recall), one.recall))[:most]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on classes that are never found, and on predictions no better than a constant one."""
        unfound = [one for one in self.per_class if one.rows >= _FEWEST and not one.found]
        unit = self.unit
        found = [f'finds 0 of {one.rows} {unit} of class "{one.name}"' for one in unfound[:_SAID]]
        more = len(unfound) - _SAID
        found += [f"finds 0 {unit} of {counted(more, 'more class', 'more classes')}"] if more > 0 else []
        name = next((name for name in self.metrics if name in self.constant), "")
        value, constant = self.metrics.get(name, math.nan), self.constant.get(name, math.nan)
        worse = value >= constant if direction_of(name) == "min" else value <= constant
        kind: _measures.Kind = "classes" if self.per_class else "numbers"
        if worse and _measures.can_tell(kind, self.rows, self.constant):
            answer = f"the {self.constant_answer} for every row"
            found.append(f"{name} {number(value)} is no better than {answer} ({number(constant)})")
        return tuple(found)


@dataclass(frozen=True)
class Result:
    """result.json: how a run ended, and the metrics of its best weights.

    `best_epoch` counts from 0; None if no epoch had a finite monitored value. `evaluations`: of the parts
    ``validation`` and ``test``. `reason`: why it ended, as text. `l1_zeros`: the effect of an L1 penalty.
    """

    status: Status
    reason: str
    monitor: str
    direction: Direction
    best_epoch: int | None
    epochs: int
    seconds: float
    parameters: int | None = None
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    l1_zeros: tuple[PenalizedWeights, ...] = ()

    def to_json(self) -> str:
        """Indented JSON."""
        return to_json(asdict(self), indent=2)

    @staticmethod
    def from_json(text: str) -> "Result":
        """The record of a result.json; ``ValueError`` for any other text."""
        return record_from_json(Result, text)


@dataclass(frozen=True)
class RunSummary:
    """A row of ``kilter runs``; `best_epoch` and `best` are None before the first epoch."""

    path: Path
    name: str
    started: str
    status: Status | Literal["damaged"]
    epochs: int
    monitor: str
    best_epoch: int | None
    best: float | None
    seconds: float
    metrics: Mapping[str, float]


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Valid JSON of dicts, lists, tuples, text and numbers; non-finite numbers become text."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def best_epoch(history: Sequence[EpochRecord], monitor: str, direction: Direction) -> EpochRecord | None:
    """The first epoch with the best finite value of `monitor`, if any."""
    candidates = [line for line in history if math.isfinite(line.logs.get(monitor, math.nan))]
    sign = 1.0 if direction == "min" else -1.0
    return min(candidates, key=lambda line: sign * line.logs[monitor], default=None)


def default_monitor(history: Sequence[EpochRecord]) -> tuple[str, Direction]:
    """The default monitor: the validation loss, or the training loss without validation."""
    validated = any("val_loss" in line.logs for line in history)
    return ("val_loss" if validated else "loss"), "min"


def parse_history(lines: list[str], path: Path) -> list[EpochRecord]:
    """The records of the lines of the history.jsonl at `path`; :class:`RunError` for a bad line."""
    records = []
    for place, line in enumerate(lines, start=1):
        with errors_as(
            RunError,
            *UNREADABLE,
            expected=f"a JSON record of an epoch in each line of {path}",
            received=f"line {place}: {line[:80]!r}",
            remedy="restore the file from a backup, or remove that line: kilter resume restores missing "
            "lines of an unfinished run from its checkpoint",
        ):
            records.append(EpochRecord.from_json(line))
    return records


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
