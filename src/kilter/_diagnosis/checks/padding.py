"""Padded sequences without a mask: how much padding there is, where it is, and who reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context, SequenceReading, within
from kilter._models.layers import RECURRENT, LayerFacts
from kilter._records import Evidence, Finding, Severity

_SAMPLE: Final = 2_000
_LEAST_STEPS: Final = 4
_LEAST_ROWS: Final = 20


@dataclass(frozen=True)
class Padding:
    """The ``value`` that fills sequences, and its mean share at their ends and at their beginnings."""

    value: float
    after: float
    before: float


def padding_of(array: np.ndarray) -> Padding | None:
    """The padding of sequences [n, steps] of ids or [n, steps, features] of numbers; None without any.

    Padding is one value, the most common at the end (or the beginning), in runs of differing length; zeros
    may also be as many in every row, where sequences are padded to more steps than any of them has.
    """
    if array.dtype.kind not in "fiu" or array.ndim not in (2, 3) or len(array) < _LEAST_ROWS:
        return None
    rows = array[:_SAMPLE]
    if rows.shape[1] < _LEAST_STEPS:
        return None
    if rows.ndim == 2:
        rows = rows[..., None]
    ends = [_runs(rows[:, ::-1]), _runs(rows)]
    value, lengths = max(ends, key=lambda one: one[1].mean())
    if lengths.mean() == 0 or (np.ptp(lengths) == 0 and value) or np.mean(lengths > 0) < 0.2:
        return None
    shares = [float(_length(one, value).mean()) / rows.shape[1] for one in (rows[:, ::-1], rows)]
    return Padding(value, *shares)


def _runs(rows: np.ndarray) -> tuple[float, np.ndarray]:
    """The most common value of the first step (all features alike), and how long each row repeats it."""
    alike = np.all(rows[:, 0] == rows[:, 0, :1], axis=-1)
    if not alike.any():
        return 0.0, np.zeros(len(rows))
    values, counts = np.unique(rows[alike, 0, 0], return_counts=True)
    value = float(values[counts.argmax()])
    return value, _length(rows, value)


def _length(rows: np.ndarray, value: float) -> np.ndarray:
    same = np.all(rows == value, axis=-1)
    return np.where(same.all(axis=1), rows.shape[1], np.argmin(same, axis=1))


def check_padding(context: Context) -> Iterator[Finding]:
    """Recurrent layers that end in padding, and averages over it, where nothing masks it."""
    for index, array in enumerate(context.inputs):
        padding = padding_of(array) if _is_sequence(context, index, array) else None
        if padding is None or _masked(context, index, padding.value):
            continue
        both = within(context, (keras.layers.Bidirectional,))
        last = [path for path in _reached(context, index, _is_last_state) if path not in both]
        if last and padding.after > context.thresholds.padding:
            yield _finding(context, "padding-unmasked", last, padding, padding.after)
            continue
        average = _reached(context, index, _is_average)
        share = padding.after + padding.before
        if average and share > context.thresholds.padding_average:
            yield _finding(context, "padding-diluted", average, padding, share)


def _finding(context: Context, code: str, where: list[str], padding: Padding, share: float) -> Finding:
    limit = "padding" if code == "padding-unmasked" else "padding_average"
    evidence = [
        context.seen(limit, "mean share of padding", share),
        Evidence("share at the end", padding.after),
        Evidence("share at the beginning", padding.before),
    ]
    limits, kept = context.thresholds, _kept(context.sequences)
    faded = code == "padding-unmasked" and (kept < limits.padding_kept or share > limits.padding_most)
    if faded and kept < limits.padding_kept:
        name = "gradient of the content over that of the padding"
        evidence.append(context.seen("padding_kept", name, kept))
    severity: Severity = "severe" if faded else "warning"
    return finding(code, severity, where, evidence, share=share, value=padding.value)


def _kept(reading: SequenceReading | None) -> float:
    """How strongly padded rows still depend on their content, beside their padding; 1 if unknown."""
    if reading is None or not np.isfinite(reading.by_step).all():
        return 1.0
    parts = (reading.content, ~reading.content)
    content, padding = (np.where(part, reading.by_step, 0.0).max(axis=1) for part in parts)
    return float(np.median(content[padding > 0] / padding[padding > 0])) if (padding > 0).any() else 1.0


def _is_sequence(context: Context, index: int, array: np.ndarray) -> bool:
    embedded = any(isinstance(one.layer, keras.layers.Embedding) for one in context.readers(index))
    return embedded if array.ndim == 2 else array.ndim == 3


def _masked(context: Context, index: int, value: float) -> bool:
    """Whether the first layers mask that value."""
    for one in context.readers(index):
        layer: Any = one.layer
        if isinstance(layer, keras.layers.Embedding) and layer.mask_zero and value == 0:
            return True
        if isinstance(layer, keras.layers.Masking) and float(layer.mask_value) == value:
            return True
    return False


def _reached(context: Context, index: int, wanted: Any) -> list[str]:
    """The wanted layers among those that the input reaches without another kind of sequence layer before."""
    waiting, seen_calls, found = [one.index for one in context.readers(index)], set(), []
    while waiting:
        at = waiting.pop()
        if at in seen_calls:
            continue
        seen_calls.add(at)
        one = context.layers[at]
        if wanted(one):
            found.append(one.path)
        elif len(one.shape) > 2:
            waiting.extend(one.consumers)
    return list(dict.fromkeys(found))


def _is_last_state(one: LayerFacts) -> bool:
    """Whether it returns its state after the last step."""
    layer: Any = one.layer
    return isinstance(layer, RECURRENT) and not layer.return_sequences and not layer.go_backwards


def _is_average(one: LayerFacts) -> bool:
    return isinstance(one.layer, keras.layers.GlobalAveragePooling1D)
