"""The corpus: families of faults and of sound programs, spread over sets of rows and optimisers."""

from __future__ import annotations

from programs.families import Case
from programs.network_faults import BEGINNING, DEPTH, KINDS
from programs.other_faults import DATA, OPTIMIZER, OUTPUT
from programs.sound import SOUND


def cases(*, faulty: bool | None = None) -> list[Case]:
    """All cases in their order; only the faulty, or the sound ones, where asked."""
    families = (*BEGINNING, *DEPTH, *OUTPUT, *DATA, *OPTIMIZER, *KINDS, *SOUND)
    found = [case for offset, family in enumerate(families) for case in family.cases(offset)]
    return [case for case in found if faulty is None or case.faulty == faulty]
