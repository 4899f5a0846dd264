"""Hundreds of malformed inputs: each loads, or is a DataError; never anything else.

KILTER_FUZZ_EXAMPLES sets how many each test tries (`make fuzz` tries 2,000).
"""

from __future__ import annotations

import os
import string
import struct
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kilter.data import Source, TableEncoding, load
from kilter.data.dataset import LoadOptions
from kilter.data.images import Encoded, decode_images
from kilter.errors import DataError

from .test_images import encode
from .writers import WRITERS, idx_bytes, labels, pictures

EXAMPLES = int(os.environ.get("KILTER_FUZZ_EXAMPLES", "30"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
every_format = pytest.mark.parametrize("key", WRITERS, ids="-".join)


def loads_or_refuses(path, **options):
    """Load; give the source, or None for a DataError with its three parts."""
    source, refused = None, None
    try:
        source = load(path, **options)
    except DataError as error:
        refused = error
    if refused is not None:
        assert refused.expected
        assert refused.received
        assert refused.remedy
        return None
    assert isinstance(source, Source)
    assert len(source.train)
    assert source.train.x.dtype == np.uint8 or np.isfinite(source.train.x).all()
    return source


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Each format written once; what a test damages it puts back."""
    return {
        key: write(tmp_path_factory.mktemp("-".join(key).replace(" ", "-"))) for key, write in WRITERS.items()
    }


def load_damaged(written, content, **options):
    whole = written.file.read_bytes()
    try:
        written.file.write_bytes(content)
        return loads_or_refuses(written.path, **options)
    finally:
        written.file.write_bytes(whole)


@every_format
@fuzz
@given(content=st.binary(max_size=300), skip=st.booleans())
def test_fuzz_random_bytes(key, content, skip, originals):
    load_damaged(originals[key], content, skip_bad=skip)


@every_format
@fuzz
@given(content=st.binary(max_size=200))
def test_fuzz_random_bytes_after_a_true_beginning(key, content, originals):
    written = originals[key]
    load_damaged(written, written.file.read_bytes()[:64] + content)


@every_format
@fuzz
@given(share=st.floats(0, 1, exclude_max=True))
def test_fuzz_truncations(key, share, originals):
    written = originals[key]
    whole = written.file.read_bytes()
    source = load_damaged(written, whole[: int(share * len(whole))])
    assert source is None or key[0] in ("csv", "images")  # a cut table or PNG may still be a good one


@every_format
@fuzz
@given(data=st.data())
def test_fuzz_changed_bytes(key, data, originals):
    written = originals[key]
    content = bytearray(written.file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    load_damaged(written, bytes(content), skip_bad=data.draw(st.booleans()))


_FIELDS = st.one_of(
    st.sampled_from(["", "NaN", "inf", "-inf", "NA", "?", "true", "1e400", "0x1", '"', "1,2", " ", "1;2"]),
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.text(string.printable, max_size=6),
    st.text(max_size=4),
)


@fuzz
@given(
    header=st.lists(
        st.one_of(st.sampled_from(["a", "b", "y", "label"]), st.text(max_size=4)), min_size=1, max_size=4
    ),
    lines=st.lists(st.lists(_FIELDS, min_size=0, max_size=5), max_size=8),
    skip=st.booleans(),
)
def test_fuzz_csv_fields(header, lines, skip, tmp_path):
    path = tmp_path / "fuzz.csv"
    text = "\n".join(",".join(fields) for fields in [header, *lines])
    path.write_text(text, encoding="utf-8", errors="replace")
    loads_or_refuses(path, skip_bad=skip)


@fuzz
@given(
    places=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 2)), max_size=12),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    kind=st.sampled_from(["csv", "parquet", "npz"]),
)
def test_fuzz_nonfinite_positions(places, value, kind, tmp_path):
    """Every bad row is counted, the first is named, and exactly the others remain when skipping."""
    x = np.arange(24, dtype=np.float64).reshape(12, 2)
    y = np.linspace(0.5, 6, 12)
    for row, column in places:
        (x[:, column] if column < 2 else y)[row] = value
    path = tmp_path / f"table.{kind}"
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": range(12), "y": y})  # "c": no row is blank
    if kind == "npz":
        np.savez(path, x=x, y=y)
    else:
        (frame.write_csv if kind == "csv" else frame.write_parquet)(path)
    filled = kind != "npz"  # a table's missing and infinite features
    bad = sorted({row for row, column in places if column == 2 or not filled})
    kept = loads_or_refuses(path, skip_bad=True)
    if not bad:
        assert load(path).train.skipped == ()
        return
    if filled and 2 * len(bad) <= 12:  # only targets
        assert load(path).train.skipped == kept.train.skipped
    else:
        with pytest.raises(DataError) as caught:
            load(path)
        rows = [
            int(word.rstrip(";"))
            for word in caught.value.received.replace(",", " ").split()
            if word.rstrip(";").isdigit()
        ]
        assert bad[0] in rows
    expected = [row for row in range(12) if row not in bad]
    assert (kept is None) == (not expected)
    if kept is not None:
        assert len(kept.train) == len(expected)
        if not filled:
            np.testing.assert_array_equal(kept.train.x, x[expected].astype(np.float32))
        assert f"{len(bad)} row{'s' if len(bad) > 1 else ''} left out" in kept.train.skipped[0]


@fuzz
@given(
    code=st.integers(0, 255),
    shape=st.lists(st.integers(0, 2**32 - 1), max_size=9),
    body=st.binary(max_size=64),
)
@example(code=14, shape=[0, 7685, 369396, 406128699], body=b"")  # no rows, of more values than NumPy counts
def test_fuzz_idx_headers(code, shape, body, tmp_path):
    """Sizes that a header promises and the file does not hold, up to 2**32 in eight axes."""
    path = tmp_path / "a-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body)
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx_bytes(labels().astype(np.uint8)))
    loads_or_refuses(path)


_KINDS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_ENCODED = {kind: encode(pictures()[0], kind) for kind in _KINDS}


@pytest.mark.parametrize("kind", _KINDS)
@fuzz
@given(data=st.data())
def test_fuzz_damaged_images_are_named_or_decoded(kind, data):
    content = bytearray(_ENCODED[kind])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=10)):
        content[place] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    good = _ENCODED["PNG"]
    encoded = Encoded(3, [good, content, good].__getitem__, str)
    decoded = decode_images(encoded, LoadOptions(image_size=(6, 5), skip_bad=True))
    assert len(decoded.x) + len(decoded.skipped) == 3
    assert all(line.startswith("1: ") for line in decoded.skipped)
    np.testing.assert_array_equal(decoded.x[0], pictures()[0])


@fuzz
@given(text=st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr)))
def test_fuzz_encodings(text):
    with pytest.raises(DataError):
        TableEncoding.from_json(text)


@fuzz
@given(name=st.text(max_size=40))
def test_fuzz_names_of_sources(name):
    with tempfile.TemporaryDirectory() as folder, pytest.raises(DataError):
        load(Path(folder) / ("x" + name.replace("/", "_")))  # "/" or ".." would be folders of this machine
