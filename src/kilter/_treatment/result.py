"""The result of a treatment: diagnosis, changes, trials, and the model before and after."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras

import kilter
from kilter._compare.comparison import Candidate, Comparison, proof_in_words
from kilter._layout import columns, wrapped
from kilter._records import Change, Diagnosis, Measurements
from kilter._text import as_number, counted, number
from kilter._treatment.effect import Effect, percent
from kilter.recipe import Recipe, with_overrides


@dataclass(frozen=True)
class Evaluation:
    """A model before or after its treatment.

    Attributes:
        diagnosis: what is wrong with it.
        score: on the validation rows; NaN if unknown.
        history: its training curves.
        measures: every measure of every output on the validation rows, by name, after the full training.
        measurements: of one forward and backward pass before the training; None if it could not be measured.
    """

    diagnosis: Diagnosis
    score: float
    history: Mapping[str, Sequence[float]]
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    measurements: Measurements | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Trial:
    """A set of changes that was tried.

    ``seconds`` is the time of an epoch without compilation, for information; ``outcome`` says in which
    training the set was tried ("short trial", "full training"), and why.
    """

    remedies: tuple[str, ...]
    score: float
    seconds: float
    outcome: str


@dataclass(frozen=True)
class Part:
    """One of several changes, in short paired training runs.

    Attributes:
        remedy: its code; kept: whether it earned its place.
        loss: what is lost without it, in shares of the way from a constant prediction to perfection; NaN if
            it is needed in full trainings, and short ones do not show why.
        without: the mean score of all changes but this one.
        alone: the mean score with this change only; NaN if that was not tried.
        pairs: the number of training runs of each.
    """

    remedy: str
    kept: bool
    loss: float
    without: float
    alone: float
    pairs: int


def said(part: Part) -> str:
    """A change's own effect as text: what is lost without it, and whether it stayed."""
    if math.isnan(part.loss):
        return "short training runs do not show its effect"
    moves = "drops" if part.loss >= 0 else "rises"
    fewer = f"the score {moves} by {percent(abs(part.loss))} of the way to perfect"
    if part.loss > 1:
        fewer = "the model does worse than a constant prediction"
    return f"without it, {fewer} ({counted(part.pairs, 'pair')})" + ("" if part.kept else "; removed")


def failure(candidate: Candidate) -> str:
    """Why the runs of a candidate have no median score, as text; "" if they have one."""
    if math.isfinite(candidate.median):
        return ""
    if not any(run.history for run in candidate.runs):
        return "cannot be trained as it was compiled"
    return "every run diverged" if all(run.diverged for run in candidate.runs) else "a run diverged"


@dataclass(frozen=True)
class Trials:
    """All sets of changes that were tried, and the proof of the chosen one.

    Attributes:
        measure: the measure of their scores, such as "val_accuracy".
        epochs, rows: the length of a short trial, and its number of training rows.
        tried: the sets of changes in the order in which they were tried; the first is the original model.
        proof: the paired comparison of the chosen set with the original model; None if none was chosen.
        refused: why the chosen set is refused although the proof calls it better; "" if it is not.
        effect: of the chosen set, in shares of the way from a constant prediction to perfection; None without
            a proof.
        parts: what each of the changes does by itself, where there were several.
        reason: why changes are made without a proof, "" otherwise: there are too few rows for one and the
            output cannot fit the targets; or short trials do not show the gain of a certain repair, or of
            more epochs, and full training runs do.
    """

    measure: str
    epochs: int
    rows: int
    tried: tuple[Trial, ...] = ()
    proof: Comparison | None = None
    refused: str = ""
    effect: Effect | None = None
    parts: tuple[Part, ...] = ()
    reason: str = ""

    @property
    def length(self) -> str:
        """The length of a short trial, as text."""
        return f"{counted(self.epochs, 'epoch')} on {counted(self.rows, 'row')}"

    @property
    def verdict(self) -> str:
        """On the chosen changes: "better", "worse", "no evidence" or "no difference that matters"."""
        if self.proof is None:
            return "no evidence"
        verdict = self.proof.differences[0].verdict
        small = verdict == "better" and self.effect is not None and not self.effect.matters
        return "no difference that matters" if small else verdict

    @property
    def proven(self) -> bool:
        """Whether the chosen changes are better and not refused, or made for a ``reason``."""
        return bool(self.reason) or (self.verdict == "better" and not self.refused)

    @property
    def in_words(self) -> str:
        """Pairs won, mean difference and p of the proof, and why it was refused if it was; "" without one."""
        refused = f"; refused: {self.refused}" if self.refused else ""
        if self.proof is None:
            return ""
        found = f"; {self.effect}" if self.effect is not None and not self.refused else ""
        return proof_in_words(self.proof) + found + refused


@dataclass(frozen=True)
class MeasureCheck:
    """One measure of one output, of the given model and of another, on the same validation rows.

    ``error`` is the standard error of the difference, NaN where it is unknown. The verdict is on ``other``:
    "better" or "worse" where they differ by more than ``ScoringPolicy.harm_errors`` of it, else "alike". A
    model with outputs that are not finite is worse than any other.
    """

    measure: str
    given: float
    other: float
    error: float
    verdict: Literal["better", "alike", "worse"]

    def __str__(self) -> str:
        """In words, such as "accuracy of kind: 0.53 → 0.26"."""
        return f"{self.measure}: {as_number(self.given)} → {as_number(self.other)}"


