"""Encoded images: odd, corrupt and oversized ones among good ones, grey and colour, folders with parts."""

from __future__ import annotations

import io
import json
import os

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
        (b"not an image", "not an image"),
        (b"", "no bytes"),
        (None, "no bytes"),
        (png(pictures()[0])[:60], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n", "not an image"),
        (encode(np.full((6, 5), 70_000, np.int32), "TIFF"), "outside 0 to 65,535"),
    ],
)
def test_a_bad_image_is_left_out_counted_and_named(bad, reason, good, write):
    good[4], good[7] = bad, bad
    source = load(write(good))
    kept = [i for i in range(len(good)) if i not in (4, 7)]
    np.testing.assert_array_equal(source.train.x, pictures()[kept])
    np.testing.assert_array_equal(source.train.y, np.arange(len(good))[kept] % 3)
    assert [line.split(":")[0] for line in source.train.skipped] == ["image in row 4", "image in row 7"]
    assert all(reason in line for line in source.train.skipped)
    assert "2 of 18 images cannot be used and are left out: image in row 4, image in row 7" in source.notes


def test_more_bad_images_than_good_ones_are_an_error(good, write):
    good[:10] = [b"x"] * 10
    with pytest.raises(DataError, match="10 that are not: image in row 0"):
        load(write(good))
    assert len(load(write(good), skip_bad=True).train) == 8


@pytest.mark.parametrize("times", [1.5, 3])
def test_pillows_limit_is_an_error_not_a_warning(times, good, write, monkeypatch):
    """Pillow itself only warns up to twice its limit."""
    side = 40
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(side * side / times))
    good[2] = encode(np.zeros((side, side, 3), np.uint8))
    data = load(write(good)).train
    assert len(data) == len(good) - 1
    assert "limit of" in data.skipped[0]


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


def test_images_of_several_sizes_get_the_commonest_or_the_median(good, write):
    good[5] = png(np.full((3, 5, 3), 200, np.uint8))
    source = load(write(good))
    assert source.image_size == (6, 5)
    np.testing.assert_array_equal(np.delete(source.train.x, 5, axis=0), np.delete(pictures(), 5, axis=0))
    odd = source.train.x[5]  # as wide as the others and half as high: bars above and below
    assert (odd[2:4] == 200).all()
    assert not odd[[0, 5]].any()
    assert any("2 sizes (6×5, 3×5)" in note for note in source.notes)
    several = [png(np.zeros((10 + i, 20 + i, 3), np.uint8)) for i in range(9)]
    assert load(write(several)).train.x.shape == (9, 14, 24, 3)


@pytest.mark.parametrize(("shape", "size"), [((600, 300), (128, 64)), ((512, 100), None)])
def test_large_images_of_one_size_are_resized(shape, size, write):
    source = load(write([png(np.zeros((*shape, 3), np.uint8))] * 6))
    assert source.image_size == size
    assert source.train.input_shape == (*(size or shape), 3)


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


def as_gif(second: Image.Image) -> bytes:
    first = Image.new("RGB", (2, 1), "white")
    return encode(first, "GIF", save_all=True, append_images=[second])


