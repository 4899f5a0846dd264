"""Images with masks on the command line: one model is trained, evaluated and used."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import trained
from tests.data.test_masks import written


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("masks"), count=20, values=(0, 255), size=(13, 16))


@pytest.fixture(scope="module")
def run(kilter, folder, tmp_path_factory):
    options = ("--epochs", 8, "--set", "model.filters=[4,8]", "--set", "optimizer.learning_rate=0.01")
    return trained(kilter, folder, tmp_path_factory.mktemp("runs"), *options)


def test_the_overlap_decides_and_is_measured_for_each_class(kilter, folder, run):
    result = json.loads((run / "result.json").read_text())
    assert result["monitor"] == "val_iou"
    found = result["evaluations"]["validation"]
    assert list(found["metrics"])[:4] == ["loss", "iou", "dice", "pixel_accuracy"]
    assert found["metrics"]["iou"] > found["constant"]["iou"]
    assert [one["name"] for one in found["per_class"]] == ["0", "255"]
    said = kilter("evaluate", run, folder).out
    assert "  class  pixels  correct     iou    dice  precision  recall" in said
    assert "data: 20 rows" in said


def test_predict_writes_a_mask_for_each_picture(kilter, folder, run, tmp_path):
    done = kilter("predict", run, folder / "images", "--out", tmp_path / "out")
    assert (done.code, done.out) == (0, f"20 masks: {tmp_path / 'out'}\n")
    right = []
    for file in sorted((folder / "masks").iterdir()):
        wanted, given = (np.asarray(Image.open(one)) for one in (file, tmp_path / "out" / file.name))
        assert given.shape == wanted.shape
        assert set(np.unique(given)) <= {0, 255}
        right.append(np.mean(given == wanted))
    assert np.mean(right) > 0.85
    table = kilter("predict", run, folder / "images" / "00.png")
    assert table.out.startswith("file,share_0,share_255\n00.png,")
    assert "--out FOLDER" in table.err
    kilter("predict", run, folder, "--out", tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["masks"].shape[0] == 20
        assert arrays["classes"].tolist() == ["0", "255"]


WRONG = {
    "samples": (("predict", "{run}", "{folder}", "--mc", "3"), "--mc for classes or numbers"),
    "a moved image": (("train", "{folder}", "--set", "augment.flip=horizontal"), "do not move pixels"),
    "no masks": (("train", "digits", "--set", "model.builder=unet"), "images with masks"),
    "another ending": (("predict", "{run}", "{folder}", "--out", "a.txt"), "--out with one of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_masks_says_why(kilter, folder, run, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, said = WRONG[case]
    done = kilter(*(word.format(run=run, folder=folder) for word in words))
    assert done.code == 2
    assert said in done.err
