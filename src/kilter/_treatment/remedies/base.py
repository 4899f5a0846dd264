"""The record of a remedy, and helpers that find and replace its layers."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._models.editing import Cut, can_be_cut, cut, replaceable_layers
from kilter._models.layers import LayerFacts
from kilter._models.optimizers import compiled_like
from kilter._records import Change, Finding
from kilter._treatment.subject import Subject, copy_of
from kilter.errors import ModelError

# The usual code for standardised inputs.
ADAPTED = (
    "normalization = keras.layers.Normalization()\n"
    "normalization.adapt(x_train)  # then put it first in the model"
)
_NAMES: Final = {"units": "width", "filters": "width", "negative_slope": "slope", "rate": "dropout"}
Apply = Callable[[Subject, Finding], Subject | None]


@dataclass(frozen=True)
class Remedy:
    """A way to treat a finding; ``needs_surgery``: whether it replaces, inserts or removes layers.

    ``apply`` returns the treated subject, a new one; None if there is nothing to change, or if layers would
    have to be replaced in a model class with its own ``call``. It raises
    :class:`~kilter.errors.KilterError` if the change is not possible, for instance for a layer that is inside
    another layer.
    """

    apply: Apply
    needs_surgery: bool = False


def remedies(*functions: Apply, needs_surgery: bool = False) -> dict[str, Remedy]:
    """The remedies by their codes, which are the functions' names with hyphens and name their changes."""
    codes = {function.__name__.replace("_", "-"): function for function in functions}
    return {code: Remedy(_named(code, one, needs_surgery), needs_surgery) for code, one in codes.items()}


def _named(code: str, function: Apply, needs_surgery: bool) -> Apply:
    """The function with its code in the change, and None for models whose layers it cannot replace."""

    @functools.wraps(function)
    def apply(subject: Subject, finding: Finding) -> Subject | None:
        possible = not needs_surgery or can_be_cut(subject.model)
        treated = function(subject, finding) if possible else None
        if treated is None:
            return None
        change = replace(treated.changes[-1], remedy=code)
        return replace(treated, changes=(*treated.changes[:-1], change))

    return apply


def why_weighted(weight: float) -> str:
    """Why a model whose outputs are scaled to large targets is compiled with a loss weight."""
    return f"the loss weight {weight:.3g} gives the loss, and so the gradients, their usual size"


def chosen(finding: Finding, among: Iterable[LayerFacts]) -> tuple[LayerFacts, ...]:
    """Those of ``among`` that the finding names; all of them if it names none."""
    layers = tuple(among)
    named = {place.partition("#")[0] for place in finding.where}
    return tuple(one for one in layers if one.path in named) or layers


def hidden_layers(subject: Subject) -> tuple[LayerFacts, ...]:
    """The dense layers and convolutions of the model, without its output layers."""
    return tuple(one for one in subject.layers if one.is_weighted and not one.is_output)


def replaceable(
    subject: Subject, layers: Iterable[LayerFacts], *, every: bool = False
) -> tuple[LayerFacts, ...]:
    """Those of ``layers`` that can be replaced: not those inside another layer, such as an attention layer.

    Raises :class:`ModelError` if none of them can be replaced, or, with ``every``, if not all can.
    """
    given, free = tuple(layers), {id(layer) for layer in replaceable_layers(subject.model)}
    found = tuple(one for one in given if id(one.layer) in free)
    if len(found) == len(given) or (found and not every):
        return found
    inside = [one.path for one in given if one not in found]
    where = "which is inside another layer" if len(inside) == 1 else "which are inside other layers"
    raise ModelError(
        expected="layers of the model itself",
        received=f"{', '.join(inside)}, {where}",
        remedy="change them in the code of the layer that holds them",
    )


def changed(
    subject: Subject,
    where: Iterable[str],
    words: tuple[str, str],
    *,
    model: keras.Model | None = None,
    snippet: str = "",
    recipe: tuple[str, ...] = (),
    compiled: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Subject:
    """The subject after one change ``where``; ``words``: the state before and after; fields as it takes them.

    Another ``model``, or a copy, is compiled as before except for ``compiled``. The remedy's code is added
    when the remedy is applied.
    """
    if model is not None or compiled:
        given = copy_of(subject.model) if model is None else model
        fields["model"] = compiled_like(subject.model, given, **compiled or {})
    return subject.changed(Change("", tuple(where), *words, snippet, recipe), **fields)


def operated(
    subject: Subject,
    where: Iterable[str],
    words: tuple[str, str],
    cuts: Mapping[Any, Cut],
    *,
    front: Sequence[Any] = (),
    **options: Any,
) -> Subject:
    """:func:`changed`, with its model cut."""
    return changed(subject, where, words, model=cut(subject.model, cuts, front).model, **options)


def optimized(subject: Subject, words: tuple[str, str], optimizer: Any, **options: Any) -> Subject:
    """:func:`changed`, with another optimiser."""
    return changed(subject, ("optimizer",), words, compiled={"optimizer": optimizer}, **options)


def with_targets(
    subject: Subject,
    words: tuple[str, str],
    make: Callable[[np.ndarray], Any],
    snippet: str,
    *,
    validated: bool = True,
) -> Subject:
    """:func:`changed`, with ``make`` of each array of targets; ``validated``: of validation rows too."""

    def made(y: Any) -> Any:
        return jax.tree.map(lambda one: make(np.asarray(one)), y)

    held = subject.training.validation_data
    if held is not None and validated:
        held = (held[0], made(held[1]), *held[2:])
    training = {"validation_data": held}
    return changed(subject, ("targets",), words, y=made(subject.y), training=training, snippet=snippet)


def updated(changes: Mapping[str, Any]) -> Cut:
    """A layer with other values in its configuration."""
    return lambda config: {**config, **changes}


def rebuilt(kind: Any) -> Cut:
    """A layer for another input shape: made from its configuration, not duplicated."""
    return lambda config: [kind.from_config(config)]


def scaled_back(mean: Any, variance: Any, name: str, axis: Any = None) -> Cut:
    """A layer and, after it, one that multiplies by the deviation and adds the mean, by ``axis``."""
    options = {"axis": axis, "mean": mean, "variance": variance, "invert": True, "name": name}
    return lambda config: [config, keras.layers.Normalization(**options)]


def paths(layers: Iterable[LayerFacts]) -> tuple[str, ...]:
    """The paths of layers."""
    return tuple(one.path for one in layers)


def counted(words: Iterable[str]) -> str:
    """Distinct words in the order of their first use, with a count if it is above 1."""
    listed = list(words)
    number = {word: listed.count(word) for word in listed}
    return ", ".join(word if count == 1 else f"{count} × {word}" for word, count in number.items())


def differences(given: dict[str, Any], made: Any) -> tuple[list[str], list[str]]:
    """The values of a layer's configuration that a cut changes, as text, before and after."""
    if isinstance(made, list):
        kinds = [type(one).__name__ for one in made if not isinstance(one, dict)]
        return ["none"], [" + ".join(kind for kind in kinds if kind != "Activation")]
    keys = [key for key in made if made[key] != given.get(key)]
    before = [f"{_NAMES.get(key, key)} {_word(given.get(key))}" for key in keys]
    return before, [f"{_NAMES.get(key, key)} {_word(made[key])}" for key in keys]


def _word(value: Any) -> str:
    """A configuration's value in a word."""
    if isinstance(value, dict):
        return str(value.get("class_name", "of its own"))
    return "none" if value is None else str(value)
