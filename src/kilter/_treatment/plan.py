"""Candidates: which remedies, in which order, for the findings of a diagnosis.

Short trials show which changes make a network learn, but not how good it becomes. So *sound variants*
are tried too: the network with the same depth and widths, built the way a textbook would.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kilter._engine.program_cache import for_short_training
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.editing import can_be_cut
from kilter._records import Diagnosis, Finding
from kilter._text import first_line
from kilter._treatment.remedies import Remedy
from kilter._treatment.remedies.base import hidden_layers, paths
from kilter._treatment.subject import Subject
from kilter.errors import KilterError

# Data, output and loss, trainable layers, initialisation, activation, normalisation, optimiser, rate.
ORDER: Final = (
    "clean-data",
    "standardize-inputs",
    "mask-padding",
    "shuffle",
    "stateless",
    "repair-output",
    "read-last-step",
    "rescale-outputs",
    "unfreeze",
    "recompile",
    "add-positions",
    "repair-softmax-axis",
    "recurrent-tanh",
    "orthogonal-recurrent",
    "unit-forget-bias",
    "reinitialize-paired",
    "self-normalize",
    "alpha-dropout",
    "replace-activation",
    "repair-batch-norm",
    "remove-redundant-bias",
    "reorder-dropout",
    "change-batch-size",
    "class-weights",
    "ease-regularization",
    "insert-batch-norm",
    "add-residuals",
    "reinitialize-lsuv",
    "change-optimizer",
    "warm-up",
    "find-learning-rate",
    "clip-gradients",
    "one-cycle",
)
_WRITTEN: Final = "it is a class with its own call()"
_SOUND: Final = ("replace-activation", "change-optimizer")
_RATED: Final = (*_SOUND, "find-learning-rate")
# Activations that hidden layers of a variant may keep: alive on both sides.
_SMOOTH: Final = ("elu", "selu", "gelu", "silu", "mish", "linear")
# A symptom of most other faults; its remedy is a search for the rate, hundreds of steps.
_SYMPTOM: Final = "loss-not-moving"
# Tried beyond the findings' own remedies: the optimiser, frozen layers, the rate, then larger changes.
FURTHER: Final = (
    "change-optimizer",
    "unfreeze",
    "find-learning-rate",
    "reinitialize-paired",
    "insert-batch-norm",
    "replace-activation",
    "reinitialize-lsuv",
    "add-residuals",
    "one-cycle",
)


@dataclass(eq=False)
class RemedySet:
    """The remedies that may be used.

    ``keep``: codes of remedies that are refused, and names of layers that stay. A remedy that would change
    such a layer is refused as a whole. ``skipped``: remedies that could not be applied, and why.
    """

    remedies: Mapping[str, Remedy]
    keep: Collection[str] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    def give(self, code: str, subject: Subject, finding: Finding) -> Subject | None:
        """The subject after the remedy; None if it is refused, changes nothing, or is not possible."""
        if code not in self.remedies or code in self.keep:
            return None
        remedy = self.remedies[code]
        try:
            with for_short_training(subject.model, subject.policy.search.quick_parameters):
                treated = remedy.apply(subject, finding)
        except KilterError as problem:
            self.skipped[code] = f"expected {problem.expected}; received {problem.received}"
            return None
        except FOREIGN_ERRORS as problem:  # from the code of the model's own layers, losses or metrics
            self.skipped[code] = f"the changed model fails: {type(problem).__name__}: {first_line(problem)}"
            return None
        if treated is None and remedy.needs_surgery and not can_be_cut(subject.model):
            self.skipped[code] = f"layers of {type(subject.model).__name__} cannot be replaced: {_WRITTEN}"
        if treated is None or any(set(change.where) & set(self.keep) for change in treated.changes):
            return None
        return treated


def symptom(where: tuple[str, ...] = ("training",), explanation: str = "", *remedies: str) -> Finding:
    """A severe finding that the loss does not move, for remedies that no check asked for."""
    return Finding(_SYMPTOM, "severe", where, (), explanation, remedies, "")


def wanted(diagnosis: Diagnosis, *, symptoms: bool = True) -> list[tuple[str, Finding]]:
    """For each severe finding its first remedy, each remedy once, in :data:`ORDER`.

    A remedy that several findings name gets the first of them; remedies that are not in the order come last.
    Without ``symptoms`` a loss that does not move counts only if there is no other severe finding.
    """
    severe = [one for one in diagnosis.findings if one.severity == "severe" and one.remedies]
    causes = [one for one in severe if one.code != _SYMPTOM]
    first: dict[str, Finding] = {}
    for finding in severe if symptoms else causes or severe:
        first.setdefault(finding.remedies[0], finding)
    return in_order(first)


def in_order(remedies: Mapping[str, Finding]) -> list[tuple[str, Finding]]:
    """Remedies and their findings, in :data:`ORDER`."""
    return sorted(remedies.items(), key=lambda one: _place(one[0]))


def cumulative(
    subject: Subject, remedies: Sequence[tuple[str, Finding]], remedy_set: RemedySet
) -> list[Subject]:
    """The subject after the first of ``remedies``, after the first two, and so on, of those that apply."""
    sets: list[Subject] = []
    for code, finding in remedies:
        treated = remedy_set.give(code, sets[-1] if sets else subject, finding)
        if treated is not None:
            sets.append(treated)
    return sets


def further(
    subject: Subject, diagnosis: Diagnosis, remedy_set: RemedySet, codes: Sequence[str] = FURTHER
) -> Iterator[Subject]:
    """The subject after one more remedy, for each of ``codes`` and then of those that its findings name."""
    used = set(subject.remedies)
    severe = [one for one in diagnosis.findings if one.severity == "severe"]
    listed = {code: one for one in reversed(severe) for code in one.remedies}
    for code in (*codes, *(sorted(listed, key=_place) if codes is FURTHER else ())):
        if code not in used:
            used.add(code)
            treated = remedy_set.give(code, subject, listed.get(code, symptom()))
            if treated is not None:
                yield treated


def _place(code: str) -> int:
    return ORDER.index(code) if code in ORDER else len(ORDER)


def sound_variants(
    original: Subject, best: Subject, diagnosis: Diagnosis, remedy_set: RemedySet, *, cycled: bool
) -> Iterator[Subject]:
    """Variants of the original subject with all findings treated, warnings too, and with ELU and Nadam.

    Then the same at a learning rate from a search, the peak of a 1cycle if ``cycled``. Deep networks have the
    latter only, with batch normalisation: without, one of six deep stacks got as far. A variant with the same
    changes as ``best`` is left out.
    """
    seen = [set(best.remedies)]
    deep = len(hidden_layers(original)) >= original.policy.remedies.deep
    own = dict(wanted(diagnosis.raised(), symptoms=False))
    rated = (*_RATED, *(("one-cycle",) if cycled else ()))
    for sound in (("insert-batch-norm", *rated),) if deep else (_SOUND, rated):
        general = {code: _hidden_layers_finding(original, own.get(code)) for code in sound}
        sets = cumulative(original, in_order({**own, **general}), remedy_set)
        if sets and set(sets[-1].remedies) not in seen:
            seen.append(set(sets[-1].remedies))
            yield sets[-1]


def _hidden_layers_finding(subject: Subject, own: Finding | None) -> Finding:
    """A finding for hidden layers that may saturate or die, and for those of the remedy's ``own`` finding."""
    poor = [one for one in hidden_layers(subject) if one.activation not in _SMOOTH]
    where = dict.fromkeys((*paths(poor), *(() if own is None else own.where)))
    return symptom(tuple(where) or ("training",))
