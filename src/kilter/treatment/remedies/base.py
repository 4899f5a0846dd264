"""What a remedy is, and how it finds the layers that it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilter.health.facts import LayerFacts
from kilter.records import Change, Finding
from kilter.treatment.patient import Patient, compiled_like
from kilter.treatment.surgery import Cut, cut

Apply = Callable[[Patient, Finding], Patient | None]


@dataclass(frozen=True)
class Remedy:
    """A way to treat a finding.

    Attributes:
        code: stable; what findings name.
        title: a few words.
        apply: the treated patient; None where there is nothing to change, or where it cannot be changed
            (a class with a ``call`` of its own, for a remedy that needs a cut). The patient given stays as
            it is. Raises :class:`~kilter.errors.ModelError` for a layer that Keras cannot make anew.
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


def hidden_layers(patient: Patient) -> tuple[LayerFacts, ...]:
    """The dense layers and convolutions of the model but those that its outputs come from."""
    return tuple(one for one in patient.layers if one.is_weighted and not one.is_output)


def operated(
    patient: Patient, change: Change, cuts: Mapping[Any, Cut], *, front: Sequence[Any] = (), **compiled: Any
) -> Patient:
    """The patient with its model cut, and compiled as before but for ``compiled``."""
    model = cut(patient.model, cuts, front).model
    return patient.changed(change, model=compiled_like(patient.model, model, **compiled))


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
