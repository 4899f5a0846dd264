"""Candidates: which remedies, in which order, for the findings of a diagnosis.

Short trials show which changes make a network learn, but not how good it becomes. So the *sound sibling*
is trained too: the network with the same depth and widths, built the way a textbook would.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.editing import can_be_cut
from kilter._records import Diagnosis, Finding, ranked
from kilter._text import first_line
from kilter._treatment.remedies import Remedy
from kilter._treatment.sound_sibling import CODES, OPTIMIZER, sound_sibling
from kilter._treatment.subject import Step, Subject
from kilter.errors import KilterError

# Data, output and loss, trainable layers, initialisation, activation, normalisation, optimiser, rate.
ORDER: Final = (
    "clean-data",
    "fit-embedding",
    "project-numbers",
    "embed-ids",
    "move-channels",
    "widen-kernels",
    "mask-padding",
    "clip-sentinels",
    "standardize-inputs",
    "shuffle",
    "stateless",
    "rescale-targets",
    "realign-masks",
    "swap-pair-labels",
    "separate-pairs",
    "contrastive-loss",
    "invert-mask",
    "add-loss",
    "replace-loss",
    "equal-weights",
    "drop-augmentation",
    "remove-first-activation",
    "shift-logits",
    "softmax-last-axis",
    "fix-from-logits",
    "repair-output",
    "read-last-step",
    "stretch-output",
    "rescale-outputs",
    "balance-losses",
    "weigh-reconstruction",
    "focal-loss",
    "dice-loss",
    "output-bias-prior",
    "unfreeze",
    "recompile",
    "pool-steps",
    "add-positions",
    "scale-embedding",
    "repair-softmax-axis",
    "recurrent-tanh",
    "orthogonal-recurrent",
    "unit-forget-bias",
    "reinitialize-paired",
    "self-normalize",
    "alpha-dropout",
    "replace-activation",
    "repair-batch-norm",
    "group-normalization",
    "remove-redundant-bias",
    "reorder-dropout",
    "change-batch-size",
    "class-weights",
    "ease-regularization",
    "ease-decay",
    "ease-smoothing",
    "drop-accumulation",
    "ease-clipping",
    "drop-loss-scale",
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
# What the sound sibling replaces by parts of its own; it is made on top of every other remedy.
_OF_SIBLING: Final = (
    *CODES,
    "self-normalize",
    "alpha-dropout",
    "add-residuals",
    "reinitialize-lsuv",
    "warm-up",
    "find-learning-rate",
    "clip-gradients",
    "ease-clipping",
    "one-cycle",
)
# Symptoms of other faults; their first remedy is a search for the rate, hundreds of steps.
_SYMPTOM: Final = "loss-not-moving"
_SYMPTOMS: Final = (_SYMPTOM, "falls-short")
# Findings that an output cannot fit its targets, whatever the training.
STRUCTURAL: Final = (
    "output-activation-loss",
    "targets-loss",
    "output-softmax-axis",
    "from-logits",
    "softmax-many-labels",
)
# Findings whose repairs may show late: full training runs decide if short ones prove nothing.
LATE: Final = (
    *STRUCTURAL,
    "loss-not-differentiable",
    "loss-ignores-prediction",
    "loss-axis",
    "loss-sign",
    "loss-minimum",
    "row-weights",
    "output-not-trained",
    "pairs-not-apart",
    "ids-as-quantities",
    "sentinel-values",
    "rare-pixels",
)
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
        return replace(treated, steps=(*subject.steps, Step(code, finding)))

    def again(self, original: Subject, steps: Sequence[Step]) -> Subject | None:
        """The original subject after these steps; None if none of them applies."""
        parts = [one.code for one in steps if one.finding is None]
        made: Subject | None = None
        for one in steps:
            begin = original if made is None else made
            if one.finding is not None:
                made = self.give(one.code, begin, one.finding) or made
            elif parts:
                made, parts = sound_sibling(begin, self.keep, parts) or made, []
        return made

    def parts(self) -> tuple[str, ...]:
        """The parts of the sound sibling that may be used."""
        return tuple(code for code in CODES if code in self.remedies)


def symptom(where: tuple[str, ...] = ("training",), explanation: str = "", *remedies: str) -> Finding:
    """A severe finding that the loss does not move, for remedies that no check asked for."""
    return Finding(_SYMPTOM, "severe", where, (), explanation, remedies, "")


def shortfall(found: Diagnosis, trained: Diagnosis) -> Diagnosis:
    """The findings before and after the training, and a severe one for its falling short."""
    reached = (
        "After training the model is no better than a constant prediction, or clearly worse than its sibling."
    )
    short = symptom(("training",), reached, "find-learning-rate")
    return Diagnosis(ranked([*found.findings, *trained.findings, short])).raised()


def wanted(diagnosis: Diagnosis, *, symptoms: bool = True) -> list[tuple[str, Finding]]:
    """For each severe finding its first remedy, each remedy once, in :data:`ORDER`.

    A remedy that several findings name gets the first of them; remedies that are not in the order come last.
    Without ``symptoms`` a loss that does not move, or falls short, counts only if there is no other severe
    finding.
    """
    severe = [one for one in diagnosis.findings if one.severity == "severe" and one.remedies]
    causes = [one for one in severe if one.code not in _SYMPTOMS]
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


def certain(
    subject: Subject, diagnosis: Diagnosis, remedy_set: RemedySet, codes: Collection[str]
) -> tuple[Subject | None, str]:
    """The subject repaired for its severe findings of these ``codes`` alone, and their names.

    None if there are none, or if no remedy applies.
    """
    asked = wanted(Diagnosis(tuple(one for one in diagnosis.findings if one.code in codes)))
    repaired = cumulative(subject, asked, remedy_set)
    return (repaired[-1] if repaired else None), ", ".join(dict.fromkeys(one.code for _, one in asked))


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


def sibling_of(
    original: Subject, diagnosis: Diagnosis, remedy_set: RemedySet, *, optimizer_alone: bool = False
) -> Subject | None:
    """The original's sound sibling, on data and with training options that are treated for all findings.

    ``optimizer_alone``: the original network with the sibling's optimiser.
    """
    own = dict(wanted(diagnosis.raised(), symptoms=False))
    asked = {code: finding for code, finding in own.items() if code not in _OF_SIBLING}
    ground = cumulative(original, in_order(asked), remedy_set)
    parts = [one for one in remedy_set.parts() if one == OPTIMIZER or not optimizer_alone]
    return sound_sibling(ground[-1] if ground else original, remedy_set.keep, parts)
