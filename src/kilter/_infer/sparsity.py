"""Pruning by magnitude: how many small weights a trained network can lose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.arrays import collect
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.fit import prepare
from kilter._engine.loop import evaluate_feed, testing
from kilter._models.copying import copy_model
from kilter._models.variables import assign, values_kept
from kilter._records import Figure, drawn
from kilter._validation import one_of, whole_number
from kilter.errors import ModelError, OptionError

Scope = Literal["global", "layer"]
SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class SparsityCurve:
    """Loss and metrics against the share of weights that are zero.

    Attributes:
        shares: of the kernels' weights that are zero at each point, including those that were zero before.
        thresholds: the largest magnitude set to zero at each point; NaN for none.
        measures: loss and metrics by name at each point, as from :func:`kilter.evaluate`.
        by_kernel: the share of zeros in each kernel at each point, by the weight's path.
        scope: whether the smallest weights of all kernels, or of each kernel, were set to zero.
    """

    shares: tuple[float, ...]
    thresholds: tuple[float, ...]
    measures: tuple[Mapping[str, float], ...]
    by_kernel: tuple[Mapping[str, float], ...]
    scope: Scope
    _model: keras.Model
    _weights: tuple[np.ndarray, ...]

    def model(self, share: float) -> keras.Model:
        """An uncompiled copy of the measured model with this share of its smallest weights set to zero.

        Any share from 0 to below 1, not only those of the curve.

        Raises:
            ModelError: if the model cannot be copied.
        """
        _check_each("shares", [share], 1.0, "(0.0, 0.5, 0.9)")
        copy = copy_model(self._model).model
        kernels = _kernels(self._model)
        values = [weights.copy() for weights in self._weights]
        cut = _cut([values[index] for index in kernels], share, self.scope)
        for index, kernel in zip(kernels, cut, strict=True):
            values[index] = kernel
        copy.set_weights(values)
        return copy

    def plot(self, metric: str | None = None) -> Figure:
        """``metric`` against the share of zeros; by default the first that is an accuracy, else the loss."""
        names = list(self.measures[0])
        chosen = metric or next((name for name in names if "accuracy" in name), "loss")
        one_of("metric", chosen, names)
        values = [measures[chosen] for measures in self.measures]
        scope = "smallest of all" if self.scope == "global" else "per kernel"
        return drawn("sparsity", self.shares, values, metric=chosen, scope=scope)


def zero_small_weights(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    shares: Sequence[float] = SHARES,
    thresholds: Sequence[float] | None = None,
    scope: Scope = "global",
    batch_size: int = 256,
) -> SparsityCurve:
    """Evaluate a compiled model with more and more of its smallest weights set to zero; it does not change.

    Only kernels and embeddings are pruned, by magnitude; biases and normalisations have few weights. A model
    trained with an L1 penalty has most weights near zero and loses least. ``scope="global"`` prunes the
    smallest weights of all kernels, which may empty a layer of small weights; ``"layer"`` prunes the same
    share of each kernel, as Han et al. 2015 do.

    Args:
        model: compiled, with loss and metrics.
        x: inputs to evaluate on, preferably the validation set.
        y: targets.
        shares: the share of zeros at each point, from 0 to below 1.
        thresholds: magnitudes instead of shares: smaller weights are set to zero, whatever the scope.
        scope: ``"global"`` or ``"layer"``.
        batch_size: affects only memory and speed.

    Returns:
        The curve, with ``.plot()`` and ``.model(share)``.

    Raises:
        ModelError: if the model is not compiled or has no kernels.
        OptionError: for shares or thresholds out of range.
        DataError: if the data do not fit.
    """
    whole_number("batch_size", batch_size, 1)
    one_of("scope", scope, get_args(Scope))
    feed = ResidentFeed(collect(x, y), Order(batch_size, shuffle=False, seed=0))
    prepare(model, feed, training=False)
    weights = tuple(np.array(weight) for weight in model.weights)
    names = {index: model.weights[index].path for index in _kernels(model)}
    kernels = [weights[index] for index in names]
    if not kernels or not all(np.isfinite(kernel).all() for kernel in kernels):
        raise ModelError(
            expected=f"finite kernels in model {model.name!r}",
            received="none" if not kernels else "NaN or infinite weights",
            remedy="name the weights of custom layers so that they end in kernel or embeddings",
        )
    if thresholds is None:
        _check_each("shares", shares, 1.0, "(0.0, 0.5, 0.9)")
        cuts = [_cut(kernels, share, scope) for share in shares]
    else:
        _check_each("thresholds", thresholds, np.inf, "(0.0, 1e-3, 1e-2)")
        cuts = [[np.where(np.abs(kernel) < least, 0, kernel) for kernel in kernels] for least in thresholds]
    return SparsityCurve(
        shares=tuple(_zeros(cut) for cut in cuts),
        thresholds=tuple(_largest_zeroed(kernels, cut) for cut in cuts),
        measures=_measured(model, feed, [dict(zip(names, cut, strict=True)) for cut in cuts]),
        by_kernel=tuple(
            {path: _zeros([kernel]) for path, kernel in zip(names.values(), cut, strict=True)} for cut in cuts
        ),
        scope=scope,
        _model=model,
        _weights=weights,
    )


def _kernels(model: keras.Model) -> list[int]:
    """Which of ``model.weights`` may be pruned."""
    return [
        index
        for index, weight in enumerate(model.weights)
        if weight.name.endswith(("kernel", "embeddings")) and len(weight.shape) > 1
    ]


def _cut(kernels: Sequence[np.ndarray], share: float, scope: Scope) -> list[np.ndarray]:
    """The kernels with the smallest round(share · N) of their weights zero; ties in order."""
    if scope == "layer":
        return [_without_smallest(kernel.reshape(-1), share).reshape(kernel.shape) for kernel in kernels]
    flat = _without_smallest(np.concatenate([kernel.reshape(-1) for kernel in kernels]), share)
    ends = np.cumsum([kernel.size for kernel in kernels])[:-1]
    return [part.reshape(kernel.shape) for part, kernel in zip(np.split(flat, ends), kernels, strict=True)]


def _without_smallest(flat: np.ndarray, share: float) -> np.ndarray:
    count = round(share * flat.size)
    kept = flat.copy()
    kept[np.argsort(np.abs(flat), kind="stable")[:count]] = 0
    return kept


def _zeros(kernels: Sequence[np.ndarray]) -> float:
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)


def _largest_zeroed(kernels: Sequence[np.ndarray], cut: Sequence[np.ndarray]) -> float:
    zeroed = [np.abs(kernel[after == 0]) for kernel, after in zip(kernels, cut, strict=True)]
    return float(max((part.max() for part in zeroed if part.size), default=np.nan))


def _measured(
    model: keras.Model, feed: ResidentFeed, cuts: Sequence[Mapping[int, np.ndarray]]
) -> tuple[dict[str, float], ...]:
    """Loss and metrics with each of ``cuts`` for some of ``model.weights``, which do not change."""
    runner, found = testing(model, every=None), list[dict[str, float]]()
    with values_kept(model.weights):
        for cut in cuts:
            assign((model.weights[index], value) for index, value in cut.items())
            found.append(evaluate_feed(model, runner, feed, restores=True))
    return tuple(found)


def _check_each(name: str, values: Sequence[float], below: float, example: str) -> None:
    if not len(values) or not all(0.0 <= value < below for value in values):
        raise OptionError(
            expected=f"{name} of at least 0" + (" and below 1" if below == 1 else ""),
            received=f"{list(values)!r}",
            remedy=f"pass {name} such as {example}",
        )