def sideways() -> bytes:
    """A picture of 2 × 1 pixels, stored lying on its side, as cameras do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.array([[[255, 255, 255], [0, 0, 0]]], np.uint8))
    return encode(stored, "PNG", exif=exif)


WHITE = np.full((4, 4, 3), 255, np.uint8)
FORMS = {
    "alpha": (encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), WHITE),
    "alpha of grey": (encode(Image.new("LA", (4, 4), (0, 0))), WHITE[..., :1]),
    "opaque alpha": (encode(Image.fromarray(WHITE).convert("RGBA")), WHITE),
    "palette": (encode(Image.fromarray(WHITE).convert("P")), WHITE),
    "one bit": (encode(Image.fromarray(WHITE).convert("1")), WHITE[..., :1]),
    "grey": (encode(Image.fromarray(WHITE[..., 0])), WHITE[..., :1]),
    "CMYK": (encode(Image.fromarray(WHITE).convert("CMYK"), "TIFF"), WHITE),
    "CMYK of a JPEG": (encode(Image.fromarray(WHITE).convert("CMYK"), "JPEG"), WHITE),
    "16 bit": (encode(Image.fromarray(np.full((4, 4), 65535, np.uint16))), WHITE[..., :1]),
    "16 bit TIFF": (encode(Image.fromarray(np.full((4, 4), 65535, np.int32)), "TIFF"), WHITE[..., :1]),
    "animation": (as_gif(Image.new("RGB", (2, 1), "black")), WHITE[:1, :2]),
    "on its side": (sideways(), np.array([[[255] * 3], [[0] * 3]], np.uint8)),
}


@pytest.mark.parametrize(("content", "expected"), FORMS.values(), ids=FORMS)
def test_every_form_of_picture_becomes_upright_bytes(content, expected, write):
    x = load(write([content] * 6)).train.x
    assert x.shape == (6, *expected.shape)
    np.testing.assert_array_equal(x[0], expected)


@pytest.mark.parametrize("name", ["photo", "photo.txt", "photo.png", "photo.JPG"])
def test_pictures_are_known_by_their_first_bytes(name, tmp_path):
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "set" / label / f"{i}{name}").write_bytes(encode(WHITE, "JPEG"))
        (tmp_path / "set" / label / "notes.txt").write_text("no picture")
    assert load(tmp_path / "set").train.x.shape == (6, 4, 4, 3)


def test_names_that_are_not_utf_8_are_written_with_their_bytes(tmp_path):
    for label in (b"caf\xe9", b"tea"):
        folder = os.path.join(os.fsencode(tmp_path), b"set", label)
        os.makedirs(folder)
        for i in range(3):
            with open(os.path.join(folder, b"\xff%d.png" % i), "wb") as file:
                file.write(png(pictures()[i]))
    source = load(tmp_path / "set", keep_inputs=True)
    assert source.train.classes == ("caf\\xe9", "tea")
    assert source.train.inputs["file"][0] == "caf\\xe9/\\xff0.png"


def test_a_single_picture_is_a_row_without_a_label(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(png(np.full((12, 10, 3), 9, np.uint8)))
    known = {"unlabelled": True, "classes": CLASSES, "image_size": (6, 5), "keep_inputs": True}
    for channels in (1, 3):
        data = load(tmp_path / "photo.jpg", channels=channels, **known).train
        np.testing.assert_array_equal(data.x, np.full((1, 6, 5, channels), 9))
    assert data.inputs["file"].to_list() == ["photo.jpg"]
    with pytest.raises(DataError, match=r"the picture photo\.jpg"):
        load(tmp_path / "photo.jpg")


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
    source = load(path)
    np.testing.assert_array_equal(source.train.x, pictures()[1:])
    assert source.train.skipped == ("1 row without a label left out, in row 0",)
    assert source.train.left_out == 1
    pl.DataFrame({"image": good, "label": [*names()[:1], *[None] * (len(good) - 1)]}).write_parquet(path)
    with pytest.raises(DataError, match="17 missing in rows 1, 2"):
        load(path)


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
    for validation in (0.1, tmp_path / "val"):
        parts = split(source, validation=validation)
        assert parts.validation is not None
        np.testing.assert_array_equal(parts.validation.y, labels())
        assert len(parts.train) == len(pictures())
    assert split(source, validation=None).validation is None
    assert len(split(source, validation=3).validation) == 3


@pytest.mark.parametrize("name", ["val", "Valid", "validation", "dev"])
def test_a_validation_folder_without_a_test_folder(name, tmp_path):
    """Pictures of another size and without colour are read as those of training."""
    written = write_image_folder(tmp_path)
    (tmp_path / "set").mkdir()
    written.path.rename(tmp_path / "set" / "train")
    write_image_folder(tmp_path).path.rename(tmp_path / "set" / name)
    for file in (tmp_path / "set" / name).glob("*/*.png"):
        file.write_bytes(png(np.full((12, 10, 1), 7, np.uint8)))
    source = load(tmp_path / "set")
    assert source.test is None
    np.testing.assert_array_equal(source.validation.x, np.full((len(pictures()), 6, 5, 3), 7))


def test_other_files_are_counted_and_an_empty_folder_is_no_class(tmp_path):
    written = write_image_folder(tmp_path)
    for name in ("Thumbs.db", "._000.png", "about.txt"):
        (written.path / "cat" / name).write_bytes(b"x")
    assert load(written.path).notes[0].startswith("not images, so not read: cat/about.txt in ")
    (written.path / "emu").mkdir()
    source = load(written.path)
    assert "emu" not in source.train.classes
    assert 'no images in folder "emu", so it is no class' in source.notes


def test_a_flat_folder_is_read_for_prediction(tmp_path):
    for i, image in enumerate(pictures()):
        (tmp_path / f"{i:02}.png").write_bytes(png(image))
    with pytest.raises(DataError, match="no class folders"):
        load(tmp_path)
    new = load(tmp_path, unlabelled=True, classes=CLASSES).train
    np.testing.assert_array_equal(new.x, pictures())
    assert new.y is None


def test_pictures_below_a_class_folder_and_a_folder_around_the_classes(tmp_path):
    for i, image in enumerate(pictures()):
        file = tmp_path / "outer" / "inner" / "ab"[i % 2] / f"day {i % 3}" / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    (tmp_path / "outer" / "__MACOSX").mkdir()
    train = load(tmp_path / "outer").train
    assert train.classes == ("a", "b")
    assert len(train) == len(pictures())


def test_folders_of_images_and_boxes_are_no_classes(tmp_path):
    for name, file in (("images", "1.png"), ("labels", "1.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(png(pictures()[0]) if file == "1.png" else b"0 0.5 0.5 1 1")
    with pytest.raises(DataError, match="masks or boxes"):
        load(tmp_path)
