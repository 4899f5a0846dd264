"""Small files that unpack to more than the free memory: an error with both sizes, before memory is taken."""

import gzip
import io
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kilter.data import load
from kilter.data.packed import unpacked
from kilter.errors import DataError

MIB = 1 << 20


def _npz(path, size):
    np.savez_compressed(path, x=np.zeros((size // 8, 2), np.float32), y=np.arange(2).repeat(size // 16))


def _npz_whose_header_lies(path, size):
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (size, size)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(8))


def _idx(path, size):
    images = bytes([0, 0, 8, 3]) + struct.pack(">3I", size >> 10, 32, 32) + bytes(size)
    path.write_bytes(gzip.compress(images, 9))
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", size >> 10) + bytes(size >> 10)
    path.with_name("a-labels-idx1-ubyte").write_bytes(labels)


def _rows(size):
    row = pl.LazyFrame({"a": [0.0], "b": [1.0], "y": [0]})
    return row.select(pl.all().repeat_by(size // 24).explode()).collect()


def _parquet(path, size):
    _rows(size).write_parquet(path, compression="zstd", row_group_size=size)


def _feather(path, size):
    _rows(size).write_ipc(path, compression="zstd")


def _csv(path, size):
    path.write_bytes(gzip.compress(b"a,b,y\n" + b"1,2,3\n" * (size // 6), 9))


def _field(path, size):
    rows = b"1,w,3\n" * 50
    path.write_bytes(gzip.compress(b"a,b,y\n" + rows + b"1," + b"x" * size + b",3\n" + rows, 9))


def _name(path, size):
    path.write_bytes(gzip.compress(b"a," + b"x" * size + b",y\n" + b"1,2,3\n" * 50, 9))


def _parquet_field(path, size):
    pl.DataFrame({"a": range(100), "b": ["x" * size, *"w" * 99], "y": range(100)}).write_parquet(path)


def _spreadsheet(path, size):
    pl.DataFrame({"a": [1, 2], "y": [0, 1]}).write_excel(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/zeros.xml", bytes(size))


# The size in memory of what a byte of "1,2,3\n" becomes: three numbers of 8 bytes from 6.
GROWS = {"csv": 4, "a name in a csv": 1.2}  # a name is text of Python too
ROWS = ("csv", "parquet", "feather")  # which need their size three times
BOMBS = {
    "npz": ("a.npz", _npz),
    "npz whose header lies": ("a.npz", _npz_whose_header_lies),
    "idx": ("a-images-idx3-ubyte.gz", _idx),
    "parquet": ("a.parquet", _parquet),
    "feather": ("a.feather", _feather),
    "csv": ("a.csv.gz", _csv),
    "a field of a csv": ("a.csv.gz", _field),
    "a name in a csv": ("a.csv.gz", _name),
    "a field of a parquet": ("a.parquet", _parquet_field),
    "spreadsheet": ("a.xlsx", _spreadsheet),
}


@pytest.mark.parametrize("case", BOMBS)
def test_what_does_not_fit_is_refused(case, tmp_path, monkeypatch):
    name, write = BOMBS[case]
    write(tmp_path / name, 32 * MIB)
    sizes = [one.stat().st_size for one in tmp_path.rglob("*") if one.is_file()]
    assert sum(sizes) < 2 * MIB
    free = 64 if case in ROWS else 16
    monkeypatch.setattr("kilter._system.free_memory", lambda: free * MIB)
    with pytest.raises(DataError) as refused:
        load(tmp_path / name, task="regression" if "csv" in name else "auto")
    assert (f"{free} MiB free" in refused.value.received) == (case != "npz whose header lies")


SHORT = 1 << 10
LONG = {
    "an entry": ({"a": ["x" * (SHORT + 1), "w"], "y": [0, 1]}, '1.001 KiB in column "a", row 0'),
    "a name": ({"x" * (SHORT + 1): [1, 2], "y": [0, 1]}, "1,025 characters: "),
    "an entry within fields": ({"a": [{"b": "w"}, {"b": "x" * (SHORT + 1)}], "y": [0, 1]}, '"a.b", row 1'),
    "a class": ({"a": [1, 2], "y": ["x" * 1001, "w"]}, "1,001 characters in row 0"),
}


@pytest.mark.parametrize("case", LONG)
def test_texts_too_long_to_be_an_entry(case, tmp_path, monkeypatch):
    monkeypatch.setattr("kilter.data.plain_frame._LONGEST_ENTRY", SHORT)
    monkeypatch.setattr("kilter.data.plain_frame.LONGEST_NAME", SHORT)
    columns, says = LONG[case]
    pl.DataFrame(columns).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=re.escape(says)):
        load(tmp_path / "a.parquet")


@pytest.mark.parametrize("before", ["", "a,b,"])
def test_a_name_too_long_is_refused_before_all_of_it_is_read(before, tmp_path):
    (tmp_path / "a.csv").write_text(before + "x" * (8 * MIB) + ",y\n1,2,3,4\n")
    tracemalloc.start()
    with pytest.raises(DataError, match="at least 65,537 characters"):
        load(tmp_path / "a.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MIB


def test_a_packed_file_too_large_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    _csv(tmp_path / "a.csv.gz", 32 * MIB)
    monkeypatch.setattr("kilter._system.free_memory", lambda: 32 * MIB)
    monkeypatch.setattr("kilter.data.packed._CHUNK", MIB)
    tracemalloc.start()
    with pytest.raises(DataError, match="32 MiB free"):
        load(tmp_path / "a.csv.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MIB


def test_a_packed_file_that_only_begins_like_a_large_one_is_read(tmp_path, monkeypatch):
    content = b"1,2,3\n" * MIB + np.random.default_rng(0).bytes(2 * MIB)
    packed = gzip.compress(content)
    (tmp_path / "a.csv.gz").write_bytes(packed)
    monkeypatch.setattr("kilter._system.free_memory", lambda: 32 * MIB)
    monkeypatch.setattr("kilter.data.packed._CHUNK", MIB)
    assert unpacked(tmp_path / "a.csv.gz", packed[:200]) == content


MEASURED = """
import resource, sys
from kilter.data import load
from kilter.data.packed import unpacked
from kilter.errors import DataError
peaks = []
for path in sys.argv[1:]:
    try:
        load(path, task="regression")
    except DataError:
        pass
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""


@pytest.mark.long
@pytest.mark.parametrize("case", BOMBS)
def test_what_fits_takes_at_most_three_times_its_size(case, tmp_path):
    name, write = BOMBS[case]
    (tmp_path / "small").mkdir()
    write(tmp_path / name, 128 * MIB)
    write(tmp_path / "small" / name, MIB)
    command = [sys.executable, "-c", MEASURED, tmp_path / "small" / name, tmp_path / name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) * 1024 <= 3 * 128 * MIB * GROWS.get(case, 1), "KiB"


def test_a_stream_needs_no_room_for_all_rows(tmp_path, monkeypatch):
    _parquet(Path(tmp_path / "a.parquet"), 4 * MIB)
    monkeypatch.setattr("kilter._system.free_memory", lambda: MIB)
    from kilter.data import stream

    x, _ = stream(tmp_path / "a.parquet")
    assert len(x) == 4 * MIB // 24
