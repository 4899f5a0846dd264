"""Probing a custom loss: its values and gradients for right, wrong and perturbed predictions.

Only the loss function runs, on a few rows of the targets and on made-up predictions.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._diagnosis.targets import target_facts
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.keras_internals import LossFunctionWrapper
from kilter._models.layers import OutputFacts

ROWS: Final = 7  # a prime: no usual number of classes or features
_TRIALS: Final = 4
_SURE: Final = 0.95
_FLAT: Final = 1e-9
_NEAR: Final = 1e-4
_PROBABILITIES: Final = ("sigmoid", "softmax", "hard_sigmoid")
_POSITIVE: Final = ("relu", "relu6", "softplus", "exponential")
_DISTANCES: Final = (0.25, 1.0, 4.0, 16.0, 64.0)
# Predictions an output can give; others, such as a unit norm, are unknown.
_RANGES: Final = {
    "linear": (-np.inf, np.inf),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    **dict.fromkeys(_POSITIVE, (0.0, np.inf)),
    "relu6": (0.0, 6.0),
}

Total = Callable[[Any], Any]


@dataclass(frozen=True)
class Probed:
    """What is known of a loss.

    Attributes:
        value: for one made-up prediction. varies: whether others give another value.
        slopes: whether some gradient by the prediction is not 0.
        shape: of what it returns for :data:`ROWS` rows; None if it makes one number of its own.
        right, middle, wrong: for right, undecided and wrong predictions; None if these are unknown.
        by_columns: whether it is blind to a constant added to a column, as a softmax over the rows is.
        mixes: whether the targets of other rows decide what is best for a row, though alone it is right.
        exchanged: whether it is linear in the predictions and curved in the targets.
        open_end: where it does not rise away from the targets, as text, and the loss there; None if it does.
        at_targets: the loss at amounts; None if unknown.
        bad: a possible prediction for which it is not finite, as text; "" for none.
    """

    value: float
    varies: bool
    slopes: bool
    shape: tuple[int, ...] | None
    right: float | None = None
    middle: float | None = None
    wrong: float | None = None
    by_columns: bool = False
    mixes: bool = False
    exchanged: bool = False
    open_end: tuple[str, float] | None = None
    at_targets: float | None = None
    bad: str = ""


def as_loss(given: Any) -> keras.losses.Loss:
    """A loss as compile() makes it of a function, a class or a name."""
    made = keras.losses.get(given)
    made = made() if isinstance(made, type) else made
    if isinstance(made, keras.losses.Loss):
        return made
    return LossFunctionWrapper(made, name=getattr(made, "__name__", "loss"))


def slopes(given: Any, y: Any, predictions: np.ndarray) -> np.ndarray | None:
    """The gradient norm of each row's loss with respect to its predictions; None if it cannot be computed."""
    p = jnp.asarray(predictions, jnp.float32)
    try:
        made, wanted = as_loss(given), jnp.asarray(y)
        gradient: Any = jax.grad(lambda p: jnp.asarray(made(wanted, p), jnp.float32) * len(p))(p)
    except FOREIGN_ERRORS:
        return None
    return np.abs(np.asarray(gradient, dtype=np.float64))


