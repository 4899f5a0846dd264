"""Which remedies, in which order: what lies upstream first, and nothing that is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.editing import can_be_cut
from kilter._records import Diagnosis, Finding
from kilter._text import first_line
from kilter._treatment.remedies import Remedy
from kilter._treatment.subject import Subject
from kilter.errors import KilterError

# Data, output and loss, what is trained at all, initialisation, activation, normalisation, optimiser, rate.
ORDER: Final = (
    "clean-data",
    "standardize-inputs",
    "shuffle",
    "repair-output",
    "rescale-outputs",
    "unfreeze",
    "recompile",
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
    "find-learning-rate",
    "clip-gradients",
    "one-cycle",
)
_WRITTEN: Final = "it is a class with its own call()"
# What goes with most other faults; its remedy, a search for the rate, takes seconds.
_SYMPTOM: Final = "loss-not-moving"
# What is tried beyond the findings' own remedies: the optimiser, what is frozen, the rate, then deeper cuts.
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


@dataclass(frozen=True, eq=False)
class RemedySet:
    """The remedies that may be used.

    Attributes:
        remedies: by code.
        keep: codes of remedies, and names of layers, that are refused. A remedy that touches a layer that is
            to be kept is refused as a whole.
        skipped: remedies that could not be applied, and why; filled as remedies are given.
    """

    remedies: Mapping[str, Remedy]
    keep: Collection[str] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    def give(self, code: str, subject: Subject, finding: Finding) -> Subject | None:
        """The subject after the remedy; None where it is refused, changes nothing, or is not possible."""
        if code not in self.remedies or code in self.keep:
            return None
        remedy = self.remedies[code]
        try:
            with subject.for_trials():
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


def wanted(diagnosis: Diagnosis, *, symptoms: bool = True) -> list[tuple[str, Finding]]:
    """For each severe finding its first remedy, each remedy once, in :data:`ORDER`.

    A remedy that several findings want is given the first of them; what is not in the order comes last.
    Without ``symptoms`` a loss that does not move has a remedy of its own only where nothing else has.
    """
    severe = [one for one in diagnosis.findings if one.severity == "severe" and one.remedies]
    causes = [one for one in severe if one.code != _SYMPTOM]
    first: dict[str, Finding] = {}
    for finding in severe if symptoms else causes or severe:
        first.setdefault(finding.remedies[0], finding)
    return in_order(first)


def in_order(remedies: Mapping[str, Finding]) -> list[tuple[str, Finding]]:
    """Remedies with what they are for, in :data:`ORDER`."""
    return sorted(remedies.items(), key=lambda one: _place(one[0]))


def cumulative(
    subject: Subject, remedies: Sequence[tuple[str, Finding]], remedy_set: RemedySet
) -> list[Subject]:
    """The subject after the first of ``remedies``, after the first two, and so on; those that apply."""
    sets: list[Subject] = []
    for code, finding in remedies:
        treated = remedy_set.give(code, sets[-1] if sets else subject, finding)
        if treated is not None:
            sets.append(treated)
    return sets


def further(
    subject: Subject, diagnosis: Diagnosis, remedy_set: RemedySet, codes: Sequence[str] = FURTHER
) -> Iterator[Subject]:
    """The subject after one more remedy, each in turn: of ``codes``, then of those that its findings name."""
    used = {change.remedy for change in subject.changes}
    severe = [one for one in diagnosis.findings if one.severity == "severe"]
    listed = {code: one for one in reversed(severe) for code in one.remedies}
    general = Finding(_SYMPTOM, "severe", ("training",), (), "", (), "")
    for code in (*codes, *(sorted(listed, key=_place) if codes is FURTHER else ())):
        if code not in used:
            used.add(code)
            treated = remedy_set.give(code, subject, listed.get(code, general))
            if treated is not None:
                yield treated


def _place(code: str) -> int:
    return ORDER.index(code) if code in ORDER else len(ORDER)
