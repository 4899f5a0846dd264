"""Monte Carlo dropout: many predictions with dropout active, and the uncertainty that they show.

Gal and Ghahramani 2016, "Dropout as a Bayesian approximation"; the entropies follow Houlsby et al. 2011.
"""

import contextlib
import inspect
import itertools
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from kilter._array_types import Arrays
from kilter._engine.arrays import collect
from kilter._engine.checks import check_inputs
from kilter._engine.host_rows import take
from kilter._engine.program_cache import shelf
from kilter._infer.outputs import Meaning, Outputs, meanings
from kilter._models.layers import drop_rates, require_model
from kilter._models.tracing import intercept_calls, replace_attribute
from kilter._models.variables import build_forward, fitting, values
from kilter._progress import QUICK, Verbose, shown
from kilter._validation import whole_number
from kilter._xla.partial import Halves, halves
from kilter._xla.random_bits import quick
from kilter.errors import ModelError

_SEEDS = 1 << 32


@dataclass(frozen=True, eq=False)
class MonteCarloPrediction:
    """Predictions with dropout active, over S samples of the model. NumPy arrays, rows first.

    Attributes:
        mean: of the predicted probabilities, or of the outputs if these are numbers; in the shape and
            structure that the model returns. The other fields have that structure too.
        std: the standard deviation over the samples, √(Σ (p - mean)² / S), in the same shape.
        entropy: of the mean, in nats, without the last axis: ``[n]``. The total uncertainty, of data and
            model. None for numbers.
        mutual_information: the entropy of the mean minus the mean entropy of the samples, in nats, ``[n]``,
            at least 0: the uncertainty of the model, which more data could reduce. None for numbers.
        samples: every sample, ``[S, n, ...]``, if requested; else None.
    """

    mean: Any
    std: Any
    entropy: Any
    mutual_information: Any
    samples: Any = None


class _Moments(NamedTuple):
    """Running mean, sum of squared deviations and sum of entropies of one output's samples."""

    mean: jax.Array
    squares: jax.Array
    entropies: jax.Array


def predict_mc(
    model: keras.Model,
    x: Arrays,
    *,
    samples: int = 100,
    seed: int = 0,
    batch_size: int = 1024,
    outputs: Outputs = "auto",
    keep_samples: bool = False,
    verbose: Verbose = "auto",
) -> MonteCarloPrediction:
    """Predict ``samples`` times with dropout active, otherwise as at inference, in one compiled call.

    Active are Dropout, SpatialDropout1D, 2D and 3D, AlphaDropout, GaussianDropout, their subclasses, and the
    dropout inside attention and recurrent layers, at any depth. Batch normalisation uses its moving
    statistics; GaussianNoise and augmentation layers do nothing. Custom code that draws random numbers only
    ``if training`` draws none.

    The model's weights, metrics and seed generators do not change. The same seed and ``batch_size`` give the
    same bits on the same machine; each row has its own dropout masks. Memory does not grow with ``samples``
    unless ``keep_samples``.

    Args:
        model: a model with dropout; it need not be compiled if it ends in a softmax or sigmoid.
        x: inputs, as for :func:`kilter.predict`.
        samples: predictions per row, at least 2.
        seed: of the dropout masks, from 0 to 2³² - 1.
        batch_size: rows per batch at most; larger is faster, as far as memory allows.
        outputs: "logits", "probabilities", "numbers", or "auto", which decides by the loss, then by the last
            activation.
        keep_samples: also return each sample.
        verbose: as in :func:`kilter.fit`; by default a long call shows its progress.

    Raises:
        ModelError: if the model has no dropout, or "auto" cannot tell what the outputs are.
        OptionError: for options out of range.
        DataError: if the inputs do not fit.
    """
    require_model(model)
    whole_number("batch_size", batch_size, 1)
    whole_number("samples", samples, 2, _SEEDS - 1)
    whole_number("seed", seed, 0, _SEEDS - 1)
    rows = collect(x)
    check_inputs(model, rows)
    inputs = rows.data[0]
    with shown(verbose, after=QUICK) as progress, fitting(model, rows.data):
        progress.stage(f"Predicting {rows.count} rows, {samples} samples of each")
        build_forward(model, jax.tree.map(lambda leaf: leaf[:1], inputs))
        layers = dropout_layers(model)
        arguments = (values(model), inputs, jnp.asarray(_order(rows.count, batch_size)), jnp.uint32(seed))
        kept: tuple[Any, ...] = (tuple(map(drop_rates, layers)), samples, outputs, keep_samples)
        program = shelf(model).get(
            ("predict_mc", *kept),  # type: ignore[arg-type]
            (getattr(model, "_compile_loss", None),),
            lambda: _program(model, layers, samples, outputs, keep_samples),
            arguments,
        )
        found = jax.block_until_ready(program(*arguments))
    return MonteCarloPrediction(**{name: _on_host(tree, name, rows.count) for name, tree in found.items()})


def _order(count: int, batch_size: int) -> np.ndarray:
    """Row numbers [batches, rows per batch] of batches of nearly equal size, padded with the last row.

    Example:
        >>> _order(5, 2)
        array([[0, 1],
               [2, 3],
               [4, 4]], dtype=int32)
    """
    batches = math.ceil(count / batch_size)
    size = math.ceil(count / batches)
    return np.minimum(np.arange(batches * size, dtype=np.int32), count - 1).reshape(batches, size)


