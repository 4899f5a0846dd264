"""The layers of a model by depth: which a stage of fine-tuning trains, and how deep each of them lies."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras

from kilter._models.copying import is_graph
from kilter._models.graph import read_graph
from kilter._transfer.cutting import is_counted
from kilter.errors import ModelError, OptionError

Train = str | int | Sequence[str]
"""What a stage trains: "head", "all", how many layers with weights from the top, or names of layers."""

HEAD = "head"
EVERY = "all"


def depth_groups(model: keras.Model) -> tuple[tuple[Any, ...], ...]:
    """The layers with weights from the bottom up, each with the normalisations and slopes that follow it.

    What stands before the first layer that counts belongs to it. A layer that is called twice stands where it
    is called first. Layers of nested Sequential and Functional models are told apart; any other model is one.

    Raises :class:`~kilter.errors.ModelError` for a model that has no weights yet.
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
    """The layers that are trainable where others are frozen, as :func:`kilter.reuse` leaves a model.

    Where none is frozen, the last one with weights and what belongs to it; () where all are.
    """
    layers = [layer for _, layer in _named_layers(model)]
    if all(layer.trainable for layer in layers):
        return depth_groups(model)[-1]
    trained = {id(variable) for variable in model.trainable_variables}
    return tuple(
        layer for layer in layers if any(id(variable) in trained for variable in layer.trainable_variables)
    )


def chosen_layers(model: keras.Model, train: Train, head: Sequence[Any]) -> tuple[Any, ...]:
    """The layers with weights that ``train`` names; ``head`` are those of its head.

    Raises :class:`~kilter.errors.OptionError` for a name or a number that the model does not have.
    """
    groups = depth_groups(model)
    if train == HEAD:
        return tuple(head)
    if train == EVERY:
        return tuple(layer for group in groups for layer in group)
    if isinstance(train, int) and not isinstance(train, bool):
        if not 1 <= train <= len(groups):
            raise OptionError(
                expected=f"train from 1 to {len(groups)}, as model {model.name!r} has {len(groups)} layers "
                "with weights",
                received=f"train={train!r}",
                remedy='train="all" trains them all',
            )
        return tuple(layer for group in groups[-train:] for layer in group)
    if isinstance(train, str) or not isinstance(train, Sequence) or not train:
        raise OptionError(
            expected='train as "head", "all", a number of layers from the top, or a list of names',
            received=f"train={train!r}",
            remedy='train="head" for the head-start',
        )
    return _by_name(model, train)


def train_only(model: keras.Model, layers: Sequence[Any]) -> None:
    """Make ``layers`` of the model trainable and all others frozen, in place.

    A frozen batch normalisation works in inference mode: by its moving statistics, which stay as they are.
    """
    wanted = {id(layer) for layer in layers}
    model.trainable = True
    for _, layer in _named_layers(model):
        if id(layer) not in wanted:
            layer.trainable = False


def can_train(layer: Any) -> bool:
    """Whether ``layer`` has weights that training changes, whether it is frozen now or not."""
    return any(inner._trainable_variables for inner in layer._flatten_layers())


def depths(model: keras.Model) -> dict[str, int]:
    """How many layers with weights lie above each variable, by its path: 0 for those of the top layer."""
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
            near = difflib.get_close_matches(str(name), [path for path, _ in known], n=1)
            raise OptionError(
                expected="names of layers with weights: " + ", ".join(path for path, _ in known),
                received=f"train={list(names)!r}",
                remedy=f"did you mean {near[0]!r}?" if near else "take some of these",
            )
        found |= {id(layer): layer for layer in fitting}
    return tuple(found.values())


def _named_layers(model: keras.Model) -> list[tuple[str, Any]]:
    """The layers with weights by their paths, in the order in which they are called first."""
    if is_graph(model) and model.built:
        calls = [(call.path, call.layer) for call in read_graph(model).calls]
    else:
        calls = [(layer.name, layer) for layer in model.layers]
    found = {id(layer): (path, layer) for path, layer in reversed(calls) if getattr(layer, "weights", ())}
    if not found:
        raise ModelError(
            expected="a model with weights",
            received=f"model {model.name!r}, which is not built or has none",
            remedy="give it a keras.Input, or call it on data first",
        )
    return list(reversed(found.values()))
