"""Texts and lists of labels as features: how often each word occurs, or which labels an entry has."""

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

_SEPARATORS: Final = (";", "|", ",")
_LONGEST: Final = 50  # letters of a label
_MARKS: Final = " \"'[]{}"  # around labels, as in ["Wifi", "Kitchen"]
_SEVERAL: Final = 0.1  # of the entries have several labels
_WORD = r"\b\w\w+\b"


def _words(text: pl.Series) -> pl.Series:
    """The words of each text, in lower case, of two letters or more."""
    return text.str.to_lowercase().str.extract_all(_WORD)


def frequent_words(text: pl.Series, most: int) -> tuple[str, ...]:
    """The words of the largest number of texts: at most ``most``, in order of code points.

    Words of a single text are left out.

    Example:
        >>> frequent_words(pl.Series(["a red car", "a blue car", None]), 5)
        ('car',)
    """
    words = _words(text.drop_nulls()).list.unique().explode(empty_as_null=False).rename("word")
    counts = words.value_counts(name="texts").filter(pl.col("texts") > 1)
    return tuple(sorted(counts.sort("texts", "word", descending=[True, False])["word"].head(most).to_list()))


def word_features(text: pl.Series, words: Sequence[str], buckets: int) -> np.ndarray:
    """float32 ``[n, k]``: ln(1 + occurrences) of each of ``words``, or of the words hashed into ``buckets``.

    The hash is CRC-32, which is the same on every machine.
    """
    found = _words(text.fill_null(""))
    rows = np.repeat(np.arange(len(text)), found.list.len().to_numpy())
    said = found.explode(empty_as_null=False)
    if words:
        places = said.cast(pl.Enum(words), strict=False).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    else:
        different = said.unique()
        codes = {word: zlib.crc32(word.encode()) % buckets for word in different.to_list()}
        places = np.array([codes[word] for word in said.to_list()], np.int64)
    counts = np.zeros((len(text), len(words) or buckets), np.float32)
    np.add.at(counts, (rows[places >= 0], places[places >= 0]), 1)
    return np.log1p(counts)


def separator_of(entries: pl.Series) -> str:
    """The mark between the labels of the stripped entries; "" if they are no lists of labels.

    Entries are lists if they have different numbers of labels, and there are no more labels than different
    entries: so are neither sentences nor addresses.

    Example:
        >>> separator_of(pl.Series(["Action;Drama", "Drama", "Action", "Action;Drama;War", "War;Drama"]))
        ';'
        >>> separator_of(pl.Series(["Berlin, Germany", "Munich, Germany", "Paris, France"]))
        ''
    """
    known = entries.drop_nulls()
    different = known.unique()
    for separator in _SEPARATORS:
        several = different.filter(different.str.contains(separator, literal=True))
        if len(several) < max(_SEVERAL * len(different), 2 if separator == "," else 1):
            continue
        lists = labels_in(different, separator)
        counts = lists.list.len()
        labels = lists.explode(empty_as_null=False)
        names = labels.unique()
        again = names.is_in(
            labels_in(different.filter(~different.is_in(several.implode())), separator)
            .explode(empty_as_null=False)
            .implode()
        )
        if (
            counts.n_unique() > 1
            and len(names) <= len(different)
            and int(names.str.len_chars().max() or 0) <= _LONGEST  # type: ignore[arg-type]
            and (again.any() or counts.n_unique() > 2)
        ):
            return separator
    return ""


def labels_in(entries: pl.Series, separator: str, marks: str | None = _MARKS) -> pl.Series:
    """The different labels of each entry, without spaces and ``marks`` around them; [] for a missing entry.

    Example:
        >>> labels_in(pl.Series(['["Wifi", "Kitchen"]']), ",").to_list()[0]
        ['Wifi', 'Kitchen']
    """
    parts = entries.fill_null("").str.split(separator).list.eval(pl.element().str.strip_chars(marks))
    return parts.list.eval(pl.element().filter(pl.element() != "")).list.unique()


def label_counts(entries: pl.Series, separator: str) -> pl.Series:
    """Each label once for each entry that has it."""
    return labels_in(entries, separator).explode(empty_as_null=False).alias(entries.name)


def label_features(
    entries: pl.Series, separator: str, kept: tuple[str, ...], rare: tuple[str, ...]
) -> tuple[np.ndarray, pl.Series]:
    """float32 ``[n, kept]``, with one more if there are ``rare`` ones: 1 for each label; and unknown ones."""
    bare = all(one == one.strip(_MARKS) for one in (*kept, *rare))  # stored ones may still have the marks
    lists = labels_in(entries, separator, _MARKS if bare else None)
    rows = np.repeat(np.arange(len(entries)), lists.list.len().to_numpy())
    labels = lists.explode(empty_as_null=False)
    places = labels.cast(pl.Enum([*kept, *rare]), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    values = np.zeros((len(entries), len(kept) + bool(rare)), np.float32)
    where = places.to_numpy()
    if rare:
        where = np.where((where < 0) | (where > len(kept)), len(kept), where)
    values[rows[where >= 0], where[where >= 0]] = 1
    return values, labels.filter(places < 0)
