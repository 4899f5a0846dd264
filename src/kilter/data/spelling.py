"""Classes and categories that differ only in upper and lower case, such as "pro" and "PRO", are one.

Single letters are left alone: "a" and "A" may be two characters to recognise.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from kilter.data.encoding import Column
from kilter.data.entries import is_text, plain_text
from kilter.data.paths import first_named, quote


def respelled(counts: Mapping[str, int], known: Sequence[str] = ()) -> dict[str, str]:
    """The names that are to be spelled otherwise: as in ``known``, else as most rows are.

    Example:
        >>> respelled({"Yes": 2, "YES": 1, "no": 1, "a": 1, "A": 5})
        {'YES': 'Yes'}
    """
    kept, spelled = set(known), {name.casefold(): name for name in known}
    for name in sorted(counts, key=lambda one: -counts[one]):
        spelled.setdefault(name.casefold(), name)
    others = {name: spelled[name.casefold()] for name in counts if len(name) > 1 and name not in kept}
    return {name: chosen for name, chosen in others.items() if name != chosen}


def in_one_spelling(
    targets: np.ndarray, missing: np.ndarray, known: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Text labels with those that differ only in case spelled alike, and a note.

    Example:
        >>> in_one_spelling(np.array(["Yes", "no", "YES", "Yes"]), np.zeros(4, bool))[0].tolist()
        ['Yes', 'no', 'Yes', 'Yes']
    """
    if targets.dtype.kind not in "US":
        return targets, ()
    names, counts = np.unique(targets[~missing], return_counts=True)
    changed = respelled(dict(zip(names.tolist(), counts.tolist(), strict=True)), known)
    found = targets.astype(f"<U{max([targets.dtype.itemsize // 4, *map(len, changed.values())])}")
    for name, chosen in changed.items():
        found[(targets == name) & ~missing] = chosen
    return (found, _note("classes", changed)) if changed else (targets, ())


def in_categories(text: pl.Series, known: Sequence[str] = ()) -> pl.Series:
    """Stripped categories with those that differ only in case spelled alike."""
    changed = respelled(_counts(text), known)
    return text.replace(changed) if changed else text


def spelling_note(columns: Iterable[tuple[pl.Series, Column]]) -> tuple[str, ...]:
    """A sentence on the categories that are spelled in several ways."""
    return tuple(
        note
        for series, column in columns
        if column.kind == "category" and not column.separator and is_text(series)
        for note in _note(f"column {quote(column.name)}: categories", respelled(_counts(plain_text(series))))
    )


def _counts(text: pl.Series) -> dict[str, int]:
    counts = text.drop_nulls().alias("entry").value_counts(name="rows").sort("entry")
    return dict(counts.iter_rows())


def _note(what: str, changed: Mapping[str, str]) -> tuple[str, ...]:
    shown = first_named(f"{quote(name)} as {quote(chosen)}" for name, chosen in changed.items())
    return (f"{what} that differ only in upper and lower case are one: {shown}",) if changed else ()
