"""load(): names, paths that are wrong, options that do not apply, labels that training does not know."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kilter.data import NAMED_SETS, TableEncoding, load, named
from kilter.data.encoding import Column
from kilter.errors import DataError, OptionError
from kilter.recipe import recipe_for

from .writers import idx_bytes, labels, names, numbers, pictures, write_csv, write_idx_folder, write_npz

SHARED = os.environ.get("KILTER_DATA")


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source, bunch = load("digits"), load_digits()
    np.testing.assert_array_equal(source.train.x[..., 0], bunch.images)
    np.testing.assert_array_equal(source.train.y, bunch.target)
    assert source.train.x.dtype == np.uint8
    assert source.train.input_shape == (8, 8, 1)
    assert source.train.outputs == 10


@pytest.mark.skipif(not SHARED, reason="KILTER_DATA is not set")
def test_fashion_mnist_from_the_data_folder():
    source = load("fashion-mnist")
    assert source.train.x.shape == (60000, 28, 28, 1)
    assert source.test is not None
    assert source.test.x.shape == (10000, 28, 28, 1)
    assert source.train.classes[source.train.y[0]] == "ankle boot"
    assert np.bincount(source.train.y).tolist() == [6000] * 10


def test_named_set_without_folder_comes_from_its_library(monkeypatch, tmp_path):
    """Keras's arrays have labels [n, 1] in uint8; nothing is downloaded here."""
    arrays = (
        (pictures(), labels().astype(np.uint8)[:, None]),
        (pictures()[:3], np.array([[0], [1], [2]], np.uint8)),
    )
    asked = []

    def loader(reference):
        asked.append(reference)
        return lambda: arrays

    monkeypatch.setenv("KILTER_DATA", str(tmp_path))
    monkeypatch.setattr(named, "_function", loader)
    source = load("cifar10")
    assert asked == ["keras.datasets.cifar10:load_data"]
    np.testing.assert_array_equal(source.train.y, labels())
    assert source.train.classes == NAMED_SETS["cifar10"].classes
    assert source.test is not None
    assert len(source.test) == 3


def test_failed_download_is_a_data_error(monkeypatch, tmp_path):
    def fail():
        raise Exception("URL fetch failure")

    monkeypatch.setenv("KILTER_DATA", str(tmp_path))
    monkeypatch.setattr(named, "_function", lambda reference: fail)
    with pytest.raises(DataError, match="URL fetch failure"):
        load("fashion-mnist")


@pytest.mark.parametrize(
    ("name", "hint"), [("cifar-10", '"cifar10"'), ("digit", '"digits"'), ("tabel.csv", '"table.csv"')]
)
def test_near_names_are_suggested(name, hint, tmp_path, monkeypatch):
    write_csv(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load(name)
    assert hint in caught.value.remedy


def test_unknown_extension_lists_the_known_kinds(tmp_path):
    path = tmp_path / "table.parquett"
    path.write_text("x")
    with pytest.raises(DataError) as caught:
        load(path)
    assert ".parquet" in caught.value.remedy
    assert "npz" in caught.value.expected


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_impossible_paths_are_data_errors(path):
    with pytest.raises(DataError):
        load(path)


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": (4, 4)},
        {"target": "y"},
        {"encoding": TableEncoding((Column("a", "number"),), "y", "regression")},
    ],
)
def test_options_that_would_do_nothing_are_errors(options, tmp_path):
    with pytest.raises(OptionError, match=next(iter(options))):
        load(write_npz(tmp_path).path, **options)


@pytest.mark.parametrize(
    "options", [{"task": "regresion"}, {"image_size": (0, 4)}, {"image_size": 4}, {"image_size": (True, 4)}]
)
def test_wrong_option_values_are_errors(options, tmp_path):
    with pytest.raises(OptionError):
        load(write_csv(tmp_path).path, **options)


