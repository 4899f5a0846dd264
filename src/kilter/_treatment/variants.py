"""The subject as it would have been written by the book, in its depth and widths: what the fewest changes
are measured by.

Short trials tell which changes make a network learn, not how far it gets. So a treated network is trained
beside variants of itself that are sound throughout, in full, where there is time for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from kilter._records import Diagnosis, Finding
from kilter._treatment.plan import RemedySet, cumulative, in_order, wanted
from kilter._treatment.remedies.base import hidden_layers, paths
from kilter._treatment.subject import Subject

# From so many hidden layers on a network is sound with batch normalisation only.
_DEEP: Final = 6
_SOUND: Final = ("replace-activation", "change-optimizer")
_RATED: Final = (*_SOUND, "find-learning-rate")
_NORMALIZED: Final = ("insert-batch-norm",)
_CYCLED: Final = ("one-cycle",)
# Activations that a hidden layer may keep: alive on both sides.
_SMOOTH: Final = ("elu", "selu", "gelu", "silu", "mish", "linear")
# All variants may take so long, and this share of the training's time.
SECONDS: Final = 20.0
_SHARE: Final = 0.3

Result = TypeVar("Result")


def sound_variants(
    came: Subject, best: Subject, diagnosis: Diagnosis, remedy_set: RemedySet, *, cycled: bool
) -> Iterator[Subject]:
    """Variants of the subject as it ``came``: what is found treated, warnings too, ELU and Nadam.

    Then the same at a rate that was searched for, the peak of a 1cycle where it is to be ``cycled``. Of deep
    ones the latter alone, with batch normalisation: of six deep stacks one got as far without. A variant that
    has the same changes as ``best`` is left out.
    """
    seen = {_codes(best)}
    deep = len(hidden_layers(came)) >= _DEEP
    own = dict(wanted(diagnosis.raised(), symptoms=False))
    rated = (*_RATED, *(_CYCLED if cycled else ()))
    for sound in ((*_NORMALIZED, *rated),) if deep else (_SOUND, rated):
        general = {code: _of_hidden_layers(came, own.get(code)) for code in sound}
        sets = cumulative(came, in_order({**own, **general}), remedy_set)
        if sets and _codes(sets[-1]) not in seen:
            seen.add(_codes(sets[-1]))
            yield sets[-1]


def within(
    variants: Iterator[Subject], seconds: float, budget: float, train: Callable[[Subject], Result]
) -> Iterator[Result]:
    """What ``train`` gives of each variant, while there is time; ``seconds``: what one training takes."""
    began = time.perf_counter()
    allowed = SECONDS + _SHARE * budget * seconds
    while time.perf_counter() - began + seconds <= allowed:
        variant = next(variants, None)
        if variant is None:
            return
        yield train(variant)


def _of_hidden_layers(subject: Subject, own: Finding | None) -> Finding:
    """What a remedy is for: hidden layers that may saturate or die, and those of a finding of its ``own``."""
    poor = [one for one in hidden_layers(subject) if one.activation not in _SMOOTH]
    where = dict.fromkeys((*paths(poor), *(() if own is None else own.where)))
    return Finding("loss-not-moving", "severe", tuple(where) or ("training",), (), "", (), "")


def _codes(subject: Subject) -> frozenset[str]:
    return frozenset(change.remedy for change in subject.changes)
