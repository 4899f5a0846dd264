"""Checks of networks that compare pairs: margins out of reach, reversed labels, and pairs too easy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.loss_probe import as_loss, slopes
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.layers import LayerFacts, OutputFacts, given_losses
from kilter._models.reading import paired_targets
from kilter._models.tracing import forward
from kilter._models.variables import values
from kilter._records import Evidence, Finding

_SAMPLE: Final = 1_000
_GRID: Final = np.geomspace(1e-3, 1e4, 211)
_LEAST: Final = 20  # pairs of each kind
_HALF_RANGES: Final = {"sigmoid": 0.5, "hard_sigmoid": 0.5, "tanh": 1.0, "softsign": 1.0}


def is_comparison(context: Context) -> bool:
    """Whether one network reads two inputs of one shape, and the targets say which pairs belong together."""
    shapes = [one.shape[1:] for one in context.inputs]
    shared = any(one.repeated for one in context.layers)
    if len(shapes) != 2 or shapes[0] != shapes[1] or not shared or len(context.outputs) != 1:
        return False
    targets = context.outputs[0].targets
    return targets is not None and targets[:1].size == 1 and set(np.unique(targets)) == {0, 1}


def check_margin(context: Context) -> list[Finding]:
    """A loss that pushes matching pairs apart, or pairs beyond what any distance reaches."""
    loss = context.outputs[0].loss if is_comparison(context) else None
    answers = context.answers if loss is not None and loss.name is None else None
    if answers is None or not np.isfinite(answers[0]).all():
        return []
    margins = {label: hinge(context, float(label)) for label in (0, 1)}
    pushed = [(label, margin) for label, margin in margins.items() if margin is not None]
    if not pushed:
        return _idle(context)
    if len(pushed) != 1:
        return []
    ((label, margin),) = pushed
    made = [*_reversed(context, label), *_far(context, margin, float(np.abs(answers[0]).max()))]
    return made[:1]


def _idle(context: Context) -> list[Finding]:
    label = idle_label(context.model, context.outputs[0])
    if label is None:
        return []
    evidence = [
        Evidence(
            f"largest gradient for pairs with the label {label}", 0.0, "more than 0", "above 0 it pushes"
        )
    ]
    return [finding("pairs-not-apart", "severe", ["loss"], evidence, label=label)]


def idle_label(model: keras.Model, output: OutputFacts) -> int | None:
    """The label of pairs whose loss has no slope at any distance, if the others have; None for neither."""
    sizes = [_slopes(model, output, target, _GRID) for target in (0.0, 1.0)]
    moved = [None if size is None else size.max() > 0 for size in sizes]
    return moved.index(False) if sorted(moved, key=str) == [False, True] else None


def _reversed(context: Context, pushed: int) -> Iterator[Finding]:
    found = _separation(context.inputs, np.ravel(np.asarray(context.outputs[0].targets)))
    if found is None or found.nearer != pushed or found.area < context.thresholds.nearer_pairs:
        return
    name = "AUC of the inputs' distance"
    evidence = [context.seen("nearer_pairs", name, found.area)]
    label = f"pairs with the label {pushed}"
    detail = f"by distance, AUC {found.area:.2f}"
    yield finding("pairs-reversed", "severe", ["loss"], evidence, label=label, detail=detail)


def check_triplets(context: Context) -> list[Finding]:
    """A loss on three embeddings of a row that pushes apart the two whose inputs are closer."""
    shapes = {one.shape for one in context.inputs}
    shared = any(one.repeated for one in context.layers)
    if len(context.inputs) != 3 or len(shapes) != 1 or not shared or len(context.outputs) != 1:
        return []
    output = context.outputs[0]
    width = output.shape[-1] or 0
    if output.loss is None or output.loss.name is not None or len(output.shape) != 2 or width % 3:
        return []
    pulled = _pulled(given_losses(context.model, 1)[0], output, width // 3)
    order = None if pulled is None else _input_order(context, width // 3)
    if pulled is None or order is None:
        return []
    rows = (context.inputs[place][:_SAMPLE] for place in order)
    anchor, *others = (one.reshape(len(one), -1).astype(float) for one in rows)
    first, second = (np.abs(anchor - one).mean(axis=1) for one in others)
    closer = float(np.mean(first < second) + np.mean(first == second) / 2)
    area = 1 - closer if pulled == 1 else closer
    if len(anchor) < _LEAST or area < context.thresholds.nearer_pairs:
        return []
    name = "share of rows whose pushed input is the closer one"
    evidence = [context.seen("nearer_pairs", name, area)]
    label = f"the first embedding and the {'second' if pulled == 2 else 'third'}"
    detail = f"in {area:.0%} of the rows"
    return [finding("pairs-reversed", "severe", ["loss"], evidence, label=label, detail=detail)]


def _input_order(context: Context, width: int) -> list[int] | None:
    """The place of the input that each embedding of the output depends on; None unless it is one each.

    Inputs by name are in the order of their names: "negative" comes before "positive".
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda one: one[:_LEAST], context.x))

    def embeddings(given: list[Any]) -> np.ndarray:
        answer = forward(context.model, values(context.model), structure.unflatten(given), training=False)
        return np.asarray(jax.tree.leaves(answer)[0]).reshape(-1, 3, width)

    try:
        usual = embeddings(leaves)
        moved = [
            np.abs(embeddings([*leaves[:at], np.roll(one, 1, axis=0), *leaves[at + 1 :]]) - usual).max((0, 2))
            for at, one in enumerate(leaves)
        ]
    except FOREIGN_ERRORS:
        return None
    order = [int(np.argmax(each)) for each in np.transpose(moved)]
    alone = np.count_nonzero(moved) == len(order) == len(set(order))
    return order if alone else None


