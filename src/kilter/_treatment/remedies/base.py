"""What a remedy is, and how it finds the layers that it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilter._models.editing import Cut, cut, open_layers
from kilter._models.layers import LayerFacts
from kilter._records import Change, Finding
from kilter._treatment.subject import Subject, compiled_like
from kilter.errors import ModelError

Apply = Callable[[Subject, Finding], Subject | None]


@dataclass(frozen=True)
class Remedy:
    """A way to treat a finding.

    Attributes:
        code: stable; what findings name.
        title: a few words.
        apply: the treated subject; None where there is nothing to change, or for a remedy that needs a cut
            where the model's class has its own ``call``. The subject given stays as it is. Raises
            :class:`~kilter.errors.KilterError` where the change is not possible, such as a layer that cannot
            be made from its configuration, or that is inside another layer.
        needs_surgery: whether layers are replaced, put in or taken out.
    """

    code: str
    title: str
    apply: Apply
    needs_surgery: bool


def chosen(finding: Finding, among: Iterable[LayerFacts]) -> tuple[LayerFacts, ...]:
    """Those of ``among`` that the finding names; all of them where it names no layer of theirs."""
    layers = tuple(among)
    named = {place.partition("#")[0] for place in finding.where}
    return tuple(one for one in layers if one.path in named) or layers


def hidden_layers(subject: Subject) -> tuple[LayerFacts, ...]:
    """The dense layers and convolutions of the model but those that its outputs come from."""
    return tuple(one for one in subject.layers if one.is_weighted and not one.is_output)


def replaceable(
    subject: Subject, layers: Iterable[LayerFacts], *, every: bool = False
) -> tuple[LayerFacts, ...]:
    """Those of ``layers`` that can be replaced: not those inside another layer, such as an attention.

    Raises :class:`ModelError` where none of them can be replaced, or not ``every`` one.
    """
    given, free = tuple(layers), {id(layer) for layer in open_layers(subject.model)}
    found = tuple(one for one in given if id(one.layer) in free)
    if len(found) == len(given) or (found and not every):
        return found
    inside = [one.path for one in given if one not in found]
    raise ModelError(
        expected="layers that stand in the model itself, to change them",
        received=f"{', '.join(inside)}, which is inside another layer"
        if len(inside) == 1
        else f"{', '.join(inside)}, which are inside other layers",
        remedy="change them in the code of the layer that holds them",
    )


def operated(
    subject: Subject, change: Change, cuts: Mapping[Any, Cut], *, front: Sequence[Any] = (), **compiled: Any
) -> Subject:
    """The subject with its model cut, and compiled as before but for ``compiled``."""
    model = cut(subject.model, cuts, front).model
    return subject.changed(change, model=compiled_like(subject.model, model, **compiled))


def paths(layers: Iterable[LayerFacts]) -> tuple[str, ...]:
    """The paths of layers."""
    return tuple(one.path for one in layers)


def counted(words: Iterable[str]) -> str:
    """Different words in the order in which they first come, with how often where it is more than once.

    Example:
        >>> counted(["tanh", "relu", "tanh"])
        '2 × tanh, relu'
    """
    listed = list(words)
    number = {word: listed.count(word) for word in listed}
    return ", ".join(word if count == 1 else f"{count} × {word}" for word, count in number.items())