@dataclass(frozen=True, eq=False)
class Treatment:
    """The result of :func:`kilter.treat`.

    It holds the returned model and numbers, neither the original model nor the data.

    Attributes:
        model: the returned model, trained and compiled. The model passed in is unchanged.
        changes: what was done to it, in order; () for none.
        dropped: remedies that were tried and are not among the changes.
        skipped: remedies that are not possible for this model, each with the reason.
        trials: of the search for the changes, and of their proof.
        checks: every measure of every output, of the original and of the treated model, both trained, on the
            same validation rows; () if nothing was changed.
        kept: why the original model was returned, if changes or more training would have harmed it; ""
            otherwise.
        noise: why no remedy was tried: nothing says that the targets depend on the inputs; "" otherwise.
        stopped: what was left out because ``max_seconds`` had passed; "" if it had not, or was not given.
        program: what :meth:`snippet` returns.
        before: the original model. Its score and curves are those of a short trial, if there was one; its
            measures are those after its own full training.
        after: the returned model, with the score, the curves and the measures of its training.
        seconds: the total time.
        name: of the model.
    """

    model: keras.Model = field(repr=False)
    changes: tuple[Change, ...]
    dropped: tuple[str, ...]
    trials: Trials
    before: Evaluation
    after: Evaluation
    seconds: float
    name: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    checks: tuple[MeasureCheck, ...] = ()
    kept: str = ""
    noise: str = ""
    stopped: str = ""
    program: str = field(default="", repr=False)

    @property
    def diagnosis(self) -> Diagnosis:
        """What was found in the original model."""
        return self.before.diagnosis

    def __str__(self) -> str:
        """The summary, one sentence a line."""
        return "\n".join(self.summary())

    def snippet(self) -> str:
        """Keras code that makes the same changes in your own program; "" for none.

        A model with code of its own, or trained before, is not written anew: its changed layers stand alone.
        """
        return self.program

    def apply_to(self, recipe: Recipe) -> Recipe:
        """``recipe`` with the changes made; changes that a recipe cannot express are left out.

        Raises :class:`~kilter.errors.RecipeError` where they do not fit its other keys.
        """
        return with_overrides(recipe, [override for change in self.changes for override in change.recipe])

    def report(self, path: str | Path) -> Path:
        """Write the page of the treatment, one self-contained HTML file, to ``path``, and return it."""
        return kilter.report.write_treatment(self, path)

    def summary(self, width: int | None = None) -> list[str]:
        """A few sentences: the problems, the changes, how certain the gain is, and the model's score.

        Every score says which training it comes from. Lines are wrapped at ``width``, by default that of the
        terminal, if there is one.
        """
        lines, trials = [_found(self.diagnosis)], self.trials
        lines += [f"changed: {one.remedy}: {one.before} → {one.after}" for one in self.changes]
        full = "after training" if self.stopped else "after full training"
        trained = full if self.after.history else "not trained"
        if not self.changes:
            lines.append(f"changed: nothing; {'trained without changes' if self.after.history else trained}")
        if self.noise:
            lines.append(f"nothing to learn here, so no remedy was tried: {self.noise}")
        lines += [f"not possible: {code}: {reason}" for code, reason in self.skipped.items()]
        if trials.proof is not None:
            lines.append(f"proof in short training runs ({trials.length}): {trials.in_words}")
            median = f"median {trials.measure} of these"
            before, after = (failure(one) or number(one.median) for one in trials.proof.candidates)
            lines.append(f"{median}: original model: {before}; with the changes: {after}")
        lines += [f"{one.remedy}: {said(one)}" for one in trials.parts if one.kept]
        if trials.reason:
            lines.append(f"changed without a proof: {trials.reason}")
        if self.kept:
            lines.append(f"kept the original model: {self.kept}")
        if self.stopped:
            lines.append(f"stopped early: {self.stopped}")
        lines += [f"{one} (full training without the changes → with them)" for one in self.checks]
        if self.after.diagnosis.codes() not in ((), self.diagnosis.codes()):
            lines.append(f"in the returned model: {_found(self.after.diagnosis)}")
        lines.append(f"{trials.measure} of the returned model, {trained}: {as_number(self.after.score)}")
        width = columns(sys.stdout) if width is None else width
        return [line for sentence in lines for line in wrapped(sentence, width, indent="    ")]

    def to_json(self) -> dict[str, Any]:
        """Findings, changes, trials and scores as a JSON object; the proof is a JSON text inside it."""
        return {
            "diagnosis": self.diagnosis.to_json(),
            "after": self.after.diagnosis.to_json(),
            "changes": [{**vars(one)} for one in self.changes],
            "dropped": list(self.dropped),
            "skipped": dict(self.skipped),
            "tried": [{**vars(one), "score": str(one.score)} for one in self.trials.tried],
            "verdict": self.trials.verdict,
            "effect": None if self.trials.effect is None else vars(self.trials.effect),
            "parts": [
                {**vars(one), "alone": str(one.alone), "without": str(one.without)}
                for one in self.trials.parts
            ],
            "refused": self.trials.refused,
            "reason": self.trials.reason,
            "kept": self.kept,
            "noise": self.noise,
            "stopped": self.stopped,
            "checks": [
                {key: value if isinstance(value, str) else str(value) for key, value in vars(one).items()}
                for one in self.checks
            ],
            "measure": self.trials.measure,
            "score": str(self.after.score),
            "seconds": self.seconds,
        }


def _found(diagnosis: Diagnosis) -> str:
    """The codes of the severe findings, and the number of others."""
    severe = diagnosis.codes("severe")
    others = Diagnosis(tuple(one for one in diagnosis.findings if one.severity != "severe")).counts
    told = f"found: {', '.join(severe)}" if severe else "nothing severe found"
    return f"{told}; {others}" if others else told
