"""Checks of recurrent layers: activations of cells, initial weights, forget gates, states, and outputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.thresholds import between
from kilter._models.layers import RECURRENT, LayerFacts, activation_name
from kilter._records import Evidence, Finding, Severity

# Bounded activations keep a state that is fed back within bounds.
_BOUNDED: Final = ("tanh", "hard_tanh", "softsign", "sigmoid", "hard_sigmoid")
_GATES: Final = ("sigmoid", "hard_sigmoid")
_GATE_COUNTS: Final = {keras.layers.LSTMCell: 4, keras.layers.GRUCell: 3, keras.layers.SimpleRNNCell: 1}


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of a recurrent layer.

    ``gates``: how many blocks of units its kernels hold. ``steps``: how many the layer reads, 0 if unknown.
    """

    facts: LayerFacts
    cell: Any
    gates: int
    steps: int


def cells(context: Context) -> Iterator[Cell]:
    """The LSTM, GRU and simple cells of the recurrent layers, each once; other cells are skipped."""
    for one in context.layers:
        if not isinstance(one.layer, RECURRENT) or one.repeated:
            continue
        read = [context.layers[source].shape for source in one.sources]
        read += [context.inputs[place].shape for place in one.enters]
        steps = max((shape[1] for shape in read if len(shape) > 1 and isinstance(shape[1], int)), default=0)
        cell: Any = one.layer.cell
        for inner in getattr(cell, "cells", [cell]):
            for kind, gates in _GATE_COUNTS.items():
                if isinstance(inner, kind) and getattr(inner, "recurrent_kernel", None) is not None:
                    yield Cell(one, inner, gates, steps)


def check_activation(context: Context) -> list[Finding]:
    """Cells whose state is unbounded (ReLU, linear, exponential), and gates that are no sigmoid.

    A recurrent kernel that starts as the identity is meant for ReLU (Le et al. 2015).
    """
    found = {}
    for one in cells(context):
        name = activation_name(one.cell)
        gate = "sigmoid"
        if one.gates > 1:
            gate = activation_name(SimpleNamespace(activation=one.cell.recurrent_activation))
        identity = isinstance(one.cell.recurrent_initializer, keras.initializers.Identity)
        if name is not None and name not in _BOUNDED and not identity:
            found[one.facts.path] = f"{name} in {one.facts.path}"
        elif gate is not None and gate not in _GATES:
            found[one.facts.path] = f"{gate} as a gate of {one.facts.path}"
    if not found:
        return []
    evidence = [Evidence("recurrent layers of this kind", len(found))]
    detail = ", ".join(found.values())
    return [finding("recurrent-activation", "warning", found, evidence, detail=detail)]


def check_start(context: Context) -> Iterator[Finding]:
    """Kernels of cells that start as constants, or far too large or small for their gates."""
    limits = context.thresholds
    same, poor = [], {}
    for one in cells(context):
        kernel, recurrent = np.asarray(one.cell.kernel, float), np.asarray(one.cell.recurrent_kernel, float)
        if not (np.isfinite(kernel).all() and np.isfinite(recurrent).all()):
            continue
        units = recurrent.shape[0]
        if units > 1 and np.ptp(kernel, axis=1).max() == 0 and np.ptp(recurrent) == 0:
            same.append(one.facts.path)
            continue
        # Of an orthogonal kernel the root mean square of the singular values is 1.
        turn = float(np.sqrt(np.square(recurrent).sum() / (units * one.gates)))
        fan = kernel.shape[0] + units
        entry = float(np.sqrt(np.square(kernel).mean() * fan / 2))
        for size in (turn, entry):
            if size > limits.recurrent_scale or size < limits.recurrent_scale_least:
                poor[one.facts.path] = max(size, poor.get(one.facts.path, 0.0))
    if same:
        evidence = [Evidence("identical units", 1)]
        yield finding("constant-initializer", "severe", same, evidence, ("orthogonal-recurrent",))
    if poor:
        worst = max(poor.values(), key=lambda size: abs(np.log(max(size, 1e-12))))
        low, high = limits.recurrent_scale_least, limits.recurrent_scale
        evidence = [between("scale of a kernel over that of an orthogonal one", worst, low, high)]
        severity: Severity = "severe" if worst > 3 * limits.recurrent_scale else "warning"
        yield finding("recurrent-initializer", severity, poor, evidence, scale=worst)


