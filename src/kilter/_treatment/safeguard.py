"""The returned model is never worse than the original one, on any measure of any output.

The treated model is returned unless it is worse than the original model after its owner's own training.
Otherwise the latter is returned: with the weights of its best validation loss, or with its last weights if
those are better. A model that has learnt something already never comes back worse than it was: if more
training makes it worse, it is returned without. :mod:`kilter._treatment.no_harm` says what counts as worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.no_harm import (
    MeasureCheck,
    Measured,
    compared,
    harms,
    has_learnt,
    measured,
    values,
)
from kilter._treatment.policy import ScoringPolicy
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter.errors import KilterError


@dataclass(frozen=True, eq=False)
class Returned:
    """The trained model that is returned, why it is the original one ("" if it is not), and the measures.

    ``checks``: the treated model against the original one, both trained; () if nothing was changed.
    ``before`` and ``after``: the measures of the original and of the returned model.
    """

    trained: Trained
    kept: str
    checks: tuple[MeasureCheck, ...]
    before: dict[str, float]
    after: dict[str, float]


def safest(original: Subject, treated: Trained | None, given: AsGiven, scoring: Scoring) -> Returned:
    """What to return: the ``treated`` model (None if nothing was changed), or the ``given`` one."""
    policy = original.policy.scoring
    rows = original if treated is None else treated.subject
    last, before = (_measured(original, rows, one) for one in (given.last, given.before))
    references = [last]
    if original.trained or has_learnt(before):
        references.append(before)
    kept, checks = "", ()
    if treated is not None:
        own = _measured(original, treated.subject, treated)
        checks = compared(last, own, policy)
        kept = _against(own, references, policy) or _learnt_nothing(treated, given, scoring)
        if not kept:
            return Returned(treated, "", checks, values(last), values(own))
        kept = f"with the changes, {kept}"
    best = _measured(original, rows, given.best)
    for one, found in ((given.best, best), (given.last, last)):
        worse = _against(found, references, policy)
        if not worse:
            return Returned(one, kept, checks, values(last), values(found))
    kept = kept or f"after more training, {worse}"
    return Returned(given.before, kept, checks, values(last), values(before))


def _against(
    found: Sequence[Measured], references: Sequence[Sequence[Measured]], policy: ScoringPolicy
) -> str:
    """What is worse than in one of the references, in words; "" for nothing."""
    for reference in references:
        if reference and not found:
            return "the model cannot be evaluated on the validation rows"
        worse = harms(compared(reference, found, policy))
        if worse:
            listed = "; ".join(map(str, worse))
            return f"this got worse by more than {policy.harm_errors:g} standard error: {listed}"
    return ""


def _learnt_nothing(treated: Trained, given: AsGiven, scoring: Scoring) -> str:
    """Why the changes are not worth it; "" where they are, as when the given training diverged."""
    rescued = math.isfinite(treated.score) and not math.isfinite(given.last.score)
    if scoring.learnt_nothing(treated.score) and not rescued:
        return (
            f"the model still does no better than a constant answer ({scoring.measure} {treated.score:.4g})"
        )
    return ""


def _measured(original: Subject, rows: Subject, one: Trained) -> list[Measured]:
    """The measures of a trained model on the validation rows of ``rows``; [] if it cannot take them."""
    own = one.subject.with_training(validation_data=rows.training.validation_data)
    if one.failed:
        return []
    try:
        return measured(original, own, one.restored())
    except KilterError:
        return []
