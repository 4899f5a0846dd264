"""Data that stay on the disk: the rows of every format, block-wise order, and the training of memory."""

import os

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.engine.cases import FEATURES, classifier, rows, same_bits

import kilter
from kilter._engine.feed import Order
from kilter.data.stored import StoredRows
from kilter.errors import DataError

X, Y = rows(50)


def npz(path):
    np.savez(path / "data.npz", x=X, y=Y)
    return "data.npz"


def frame():
    return pl.DataFrame({f"c{i}": X[:, i] for i in range(FEATURES)} | {"target": Y})


def parquet(path):
    frame().write_parquet(path / "data.parquet", row_group_size=16)
    return "data.parquet"


def shards(path):
    (path / "shards").mkdir()
    for number in range(2):
        frame()[number * 25 : (number + 1) * 25].write_parquet(path / "shards" / f"{number}.parquet")
    return "shards"


def csv(path):
    frame().write_csv(path / "data.csv")
    return "data.csv"


@pytest.mark.parametrize("write", [npz, parquet, shards, csv], ids=lambda one: one.__name__)
def test_rows_of_every_format(tmp_path, write):
    x, y = kilter.data.stream(tmp_path / write(tmp_path))
    assert x.shape == X.shape
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_allclose(x[np.array([49, 0, 7, 7])], X[[49, 0, 7, 7]], rtol=1e-6)
    np.testing.assert_allclose(x[3:9], X[3:9], rtol=1e-6)


def test_images_are_decoded_as_they_are_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (6, 5, 4, 3), np.uint8)
    for number, image in enumerate(images):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    x, y = kilter.data.stream(tmp_path)
    assert x.shape == (6, 5, 4, 3)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(x[np.array([4, 1])], images[[3, 2]])


def test_what_cannot_be_streamed(tmp_path):
    np.savez_compressed(tmp_path / "small.npz", x=X)
    np.savez(tmp_path / "other.npz", rows=X)
    pl.DataFrame({"a": ["text"], "target": [1]}).write_parquet(tmp_path / "text.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("small.npz", "other.npz", "text.parquet", "cut.parquet", "a.txt", "empty", "missing.npz"):
        with pytest.raises(DataError):
            kilter.data.stream(tmp_path / name)
    with pytest.raises(DataError, match="target"):
        kilter.data.stream(tmp_path / "text.parquet", target="targt")


def test_an_order_by_blocks_has_every_row_and_reads_a_block_once():
    reads = []

    def read(number):
        reads.append(number)
        return X[number * 2 : number * 2 + 2]

    stored = StoredRows(X.shape, X.dtype, 2, read)
    order = Order(4, shuffle=True, seed=1, block_rows=2).rows(50, 3)
    assert sorted(order) == list(range(50))
    assert order.tolist() != sorted(order)
    assert order.tolist() == Order(4, shuffle=True, seed=1, block_rows=2).rows(50, 3).tolist()
    for first in range(0, 50, 4):
        np.testing.assert_array_equal(stored[order[first : first + 4]], X[order[first : first + 4]])
    assert sorted(reads) == list(range(25))


def test_the_training_of_rows_on_the_disk_is_that_of_rows_in_memory(tmp_path):
    x, y = kilter.data.stream(tmp_path / parquet(tmp_path))
    one, other = classifier(), classifier()
    kilter.fit(one, X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    kilter.fit(other, x, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    assert same_bits(one, other)
    assert not [name for name in os.listdir(tmp_path) if name != "data.parquet"]