def check_forget(context: Context) -> list[Finding]:
    """LSTMs whose forget gates start closed, so that the state fades within a step or two."""
    limits, found = context.thresholds, {}
    steps = 0
    for one in cells(context):
        bias = getattr(one.cell, "bias", None)
        if not isinstance(one.cell, keras.layers.LSTMCell):
            continue
        units = int(one.cell.units)
        forget = 0.0 if bias is None else float(np.mean(np.asarray(bias)[units : 2 * units]))
        kept = float(1 / (1 + np.exp(-forget)))
        if kept < limits.forget_kept:
            found[one.facts.path] = kept
            steps = max(steps, one.steps)
    if not found:
        return []
    least = min(found.values())
    faded = least < limits.forget_kept / 2 or steps >= limits.forget_steps
    evidence = [context.seen("forget_kept", "share of the state that a step keeps", least)]
    severity: Severity = "warning" if faded else "note"
    return [finding("forget-bias", severity, found, evidence, kept=least)]


def check_stateful(context: Context) -> list[Finding]:
    """States that are kept from batch to batch although the batches' rows do not continue each other."""
    layers = [one.path for one in context.layers if getattr(one.layer, "stateful", False)]
    if not layers:
        return []
    if context.shuffle:
        detail = "the rows are shuffled"
    elif (jump := _jump(context)) is not None and jump > context.thresholds.continued:
        detail = "no row continues the row at the same place of the previous batch"
    else:
        return []
    evidence = [Evidence("stateful layers", len(layers))]
    return [finding("stateful-unrelated", "warning", layers, evidence, detail=detail)]


def _jump(context: Context) -> float | None:
    """The typical change from a row's last step to the first of the row that continues it.

    Over the change between steps of unrelated rows; None for anything but series, and for one batch.
    """
    series, size = context.inputs[0], context.batch_size
    if series.ndim != 3 or series.dtype.kind != "f" or len(series) < 2 * size:
        return None
    ends, starts = series[:-size, -1].astype(float), series[size:, 0].astype(float)
    other = np.random.default_rng(0).permutation(len(ends))
    usual = float(np.abs(ends[other] - starts).mean())
    return float(np.abs(ends - starts).mean()) / usual if usual > 0 else None


def check_outputs(context: Context) -> Iterator[Finding]:
    """An answer for every step, against one target a row."""
    for output in context.outputs:
        targets, shape = output.targets, output.shape
        if targets is None or len(shape) < 3 or targets.size == 0:
            continue
        sparse = output.loss is not None and output.loss.name == "sparse_categorical_crossentropy"
        if sparse and tuple(targets.shape[1:]) == tuple(shape[1:-1]):
            continue  # a class for each step, however few steps there are
        one = int(np.prod(targets.shape[1:])) <= shape[-1]
        stepped = [one for one in context.layers if getattr(one.layer, "return_sequences", False)]
        if one and targets.ndim < len(shape) and stepped and shape[1] > 1:
            evidence = [Evidence("predictions for each row", int(shape[1]), 1, "one target a row")]
            given, wanted = (("rows", *one[1:]) for one in (shape, targets.shape))
            detail = f"The output has shape {given}, the targets have {wanted}".replace("'", "")
            where = [stepped[-1].path]
            yield finding("steps-against-one-target", "severe", where, evidence, detail=detail)


def check_length(context: Context) -> list[Finding]:
    """Recurrent layers that read a long sequence before their single output."""
    limits, found = context.thresholds, {}
    for one in cells(context):
        if one.steps >= limits.long_sequence and not getattr(one.facts.layer, "return_sequences", False):
            found[one.facts.path] = one.steps
    if not found:
        return []
    most = max(found.values())
    evidence = [context.seen("long_sequence", "steps from the first input to the output", most)]
    return [finding("long-sequence", "warning", found, evidence, steps=most)]
