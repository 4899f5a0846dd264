"""Images with masks: layouts of folders, values of masks, sizes, and what is wrong with them."""

import io

import numpy as np
import pytest
from PIL import Image

from kilter.data import describe, load, split
from kilter.data.masks import mask_png, placed
from kilter.errors import DataError
from kilter.recipe import recipe_for

SIZE = (12, 16)


def written(
    folder, *, count=6, images="images", masks="masks", name="{}.png", size=SIZE, mode="L", values=(0, 1)
):
    """Images with a box, and masks with the second value in it."""
    rng = np.random.default_rng(0)
    for i in range(count):
        height, width = (size[0] + i % 3, size[1]) if size is not SIZE else size
        mask = np.full((height, width), values[0], np.uint8)
        mask[3:8, 4 : 9 + i % 3] = values[1 + i % (len(values) - 1)]
        image = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        image[mask != values[0]] += 150
        for part, file, picture in (
            (images, f"{i:02}.png", Image.fromarray(image)),
            (masks, name.format(f"{i:02}"), Image.fromarray(mask).convert(mode)),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            picture.save(folder / part / file)
    return folder


LAYOUTS = {
    "images and masks": {},
    "capitals": {"images": "JPEGImages", "masks": "SegmentationClass"},
    "prefixes": {"images": "train_images", "masks": "train_masks"},
    "parts above": {"images": "train/images", "masks": "train/labels"},
    "parts below": {"images": "images/training", "masks": "annotations/training"},
    "a suffix": {"name": "{}_mask.png"},
    "a prefix": {"name": "mask-{}.png"},
    "another suffix": {"name": "{}_L.png"},
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_pairs_are_found(case, tmp_path):
    source = load(written(tmp_path, **LAYOUTS[case]))
    assert (source.train.task, source.train.classes, len(source.train)) == ("segmentation", ("0", "1"), 6)
    assert source.train.x.shape[:3] == source.train.y.shape == (6, *SIZE)
    assert (source.train.y[0, 3:8, 4:9] == 1).all()
    assert source.train.y[0].sum() == 25
    assert recipe_for(str(tmp_path)).model.builder == "unet"


NAMES = {
    "another script": (("кошка", "собака"), ("кошка", "собака")),
    "another script, a suffix": (("кошка", "собака"), ("кошка_mask", "собака_mask")),
    "composed and decomposed": (("\u00fc1", "u2"), ("u\u03081", "u2")),
    "alike but for the sign between": (("a-1", "a_1"), ("a-1", "a_1")),
    "words for images and masks": (("image_1", "img_1"), ("image_1", "img_1")),
    "one begins the other": (("1", "10"), ("1_L", "10_L")),
    "one begins the other, no sign between": (("1", "10"), ("1L", "10L")),
}


@pytest.mark.parametrize("case", NAMES)
def test_each_image_has_its_own_mask(case, tmp_path):
    for part, names in zip(("images", "masks"), NAMES[case], strict=True):
        (tmp_path / part).mkdir()
        for i, name in enumerate(names):
            picture = np.full(SIZE, i * 200, np.uint8) if part == "images" else np.eye(*SIZE, i, np.uint8)
            Image.fromarray(picture).save(tmp_path / part / f"{name}.png")
    train = load(tmp_path).train
    for picture, mask in zip(train.x, train.y, strict=True):
        np.testing.assert_array_equal(mask, np.eye(*SIZE, int(picture.max() > 100)))
    assert len(train) == 2


def test_of_two_masks_of_one_name_none_is_chosen(tmp_path):
    written(tmp_path)
    for name in ("00-mask.png", "00_mask.png"):
        (tmp_path / "masks" / name).write_bytes((tmp_path / "masks" / "00.png").read_bytes())
    (tmp_path / "masks" / "00.png").unlink()
    assert len(load(tmp_path).train) == 5


def test_parts_keep_the_classes_and_the_size_of_training(tmp_path):
    written(tmp_path / "train")
    written(tmp_path / "val", count=2, size=(24, 32))
    source = load(tmp_path)
    assert source.validation.y.shape == (2, *SIZE)
    assert len(split(source).validation) == 2
    written(tmp_path / "test", values=(0, 7))
    with pytest.raises(DataError, match="other values: 7"):
        load(tmp_path)


VALUES = {
    "0 and 255": ({"values": (0, 255)}, ("0", "255")),
    "three": ({"values": (0, 4, 9)}, ("0", "4", "9")),
    "bits": ({"values": (0, 255), "mode": "1"}, ("0", "1")),
    "a palette": ({"values": (0, 2), "mode": "P"}, ("0", "2")),
    "smooth edges": ({"values": (0, 255), "name": "{}.jpg"}, ("0", "255")),
}


@pytest.mark.parametrize("case", VALUES)
def test_each_value_is_a_class(case, tmp_path):
    options, classes = VALUES[case]
    source = load(written(tmp_path, **options))
    assert source.train.classes == classes
    assert set(np.unique(source.train.y)) == set(range(len(classes)))
    assert "of the pixels" in source.notes[0]


def test_colours_are_classes_and_are_written_again(tmp_path):
    written(tmp_path)
    red = np.zeros((*SIZE, 3), np.uint8)
    red[2:5, 2:5] = (255, 0, 16)
    for file in (tmp_path / "masks").iterdir():
        Image.fromarray(red).save(file)
    train = load(tmp_path).train
    assert train.classes == ("0", "#ff0010")
    again = np.asarray(Image.open(io.BytesIO(mask_png(train.y[0], train.classes, SIZE))))
    np.testing.assert_array_equal(again, red)


@pytest.mark.parametrize("own", [(12, 16), (24, 32), (40, 30), (7, 61)])
def test_a_mask_has_the_size_of_its_picture(own, tmp_path):
    Image.fromarray(np.full(own, 255, np.uint8)).save(tmp_path / "m.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for folder in ("images", "masks"):
        Image.open(tmp_path / "m.png").save(tmp_path / folder / "a.png")
        Image.fromarray(np.zeros((12, 16), np.uint8)).save(tmp_path / folder / "b.png")
    train = load(tmp_path, image_size=SIZE).train
    rows, columns = placed(own, SIZE)
    assert (train.y[0, rows, columns] == 1).all()
    assert train.y[0].sum() == train.y[0, rows, columns].size
    again = np.asarray(Image.open(io.BytesIO(mask_png(train.y[0], train.classes, own))))
    np.testing.assert_array_equal(again, np.full(own, 255))


def test_what_has_no_partner_or_is_damaged_is_left_out_and_said(tmp_path):
    written(tmp_path)
    (tmp_path / "masks" / "00.png").unlink()
    (tmp_path / "masks" / "01.png").write_bytes(b"no picture")
    source = load(tmp_path, keep_inputs=True)
    assert len(source.train) == 4
    assert source.train.inputs.row(0) == ("02.png", *SIZE)
    assert any("cannot be decoded, left out: 01.png" in note for note in source.notes)
    assert any("without a mask" in note and "00.png" in note for note in source.notes)
    assert describe(source).classes == ()


WRONG = {
    "other names": ({"name": "m{}.png"}, "name each mask like its image"),
    "one value": ({"values": (0, 0)}, "0 in every pixel"),
    "JPEG of three classes": ({"values": (0, 100, 200), "name": "{}.jpg"}, "save the masks as PNG"),
    "JPEG of the numbers of classes": ({"name": "{}.jpg"}, "save the masks as PNG"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_on_says_why(case, tmp_path):
    options, said = WRONG[case]
    with pytest.raises(DataError, match=said):
        load(written(tmp_path, **options))


def test_pictures_alone_can_be_predicted(tmp_path):
    written(tmp_path)
    how = {"task": "segmentation", "classes": ("0", "1"), "unlabelled": True, "keep_inputs": True}
    for source in (tmp_path / "images", tmp_path / "images" / "00.png"):
        data = load(source, **how).train
        assert (data.task, data.classes, data.y) == ("segmentation", ("0", "1"), None)
        assert data.inputs.row(0) == ("00.png", *SIZE)
