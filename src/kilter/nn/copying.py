"""Copies of Keras models with some layers changed or left out; the model copied from stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import jax.numpy as jnp
import keras
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.saving.serialization_lib import SafeModeScope

from kilter.errors import ModelError
from kilter.words import first_line

Config = dict[str, Any]
Change = Callable[[Any, Config], Config | list[Any] | None]


@dataclass(frozen=True, eq=False)
class ModelCopy:
    """A copy, uncompiled, and the pairs (original, copy) of all layers but models.

    A layer that others took the place of is paired with their list.
    """

    model: keras.Model
    layers: tuple[tuple[Any, Any], ...]

    def twin(self, layer: keras.layers.Layer) -> Any:
        """The copy of ``layer``, which must be one of the copied."""
        return next(copy for original, copy in self.layers if original is layer)


def copy_model(
    model: keras.Model, change: Change = lambda _, config: config, front: Sequence[Any] = ()
) -> ModelCopy:
    """A copy of a built Sequential or Functional model with layers changed or left out, in nested models too.

    ``change(layer, config)`` gives the configuration that the copy of the layer (or operation) is made from;
    None leaves it out: what goes in comes out. A list of new layers takes its place, called one after the
    other, with weights of their own. ``front``: for each input of the model a new layer that it goes through
    first, or None. Layers that are shared stay shared. Every layer that keeps the shapes of its weights has
    the weights of its original, and the state of its seed generators; one whose weights changed in number or
    shape has those of its initialisers.

    Raises :class:`ModelError` for a model that is not built, is written as a class with a ``call`` of its
    own, or has a layer that Keras cannot make anew from its configuration.
    """
    copier = _Copier(change)
    copy = copier.model(model, front)
    return ModelCopy(copy, copier.filled())


def copy_onto(
    model: keras.Model, entering: Sequence[Any], parts: Mapping[int, keras.Model]
) -> tuple[Any, tuple[tuple[Any, Any], ...]]:
    """Copies of the layers of a Functional model, called on ``entering``: a tensor for each of its inputs.

    Of a nested model whose ``id`` is in ``parts``, that part is copied in its place. Returns what comes out,
    in the structure of the model's outputs, and the pairs (original, copy) of all layers but models, with
    their weights. Raises as :func:`copy_model` does.
    """
    copier = _Copier(lambda _, config: config, parts)
    return copier.called(model, entering), copier.filled()


def is_graph(layer: Any) -> bool:
    """Whether ``layer`` is a model whose layers and connections can be read: Sequential or Functional.

    A subclass of them that overrides ``call`` is none.
    """
    return isinstance(layer, keras.Model) and type(layer).call in (keras.Sequential.call, Functional.call)


def check_graph(model: keras.Model) -> None:
    """Raise :class:`ModelError` unless the model is built, and Sequential or Functional."""
    if not is_graph(model):
        raise ModelError(
            expected="a Sequential or Functional model",
            received=f"{type(model).__name__}, a class with a call of its own, which tells no connections",
            remedy="write it with keras.Sequential or keras.Model(inputs, outputs)",
        )
    if not model.built or not getattr(model, "inputs", None):
        raise ModelError(
            expected="a model with weights",
            received=f"model {model.name!r}, which is not built",
            remedy="train it, or give it a keras.Input",
        )


def fresh_name(model: keras.Model, wanted: str) -> str:
    """``wanted``, with a number where a layer of ``model`` has that name already."""
    taken = {layer.name for layer in model._flatten_layers()}
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


class _Copier:
    """Makes the copies, each layer's once."""

    def __init__(self, change: Change, parts: Mapping[int, keras.Model] | None = None) -> None:
        self._change = change
        self._parts = parts or {}
        self.copies: dict[int, tuple[Any, Any]] = {}

    def filled(self) -> tuple[tuple[Any, Any], ...]:
        """The pairs (original, copy) of all layers but models, now with the weights of the originals."""
        pairs = tuple(pair for pair in self.copies.values() if not is_graph(pair[0]))
        for original, twin in pairs:
            _copy_variables(original, twin)
        return pairs

    def model(self, model: keras.Model, front: Sequence[Any] = ()) -> keras.Model:
        check_graph(model)
        make = self._sequential if isinstance(model, keras.Sequential) else self._functional
        return make(model, front)

    def _sequential(self, model: Any, front: Sequence[Any]) -> keras.Sequential:
        copies = [*front, *(self._layer(layer) for layer in model.layers)]
        listed = [one for copy in copies for one in (copy if isinstance(copy, list) else [copy])]
        kept = [copy for copy in listed if copy is not None] or [keras.layers.Identity()]
        layers = [input_like(model.inputs[0]), *kept]
        kind = type(model) if type(model).__init__ is keras.Sequential.__init__ else keras.Sequential
        return kind(layers, trainable=model.trainable, name=model.name)

    def _functional(self, model: Any, front: Sequence[Any]) -> Any:
        inputs = keras.tree.map_structure(input_like, model.input)
        entering = keras.tree.flatten(inputs)
        for index, layer in enumerate(front):
            entering[index] = entering[index] if layer is None else layer(entering[index])
        kind = type(model) if functional_like_constructor(type(model)) else keras.Model
        return kind(inputs, self.called(model, entering), name=model.name)

    def called(self, model: Any, entering: Sequence[Any]) -> Any:
        """What comes out of the copies of a Functional model's layers, called as the model calls them."""

        def call(copy: Any, *arguments: Any, **named: Any) -> Any:
            if copy is None:
                return keras.tree.flatten((arguments, named))[0]
            first, *rest = copy if isinstance(copy, list) else [copy]
            result = first(*arguments, **named)
            for layer in rest:
                result = layer(result)
            return result

        return model._run_through_graph(entering, operation_fn=self._layer, call_fn=call)

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self.copies:
            whole = self._parts.get(id(layer), layer)
            self.copies[id(layer)] = (layer, self.model(whole) if is_graph(layer) else self._leaf(layer))
        return self.copies[id(layer)][1]

    def _leaf(self, layer: Any) -> Any:
        try:
            # The code of a Lambda runs in this process already: copying it opens no door.
            with SafeModeScope(safe_mode=False):
                made = self._change(layer, layer.get_config())
                return type(layer).from_config(made) if isinstance(made, dict) else made
        except (NotImplementedError, TypeError, ValueError) as problem:
            raise ModelError(
                expected=f"layer {layer.name!r} to be made anew from its configuration",
                received=f"{type(layer).__name__}: {first_line(problem)}",
                remedy="give its class get_config, and register it with "
                "keras.saving.register_keras_serializable",
            ) from problem


def input_like(tensor: Any) -> Any:
    """A new symbolic input with the configuration of the one that ``tensor`` is."""
    origin = tensor._keras_history.operation
    return type(origin).from_config(origin.get_config()).output


def _copy_variables(original: Any, copy: Any) -> None:
    theirs = getattr(original, "variables", ())  # operations such as x + y have none
    ours = getattr(copy, "variables", ())
    if [variable.shape for variable in theirs] == [variable.shape for variable in ours]:
        for variable, value in zip(ours, theirs, strict=True):
            # A copy: Keras gives the memory of a model's state away when it predicts, and two would share it.
            variable.assign(jnp.array(value.value, copy=True))
