"""The records shared by measurements, diagnosis, treatment and report: frozen, plain, no JAX or Keras.

measurement (numbers from a training) → finding (a problem, with evidence) → remedy (what to do) → change
(what was done) → trial (a paired comparison) → treatment (everything together). Every ``plot()`` of a record
goes through :func:`drawn`.
"""

import importlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

Severity = Literal["severe", "warning", "note"]
SCHEMA = 1
"""Of a diagnosis as JSON; it changes if a key changes its meaning or goes."""
SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "note")


@dataclass(frozen=True)
class Evidence:
    """A measured number (or word), its threshold and the source of the threshold.

    ``threshold`` is None for evidence that only explains; ``source`` is then "".
    """

    name: str
    value: float | int | str
    threshold: float | int | str | None = None
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """The evidence as a JSON object; a non-finite number becomes text ("nan", "inf", "-inf")."""
        value = self.value
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        return {**asdict(self), "value": value}


@dataclass(frozen=True)
class Finding:
    """A problem, or a likely one.

    ``code`` is stable, for programs; texts may change. ``severity``: "severe" if training is or will be
    broken, "warning" if it is likely to suffer, "note" otherwise. ``where``: layer names, or one of "data",
    "targets", "loss", "optimizer", "training". ``remedies``: codes, in the order to try them.
    ``explained_by``: the code of the finding that causes this one, "" for none.
    """

    code: str
    severity: Severity
    where: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    explanation: str
    remedies: tuple[str, ...]
    reference: str
    explained_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {**asdict(self), "evidence": [one.to_json() for one in self.evidence]}


@dataclass(frozen=True, eq=False)
class Measurements:
    """Numbers measured at some steps of a training run, or in a probe without training steps.

    ``steps``: int [s], the optimiser's step count before each reading. ``loss``: float [s], of the batch
    before its step; ``loss_after``: of the same batch after it, NaN without a step. ``layers``: paths in call
    order; ``kinds``: their class names. ``values``: float [s, l] by name, NaN if a layer has no such number:

    - of the layer's output on the batch: ``mean``, ``std``, ``zeros`` (share of exact zeros), ``saturated``
      (share of outputs on a flat end of the activation), ``dead`` (share of units that are 0 for every row);
    - of the gradient of the loss by that output: ``gradient_norm`` (Euclidean, of the whole batch's array)
      and ``gradient_std`` (of its elements);
    - of all weights of the layer: ``weight_norm``, ``weight_gradient_norm`` and ``update_ratio`` (norm of the
      step over norm of the weights; NaN without a step).
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
    """The findings in a model, its data and its training, the most severe first.

    ``unchecked``: what was not looked at, or could not be, as text.
    """

    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no severe finding."""
        return all(finding.severity != "severe" for finding in self.findings)

    def __str__(self) -> str:
        """A line for each finding: severity, code, where and explanation; "nothing found" without any."""
        lines = [
            f"{one.severity}: {one.code}: {', '.join(one.where)}: {one.explanation}" for one in self.findings
        ]
        return "\n".join(lines) or "nothing found"

    @property
    def counts(self) -> str:
        """The number of findings of each severity in words, such as "1 severe, 2 warnings"; "" for none."""
        numbers = {severity: len(self.codes(severity)) for severity in SEVERITIES}
        plural = {severity: "s" if severity != "severe" and n > 1 else "" for severity, n in numbers.items()}
        return ", ".join(f"{n} {severity}{plural[severity]}" for severity, n in numbers.items() if n)

    def codes(self, severity: Severity | None = None) -> tuple[str, ...]:
        """The codes of the findings in order, of one severity or of all."""
        return tuple(one.code for one in self.findings if severity in (None, one.severity))

    def raised(self) -> "Diagnosis":
        """The diagnosis with warnings as severe findings."""
        return Diagnosis(tuple(map(_raised, self.findings)), self.unchecked)

    @property
    def root(self) -> str:
        """The code of the severe finding that no other explains, the first one; "" without any."""
        severe = [one for one in self.findings if one.severity == "severe" and not one.explained_by]
        return severe[0].code if severe else ""

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as a JSON object, as docs/diagnosis.md describes it."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "root": self.root,
            "findings": [finding.to_json() for finding in self.findings],
            "unchecked": list(self.unchecked),
        }


def _raised(finding: Finding) -> Finding:
    return replace(finding, severity="severe") if finding.severity == "warning" else finding


def ranked(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, causes before consequences, otherwise in the given order, without duplicates."""
    unique = {(one.code, one.where): one for one in reversed(findings)}
    kept = [one for one in findings if unique[one.code, one.where] is one]
    return tuple(sorted(kept, key=lambda one: (SEVERITIES.index(one.severity), bool(one.explained_by))))


@dataclass(frozen=True)
class Change:
    """What a remedy did to a model or its training: its code, where, and the state before and after in words.

    ``snippet``: Python (Keras) code for the same change: layers with their places, or statements with
    ``model``, ``x_train`` and ``y_train``; :meth:`kilter.Treatment.snippet` joins all changes. ``recipe``:
    the overrides (``"section.key=value"``) for it, () if a recipe cannot express it.
    """

    remedy: str
    where: tuple[str, ...]
    before: str
    after: str
    snippet: str = ""
    recipe: tuple[str, ...] = ()


if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # pyright: ignore[reportMissingTypeStubs]
else:
    Figure = Any


def drawn(picture: str, *data: Any, **options: Any) -> Figure:
    """The figure that the function `picture` of ``kilter.report.figures`` draws from the data.

    That package is the only one that uses plotly. It is above the records, so it loads only when a figure is
    requested: training loads no plotly.
    """
    return getattr(importlib.import_module("kilter.report.figures"), picture)(*data, **options)