def test_pickled_objects_are_refused(tmp_path):
    path = tmp_path / "pickled.npz"
    np.savez(path, x=np.array([{"a": 1}, None], dtype=object), y=np.array([0, 1]))
    with pytest.raises(DataError, match="pickled"):
        load(path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": numbers(), "y": labels()[:-1]}, "17 labels"),
        ({"x": numbers()}, "without labels"),
        ({"rows": numbers(), "y": labels()}, "rows"),
        ({"x": numbers()[:0], "y": labels()[:0]}, "0 rows"),
        ({"x": numbers()[:, :0], "y": labels()}, "without values"),
        ({"x": numbers()[:, 0], "y": labels()}, "shape"),
        ({"x": numbers().astype(complex), "y": labels()}, "complex"),
        ({"x": numbers(), "y": np.zeros(18, np.int64)}, "one class only"),
        ({"x": numbers(), "y": np.zeros((18, 2, 2))}, "shape"),
        ({"x_train": numbers(), "y_train": labels(), "x_test": numbers(), "y_test": labels() + 1}, '"3"'),
        ({"x_train": numbers(), "y_train": labels(), "x_test": numbers()[:, 1:], "y_test": labels()}, "(3,)"),
        ({"x_train": numbers(), "y_train": labels(), "x_test": numbers()}, "without labels"),
        ({"x": np.full((18, 2), 1e300), "y": labels()}, "infinite"),
    ],
)
def test_arrays_that_cannot_be_trained_on(arrays, words, tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        load(path)
    assert words in caught.value.received


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("xTrain", "yTrain", "xTest", "yTest"),
        ("training-features", "training-targets", "testing-features", "testing-targets"),
    ],
)
def test_arrays_have_many_names_in_archives_and_folders(names, tmp_path):
    arrays = dict(zip(names, (numbers(), labels()[:, None], numbers()[:5], labels()[:5]), strict=True))
    np.savez(tmp_path / "t.npz", **arrays)
    (tmp_path / "t").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "t" / f"{name}.npy", array)
    for source in (load(tmp_path / "t.npz"), load(tmp_path / "t")):
        np.testing.assert_array_equal(source.train.x, numbers())
        assert source.train.y.tolist() == labels().tolist()
        assert len(source.test) == 5
    assert recipe_for(str(tmp_path / "t")).model.builder == "mlp"
    new = load(tmp_path / "t" / f"{names[2]}.npy", unlabelled=True).train
    assert (new.x.tolist(), new.y) == (numbers()[:5].tolist(), None)


def test_nonfinite_rows_are_counted_named_and_skipped_on_request(tmp_path):
    x, y = numbers(), numbers()[:, 0].copy()
    x[3, 1], x[9, 2], y[11] = np.nan, np.inf, np.nan
    path = tmp_path / "arrays.npz"
    np.savez(path, x=x, y=y)
    with pytest.raises(DataError) as caught:
        load(path)
    assert "1 NaN and 1 infinite values in the features in rows 3, 9" in caught.value.received
    assert "1 NaN values in the targets in row 11" in caught.value.received
    kept = load(path, skip_bad=True).train
    assert len(kept) == 15
    assert "3 rows left out, in rows 3, 9, 11" in kept.skipped[0]
    assert np.isfinite(kept.x).all()


@pytest.mark.parametrize("task", ["auto", "classification", "regression"])
@pytest.mark.parametrize("y", [np.array(list("abab")), np.arange(4.0)], ids=["text", "numbers"])
@pytest.mark.parametrize("rows", [4, 0])
def test_nothing_left_is_an_error_whatever_the_task(task, y, rows, tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.full((rows, 4), np.nan), y=y[:rows])
    with pytest.raises(DataError) as caught:
        load(path, skip_bad=True, task=task)
    assert caught.value.received.startswith("16 NaN" if rows else "0 rows")


