"""Copies of Keras models with some layers changed or left out; the original does not change."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kilter._models.duplicate import Duplicator
from kilter._models.keras_internals import Functional, SafeModeScope, Trainer, functional_like_constructor
from kilter._models.variables import assign_copies
from kilter._validation import errors_as
from kilter.errors import ModelError

Config = dict[str, Any]
Cut = Callable[[Config], Config | list[Any] | None]
"""Maps a layer's configuration to that of its copy, to a list that replaces the layer, or to None to leave it
out. Such a list holds new layers, and configurations for the layer itself.
"""
Change = Callable[[Any], Cut | None]
"""Maps a layer to what to do with it; None for an exact copy."""

# Methods with which a model can change how it is trained and evaluated.
_HOOKS = (
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
    "metrics",
    "reset_metrics",
)
FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a user's layer, or Keras, may raise when a layer is copied, rebuilt or called on symbolic inputs."""


@dataclass(frozen=True, eq=False)
class ModelCopy:
    """An uncompiled copy, and the pairs (original, copy) of all layers but models, inner layers included.

    A layer that was replaced by several is paired with their list.
    """

    model: keras.Model
    layers: tuple[tuple[Any, Any], ...]

    def twin(self, layer: keras.layers.Layer) -> Any:
        """The copy of ``layer``."""
        for original, copy in self.layers:
            if original is layer:
                return copy
        raise ModelError(
            expected=f"a layer of model {self.model.name!r}",
            received=f"{layer.name!r}, which the model calls but keeps in no attribute",
            remedy="assign the layer to an attribute of the model, or of the layer that calls it",
        )


def copy_model(model: keras.Model, change: Change = lambda _: None, front: Sequence[Any] = ()) -> ModelCopy:
    """A copy of a built Sequential or Functional model with layers changed or left out, in nested models too.

    ``change(layer)`` returns None for an exact copy, or a :data:`Cut`. ``front``: for each input of the model
    a new layer that it passes through first, or None. Unchanged layers are duplicated with their weights,
    seeds and inner layers, so they need no configuration; shared layers stay shared. A layer with a changed
    configuration keeps its weights if their shapes stay; otherwise it is initialised again.
    """
    copier = _Copier(change)
    with _copying(model):
        copy = copier.model(model, front)
    return ModelCopy(copy, copier.filled())


def copy_written(model: keras.Model) -> ModelCopy:
    """A copy of a built model that overrides ``call``."""
    copier = _Copier(lambda _: None)
    with _copying(model):
        copy = copier.leaf(model)
    return ModelCopy(copy, copier.filled())


def copy_onto(
    model: keras.Model, entering: Sequence[Any], parts: Mapping[int, keras.Model]
) -> tuple[Any, tuple[tuple[Any, Any], ...]]:
    """Copies of the layers of a Functional model, called on ``entering``: a tensor for each of its inputs.

    A nested model whose ``id`` is in ``parts`` is replaced by a copy of that part. Returns the outputs, and
    the pairs (original, copy) of all layers but models.
    """
    copier = _Copier(lambda _: None, parts)
    with _copying(model):
        called = copier.called(model, entering)
    return called, copier.filled()


def is_graph(layer: Any) -> bool:
    """Whether ``layer`` is a Sequential or Functional model that does not override ``call``."""
    return isinstance(layer, keras.Model) and type(layer).call in (keras.Sequential.call, Functional.call)


def check_graph(model: keras.Model) -> None:
    """Raise :class:`ModelError` unless the model is built, and Sequential or Functional."""
    if not is_graph(model):
        raise ModelError(
            expected="a Sequential or Functional model",
            received=f"{type(model).__name__}, which overrides call, so that its connections are unknown",
            remedy="write it with keras.Sequential or keras.Model(inputs, outputs)",
        )
    if not model.built or not getattr(model, "inputs", None):
        raise ModelError(
            expected="a model with weights",
            received=f"model {model.name!r}, which is not built",
            remedy="train it, or give it a keras.Input",
        )


def fresh_name(model: keras.Model, wanted: str) -> str:
    """``wanted``, with a number appended if a layer of ``model`` has that name."""
    taken = {layer.name for layer in model._flatten_layers()}
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def trains_itself(model: keras.Model) -> bool:
    """Whether the class of ``model`` overrides how it is trained or evaluated."""
    return any(getattr(type(model), name) is not getattr(keras.Model, name) for name in _HOOKS)


def _made_anew(layer: Any, config: Config) -> Any:
    """A layer of the class of ``layer`` from ``config``, which is the layer's own with some changes.

    Functions that the configuration only names, such as a custom activation, come from ``layer``.
    """
    with errors_as(
        ModelError,
        *FOREIGN_ERRORS,
        expected=f"a layer {layer.name!r} that can be made from its configuration",
        received=type(layer).__name__,
        remedy="give its class get_config, and register it with keras.saving.register_keras_serializable",
    ):
        own = layer.get_config()
        given = {key: _live(layer, key, value, own) for key, value in config.items()}
        if isinstance(layer, keras.layers.Lambda):  # its from_config takes no functions
            return type(layer)(**given)
        with SafeModeScope(safe_mode=False):  # the layer's code runs in this process already
            return type(layer).from_config(given)


