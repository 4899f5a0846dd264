"""Tables as people publish them: parts named in a column, archives, comments, codes, names of groups."""

import zipfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from kilter.data import load, split
from kilter.errors import DataError

NUMBERS = np.random.default_rng(0).normal(size=90).round(3)


def table(extra="", **columns):
    """A CSV text with a column of numbers and a label that they decide."""
    frame = pl.DataFrame({"x": NUMBERS, **columns, "grade": np.where(NUMBERS > 0, "A", "B")})
    return extra + frame.write_csv()


SPLITS = {
    "Usage": ("Training", "PublicTest", "PrivateTest"),
    "split": ("train", "val", "test"),
    "Set": ("train ", "Test", "Test"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_column_that_names_the_parts_is_the_split(name, tmp_path):
    first, second, third = SPLITS[name]
    parts = [first] * 60 + [second] * 20 + [third] * 10
    path = tmp_path / "table.csv"
    path.write_text(table(**{name: parts}))
    source = load(path, target="grade")
    assert len(source.train) == 60
    assert source.train.features == ("x",)
    assert source.test is not None
    assert len(source.test) == (10 if second != third else 30)
    assert (source.validation is None) == (second == third)
    assert any(f'those of column "{name}"' in note for note in source.notes)
    # To predict, rows keep their order; ignored, the rows are one table.
    assert len(load(path, encoding=source.encoding, unlabelled=True).train) == 90
    assert len(load(path, target="grade", ignore=[name]).train) == 90


@pytest.mark.parametrize("parts", [["train"] * 90, ["train"] * 45 + ["other"] * 45, ["val", "test"] * 45])
def test_a_column_of_other_entries_is_an_ordinary_one(parts, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(table(split=parts))
    source = load(path, target="grade")
    assert len(source.train) == 90
    assert source.test is None


@pytest.mark.parametrize("name", ["data/people.csv", "people.csv", "people"])
def test_a_file_of_a_zip_is_chosen_by_name(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("data/people.csv", table())
        archive.writestr("stores.csv", "store,city\n1,Lyon\n2,Bonn\n")
    source = load(f"{tmp_path}/all.zip?table={name}", target="grade")
    assert len(source.train) == 90
    assert source.origin.endswith(f"all.zip?table={name}")
    with pytest.raises(DataError, match=r'people.csv.*, "stores.csv"[\s\S]*\?table='):
        load(tmp_path / "all.zip", target="grade")
    with pytest.raises(DataError, match=r'did you mean "stores.csv"'):
        load(f"{tmp_path}/all.zip?table=store.csv", target="grade")


ABOVE = {
    "comments with separators": "# exported 2024-03-01\n# station 12, units: C, mm\n#\n",
    "one comment": "# by hand, checked\n",
    "names of groups": "Sensors,\n",
    "names of groups with a gap": "Sensors,,Place\n",
}


@pytest.mark.parametrize("case", ABOVE)
def test_lines_above_the_names_are_left_out(case, tmp_path):
    path = tmp_path / "table.csv"
    more = {"drift": NUMBERS[::-1]} if case.endswith("gap") else {}
    path.write_text(table(ABOVE[case], **more))
    source = load(path, target="grade")
    assert source.train.features == ("x", *more)
    assert len(source.train) == 90


def test_names_in_a_comment_stay_the_header(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("# measured by hand\n#x,y\n" + "".join(f"{i / 3:.3f},{i % 2}\n" for i in range(40)))
    assert load(path, target="y").train.features == ("#x",)


def test_letters_outside_ascii_in_the_header_alone_are_read(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(table().replace("grade", "Größe").encode("cp1252"))
    source = load(path, target="Größe")
    assert any("Windows-1252" in note for note in source.notes)


@pytest.mark.parametrize(
    ("codes", "rows"),
    [(["EU", "NA", "AS"], 90), (["EU", "NA", "Asia"], 60), (["10", "NA", "20"], 60)],
    ids=["codes", "words", "numbers"],
)
def test_na_is_a_value_among_codes_of_two_letters(codes, rows, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(table(place=codes * 30))
    source = load(path, target="place", only=["x"])
    assert len(source.train) == rows
    assert ("NA" in source.train.classes) == (rows == 90)
    if rows == 90:  # as in training
        assert load(path, encoding=source.encoding).train.y.tolist() == source.train.y.tolist()
    feature = load(path, target="grade").train.features
    assert ("place=NA" in feature) == (rows == 90)


def test_several_targets_are_named_with_commas(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(table(cost=[f"${one * 100 + 1000:.2f}" for one in NUMBERS], claims=np.exp(NUMBERS)))
    source = load(path, target="cost, claims")
    assert source.train.features == ("x", "grade=A", "grade=B")
    np.testing.assert_allclose(
        source.train.y, np.stack([NUMBERS * 100 + 1000, np.exp(NUMBERS)], 1), rtol=1e-5
    )
    assert split(source, validation=0.2).validation.y.shape == (18, 2)
    new = load(path, encoding=source.encoding).train
    assert np.array_equal(new.y, source.train.y)
    with pytest.raises(DataError, match="a target column among"):
        load(path, target="cost,other")


@pytest.mark.parametrize("largest", [1.0, 255.0, 65535.0])
def test_pictures_of_fractions_become_eight_bit(largest, tmp_path):
    for name, value in (("dark", 0.0), ("light", largest)):
        (tmp_path / name).mkdir()
        pixels = np.full((6, 5), value, np.float32)
        pixels[0, 0] = largest
        for i in range(3):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.tif")
    x = load(tmp_path).train.x
    assert x[:3, 1:].max() == 0
    assert x[3:].min() == 255
