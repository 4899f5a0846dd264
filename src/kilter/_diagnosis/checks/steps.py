"""Checks of how a network reads the steps of a sequence: gradients through time, unread steps, order."""

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context, SequenceReading
from kilter._diagnosis.order import gain_of_order, gain_of_past, gain_of_steps
from kilter._models.layers import ATTENTION, CONVOLUTIONS, RECURRENT
from kilter._records import Evidence, Finding, Severity

_FADED = 1e-8
_TRACE = 1e-3  # of the gradient by the padding
_FAR = 0.01  # of the largest gradient by a step: what comes through with less is not learnt from


def check_read(context: Context) -> list[Finding]:
    """Steps that the loss does not depend on: only padding is read, or a part of the steps never is."""
    reading = context.sequences
    if reading is None or not np.isfinite(reading.by_step).all() or not reading.by_step.any():
        return []
    read, content = reading.by_step > 0, reading.content
    faded = reading.by_step[read].min() < _FADED * reading.by_step.max()
    recurrent = any(isinstance(one.layer, RECURRENT) for one in context.layers)
    # A gradient that fades through long padding underflows before it comes to the content: that is no mask.
    ignoring = 0.0 if faded and recurrent else _only_padding(context, reading)
    if ignoring > context.thresholds.padding_read:
        name = "share of the padded rows in which only the padding is read"
        evidence = [context.seen("padding_read", name, ignoring)]
        return [finding("inverted-mask", "severe", ["data"], evidence, share=ignoring)]
    if faded:
        return []  # it fades out: further steps may be read, but their gradient underflows
    steps: np.ndarray = np.asarray(read.any(axis=0))
    unread = float((~steps & content.any(axis=0)).sum() / len(steps))
    if unread <= context.thresholds.unread or not _sequential(context):
        return []
    gain = gain_of_steps(context, steps)
    lost = bool(gain > context.thresholds.order_gain)
    evidence = [context.seen("unread", "share of the steps that are not read", unread)]
    if np.isfinite(gain):
        name = "skill of trees that is lost without them"
        evidence.append(context.seen("order_gain", name, gain) if lost else Evidence(name, gain))
    where = [one.path for one in context.layers if isinstance(one.layer, (*RECURRENT, *ATTENTION))][-1:]
    detail = f"The loss depends on {int(steps.sum())} of {len(steps)} steps: {_places(steps)}"
    severity: Severity = "severe" if lost else "warning"
    return [finding("unread-steps", severity, where or ["data"], evidence, detail=detail)]


def _only_padding(context: Context, reading: SequenceReading) -> float:
    """The share of the padded rows in which the loss depends on the padding and not on the content.

    Through time a gradient fades, so that of a recurrent layer must be 0; queries of attention leave traces.
    """
    padded = (~reading.content).any(axis=1) & reading.content.any(axis=1)
    if padded.mean() < 0.5:
        return 0.0
    fades = any(isinstance(one.layer, RECURRENT) for one in context.layers)
    content, padding = (
        np.where(part, reading.by_step, 0.0).max(axis=1) for part in (reading.content, ~reading.content)
    )
    alone = (padding > 0) & (content <= (0.0 if fades else _TRACE) * padding)
    return float(alone[padded].mean())


def _sequential(context: Context) -> bool:
    return any(isinstance(one.layer, (*RECURRENT, *ATTENTION, *CONVOLUTIONS)) for one in context.layers)


def _places(steps: np.ndarray) -> str:
    at = np.flatnonzero(steps)
    if len(at) == 1:
        return f"number {at[0] + 1}"
    return f"numbers {at[0] + 1} to {at[-1] + 1}" if len(at) else "none"


def through_time(reading: SequenceReading) -> np.ndarray:
    """Median gradient by the steps before a row's last one, [steps back]; NaN if unknown."""
    rows, steps = reading.by_step.shape
    back = np.full((rows, steps), np.nan)
    for row in range(rows):
        at = np.flatnonzero(reading.content[row])
        if len(at):
            values = reading.by_step[row, at[0] : at[-1] + 1][::-1]
            back[row, : len(values)] = values
    known = ~np.isnan(back).all(axis=0)
    profile = np.full(steps, np.nan)
    profile[known] = np.nanmedian(back[:, known], axis=0)
    return profile