def test_a_class_whose_rows_are_all_left_out_is_an_error(tmp_path):
    x, path = numbers(), tmp_path / "arrays.npz"
    x[labels() == 1] = np.nan
    x[0] = np.nan
    for y, name in ((labels(), "1"), (np.array(names()), "dog"), (np.eye(3)[labels()], "1")):
        np.savez(path, x=x, y=y)
        with pytest.raises(DataError, match=f'none of class "{name}"'):
            load(path, skip_bad=True)
    np.savez(path, x=x, y=np.where(labels() == 1, 0.5, 1.5))  # numbers are no classes
    assert len(load(path, skip_bad=True).train) == 11


def test_labels_of_a_file_follow_the_classes_of_training(tmp_path):
    path = tmp_path / "few.npz"
    np.savez(path, x=numbers()[:2], y=np.array(["owl", "dog"]))
    assert load(path, classes=("cat", "dog", "owl")).train.y.tolist() == [2, 1]
    with pytest.raises(DataError, match='"owl"'):
        load(path, classes=("cat", "dog"))


def test_whole_numbers_are_indexes_where_no_class_is_a_number(tmp_path):
    path = tmp_path / "few.npz"
    np.savez(path, x=numbers()[:2], y=np.array([2, 1]))
    assert load(path, classes=("cat", "dog", "owl")).train.y.tolist() == [2, 1]
    assert load(path, classes=("2", "1")).train.y.tolist() == [0, 1]
    with pytest.raises(DataError, match='"2"'):
        load(path, classes=("cat", "dog"))


def test_unlabelled_data_are_read_for_prediction(tmp_path):
    path = tmp_path / "new.npz"
    np.savez(path, x=numbers())
    new = load(path, unlabelled=True, classes=("a", "b")).train
    assert new.y is None
    assert new.classes == ("a", "b")


@pytest.mark.parametrize(
    "labels_that_cannot_be_used",
    [np.array(["a", "z"]), np.array([0.5, np.nan]), np.array([2, 3]), np.zeros((2, 2, 2))],
)
def test_labels_that_prediction_cannot_use_are_left_aside(labels_that_cannot_be_used, tmp_path):
    path = tmp_path / "new.npz"
    np.savez(path, x=numbers()[:2], y=labels_that_cannot_be_used)
    assert load(path, unlabelled=True, classes=("a", "b")).train.y is None
    with pytest.raises(DataError):
        load(path, classes=("a", "b"))
    np.savez(path, x=numbers()[:2], y=np.array(["b", "a"]))
    assert load(path, unlabelled=True, classes=("a", "b")).train.y.tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["wrong magic", "too long", "false header", "count", "no labels"])
def test_damaged_idx_files(kind, tmp_path):
    written = write_idx_folder(tmp_path)
    target, marks = written.path / "train-images-idx3-ubyte", written.path / "train-labels-idx1-ubyte.gz"
    written.file.unlink()
    content = idx_bytes(pictures(1)[..., 0])
    if kind == "wrong magic":
        content = b"\x01" + content[1:]
    elif kind == "too long":
        content += b"\0"
    elif kind == "false header":
        content = content[:4] + b"\xff" * 12 + content[16:]
    elif kind == "count":
        content = idx_bytes(pictures(1)[:5, ..., 0])
    else:
        marks.unlink()
    target.write_bytes(content)
    with pytest.raises(DataError):
        load(written.path)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_types_are_read_in_the_machines_byte_order(dtype, tmp_path):
    values = np.arange(-6, 6).reshape(6, 2).astype(dtype)
    path = tmp_path / "a-images-idx2-byte"
    path.write_bytes(idx_bytes(values))
    (tmp_path / "a-labels-idx1-byte").write_bytes(idx_bytes(np.array([0, 1] * 3, np.uint8)))
    np.testing.assert_array_equal(load(Path(path)).train.x, values.astype(np.float32))


@pytest.mark.parametrize("options", [{"image_size": (4, 4)}, {"target": "y"}])
def test_named_sets_refuse_options_that_do_nothing(options):
    with pytest.raises(OptionError, match="named set digits"):
        load("digits", **options)