def probed(given: Any, output: OutputFacts, answers: np.ndarray | None) -> Probed | None:
    """What the loss does with targets of ``output``; None if it cannot be called on them.

    ``answers``: predictions of the model, from which others are made where its last activation is unknown.
    """
    if output.targets is None or len(output.targets) < ROWS:
        return None
    y, random = _chosen(output.targets), np.random.default_rng(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _probed(as_loss(given), y, output, answers, random)
    except FOREIGN_ERRORS:
        return None


def _chosen(targets: np.ndarray) -> np.ndarray:
    """Rows whose first numbers are spread over all that occur."""
    order = np.argsort(targets.reshape(len(targets), -1)[:, 0], kind="stable")
    if targets.ndim == 2 and targets.shape[1] > 1 and target_facts(targets) is not None:
        order = np.argsort(targets.argmax(axis=1), kind="stable")
    return targets[order[np.linspace(0, len(order) - 1, ROWS).astype(int)]]


def _probed(
    loss: keras.losses.Loss, y: np.ndarray, output: OutputFacts, answers: np.ndarray | None, random: Any
) -> Probed:
    shape = (ROWS, *output.shape[1:])
    tried = [jnp.asarray(_made_up(output, shape, answers, random), jnp.float32) for _ in range(_TRIALS)]

    def total(p: Any, rows: slice = slice(None)) -> Any:
        return loss(y[rows], p)

    values = np.array([float(total(one)) for one in tried])
    finite = bool(np.isfinite(values).all())
    gradients = [np.asarray(jax.grad(total)(one)) for one in tried]
    known = [one for one in gradients if np.isfinite(one).all()]
    found = Probed(
        value=float(values[0]),
        varies=not finite or bool(np.ptp(values) > 1e-6 * max(1.0, abs(values[0]))),
        slopes=not known or any(np.abs(one).max() > _FLAT for one in known),
        shape=tuple(np.shape(loss.call(jnp.asarray(y), tried[0]))),
        bad="" if finite else "usual predictions",
    )
    if found.bad or not (found.varies and found.slopes):
        return found
    levels = _levels(output, y, shape)
    if levels is not None:
        marks = [float(total(jnp.asarray(one))) for one in levels]
    else:
        marks = _away(total, y, shape) if y.size == np.prod(shape) and np.ptp(y) > 0 else None
    named = {} if marks is None else dict(zip(("right", "middle", "wrong"), marks, strict=True))
    if levels is None and marks is not None and _reads_targets(loss, y, tried[0]):
        at_targets = float(total(jnp.asarray(y.reshape(shape), jnp.float32)))
        end = _open_end(total, y.reshape(shape), output, float(np.ptp(values)))
        found = replace(found, at_targets=at_targets, open_end=end)
    return replace(
        found,
        by_columns=_is_by_columns(total, tried[0], output),
        mixes=levels is None and _mixes(total, y, shape),
        exchanged=y.size == np.prod(shape) and _is_exchanged(loss, y.reshape(shape), tried),
        bad=_bad_end(total, shape, output),
        **named,
    )


def _made_up(output: OutputFacts, shape: Any, answers: np.ndarray | None, random: Any) -> np.ndarray:
    """Possible predictions of the output."""
    normal = random.normal(size=shape)
    name = output.activation
    if name == "softmax":
        return np.asarray(jax.nn.softmax(normal, axis=-1))
    if name in ("sigmoid", "hard_sigmoid"):
        return random.uniform(0.1, 0.9, shape)
    if name in ("tanh", "softsign"):
        return random.uniform(-0.9, 0.9, shape)
    if name is None and answers is not None and len(answers) and np.isfinite(answers).all():
        base = answers[np.arange(shape[0]) % len(answers)]
        low, high = float(answers.min()), float(answers.max())
        mixed = random.uniform(0.2, 0.8, (shape[0], *[1] * (len(shape) - 1)))
        others = answers[random.integers(len(answers), size=shape[0])]
        moved = mixed * base + (1 - mixed) * others
        return (
            np.clip(moved + 0.05 * (high - low) * normal, low, high) if high > low else moved + 0.1 * normal
        )
    return np.abs(normal) if name in _POSITIVE else normal


def _levels(
    output: OutputFacts, y: np.ndarray, shape: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Right, undecided and wrong predictions; None if it is unknown what is right."""
    facts = target_facts(output.targets)
    if facts is None or output.activation not in (*_PROBABILITIES, "linear"):
        return None
    logits = output.activation == "linear"
    binary = facts.whole and facts.low >= 0 and facts.high <= 1
    if binary and y.size == np.prod(shape):
        truth = y.reshape(shape).astype("float32")
        if truth.shape[-1] > 1 and facts.shares:
            return _scores(truth, logits=logits)
        near = truth * _SURE + (1 - truth) * (1 - _SURE)
        three = near, np.full(shape, 0.5, "float32"), 1 - near
        return tuple(6 * (one - 0.5) for one in three) if logits else three  # type: ignore[return-value]
    if facts.classes > 1 and shape[-1] >= facts.classes and y.size * shape[-1] == np.prod(shape):
        truth = np.eye(shape[-1], dtype="float32")[y.reshape(-1).astype(int)].reshape(shape)
        return _scores(truth, logits=logits)
    return None


def _scores(truth: np.ndarray, *, logits: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For one-hot rows."""
    classes = truth.shape[-1]
    other = (1 - _SURE) / (classes - 1)
    right = truth * _SURE + (1 - truth) * other
    wrong = np.roll(truth, 1, axis=-1) * _SURE + (1 - np.roll(truth, 1, axis=-1)) * other
    if logits:
        return 6 * (right - 0.5), np.zeros_like(truth), 6 * (wrong - 0.5)
    return right, np.full_like(truth, 1 / classes), wrong


def _is_by_columns(total: Total, p: Any, output: OutputFacts) -> bool:
    """Whether a constant added to a column (or a factor of it) changes nothing, while one of a row does."""
    if p.ndim != 2 or p.shape[1] < 2:
        return False
    column = jnp.zeros_like(p).at[:, 0].set(0.7)
    row = jnp.zeros_like(p).at[0].set(0.7)
    whole = float(total(p))

    def alike(other: Any) -> bool:
        return abs(float(total(other)) - whole) <= _NEAR * max(1.0, abs(whole))

    shifted = alike(p + column) and not alike(p + row)
    scaled = output.activation != "linear" and alike(p * (1 + column)) and not alike(p * (1 + row))
    return shifted or scaled


def _is_exchanged(loss: Any, y: np.ndarray, tried: list[Any]) -> bool:
    """Whether the loss bends with the targets but not with the predictions; a sound one bends with these."""

    def bend(one: Any, other: Any, of: Callable[[Any], Any]) -> float:
        ends, middle = [float(of(one)), float(of(other))], float(of((one + other) / 2))
        size = max(abs(ends[0] - ends[1]), 1e-3 * max(map(abs, ends)), 1e-12)
        return abs(middle - sum(ends) / 2) / size

    target = jnp.asarray(y, jnp.float32)
    # Also across the targets: far from them a sound loss, such as a pinball, is linear.
    moved = jnp.abs(tried[0])
    pairs = [*((tried[0], one) for one in tried[1:]), (target - moved, target + moved)]
    bends = [bend(one, other, lambda p: loss(target, p)) for one, other in pairs]
    by_answers = max(one for one in bends if np.isfinite(one) or one is bends[0])
    by_targets = bend(tried[1], tried[2], lambda t: loss(t, tried[0]))
    return by_answers < _NEAR and by_targets > 100 * _NEAR


def _mixes(total: Any, y: np.ndarray, shape: Any) -> bool:
    """For amounts: whether each row alone is best at its target, but all together are not."""
    if y.size != np.prod(shape) or np.ptp(y) == 0:
        return False
    right = jnp.asarray(y.reshape(shape), jnp.float32)
    gradient = jax.grad(total)
    spread = float(np.std(y)) or 1.0
    moved = np.abs(np.asarray(gradient(right + spread))).max()
    together = np.abs(np.asarray(gradient(right + 1e-4 * spread))).max()

    def alone(row: int) -> float:
        one = slice(row, row + 1)
        slope = jax.grad(lambda p: total(p, one))(right[one] + 1e-4 * spread)
        return float(np.abs(np.asarray(slope)).max())

    lone = max(alone(row) for row in range(ROWS))
    return bool(moved > 0 and together > 0.1 * moved and lone < 0.01 * moved)


def _bad_end(total: Any, shape: Any, output: OutputFacts) -> str:
    """The end of the range of the output where the loss, or its gradient, is not finite; "" for none."""
    ends = {"sigmoid": (0.0, 1.0), "softmax": (0.0,), "relu": (0.0,)}.get(output.activation or "", ())
    for end in ends:
        p = jnp.full(shape, end, jnp.float32)
        if not np.isfinite(float(total(p))):
            return f"predictions of {end:g}"
    return ""


def _away(total: Total, y: np.ndarray, shape: Any) -> list[float] | None:
    """The loss at amounts, near them and far away, in a direction where it changes; the largest of the ways.

    Where every way from the targets makes it fall, its sign is wrong.
    """
    right = np.asarray(y, dtype=np.float32).reshape(shape)
    spread = float(np.std(right)) or 1.0
    random, found = np.random.default_rng(1), []
    for _ in range(3):
        way = random.normal(size=shape).astype("float32") * spread
        for sign in (1, -1):
            found.append([float(total(jnp.asarray(right + sign * far * way))) for far in (0.0, 0.5, 2.0)])
    worst = max(found, key=lambda one: one[-1])
    return worst if np.isfinite(worst).all() else None


def _reads_targets(loss: Any, y: np.ndarray, p: Any) -> bool:
    """Whether other targets give another loss; not so if the model's output is the loss itself."""
    usual = float(loss(y, p))
    return any(abs(float(loss(other, p)) - usual) > _FLAT for other in (y + np.std(y), 2 * y))


def _open_end(total: Total, y: np.ndarray, output: OutputFacts, variation: float) -> tuple[str, float] | None:
    """Where predictions can leave the targets without a loss that rises, and the loss there; None if nowhere.

    The minimum may lie elsewhere, as with a log link, but on no way may it be at the end. Targets of two
    values are classes, whose scores have no right size. ``variation``: of the loss over usual predictions.
    """
    low, high = _RANGES.get(output.activation or "", (0.0, 0.0))
    right = np.asarray(y, np.float32)
    if (
        output.targets is None
        or len(np.unique(output.targets)) < 3
        or right.min() < low
        or right.max() > high
    ):
        return None
    spread, largest = float(np.std(right)), float(np.abs(right).max())
    distances = sorted([*(one * spread for one in _DISTANCES), 4 * largest, 16 * largest])

    def at(moved: Any) -> float:
        value = float(total(jnp.asarray(np.clip(right + moved, low, high), jnp.float32)))
        return np.inf if np.isnan(value) else value

    steps = np.array([*(-one for one in reversed(distances)), 0.0, *distances])
    line = np.array([at(one) for one in steps])
    if not line.max() - line.min() > 1e-3 * variation:  # blind to a common shift, as a correlation is
        return None
    usual = at(0.0)
    for end, words in ((-1, "above"), (0, "below")):
        least = 1e-6 * abs(line[end])
        if line[end] <= line.min() + least and line[-1 - end] > line[end] + least:
            return f"{distances[-1]:.3g} {words} them", float(line[end])
    way = np.resize(np.array([1.0, -1.0]), len(right)).reshape(-1, *[1] * (right.ndim - 1))
    way = 4 * spread * (way - way.mean())
    apart, together = max(at(way), at(-way)), min(at(4 * spread), at(-4 * spread))
    is_blind = np.isfinite(together) and together > usual and apart - usual <= 1e-6 * (together - usual)
    return ("with errors that cancel out", apart) if is_blind else None
