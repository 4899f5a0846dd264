"""The layers of a model by depth: which ones a stage of fine-tuning trains, and how deep each one is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import keras
import optax

from kilter._engine.optax_optimizer import OptaxOptimizer
from kilter._models.copying import is_graph
from kilter._models.editing import read_graph
from kilter._text import did_you_mean, first_line
from kilter._transfer.cutting import is_counted
from kilter._validation import is_whole, whole_number
from kilter.errors import ModelError, OptionError

# Keras's own numbers: a rate means the same with one rate and with many.
_EPSILON: Final = 1e-7


class _NadamState(NamedTuple):
    steps: jax.Array
    product: jax.Array
    mean: Any
    square: Any


def _scale_by_nadam(
    b1: float = 0.9, b2: float = 0.999, eps: float = _EPSILON
) -> optax.GradientTransformation:
    """Nadam with Dozat's schedule of momenta, as Keras has it; optax's own keeps the momentum constant."""

    def init(params: Any) -> _NadamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _NadamState(jnp.zeros((), jnp.int32), jnp.ones(()), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _NadamState]:
        count = state.steps + 1
        now, then = (b1 * (1 - 0.5 * 0.96**step) for step in (count, count + 1))
        product = state.product * now
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, updates)

        def direction(m: jax.Array, v: jax.Array, g: jax.Array) -> jax.Array:
            ahead = then * m / (1 - product * then) + (1 - now) * g / (1 - product)
            return (ahead / (jnp.sqrt(v / (1 - b2**count)) + eps)).astype(g.dtype)

        steps = jax.tree.map(direction, mean, square, updates)
        return steps, _NadamState(count, product, mean, square)

    return optax.GradientTransformation(init, update)


RULES: Final[dict[str, Callable[[], optax.GradientTransformation]]] = {
    "sgd": optax.identity,
    "adam": lambda: optax.scale_by_adam(eps=_EPSILON),
    "nadam": _scale_by_nadam,
    "adamw": lambda: optax.chain(optax.scale_by_adam(eps=_EPSILON), optax.add_decayed_weights(0.004)),
    "adamax": lambda: optax.scale_by_adamax(eps=_EPSILON),
    "rmsprop": lambda: optax.scale_by_rms(decay=0.9, eps=_EPSILON),
    "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.1, eps=_EPSILON),
    "lion": lambda: optax.scale_by_lion(b1=0.9, b2=0.99),
}
"""The update direction, before the learning rate, of the optimisers that support a rate for each depth."""


def one_rate(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    """The Keras optimiser ``name`` with that rate; OptionError for an unknown name."""
    try:
        return keras.optimizers.get({"class_name": name, "config": {"learning_rate": learning_rate}})
    except (TypeError, ValueError) as problem:
        raise OptionError(
            expected="the name of a Keras optimiser, such as " + ", ".join(RULES),
            received=f"optimizer={name!r} ({first_line(problem)})",
            remedy="correct the name",
        ) from problem


def many_rates(
    name: str, learning_rate: float, decay: float, depths: Mapping[str, int], variables: Any
) -> OptaxOptimizer:
    """An optimiser with the rate ``learning_rate / decay ** depth``, by the ``depths`` of variable paths.

    The direction of a step is that of ``name`` in :data:`RULES`. Keras's ``learning_rate`` is the rate at
    depth 0: callbacks and schedules move all rates together.
    """
    labels = {path: str(depths[path]) for path in (variable.path for variable in variables)}
    shares: dict[Any, optax.GradientTransformation] = {
        label: optax.scale(-(decay ** -int(label))) for label in set(labels.values())
    }
    transformation = optax.chain(RULES[name](), optax.multi_transform(shares, labels))
    optimizer = OptaxOptimizer(transformation, name=f"{name}_by_depth")
    optimizer.learning_rate = learning_rate
    return optimizer


Train = str | int | Sequence[str]
"""The layers of a stage: "head", "all", a number of layers with weights from the top, or names."""

HEAD = "head"
EVERY = "all"


def depth_groups(model: keras.Model) -> tuple[tuple[Any, ...], ...]:
    """The layers with weights from the bottom up, each with the normalisations and slopes after it.

    A layer that is called twice counts at its first call. Layers of nested graphs count separately.
    """
    groups: list[list[Any]] = []
    leading: list[Any] = []
    for _, layer in _named_layers(model):
        if is_counted(layer):
            groups.append([*leading, layer])
            leading = []
        else:
            (groups[-1] if groups else leading).append(layer)
    if leading:
        groups.append(leading)
    return tuple(map(tuple, groups))


def head_of(model: keras.Model) -> tuple[Any, ...]:
    """The trainable layers of a model with frozen ones, such as those of :func:`kilter.reuse`.

    If none is frozen, the last layer with weights and its normalisations; () if all are.
    """
    layers = [layer for _, layer in _named_layers(model)]
    if all(layer.trainable for layer in layers):
        return depth_groups(model)[-1]
    trained = {id(variable) for variable in model.trainable_variables}
    return tuple(
        layer for layer in layers if any(id(variable) in trained for variable in layer.trainable_variables)
    )


def chosen_layers(model: keras.Model, train: Train, head: Sequence[Any]) -> tuple[Any, ...]:
    """The layers with weights that ``train`` selects; ``head``: those of the head."""
    groups = depth_groups(model)
    if train == HEAD:
        return tuple(head)
    if train == EVERY:
        return tuple(layer for group in groups for layer in group)
    if is_whole(train):
        there = f"train from 1 to {len(groups)}: model {model.name!r} has {len(groups)} layers with weights"
        whole_number("train", train, 1, len(groups), expected=there, remedy='train="all" trains them all')
        return tuple(layer for group in groups[-train:] for layer in group)
    if isinstance(train, str) or not isinstance(train, Sequence) or not train:
        raise OptionError(
            expected='train as "head", "all", a number of layers from the top, or a list of names',
            received=f"train={train!r}",
            remedy='train="head" for the head start',
        )
    return _by_name(model, train)


def train_only(model: keras.Model, layers: Sequence[Any]) -> None:
    """Make ``layers`` of the model trainable and all others frozen, in place.

    A frozen batch normalisation is in inference mode: it uses its moving statistics and does not update them.
    """
    wanted = {id(layer) for layer in layers}
    model.trainable = True
    for _, layer in _named_layers(model):
        if id(layer) not in wanted:
            layer.trainable = False


def can_train(layer: Any) -> bool:
    """Whether ``layer`` has weights that training can change, also if it is frozen now."""
    return any(inner._trainable_variables for inner in layer._flatten_layers())


def depths(model: keras.Model) -> dict[str, int]:
    """The number of layers with weights above each variable, by its path: 0 for the top layer."""
    groups = depth_groups(model)
    return {
        variable.path: len(groups) - 1 - number
        for number, group in enumerate(groups)
        for layer in group
        for variable in layer.variables
    }


def _by_name(model: keras.Model, names: Sequence[str]) -> tuple[Any, ...]:
    known = _named_layers(model)
    found: dict[int, Any] = {}
    for name in names:
        fitting = [layer for path, layer in known if f"/{name}/" in f"/{path}/"]
        if not fitting:
            paths = [path for path, _ in known]
            raise OptionError(
                expected=f"names of layers with weights: {', '.join(paths)}",
                received=f"train={list(names)!r}",
                remedy=did_you_mean(name, paths, "choose some of these"),
            )
        found |= {id(layer): layer for layer in fitting}
    return tuple(found.values())


def _named_layers(model: keras.Model) -> list[tuple[str, Any]]:
    """The layers with weights by their paths, in the order of their first calls."""
    if is_graph(model) and model.built:
        calls = [(call.path, call.layer) for call in read_graph(model).calls]
    else:
        calls = [(layer.name, layer) for layer in model.layers]
    found = {id(layer): (path, layer) for path, layer in reversed(calls) if getattr(layer, "weights", ())}
    if not found:
        raise ModelError(
            expected="a model with weights",
            received=f"model {model.name!r}, which is not built or has none",
            remedy="add a keras.Input, or call it on data first",
        )
    return list(reversed(found.values()))