def _program(
    model: keras.Model, layers: list[Any], samples: int, asked: Outputs, keep_samples: bool
) -> Callable[..., dict[str, Any]]:
    """``(variables, x, order, seed)`` to the fields of the result, with axes (batches, rows, ...)."""
    options = {"training": False} if model._call_has_training_arg else {}

    def forward(key: jax.Array, variables: Any, batch: Any) -> Any:
        with dropping(model, layers, key):
            return model.stateless_call(*variables, batch, **options)[0]

    def run(variables: Any, x: Any, order: jax.Array, seed: jax.Array) -> dict[str, Any]:
        key = jax.random.key(seed, impl="threefry2x32")
        pieces = halves(forward, key, variables, jax.eval_shape(take, x, order[0]))
        means = meanings(model, pieces.result, asked)

        def predicted(item: tuple[jax.Array, jax.Array]) -> dict[str, Any]:
            rows, number = item
            kept = pieces.before(variables, take(x, rows))
            return _sampled(pieces, means, kept, jax.random.fold_in(key, number), samples, keep_samples)

        return lax.map(predicted, (order, jnp.arange(len(order))))

    return run


def _sampled(
    pieces: Halves,
    means: list[Meaning],
    kept: list[jax.Array],
    key: jax.Array,
    samples: int,
    keep_samples: bool,
) -> dict[str, Any]:
    """The moments of one batch over its samples, drawn one at a time to save memory."""

    def draw(moments: list[_Moments], number: jax.Array) -> tuple[list[_Moments], Any]:
        raw = jax.tree.leaves(pieces.after(jax.random.fold_in(key, number), kept))
        new_values = [meaning.value(leaf) for meaning, leaf in zip(means, raw, strict=True)]
        new = [_updated(*each, number + 1) for each in zip(means, moments, new_values, strict=True)]
        return new, new_values if keep_samples else None

    none = [_nothing(*each) for each in zip(means, jax.tree.leaves(pieces.result), strict=True)]
    moments, drawn = lax.scan(draw, none, jnp.arange(samples))
    found = [_figures(meaning, moment, samples) for meaning, moment in zip(means, moments, strict=True)]
    structure = jax.tree.structure(pieces.result)
    fields = {name: jax.tree.unflatten(structure, [one[name] for one in found]) for name in found[0]}
    return fields | ({"samples": jax.tree.unflatten(structure, drawn)} if keep_samples else {})


def _nothing(meaning: Meaning, result: Any) -> _Moments:
    value = jax.eval_shape(meaning.value, result)
    entropy = jax.eval_shape(meaning.entropy, value)
    zeros = jnp.zeros(value.shape, value.dtype)
    return _Moments(zeros, zeros, jnp.zeros(() if entropy is None else entropy.shape, value.dtype))


def _updated(meaning: Meaning, moments: _Moments, value: jax.Array, count: jax.Array) -> _Moments:
    """The moments with one more sample, the ``count``-th (Welford 1962: no difference of large sums)."""
    deviation = value - moments.mean
    mean = moments.mean + deviation / count.astype(value.dtype)
    entropy = meaning.entropy(value)
    return _Moments(
        mean,
        moments.squares + deviation * (value - mean),
        moments.entropies if entropy is None else moments.entropies + entropy,
    )


def _figures(meaning: Meaning, moments: _Moments, samples: int) -> dict[str, Any]:
    entropy = meaning.entropy(moments.mean)
    # Rounding can make the difference of two equal entropies negative.
    information = None if entropy is None else jnp.maximum(entropy - moments.entropies / samples, 0)
    std = jnp.sqrt(moments.squares / samples)
    return {"mean": moments.mean, "std": std, "entropy": entropy, "mutual_information": information}


def _on_host(tree: Any, name: str, count: int) -> Any:
    """Arrays [batches, (samples,) rows, ...] as NumPy arrays [(samples,) n, ...]."""

    def joined(leaf: jax.Array) -> np.ndarray:
        array = np.asarray(leaf)
        if name == "samples":
            return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1, *array.shape[3:])[:, :count]
        return array.reshape(-1, *array.shape[2:])[:count]

    return jax.tree.map(joined, tree)


Layer = keras.layers.Layer


def dropout_layers(model: keras.Model) -> list[Layer]:
    """The layers at any depth that drop at a rate above zero; :class:`ModelError` without one."""
    kinds = [layer for layer in _layers(model) if drop_rates(layer)]
    found = [layer for layer in kinds if any(drop_rates(layer))]
    if found:
        return found
    idle = ", ".join(layer.name for layer in kinds)
    raise ModelError(
        expected="a model with dropout at a rate above zero, in any of its layers",
        received=f"model {model.name!r}, "
        + (f"with dropout layers that all have rate 0: {idle}" if idle else "which has no dropout layer"),
        remedy="train a model with dropout, or use kilter.predict: this one always predicts the same",
    )


@contextlib.contextmanager
def dropping(model: keras.Model, layers: Sequence[Layer], key: jax.Array) -> Generator[None]:
    """While traced within it, ``layers`` run as in training, and all random numbers come from ``key``.

    The model's seed generators are neither read nor changed.
    """
    with contextlib.ExitStack() as stack, intercept_calls(layers, _in_training):
        for number, generator in enumerate(_seed_generators(model)):
            replace_attribute(generator, "next", _draws(jax.random.fold_in(key, number)), stack)
        yield


def _in_training(_: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``call`` with ``training=True`` in place of any given value, if it has that argument."""
    bound = inspect.signature(call).bind(*arguments, **options)
    bound.arguments["training"] = True
    return call(*bound.args, **bound.kwargs)


def _draws(key: jax.Array) -> Callable[..., jax.Array]:
    numbers = itertools.count()
    return lambda ordered=True: quick(jax.random.fold_in(key, next(numbers)))


def _layers(model: keras.Model) -> list[Layer]:
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def _seed_generators(model: keras.Model) -> list[Any]:
    found = (generator for layer in _layers(model) for generator in layer._seed_generators)
    return list({id(generator): generator for generator in found}.values())
