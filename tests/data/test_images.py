"""Encoded images: odd, corrupt and oversized ones among good ones, grey and colour, folders with parts."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from kilter.data import images, load, split
from kilter.errors import DataError

from .writers import CLASSES, labels, names, pictures, png, write_image_folder


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


@pytest.fixture
def write(tmp_path):
    """Write a Parquet file of these encoded images with labels 0, 1, 2, 0, …"""

    def write_images(content, **more):
        path = tmp_path / "images.parquet"
        frame = {"image": content, "label": [i % 3 for i in range(len(content))], **more}
        pl.DataFrame(frame, schema_overrides={"image": pl.Binary}).write_parquet(path)
        return path

    return write_images


@pytest.fixture
def good():
    return [png(image) for image in pictures()]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"not an image", "UnidentifiedImageError"),
        (b"", "no bytes"),
        (None, "no bytes"),
        (png(pictures()[0])[:60], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n", "UnidentifiedImageError"),
        (encode(np.full((6, 5), 70_000, np.int32), "TIFF"), "of more than 8 bits"),
    ],
)
def test_a_bad_image_is_named_or_skipped(bad, reason, good, write):
    good[4], good[7] = bad, bad
    with pytest.raises(DataError) as caught:
        load(write(good))
    assert caught.value.received.startswith("2 that are not: image in row 4")
    assert reason in caught.value.received
    data = load(write(good), skip_bad=True).train
    kept = [i for i in range(len(good)) if i not in (4, 7)]
    np.testing.assert_array_equal(data.x, pictures()[kept])
    np.testing.assert_array_equal(data.y, np.arange(len(good))[kept] % 3)
    assert [line.split(":")[0] for line in data.skipped] == ["image in row 4", "image in row 7"]


@pytest.mark.parametrize("times", [1.5, 3])
def test_pillows_limit_is_an_error_not_a_warning(times, good, write, monkeypatch):
    """Pillow itself only warns up to twice its limit."""
    side = 40
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(side * side / times))
    good[2] = encode(np.zeros((side, side, 3), np.uint8))
    with pytest.raises(DataError, match="image in row 2"):
        load(write(good))
    assert len(load(write(good), skip_bad=True).train) == len(good) - 1


def test_nothing_good_is_an_error_even_when_skipping(write):
    with pytest.raises(DataError, match="3 that are not"):
        load(write([b"x", b"y", b"z"]), skip_bad=True)


@pytest.mark.parametrize("kind", ["folder", "text", "declared", "numbers"])
def test_a_class_whose_images_are_all_left_out_is_an_error(kind, good, tmp_path):
    damaged = [b"x" if label == 1 else content for content, label in zip(good, labels(), strict=True)]
    if kind == "folder":
        path = write_image_folder(tmp_path).path
        for file in (path / "dog").iterdir():
            file.write_bytes(b"x")
    else:
        path = tmp_path / "images.parquet"
        frame = pl.DataFrame({"image": damaged, "label": names() if kind == "text" else labels()})
        features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        frame.write_parquet(path, metadata=metadata if kind == "declared" else None)
    with pytest.raises(DataError, match=f'none of class "{"1" if kind == "numbers" else "dog"}"'):
        load(path, skip_bad=True)
    assert len(load(path, skip_bad=True, unlabelled=True).train) == 12


def test_a_declared_class_that_never_had_an_image_may_stay(good, tmp_path):
    path = tmp_path / "images.parquet"
    features = {"label": {"names": [*CLASSES, "unicorn"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pl.DataFrame({"image": [b"x", *good[1:]], "label": labels()}).write_parquet(path, metadata=metadata)
    assert load(path, skip_bad=True).train.classes[3] == "unicorn"


def test_the_first_odd_size_is_named(good, write):
    good[5] = png(np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(DataError) as caught:
        load(write(good), skip_bad=True)
    assert '"image in row 5" with 3×4' in caught.value.received
    assert "image_size=(6, 5)" in caught.value.remedy


def test_image_size_resizes_all(good, write):
    flat = np.full((12, 10, 3), 77, np.uint8)
    good[5] = png(flat)
    source = load(write(good), image_size=(6, 5))
    assert source.train.x.shape == (len(good), 6, 5, 3)
    assert source.image_size == (6, 5)
    np.testing.assert_array_equal(source.train.x[5], flat[::2, ::2])
    np.testing.assert_array_equal(np.delete(source.train.x, 5, axis=0), np.delete(pictures(), 5, axis=0))


def test_grey_stays_grey_until_one_has_colour(good, write):
    grey = [png(image) for image in pictures(1)]
    np.testing.assert_array_equal(load(write(grey)).train.x, pictures(1))
    mixed = [*grey[:-1], good[-1]]
    expected = np.repeat(pictures(1), 3, axis=-1)
    expected[-1] = pictures()[-1]
    np.testing.assert_array_equal(load(write(mixed)).train.x, expected)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA", "CMYK"])
def test_other_modes_become_grey_or_colour(mode, write):
    picture = Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).convert(mode)
    x = load(write([encode(picture, "TIFF" if mode == "CMYK" else "PNG")] * 6)).train.x
    assert x.shape == (6, 4, 4, 1 if mode in ("1", "LA") else 3)
    assert (x == 255).all()


def test_threads_give_the_same_images_in_the_same_order(write):
    """From 64×64 pixels on a thread pool decodes; chunks of 256 must come back in order."""
    big = np.zeros((600, 64, 64), np.uint8)
    big[:, 0, 0], big[:, 0, 1] = np.arange(600) % 256, np.arange(600) // 256
    assert big[0].size >= images._THREADS_FROM_PIXELS
    data = load(write([png(image) for image in big])).train
    np.testing.assert_array_equal(data.x[..., 0], big)


def test_class_names_of_the_metadata_are_used(good, tmp_path):
    path = tmp_path / "images.parquet"
    features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pl.DataFrame({"image": good, "label": labels()}).write_parquet(path, metadata=metadata)
    source = load(path)
    assert source.train.classes == CLASSES
    np.testing.assert_array_equal(source.train.y, labels())
    pl.DataFrame({"image": good, "label": labels() + 1}).write_parquet(path, metadata=metadata)
    with pytest.raises(DataError, match='"3"'):
        load(path)


def test_a_missing_label_is_named_or_skipped(good, tmp_path):
    path = tmp_path / "images.parquet"
    pl.DataFrame({"image": good, "label": [None, *names()[1:]]}).write_parquet(path)
    with pytest.raises(DataError, match="1 missing in row 0"):
        load(path)
    np.testing.assert_array_equal(load(path, skip_bad=True).train.x, pictures()[1:])


def test_images_without_any_label_column(good, tmp_path):
    path = tmp_path / "images.parquet"
    pl.DataFrame({"image": good}).write_parquet(path)
    with pytest.raises(DataError, match="without labels"):
        load(path)
    assert load(path, unlabelled=True).train.y is None


def test_a_folder_with_parts(tmp_path):
    for part in ("train", "test", "val"):
        (tmp_path / part).mkdir()
        write_image_folder(tmp_path / part)
    for part in ("train", "test", "val"):
        for name in CLASSES:
            (tmp_path / part / "animals" / name).rename(tmp_path / part / name)
        (tmp_path / part / "animals").rmdir()
    (tmp_path / "val" / "dog" / "notes.txt").write_text("no image")
    source = load(tmp_path)
    assert source.test is not None
    np.testing.assert_array_equal(source.test.x, pictures())
    assert '"val" is not read' in " ".join(source.notes)
    parts = split(source, validation=tmp_path / "val")
    assert parts.validation is not None
    np.testing.assert_array_equal(parts.validation.y, labels())


def test_validation_folder_is_the_test_part_where_there_is_no_other(tmp_path):
    written = write_image_folder(tmp_path)
    written.path.rename(tmp_path / "train")
    (tmp_path / "set").mkdir()
    (tmp_path / "train").rename(tmp_path / "set" / "train")
    write_image_folder(tmp_path).path.rename(tmp_path / "set" / "val")
    assert load(tmp_path / "set").test is not None


def test_other_files_are_counted_and_an_empty_class_is_refused(tmp_path):
    written = write_image_folder(tmp_path)
    (written.path / "cat" / "Thumbs.db").write_bytes(b"x")
    (written.path / "cat" / "._000.png").write_bytes(b"x")
    assert "2 entries" in load(written.path).notes[0]
    (written.path / "emu").mkdir()
    with pytest.raises(DataError, match='no images in "emu"'):
        load(written.path)


def test_a_flat_folder_is_read_for_prediction(tmp_path):
    for i, image in enumerate(pictures()):
        (tmp_path / f"{i:02}.png").write_bytes(png(image))
    with pytest.raises(DataError, match="no class folders"):
        load(tmp_path)
    new = load(tmp_path, unlabelled=True, classes=CLASSES).train
    np.testing.assert_array_equal(new.x, pictures())
    assert new.y is None