def check_time(context: Context) -> list[Finding]:
    """Gradients that explode or vanish on their way back through the steps of a recurrent layer."""
    reading, limits = context.sequences, context.thresholds
    layers = [one.path for one in context.layers if isinstance(one.layer, RECURRENT) and not one.repeated]
    if reading is None or not layers or any(len(one.shape) > 2 for one in context.outputs):
        return []
    profile = through_time(reading)
    known = profile[~np.isnan(profile)]
    if not np.isfinite(reading.by_step).all():
        count = int((~np.isfinite(reading.by_step)).sum())
        evidence = [Evidence("steps with a gradient that is not finite", count)]
        detail = "The gradient by the first steps is NaN or infinite"
        return [finding("exploding-through-time", "severe", layers, evidence, detail=detail)]
    if len(known) < limits.time_steps or known.max() <= 0:
        return []
    few = max(1, len(known) // 8)
    near, far = float(np.median(known[:few])), float(np.median(known[-few:]))
    if near > 0 and far / near > limits.time_growth:
        name = "gradient by the first steps over that by the last"
        evidence = [context.seen("time_growth", name, far / near)]
        detail = f"It is {far / near:.3g} times as large at the first steps as at the last"
        return [finding("exploding-through-time", "warning", layers, evidence, detail=detail)]
    horizon = int(np.flatnonzero(known >= _FAR * known.max()).max()) + 1
    if horizon >= len(known):
        return []
    evidence = [Evidence("steps back from which a gradient arrives", horizon, len(known), "all steps")]
    by_step = np.median(np.where(reading.content, reading.by_step, 0.0), axis=0)
    gain = gain_of_steps(context, by_step >= _FAR * by_step.max())
    lost = bool(gain > limits.order_gain)
    if np.isfinite(gain):
        name = "skill of trees that is lost without the others"
        evidence.append(context.seen("order_gain", name, gain) if lost else Evidence(name, gain))
    elif len(known) >= limits.long_sequence:
        lost = horizon < len(known) / 5
    if not lost and horizon >= limits.time_horizon:
        return []
    severity: Severity = "warning" if lost or not np.isfinite(gain) else "note"
    return [finding("vanishing-through-time", severity, layers, evidence, horizon=horizon, steps=len(known))]


def check_order(context: Context) -> list[Finding]:
    """A network that cannot see the order of steps, where the order tells something about the targets."""
    reading, limits = context.sequences, context.thresholds
    if reading is None or not reading.order_change < limits.order_change:
        return []
    places = [one.path for one in context.layers if isinstance(one.layer, ATTENTION)]
    gain = gain_of_order(context)
    if not gain > limits.order_gain:
        return []
    inner = [one.path for one in context.layers if one.takes_input]
    evidence = [
        context.seen("order_change", "change of the outputs if the steps are permuted", reading.order_change),
        context.seen("order_gain", "skill that trees gain from the order of the steps", gain),
    ]
    return [finding("missing-positions", "severe", places[:1] or inner[:1] or ["data"], evidence, gain=gain)]


def check_future(context: Context) -> list[Finding]:
    """Next-step targets, and outputs that see the step they are to predict."""
    reading, limits = context.sequences, context.thresholds
    if reading is None or not reading.later_change > limits.order_change or len(context.outputs) != 1:
        return []
    targets, inputs = context.outputs[0].targets, context.inputs[0]
    if targets is None or targets.ndim < 2 or targets.shape[1] != inputs.shape[1]:
        return []
    wanted, given = (array.reshape(*array.shape[:2], -1) for array in (targets, inputs))
    if wanted.shape != given.shape:
        return []
    same = float(np.mean(np.isclose(wanted[:, :-1].astype(float), given[:, 1:].astype(float))))
    if same < limits.shifted:
        return []
    layers = [one.path for one in context.layers if isinstance(one.layer, (*ATTENTION, *RECURRENT))]
    evidence = [context.seen("shifted", "share of targets that are the next input", same)]
    return [finding("missing-causal-mask", "severe", layers[:1] or ["data"], evidence)]


def check_reach(context: Context) -> list[Finding]:
    """Outputs for each step that see only later steps, or too few of the earlier ones."""
    reading, limits = context.sequences, context.thresholds
    if reading is None or reading.lags is None or len(context.outputs) != 1:
        return []
    (output,), (first, last) = context.outputs, reading.lags
    if first < 0 and last <= 0 and reading.heads:
        evidence = [
            Evidence("earlier steps that change an output", 0, "more than 0", "a mask over the past"),
            Evidence("later steps that change it", -first),
        ]
        layers = [one.path for one in context.layers if isinstance(one.layer, ATTENTION)]
        return [finding("future-only", "severe", layers[:1] or [output.where], evidence)]
    gain, past = gain_of_past(context, reading.lags)
    if not gain > limits.order_gain:
        return []
    evidence = [context.seen("order_gain", "skill that trees gain from earlier steps", gain)]
    seen = f"{last - first + 1} step{'s' * (last > first)}"
    detail = f"trees that read {past} steps back tell the targets better than from what it sees"
    return [finding("receptive-field", "severe", [output.where], evidence, seen=seen, detail=detail)]
