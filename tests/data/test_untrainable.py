"""Files and folders that kilter cannot read or train on: what the errors and the survey say of them."""

from __future__ import annotations

import io
import pickle
import wave

import h5py
import numpy as np
import pytest

from kilter.data import load
from kilter.data.survey import survey
from kilter.errors import DataError

from .writers import png

IMAGE = png(np.zeros((6, 5, 3), np.uint8))


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    return buffer.getvalue()


def matlab() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        file["x"] = np.arange(3.0)
    return buffer.getvalue()


def each(names: str, content: str | bytes) -> dict[str, str | bytes]:
    return dict.fromkeys(names.split(), content)


BATCH = pickle.dumps({b"data": b"x" * 300})
LETTER = "From: me\n\nhi\n"
PHOTOS = [f"IMG_{i}.png" for i in range(6)]
# What is in the folder; words of what the error received; words of its remedy. A lone file is loaded itself.
REFUSED: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "a web page": (each("t.csv", "<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"), "a web page", ""),
    "a pointer": (
        each("t.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 5\n"),
        *("Git LFS", ""),
    ),
    "a table of HTML": (each("t.csv", "<table><tr><td>a</td></tr></table>\n"), "a table of HTML", ""),
    "a PDF": (each("t.csv", "%PDF-1.4\n1 0 obj<<>>endobj\n"), "a PDF", ""),
    "an uneven line": (
        each("t.csv", "a,b,y\n1,2,u\n3,4,v\n5,6,7,u\n"),
        *("line 4 has 4 fields, the header 3", ""),
    ),
    "names of people as the target": (
        each("t.csv", "a,who\n" + "".join(f"{i},n{i}\n" for i in range(30))),
        *("30 different texts in 30", ""),
    ),
    "one class": (each("t.csv", "a,y\n1,0\n2,0\n"), "one class only", "add rows of another class"),
    "holes in the target": (
        each("t.csv", "a,y\n1,0\n2,\n3,\n"),
        "2 missing or NaN in rows 1, 2",
        "fill",
    ),
    "no values": (each("t.csv", "a,y\n,0\n,1\n"), 'column "a" (no values)', "check the separator"),
    "only a target": (each("t.csv", "y\n0\n1\n"), '"y" and no other', "check the separator"),
    "no rows": (each("t.csv", "a,y\n"), "0 rows", "complete"),
    "all at once": (
        each("t.csv", "a,b,y\ninf,,0\n1,inf,\n2,3,\n4,5,\n"),
        '"y": 3 missing',
        "fill",
    ),
    "sounds": (each("yes/1.wav no/1.wav", sound()), "no images, but 2 .wav files", "spectrograms"),
    "texts": (
        each("space/60000.txt space/60001.txt autos/60000.txt autos/60001.txt", LETTER),
        *("no images, but 4 .txt files", "a row for each text"),
    ),
    "texts without an extension": (
        each("space/60000 space/60001 autos/60000 autos/60001", LETTER),
        *("no images, but 4 files without an extension", "a row for each text"),
    ),
    "pickles": (
        each("data_batch_1 data_batch_2", BATCH),
        *("no images, but 2 files without an extension", "cifar10"),
    ),
    "a pickle": (each("dump", pickle.dumps([1, 2])), "of unknown kind", "if you trust it"),
    "hdf5": (each("m.mat", matlab()), "of unknown kind", "h5py.File"),
    "an archive": (each("t.7z", b"7z\xbc\xaf'\x1c"), "of unknown kind", "unpack"),
    "sql": (
        each("t.sql", "CREATE TABLE x (a int);\nINSERT INTO x VALUES (1);\n"),
        "commands of SQL",
        "sqlite3",
    ),
    "photos": (each(" ".join(PHOTOS), IMAGE), "6 images directly in it", "kilter pretrain"),
    "photos in one folder": (
        each(" ".join(f"images/{name}" for name in PHOTOS), IMAGE),
        *("6 images in one folder", "kilter pretrain"),
    ),
    "masks beside images": (
        each("A/1.png A/1_mask.png A/2.png A/2_mask.png B/1.png B/1_mask.png B/2.png B/2_mask.png", IMAGE),
        *("4 masks beside the images", "folder masks"),
    ),
    "annotations": (
        each("a.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}'),
        *("format of COCO", "masks"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_says_why(case, tmp_path):
    files, received, remedy = REFUSED[case]
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        load(tmp_path / next(iter(files)) if len(files) == 1 else tmp_path)
    assert received in caught.value.received
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("one class", "one class only"),
        ("holes in the target", "2 missing or NaN"),
        ("no values", "no values"),
        ("only a target", "feature columns"),
        ("no rows", "0 rows"),
        ("all at once", '"y": 3 missing'),
    ],
)
def test_a_survey_describes_what_cannot_be_trained_on(case, said, tmp_path):
    text = REFUSED[case][0]["t.csv"]
    assert isinstance(text, str)
    (tmp_path / "t.csv").write_text(text)
    found = survey(tmp_path / "t.csv")
    assert said in found.problems[0]
    assert [one.name for one in found.columns] == text.splitlines()[0].split(",")
