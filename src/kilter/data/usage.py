"""Which columns of a table become features, as which kind, and what was decided about them."""

import re
from dataclasses import dataclass

import polars as pl

from kilter.data.columns import NO_VALUES, names_rows, reason_to_set_aside
from kilter.data.dataset import LoadOptions
from kilter.data.dates import month_first_example
from kilter.data.encoding import Column
from kilter.data.entries import is_text
from kilter.data.paths import first_named, nearest_name, quote
from kilter.errors import DataError

BY_TIME = "--set data.split=time"
_FEWEST_GROUPS = 5
_NAMES_GROUPS = re.compile(
    r"(?i)(?:patient|subject|participant|person|user|customer|client|household|donor|animal|speaker|student)s?"
    r"(?:[_ -]?(?:id|nr|no|number|code))?"
)


@dataclass(frozen=True)
class Usage:
    """The columns that become features, the kinds that the user wants, by name, columns that name the rows
    and are no features, and a note on columns set aside.
    """

    kept: list[pl.Series]
    kinds: dict[str, str]
    ids: tuple[str, ...]
    notes: tuple[str, ...]


def usable_columns(features: list[pl.Series], options: LoadOptions) -> Usage:
    """Which of the columns besides the target become features.

    Columns that the user names are never set aside, and the only ones left are kept.
    """
    unknown = {*options.ignore, *options.only, *options.kinds} - {one.name for one in features}
    if unknown:
        raise DataError(
            expected=f"names of feature columns ({first_named(quote(one.name) for one in features)})",
            received=first_named(map(quote, sorted(unknown))),
            remedy=f"correct the name{nearest_name(min(unknown), [one.name for one in features])}",
        )
    wanted = [one for one in features if not options.only or one.name in options.only]
    wanted = [
        one for one in wanted if one.name not in options.ignore and options.kinds.get(one.name) != "ignore"
    ]
    kinds = dict(options.kinds)
    named = {*options.only, *kinds}
    reasons = {one.name: None if one.name in named else reason_to_set_aside(one) for one in wanted}
    found = dict(reasons)
    if options.text != "ignore":
        texts = [name for name, aside in reasons.items() if aside and aside.is_text and not aside.is_id]
        kinds |= dict.fromkeys(texts, "text")
        reasons |= dict.fromkeys(texts, None)
    kept = [one for one in wanted if reasons[one.name] is None]
    if not kept:
        kept = [one for one in wanted if reasons[one.name] not in (None, NO_VALUES)]
        sentences = [one.name for one in kept if (why := reasons[one.name]) and why.is_text and not why.is_id]
        kept = [one for one in kept if one.name in sentences] or kept
        kinds |= dict.fromkeys(sentences, "text")
        reasons = {name: aside for name, aside in reasons.items() if aside == NO_VALUES}
    aside = [f"{quote(name)} ({one.why})" for name, one in reasons.items() if one]
    more = (
        "; to count the words of texts: --set data.text=bag"
        if any(one and one.is_text and not one.is_id for one in reasons.values())
        else ""
    )
    names = {one.name for one in kept}
    left = [one for one in features if one.name not in names]
    found |= {one.name: reason_to_set_aside(one) for one in left if found.get(one.name) is None}
    ids = tuple(one.name for one in left if (reason := found[one.name]) is not None and reason.is_id)
    note = (f"not used as features: column {first_named(aside)}{more}",) if aside else ()
    return Usage(kept, kinds, ids, note + _groups_note(kept))


def _names_groups(series: pl.Series) -> bool:
    named = names_rows(series.name) or _NAMES_GROUPS.fullmatch(series.name) is not None
    return named and (series.dtype.is_integer() or is_text(series))


def _groups_note(kept: list[pl.Series]) -> tuple[str, ...]:
    """A sentence on a feature that names what several rows belong to, such as a patient."""
    named = next((one for one in kept if _names_groups(one)), None)
    if named is None or not 1 < (groups := named.n_unique()) < len(named) / 2 or groups < _FEWEST_GROUPS:
        return ()
    return (
        f"{len(named)} rows have {groups} different entries in column {quote(named.name)}: if rows with "
        f"the same one belong together, hold them out together: --set data.group={quote(named.name)}",
    )


def ids_among(columns: list[pl.Series]) -> tuple[str, ...]:
    """Those of the columns that name the rows."""
    return tuple(one.name for one in columns if (found := reason_to_set_aside(one)) and found.is_id)


def signs_by_column(given: tuple[str, ...], columns: list[str]) -> dict[str, tuple[str, ...]]:
    """Entries that mean "missing", by column: ``COLUMN=ENTRY`` is for one, ``ENTRY`` for all."""
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        name, equals, entry = one.partition("=")
        for column in [name] if equals and name in columns else columns:
            found[column] = (*found.get(column, ()), entry if equals and name in columns else one)
    return found


def day_first_note(features: list[pl.Series], columns: tuple[Column, ...]) -> tuple[str, ...]:
    """A sentence on the columns of dates that would also fit with the month first, with an example."""
    examples = {
        column.name: month_first_example(series, column.pattern)
        for series, column in zip(features, columns, strict=False)
        if column.kind == "date" and column.pattern
    }
    found = [f"{quote(name)} ({example})" for name, example in examples.items() if example]
    if not found:
        return ()
    return (f"dates are read with the day first, though the month could be: column {first_named(found)}",)


def shape_notes(columns: tuple[Column, ...], suspicious: set[str]) -> tuple[str, ...]:
    """What was done to long tails, rare categories and texts.

    Of ``suspicious`` columns the tail is left out: it may be a code for missing, which another note names.
    """
    tails = [quote(one.name) for one in columns if one.compressed and one.name not in suspicious]
    rare = [
        f"{quote(one.name)} ({len(one.rare)} of {len(one.rare) + len(one.categories)})"
        for one in columns
        if one.rare
    ]
    texts = [
        f"{quote(one.name)} ({one.buckets or len(one.categories)})" for one in columns if one.kind == "text"
    ]
    dates = [quote(one.name) for one in columns if one.kind == "date"]
    lists = [
        f"{quote(one.name)} ({len(one.categories)}, separated by {one.separator!r})"
        for one in columns
        if one.separator
    ]
    found = (
        (tails, "long tails are compressed with asinh, which grows like a logarithm: column {}"),
        (rare, "rare categories share a feature: column {}"),
        (lists, "each label in lists of labels has a feature: column {}"),
        (texts, "texts become counts of words: column {}"),
        (
            dates[:1],
            f"the rows have dates, in column {{}}: to predict the future hold out the latest rows: {BY_TIME}",
        ),
    )
    return tuple(text.format(first_named(names)) for names, text in found if names)