def _live(layer: Any, key: str, value: Any, own: Config) -> Any:
    """The attribute ``key`` of ``layer`` if it is a function or object with an unchanged description."""
    attribute = "_output_shape" if key == "output_shape" else key
    live = getattr(layer, attribute, None)
    described = isinstance(own.get(key), dict | str) and value == own[key]
    plain = not callable(live) and key != "arguments"
    return value if plain or not described or key in ("name", "dtype") else live


def _copying(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Context in which errors of other code become a :class:`ModelError`."""
    return errors_as(
        ModelError,
        *FOREIGN_ERRORS,
        expected=f"a model that can be copied: {model.name!r}",
        remedy="keep layers and variables in attributes of layers, and let __new__ take no arguments",
    )


class _Copier:
    """Makes the copies, one of each layer."""

    def __init__(self, change: Change, parts: Mapping[int, keras.Model] | None = None) -> None:
        self._change = change
        self._parts = parts or {}
        self._copies: dict[int, tuple[Any, Any]] = {}
        self._anew: set[int] = set()
        self._duplicator = Duplicator(self._inner)

    def filled(self) -> tuple[tuple[Any, Any], ...]:
        """The pairs (original, copy) of all layers but models, after copying the weights of the originals."""
        for key in self._anew:
            _copy_variables(*self._copies[key])
        return tuple(pair for pair in self._copies.values() if not is_graph(pair[0]))

    def model(self, model: keras.Model, front: Sequence[Any] = ()) -> keras.Model:
        check_graph(model)
        make = self._sequential if isinstance(model, keras.Sequential) else self._functional
        copy = make(model, front)
        if type(copy) is type(model):
            self._duplicator.attributes(model, copy)
        return copy

    def _sequential(self, model: Any, front: Sequence[Any]) -> keras.Sequential:
        copies = [*front, *(self._layer(layer) for layer in model.layers)]
        listed = [one for copy in copies for one in (copy if isinstance(copy, list) else [copy])]
        kept = [copy for copy in listed if copy is not None] or [keras.layers.Identity()]
        layers = [input_like(model.inputs[0]), *kept]
        kind: Any = type(model)
        copy = kind.__new__(kind) if _keeps_class(model) else keras.Sequential.__new__(keras.Sequential)
        keras.Sequential.__init__(copy, layers, trainable=model.trainable, name=model.name)
        return copy

    def _functional(self, model: Any, front: Sequence[Any]) -> Any:
        inputs = keras.tree.map_structure(input_like, model.input)
        entering = keras.tree.flatten(inputs)
        for index, layer in enumerate(front):
            entering[index] = entering[index] if layer is None else layer(entering[index])
        outputs = self.called(model, entering)
        if functional_like_constructor(type(model)) or not _keeps_class(model):
            kind = type(model) if functional_like_constructor(type(model)) else keras.Model
            return kind(inputs, outputs, name=model.name)
        own: Any = type(model)
        copy = own.__new__(own)
        Trainer.__init__(copy)
        Functional.__init__(copy, inputs, outputs, name=model.name)
        return copy

    def called(self, model: Any, entering: Sequence[Any]) -> Any:
        """The outputs of a Functional model's copied layers, called as the model calls them."""

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
        if id(layer) not in self._copies:
            whole = self._parts.get(id(layer), layer)
            self._copies[id(layer)] = (layer, self.model(whole) if is_graph(layer) else self._changed(layer))
        return self._copies[id(layer)][1]

    def _changed(self, layer: Any) -> Any:
        cut = self._change(layer)
        if cut is None:
            return self.leaf(layer)
        self._anew.add(id(layer))
        config = _config(layer)

        def made(part: Any) -> Any:
            if not isinstance(part, dict):
                return part
            return self.leaf(layer) if part == config else _made_anew(layer, part)

        found = cut(config)
        return [made(part) for part in found] if isinstance(found, list) else made(found)

    def _inner(self, layer: Any) -> Any:
        """The copy of a layer inside another layer."""
        if id(layer) not in self._copies:
            read = is_graph(layer) and layer.built and getattr(layer, "inputs", None)
            return self._layer(layer) if read else self.leaf(layer)
        return self._copies[id(layer)][1]

    def leaf(self, layer: Any) -> Any:
        """An exact copy of a layer."""
        copy = self._duplicator.duplicate(layer)
        self._copies[id(layer)] = (layer, copy)
        return copy


def _config(layer: Any) -> Config:
    try:
        return layer.get_config()
    except FOREIGN_ERRORS:  # it can still be duplicated
        return {"name": layer.name}


def _keeps_class(model: Any) -> bool:
    """Whether the copy has the model's own class: its constructor is Keras's, or it overrides training."""
    return type(model).__init__ is keras.Sequential.__init__ or trains_itself(model)


def input_like(tensor: Any) -> Any:
    """A new symbolic input with the configuration of the input ``tensor``."""
    origin = tensor._keras_history.operation
    return type(origin).from_config(origin.get_config()).output


def _copy_variables(original: Any, copy: Any) -> None:
    theirs = getattr(original, "variables", ())  # operations such as x + y have none
    ours = getattr(copy, "variables", ())
    if [variable.shape for variable in theirs] == [variable.shape for variable in ours]:
        assign_copies(zip(ours, theirs, strict=True))