def _pulled(loss: Any, output: OutputFacts, width: int) -> int | None:
    """Which of the other two embeddings a loss pulls to the first: 1 or 2; None if neither, or unknown."""
    rows = _LEAST
    anchor = np.random.default_rng(0).normal(size=(rows, width))
    near, far = anchor + 0.1, anchor + 1.0
    made = [np.concatenate(three, axis=1) for three in ((anchor, near, far), (anchor, far, near))]
    targets = np.zeros((rows, 1)) if output.targets is None else output.targets[:rows]
    try:
        function: Any = as_loss(loss)
        first, second = (float(function(targets, one.astype("float32"))) for one in made)
    except FOREIGN_ERRORS:
        return None
    if not np.isfinite([first, second]).all() or np.isclose(first, second):
        return None
    return 1 if first < second else 2


def _far(context: Context, margin: float, reached: float) -> Iterator[Finding]:
    """A margin above what bounded outputs allow, or far above what the first pairs have."""
    bound, limits = farthest(context), context.thresholds
    if bound is not None and margin > 1.05 * max(bound, bound**2):
        evidence = [Evidence("margin of the loss", margin, bound, "the largest distance")]
        detail = f"the outputs of {_ends(context)[0].path} are at most {bound:.3g} apart"
        yield finding("margin-out-of-reach", "severe", ["loss"], evidence, margin=margin, detail=detail)
    elif 0 < limits.margin_share * reached < margin:
        evidence = [context.seen("margin_share", "margin over the largest distance", margin / reached)]
        detail = f"the largest distance of the first pairs is {reached:.3g}"
        yield finding("margin-out-of-reach", "warning", ["loss"], evidence, margin=margin, detail=detail)


def hinge(context: Context, target: float) -> float | None:
    """The distance beyond which the loss of a pair with this target is flat; None if it never is."""
    coarse = _slopes(context.model, context.outputs[0], target, _GRID)
    if coarse is None or coarse.max() == 0:
        return None
    active = np.flatnonzero(coarse > 1e-9 * coarse.max())
    # Flat from the start, or not flat at the end, is no hinge.
    if len(active) <= 10 or active[-1] + 3 > len(_GRID):
        return None
    fine = np.linspace(_GRID[active[-1]], _GRID[active[-1] + 1], len(_GRID))
    near = _slopes(context.model, context.outputs[0], target, fine)
    return None if near is None else float(fine[np.flatnonzero(near > 1e-9 * coarse.max()).max()])


