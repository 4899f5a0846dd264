"""survey(): what a file contains, column by column, and everything that may be wrong with it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from kilter.data.dataset import LoadOptions, Source
from kilter.data.encoding import Column
from kilter.data.entries import is_number, is_text, plain_text
from kilter.data.loading import read
from kilter.data.relations import leak_notes
from kilter.data.tables import TARGET_NAMES
from kilter.errors import DataError

# Names that targets often have, besides those taken by default.
_CANDIDATES = (*TARGET_NAMES, "outcome", "survived", "churn", "price", "quality", "diagnosis")


_LONGEST = 20  # characters of an entry that are shown


@dataclass(frozen=True)
class ColumnSurvey:
    """One column of a table: type, missing and different entries, range or first entries, and its use."""

    name: str
    type: str
    missing: int
    distinct: int
    shown: str
    use: str


@dataclass(frozen=True, eq=False)
class Survey:
    """What a source contains.

    Attributes:
        rows: of a table; None for other data.
        columns: of a table; () for other data.
        candidates: columns that could be the target, the likeliest first; () if one was chosen.
        source: as :func:`kilter.data.load` reads it; None if it cannot be trained on as it is.
        problems: a sentence for each reason why not, and for each column that leaks the target.
    """

    rows: int | None
    columns: tuple[ColumnSurvey, ...]
    candidates: tuple[str, ...]
    source: Source | None
    problems: tuple[str, ...]


def survey(path: str | Path, **how: Any) -> Survey:
    """Describe any readable source; ``how``: options of :func:`kilter.data.load`.

    Raises DataError only for a source that cannot be read at all, or without a column that ``how`` names.
    """
    frames: list[pl.DataFrame] = []
    options = LoadOptions(**{name: _frozen(value) for name, value in how.items()}, seen=frames.append)
    source, problems = None, []
    try:
        source = read(path, options)
    except DataError as error:
        named = {how.get("target"), *options.ignore, *options.only, *options.kinds} - {None}
        if not frames or not named <= set(frames[0].columns):
            raise
        problems.append(
            f"cannot be trained on as it is: {error.received} (expected: {error.expected}); {error.remedy}"
        )
        source = _without_bad_rows(path, options)
    if source is not None:
        problems += leak_notes(source.train, source.encoding)
    if not frames:
        return Survey(None, (), (), source, tuple(problems))
    frame = frames[0]
    target = how.get("target") or (source.encoding.target if source and source.encoding else None)
    used = {one.name: one for one in source.encoding.columns} if source and source.encoding else {}
    columns = tuple(_column(series, target, used.get(series.name), source) for series in frame.get_columns())
    candidates = () if how.get("target") else _candidates(columns, frame.height)
    return Survey(frame.height, columns, candidates, source, tuple(problems))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _without_bad_rows(path: str | Path, options: LoadOptions) -> Source | None:
    """What is left without the rows that cannot be used; None if that cannot be trained on either."""
    try:
        return None if options.skip_bad else read(path, replace(options, skip_bad=True, seen=None))
    except DataError:
        return None


def _column(
    series: pl.Series, target: str | None, used: Column | None, source: Source | None
) -> ColumnSurvey:
    values = plain_text(series) if is_text(series) else series
    known = values.drop_nulls()
    if known.dtype.is_float():
        known = known.filter(known.is_not_nan())
    simple = is_text(known) or is_number(known) or known.dtype.is_temporal()
    distinct = known.n_unique() if simple else 0
    use = "target" if series.name == target else "not used" if used is None else used.kind
    if source is None and use != "target":
        use = ""
    return ColumnSurvey(
        series.name,
        str(series.dtype).split("(")[0].lower(),
        len(values) - len(known),
        distinct,
        _shown(known) if simple and distinct else "",
        use,
    )


def _shown(known: pl.Series) -> str:
    """The range of numbers and dates, or the most frequent texts."""
    if known.dtype == pl.String or known.dtype == pl.Boolean:
        counts = known.cast(pl.String).alias("entry").value_counts(sort=True)
        return ", ".join(
            text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…" for text in counts["entry"][:3]
        )
    low, high = (
        f"{one:g}" if isinstance(one, int | float) else str(one) for one in (known.min(), known.max())
    )
    return f"{low} to {high}"


def _candidates(columns: tuple[ColumnSurvey, ...], rows: int) -> tuple[str, ...]:
    """Columns named like a target, then the last one, then those with few different values."""
    usable = [one for one in columns if one.missing < rows and one.distinct > 1]
    named = [one.name for one in usable if one.name.lower() in _CANDIDATES]
    last = [one.name for one in usable if one is columns[-1]]
    few = [one.name for one in usable if one.distinct == 2]
    return tuple(dict.fromkeys([*named, *last, *few]))[:5]
