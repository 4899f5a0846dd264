"""Tables of all kinds, with holes, in several encodings and sizes: described, read, split and read again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from kilter.data import Dataset, TableEncoding, load, split
from kilter.data.relations import leak_notes
from kilter.data.survey import survey
from kilter.errors import DataError

from .test_fuzz_data import fuzz

SIZES = [1, 5, 21, 21, 60, 60]
ENCODINGS = [*["utf-8"] * 6, "utf-8-sig", "utf-16", "latin-1"]
HOLES = ["", "NA", "?", " ", "none", "-999"]
numbers = st.one_of(
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(float("inf")),
    st.integers(1_600_000_000, 1_700_000_000),
)
days = st.dates().map(lambda day: day.strftime("%d.%m.%Y"))
texts = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=8)
ENTRIES = {
    "whole": st.integers(-9, 99),
    "number": numbers,
    "flag": st.booleans(),
    "category": st.sampled_from(["red", "green", "blau", "größer", "1,5"]),
    "text": texts,
    "day": st.dates().map(str),
    "day of another form": days,
    "moment": st.datetimes().map(str),
    "percent": st.integers(0, 100).map(lambda share: f"{share}%"),
    "mixed": st.one_of(numbers, days, texts),
    "duration": st.tuples(st.integers(0, 30), st.integers(0, 59)).map("{0[0]}h {0[1]}m".format),
    "bound": st.integers(0, 99).map(
        lambda number: f"{'<>~'[number % 3]}{number}" if number % 5 else f"{number}"
    ),
    "labels": st.lists(st.sampled_from(["u", "v", "größer", "w x"]), max_size=3).map(";".join),
    "constant": st.just("same"),
    "size": st.tuples(st.integers(0, 999), st.sampled_from(["B", "kB", "MB"])).map("{0[0]} {0[1]}".format),
    "angle": st.tuples(st.integers(0, 89), st.sampled_from("NSEW")).map("{0[0]}°30'{0[1]}".format),
    "quarter": st.tuples(st.integers(1990, 2030), st.integers(1, 4)).map("{0[0]}Q{0[1]}".format),
}
NAMES = st.sampled_from(["a", "b", "id", "when", "größe", "target", "a b", "c", "d"])


@st.composite
def tables(draw):
    """The columns of a table, as texts by name, and the kind of each."""
    rows = draw(st.sampled_from(SIZES))
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    columns = {}
    for name in names:
        entries = ENTRIES[draw(st.sampled_from(sorted(ENTRIES)))]
        values = draw(st.lists(entries.map(str), min_size=rows, max_size=rows))
        share, hole = draw(st.sampled_from([0.0, 0.0, 0.2, 1.0])), draw(st.sampled_from(HOLES))
        gone = np.random.default_rng(draw(st.integers(0, 9))).random(rows) < share
        columns[name] = [hole if lost else value for value, lost in zip(values, gone, strict=True)]
    return columns


def handled(table, path, target, text):
    """Describe, load, split and read again; every step gives a result or a DataError."""
    found = survey(path, target=target)
    assert len(found.columns) == len(table)
    assert found.problems or found.source is not None
    source = load(path, target=target, text=text, skip_bad=True)
    assert np.isfinite(source.train.x).all()
    leak_notes(source.train, source.encoding)
    encoding = TableEncoding.from_json(source.encoding.to_json())
    assert encoding == source.encoding
    again = load(path, encoding=encoding, skip_bad=True)
    np.testing.assert_array_equal(again.train.x, source.train.x)
    load(path, encoding=encoding, unlabelled=True, skip_bad=True)
    parts = split(source, validation=0.2)
    assert all(
        isinstance(part, Dataset) and np.isfinite(part.x).all() for part in (parts.train, parts.validation)
    )


@fuzz
@given(
    table=tables(),
    encoding=st.sampled_from(ENCODINGS),
    text=st.sampled_from(["ignore", "hash", "bag"]),
    data=st.data(),
)
def test_fuzz_tables(table, encoding, text, data):
    target = data.draw(st.sampled_from([None, *table]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        content = pl.DataFrame(table).write_csv()
        path.write_bytes(content.encode(encoding))
        try:
            handled(table, path, target, text)
        except DataError as error:
            refused = error
        else:
            return
        assert refused.expected
        assert refused.received
        assert refused.remedy
