"""Copies of Keras models with some layers changed or left out; the model copied from stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    pairs = tuple(pair for pair in copier.copies.values() if not is_graph(pair[0]))
    for original, twin in pairs:
        _copy_variables(original, twin)
    return ModelCopy(copy, pairs)


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


class _Copier:
    """Makes the copies, each layer's once."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.copies: dict[int, tuple[Any, Any]] = {}

    def model(self, model: keras.Model, front: Sequence[Any] = ()) -> keras.Model:
        check_graph(model)
        make = self._sequential if isinstance(model, keras.Sequential) else self._functional
        return make(model, front)

    def _sequential(self, model: Any, front: Sequence[Any]) -> keras.Sequential:
        copies = [*front, *(self._layer(layer) for layer in model.layers)]
        listed = [one for copy in copies for one in (copy if isinstance(copy, list) else [copy])]
        kept = [copy for copy in listed if copy is not None] or [keras.layers.Identity()]
        layers = [_input_like(model.inputs[0]), *kept]
        kind = type(model) if type(model).__init__ is keras.Sequential.__init__ else keras.Sequential
        return kind(layers, trainable=model.trainable, name=model.name)

    def _functional(self, model: Any, front: Sequence[Any]) -> Any:
        inputs = keras.tree.map_structure(_input_like, model.input)

        def call(copy: Any, *arguments: Any, **named: Any) -> Any:
            if copy is None:
                return keras.tree.flatten((arguments, named))[0]
            first, *rest = copy if isinstance(copy, list) else [copy]
            result = first(*arguments, **named)
            for layer in rest:
                result = layer(result)
            return result

        entering = keras.tree.flatten(inputs)
        for index, layer in enumerate(front):
            entering[index] = entering[index] if layer is None else layer(entering[index])
        outputs = model._run_through_graph(entering, operation_fn=self._layer, call_fn=call)
        kind = type(model) if functional_like_constructor(type(model)) else keras.Model
        return kind(inputs, outputs, name=model.name)

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self.copies:
            self.copies[id(layer)] = (layer, self.model(layer) if is_graph(layer) else self._leaf(layer))
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


def _input_like(tensor: Any) -> Any:
    origin = tensor._keras_history.operation
    return type(origin).from_config(origin.get_config()).output


def _copy_variables(original: Any, copy: Any) -> None:
    theirs = getattr(original, "variables", ())  # operations such as x + y have none
    ours = getattr(copy, "variables", ())
    if [variable.shape for variable in theirs] == [variable.shape for variable in ours]:
        for variable, value in zip(ours, theirs, strict=True):
            # A copy: Keras gives the memory of a model's state away when it predicts, and two would share it.
            variable.assign(jnp.array(value.value, copy=True))
