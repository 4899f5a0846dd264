"""The model that comes back is never worse than the given one, on any measure of any output.

The treated model is returned unless it is worse than the given one, trained as the person would have trained
it. Otherwise that one is returned: with the weights of the best validation loss, or with those of the last
epoch where the former are worse. A given model that has learnt something already does not come back worse
than it was: if more training makes it worse, it is returned as it came. :mod:`kilter._treatment.no_harm` says
what counts as worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.no_harm import (
    ERRORS,
    MeasureCheck,
    Measured,
    compared,
    harms,
    has_learnt,
    measured,
    values,
)
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter.errors import KilterError


@dataclass(frozen=True, eq=False)
class Returned:
    """What comes back: the trained model, why the given one was kept ("" where it was not), and the measures.

    ``checks``: the treated model against the given one trained without changes; () where nothing was changed.
    ``before`` and ``after``: the measures of the latter, and of what comes back.
    """

    trained: Trained
    kept: str
    checks: tuple[MeasureCheck, ...]
    before: dict[str, float]
    after: dict[str, float]


def safest(came: Subject, treated: Trained | None, given: AsGiven, scoring: Scoring) -> Returned:
    """What comes back of the ``treated`` model (None where nothing was changed) and of the ``given`` one."""
    rows = came if treated is None else treated.subject
    last, before = (_measured(came, rows, one) for one in (given.last, given.before))
    references = [last]
    if came.trained or has_learnt(before):
        references.append(before)
    kept, checks = "", ()
    if treated is not None:
        own = _measured(came, treated.subject, treated)
        checks = compared(last, own)
        kept = _against(own, references) or _learnt_nothing(treated, scoring)
        if not kept:
            return Returned(treated, "", checks, values(last), values(own))
        kept = f"with the changes, {kept}"
    best = _measured(came, rows, given.best)
    for one, found in ((given.best, best), (given.last, last)):
        worse = _against(found, references)
        if not worse:
            return Returned(one, kept, checks, values(last), values(found))
    kept = kept or f"after more training, {worse}"
    return Returned(given.before, kept, checks, values(last), values(before))


def _against(found: Sequence[Measured], references: Sequence[Sequence[Measured]]) -> str:
    """What is worse than in one of the references, in words; "" for nothing."""
    for reference in references:
        if reference and not found:
            return "the model cannot be evaluated on the validation rows"
        worse = harms(compared(reference, found))
        if worse:
            listed = "; ".join(map(str, worse))
            return f"this got worse by more than {ERRORS:g} standard error: {listed}"
    return ""


def _learnt_nothing(treated: Trained, scoring: Scoring) -> str:
    if scoring.learnt_nothing(treated.score):
        return (
            f"the model still does no better than a constant answer ({scoring.measure} {treated.score:.4g})"
        )
    return ""


def _measured(came: Subject, rows: Subject, one: Trained) -> list[Measured]:
    """The measures of a trained model on the validation rows of ``rows``; [] where it cannot take them."""
    own = one.subject
    if own.x_val is not rows.x_val:
        own = replace(own, x_val=rows.x_val, y_val=rows.y_val)
    if not one.history.epoch and one.seconds:  # it could not be trained
        return []
    try:
        return measured(came, own, one.restored())
    except KilterError:
        return []
