"""One table: every format is read back exactly, and refuses what is missing, empty, cut or not its own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from kilter.data import FORMATS, load
from kilter.errors import DataError

from .writers import WRITERS, labels

every_format = pytest.mark.parametrize("write", WRITERS.values(), ids=["-".join(key) for key in WRITERS])


def test_every_format_is_in_the_table():
    # A picture has no label: test_images reads one. Masks: test_masks. Other sources of tables: test_sources.
    tables = {known.name for known in FORMATS if known.is_table} | {"datasets"}
    assert {name for name, _ in WRITERS} | {"picture", "masks"} | tables == {known.name for known in FORMATS}


@pytest.mark.parametrize("key", WRITERS, ids="-".join)
def test_each_format_is_recognised_by_itself_first(key, tmp_path):
    path = WRITERS[key](tmp_path).path
    assert next(known.name for known in FORMATS if known.recognises(path)) == key[0]


@every_format
def test_round_trip(write, tmp_path):
    written = write(tmp_path)
    source = load(written.path)
    np.testing.assert_array_equal(source.train.x, written.x)
    np.testing.assert_array_equal(source.train.y, labels())
    assert source.train.x.dtype == written.x.dtype
    assert source.train.y.dtype == np.int32
    assert source.train.classes == written.classes
    assert source.train.task == "classification"
    assert source.train.skipped == ()
    assert source.origin == str(written.path)


@every_format
def test_missing_file_is_a_data_error(write, tmp_path):
    written = write(tmp_path)
    shutil.rmtree(written.path) if written.path.is_dir() else written.path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        load(written.path)


@every_format
def test_truncated_file_is_a_data_error(write, tmp_path):
    written = write(tmp_path)
    content = written.file.read_bytes()
    written.file.write_bytes(content[: written.cut or len(content) // 2])
    if written.is_one_of_many or written.file.suffix == ".csv":  # whose last row has no target
        assert len(load(written.path).train.skipped) == 1
        return
    with pytest.raises(DataError) as caught:
        load(written.path)
    assert caught.value.remedy


@every_format
def test_empty_file_is_a_data_error(write, tmp_path):
    written = write(tmp_path)
    written.file.write_bytes(b"")
    if written.is_one_of_many:
        assert "no bytes" in load(written.path).train.skipped[0]
        return
    with pytest.raises(DataError, match=r"empty|no bytes"):
        load(written.path)


@every_format
def test_a_web_page_under_the_name_is_a_data_error(write, tmp_path):
    written = write(tmp_path)
    written.file.write_bytes(b"<!DOCTYPE html>\n<html><body>404, not found</body></html>\n")
    if written.is_one_of_many:
        assert len(load(written.path).train.skipped) == 1
        return
    with pytest.raises(DataError):
        load(written.path)


@pytest.mark.parametrize("name", ["empty folder", "empty.csv", "header.csv"])
def test_a_source_without_rows_is_a_data_error(name, tmp_path):
    path = tmp_path / name
    path.mkdir() if "folder" in name else path.write_text("a,b\n" if name == "header.csv" else "")
    with pytest.raises(DataError, match=r"no class folders|0 bytes|0 rows"):
        load(path)
