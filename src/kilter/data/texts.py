"""Texts as features: how often each word occurs, as ln(1 + count)."""

import zlib
from collections.abc import Sequence

import numpy as np
import polars as pl

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
