"""Tables of picture files, and the messages about folders of pictures."""

from pathlib import PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from kilter.data import load
from kilter.data.loading import contents
from kilter.errors import DataError


@pytest.mark.parametrize(
    ("table", "places"),
    [
        ("file,label\n{0},cat\n{1},dog\n", ("{0}", "{1}")),
        ("label;picture\ncat;{0}\ndog;{1}\n", ("{0}", "{1}")),
        ("id,path,kind\n1,some/{0},cat\n2,some/{1},dog\n", ("some/{0}", "some/{1}")),
        ("file,label\n{0},cat\n{1},dog\n", ("train/{0}", "train/{1}")),
        ("id,label\none,cat\nTWO,dog\n", ("train/{0}", "train/{1}")),
        ("path,label\nin\\{0},cat\nin\\{1},dog\n", ("in/{0}", "in/{1}")),
        ("path,label\n/home/me/{0},cat\n/home/me/{1},dog\n", ("a/b/{0}", "a/b/{1}")),
        ("image,label\n{0},cat\n{1},dog\n", ("part_1/{0}", "part_2/{1}")),
    ],
    ids=[
        *("beside the table", "semicolons, target first", "in the names' folder", "in a folder beside it"),
        *("without ending", "of Windows", "of another machine", "in two folders"),
    ],
)
def test_a_table_of_picture_files_is_read_as_images(tmp_path, table, places):
    names = ("one.png", "TWO.PNG")
    for place, grey in zip(places, (10, 200), strict=True):
        file = tmp_path / place.format(*names)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), grey).save(file)
    path = tmp_path / "labels.csv"
    path.write_text(table.format(*names))
    source = load(path, keep_inputs=True)
    assert source.kind == "csv images"
    assert source.train.x[:, 0, 0, 0].tolist() == [10, 200]
    assert [source.train.classes[label] for label in source.train.y] == ["cat", "dog"]
    shown = [PureWindowsPath(name).stem for name in source.train.inputs["file"]]
    assert shown == ["one", "TWO"]
    assert contents(path) == "images"
    assert any("pictures in" in note for note in source.notes)


def test_a_table_of_pictures_that_do_not_exist_says_so(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8)))
    with pytest.raises(DataError, match=r"no 0\.png"):
        load(path)
    path.write_text("file,age,label\n" + "".join(f"{i}.png,{i % 3},{'ab'[i % 2]}\n" for i in range(8)))
    assert any("which are not there: the other columns are the inputs" in note for note in load(path).notes)


def test_pictures_of_a_table_that_are_missing_are_counted(tmp_path):
    for name in "abc":
        Image.new("L", (4, 4), 9).save(tmp_path / f"{name}.png")
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    source = load(path)
    assert len(source.train) == 3
    assert "d.png in row 3" in source.train.skipped[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,label\na.png,x\nb.png,y\n"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": "x"}\n{"file_name": "b.png", "label": "y"}\n'),
    ],
)
def test_a_folder_of_loose_pictures_with_a_table_is_read_as_the_table(name, text, tmp_path):
    for picture in "ab":
        Image.new("L", (4, 4), 9).save(tmp_path / f"{picture}.png")
    (tmp_path / name).write_text(text)
    source = load(tmp_path)
    assert source.train.x.shape == (2, 4, 4, 1)
    assert source.train.classes == ("x", "y")


def test_loose_pictures_may_have_their_class_in_their_names(tmp_path):
    for i in range(4):
        Image.new("L", (4, 4), 9).save(tmp_path / f"{['cat', 'hot dog'][i % 2]}.{i}.png")
    assert load(tmp_path).train.classes == ("cat", "hot dog")
    assert load(tmp_path, unlabelled=True).train.y is None
    Image.new("L", (4, 4), 9).save(tmp_path / "cow.1.png")  # a single one
    with pytest.raises(DataError, match="5 images directly in it"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("targets", "task"),
    [([0, 1], "classification"), (range(21), "regression"), ([*range(21)] * 2, "classification")],
    ids=["two images", "21 prices", "21 classes"],
)
def test_whole_numbers_of_images_are_classes_unless_most_occur_once(targets, task):
    x = np.zeros((len(targets), 2, 2, 1), np.uint8)
    assert load((x, np.array(targets))).train.task == task
