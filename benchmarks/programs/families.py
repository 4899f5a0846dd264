"""What a case is, and families of them that differ in rows, optimiser and a word or two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from programs.sketch import OPTIMIZERS, Sketch

Severity = Literal["severe", "warning"]
CLASSES: Final = ("blobs", "digits", "fashion", "circles", "cifar")
SMALL: Final = ("blobs", "digits", "circles")
MANY: Final = ("blobs", "digits", "fashion")
ALL: Final = ("blobs", "circles", "digits", "fashion", "cifar", "table")


@dataclass(frozen=True)
class Case:
    """One program of the corpus.

    Attributes:
        name: family, set and number; family: what it is an example of.
        sketch: the program in words.
        causes: codes of findings that name what is wrong; none for sound programs.
        severity: how grave a finding has to be, at the least, to count as detection.
        curable: whether a change of the program, and not of its data's meaning, can mend it.
    """

    name: str
    family: str
    sketch: Sketch
    causes: frozenset[str] = frozenset()
    severity: Severity = "severe"
    curable: bool = True

    @property
    def faulty(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.causes)


@dataclass(frozen=True)
class Family:
    """What is wrong in one way (or sound in one way): variants of words, each on the next set of rows."""

    name: str
    causes: tuple[str, ...]
    sets: Sequence[str]
    variants: Sequence[Mapping[str, Any]]
    count: int
    severity: Severity = "severe"
    curable: bool = True

    def cases(self, offset: int) -> Iterator[Case]:
        """Its cases; the optimiser is the next one each time where the variant does not name it."""
        for number in range(self.count):
            rows = self.sets[number % len(self.sets)]
            words = dict(self.variants[number % len(self.variants)])
            words.setdefault("optimizer", OPTIMIZERS[(number + offset) % len(OPTIMIZERS)])
            yield Case(
                f"{self.name}/{rows}/{number}",
                self.name,
                Sketch(rows=rows, **words),
                frozenset(self.causes),
                self.severity,
                self.curable,
            )
