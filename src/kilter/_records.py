"""The records that pass between measuring, finding, treating and reporting: frozen, plain, no JAX or Keras.

measurement (numbers taken in training) → finding (what is wrong, with evidence) → remedy (what to do) →
change (what was done) → trial (a paired comparison) → treatment (the whole).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

Severity = Literal["severe", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "note")


@dataclass(frozen=True)
class Evidence:
    """A number (or word) that was seen, beside the threshold that it was held to and where that comes from.

    ``threshold`` is None for evidence that explains and decides nothing; ``source`` is then "".
    """

    name: str
    value: float | int | str
    threshold: float | int | str | None = None
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; a number that is not finite becomes a word ("nan", "inf", "-inf")."""
        value = self.value
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        return {**asdict(self), "value": value}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be.

    ``code`` is stable and is what programs match on; all prose is presentation. ``severity``: "severe" if
    training is or will be broken, "warning" if it is likely to suffer, "note" otherwise. ``where`` are layer
    names, or one of "data", "targets", "loss", "optimizer", "training". ``remedies`` are codes in the order
    in which they are to be tried.
    """

    code: str
    severity: Severity
    where: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    explanation: str
    remedies: tuple[str, ...]
    reference: str

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {**asdict(self), "evidence": [one.to_json() for one in self.evidence]}


@dataclass(frozen=True, eq=False)
class Measurements:
    """Numbers taken at some steps of a training, or of a probe that changed nothing.

    ``steps``: int [s], the optimiser's count of steps before each reading. ``loss``: float [s], on the batch
    that was read, before its step; ``loss_after``: the same batch after it, NaN where there was no step.
    ``layers``: the paths of the layers in the order in which they are called; ``kinds`` their class names.
    ``values``: float [s, l] by name; NaN where a layer has no such number:

    - of the layer's output on the batch: ``mean``, ``std``, ``zeros`` (share of exact zeros), ``saturated``
      (share of outputs on a flat end of the activation), ``dead`` (share of units that are 0 for every row);
    - of the gradient of the loss by that output: ``gradient_norm`` (Euclidean, of the whole batch's array)
      and ``gradient_std`` (of its elements);
    - of the layer's weights together: ``weight_norm``, ``weight_gradient_norm`` and ``update_ratio`` (norm of
      the step over norm of the weights; NaN where there was no step).
    """

    steps: np.ndarray
    loss: np.ndarray
    loss_after: np.ndarray
    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a model, its data and its training, the most severe first."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing severe was found."""
        return all(finding.severity != "severe" for finding in self.findings)

    def codes(self, severity: Severity | None = None) -> tuple[str, ...]:
        """The codes of the findings in order, of one severity or of all."""
        return tuple(one.code for one in self.findings if severity in (None, one.severity))

    def raised(self) -> Diagnosis:
        """The diagnosis with warnings taken as severe."""
        return Diagnosis(tuple(map(_raised, self.findings)))

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as a JSON object."""
        return {"ok": self.ok, "findings": [finding.to_json() for finding in self.findings]}


def _raised(finding: Finding) -> Finding:
    return replace(finding, severity="severe") if finding.severity == "warning" else finding


def ranked(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings with the most severe first, otherwise in the order given; of equal ones the first only."""
    unique = {(one.code, one.where): one for one in reversed(findings)}
    kept = [one for one in findings if unique[one.code, one.where] is one]
    return tuple(sorted(kept, key=lambda one: SEVERITIES.index(one.severity)))


@dataclass(frozen=True)
class Change:
    """What a remedy did to a model or its training: its code, where, and in words what it was and became.

    ``snippet`` is Python (Keras) with which the same is done in one's own code; ``recipe`` the overrides
    (``"section.key=value"``) that do it in a recipe, empty where a recipe cannot say it.
    """

    remedy: str
    where: tuple[str, ...]
    before: str
    after: str
    snippet: str
    recipe: tuple[str, ...] = ()