def _slopes(
    model: keras.Model, output: OutputFacts, target: float, distances: np.ndarray
) -> np.ndarray | None:
    """The size of the gradient of the loss of a pair with this target by its distance; None if unknown."""
    shape = (len(distances), *output.shape[1:])
    given = np.broadcast_to(distances.reshape(-1, *[1] * (len(shape) - 1)), shape)
    found = slopes(given_losses(model, 1)[0], np.full(shape, target, np.float32), given)
    if found is None or not np.isfinite(found).all():
        return None
    return found.reshape(len(distances), -1).max(axis=1)


def farthest(context: Context) -> float | None:
    """The largest Euclidean distance between two outputs of the shared network; None if there is no bound."""
    ends = _ends(context)
    if not ends:
        return None
    last, width = ends[0], math.prod(ends[0].shape[1:])
    if isinstance(last.layer, keras.layers.UnitNormalization):
        return 2.0
    if last.activation == "softmax":
        return math.sqrt(2)
    half = _HALF_RANGES.get(last.activation or "")
    return None if half is None else 2 * half * math.sqrt(width)


def _ends(context: Context) -> list[LayerFacts]:
    """The last two calls of the shared layers, whose outputs are compared."""
    twice = {id(one.layer) for one in context.layers if one.repeated}
    both = [one for one in context.layers if id(one.layer) in twice]
    unit = [one for one in context.layers if isinstance(one.layer, keras.layers.UnitNormalization)]
    if len(unit) == 2 and both and unit[-1].index > both[-1].index:
        return unit[-1:]
    return both[-1:]


def check_easy(context: Context) -> list[Finding]:
    """Pairs that the plain distance of the inputs tells apart: training has nothing left to learn."""
    if not is_comparison(context) or any(one.dtype.kind != "f" for one in context.inputs):
        return []
    found = _separation(context.inputs, np.ravel(np.asarray(context.outputs[0].targets)))
    if found is None or found.area < context.thresholds.easy_pairs:
        return []
    held = _held(context)
    copied = found.copies > 0.5
    if not copied and (held is None or held.area > found.area - 0.02):
        return []  # they are as easy where it counts
    evidence = [
        context.seen("easy_pairs", "AUC of the inputs' distance", found.area),
        Evidence(
            "share of matching pairs whose two rows are the same", found.copies, 0.5 if copied else None
        ),
    ]
    if held is not None:
        evidence.append(Evidence("the same AUC in the validation pairs", held.area))
    detail = f"The distance of the inputs alone separates the training pairs with an AUC of {found.area:.3f}"
    detail += "" if held is None else f", and the validation pairs with {held.area:.3f}"
    detail += f"; {found.copies:.0%} of the matching pairs are two copies of a row" if copied else ""
    return [finding("easy-pairs", "severe", ["data"], evidence, detail=detail)]


def _held(context: Context) -> "_Order | None":
    if context.x_val is None or context.y_val is None:
        return None
    arrays = context.held_inputs
    targets = paired_targets(context.model, context.y_val)
    return _separation(arrays, np.ravel(targets[0])) if len(arrays) == 2 and len(targets) == 1 else None


@dataclass(frozen=True)
class _Order:
    """How the inputs' distance orders pairs.

    ``area``: share of couples of one pair of each label that it orders, 0.5 to 1; ``nearer``: the label of
    the closer ones; ``copies``: the share of these whose two rows are the same.
    """

    area: float
    nearer: int
    copies: float


def _separation(pair: tuple[np.ndarray, ...], targets: np.ndarray) -> _Order | None:
    first, second = (one[:_SAMPLE].reshape(len(one[:_SAMPLE]), -1).astype(np.float64) for one in pair)
    kinds = targets[:_SAMPLE] > 0.5
    if min(kinds.sum(), (~kinds).sum()) < _LEAST or first.shape != second.shape:
        return None
    apart = np.abs((first - second) / np.maximum(first.std(axis=0), 1e-12)).mean(axis=1)
    order = np.empty(len(apart))
    order[np.argsort(apart, kind="stable")] = np.arange(len(apart))
    ones, zeros = int(kinds.sum()), int((~kinds).sum())
    area = float((order[kinds].sum() - ones * (ones - 1) / 2) / (ones * zeros))
    near = kinds if area < 0.5 else ~kinds
    return _Order(max(area, 1 - area), int(area < 0.5), float(np.mean(apart[near] == 0)))


PROBE = (check_margin, check_triplets)
DATA = (check_easy,)
