"""Files as they are downloaded: second headers, padding, lone quotes, feet, files of other programs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image

from kilter.data import load
from kilter.data.words import label_features

ROWS = 40
X = np.random.default_rng(0).normal(size=ROWS).round(3)


def lines(header, row):
    return header + "".join(row(i, x) + "\n" for i, x in enumerate(X))


# Text, target, features, and the first target.
TABLES = {
    "names below X1 and Y": (
        lines(",X1,X2,Y\nID,LIMIT,SEX,default next month\n", lambda i, x: f"{i},{x},{i % 2},{i % 2}"),
        *("default next month", ("LIMIT", "SEX"), "0"),
    ),
    "spaces after the commas": (
        lines("url, a, b, shares\n", lambda i, x: f"http://x.y/{i}, {x}, ?, {i * 37 + 5}"),
        *("shares", ("a",), 5.0),
    ),
    "padded signs for missing": (
        lines("a,agent,y\n", lambda i, x: f"{x},{'     NULL' if i % 3 else 'EU '},{'uv'[i % 2]}"),
        *("y", ("a", "agent=EU", "agent missing"), "u"),
    ),
    "padded codes of countries": (
        lines("a,k,y\n", lambda i, x: f"{x}, {['NA', 'EU', 'AS'][i % 3]},{'uv'[i % 2]}"),
        *("y", ("a", "k=AS", "k=EU", "k=NA"), "u"),
    ),
    "names behind a #": (lines("# a b c\n", lambda i, x: f"{x} {x / 2} {x * 2}"), "c", ("a", "b"), X[0] * 2),
    "a name with a #": (
        lines("# of rooms,size,price\n", lambda i, x: f"{x},{x / 2},{x * 2}"),
        *("price", ("# of rooms", "size"), X[0] * 2),
    ),
    "names with a #": (
        lines("# rooms,# baths,price\n", lambda i, x: f"{x},{x / 2},{x * 2}"),
        *("price", ("# rooms", "# baths"), X[0] * 2),
    ),
    "a # for a name": (
        lines("# ,size,price\n", lambda i, x: f"{x},{x / 2},{x * 2}"),
        *("price", ("#", "size"), X[0] * 2),
    ),
    "names behind a # and comments": (
        lines("# made by hand\n# run 2\n# a,b,c\n", lambda i, x: f"{x},{x / 2},{x * 2}"),
        *("c", ("a", "b"), X[0] * 2),
    ),
    "quotes that are letters": (
        lines("", lambda i, x: f"ham\tsee \"you {i}, it's me" if i % 2 else f"spam\tcall now {i}"),
        *("column_1", ("column_2",), "spam"),
    ),
    "inches": (lines("a\tkind\n", lambda i, x: f'{x}\t{2 + i % 2}" nail'), "kind", ("a",), '2" nail'),
    "exponents without a header": (
        lines("", lambda i, x: f" {x: .7e} {x / 2: .7e} {x * 2: .7e}"),
        *("column_3", ("column_1", "column_2"), X[0] * 2),
    ),
    "times of the day without a mark": (
        lines("a,leaves,y\n", lambda i, x: f"{x},{(i * 7) % 24:02}{(i * 11) % 60:02},{'uv'[i % 2]}"),
        *("y", ("a", "leaves"), "u"),
    ),
    "numbers of shops": (
        "a,shop,y\n" + "".join(f"{i / 7},{i % 11 + 1:04},{'uv'[i % 2]}\n" for i in range(220)),
        *("y", ("a", *(f"shop={i + 1:04}" for i in range(11))), "u"),
    ),
    "postal codes": (
        lines("a,zip,y\n", lambda i, x: f"{x},{['0150', '9411'][i % 2]},{'uv'[i % 2]}"),
        *("y", ("a", "zip=0150", "zip=9411"), "u"),
    ),
    "words among prices": (
        lines("a,price\n", lambda i, x: f'{x},"{"$1,2" + f"{i:02}" if i % 5 else "Contact agent"}"'),
        *("price", ("a",), 1201.0),
    ),
    "feet and inches": (
        lines("a,height,y\n", lambda i, x: f"{x},5'{i % 12},{'uv'[i % 2]}"),
        *("y", ("a", "height"), "u"),
    ),
    "square metres": (
        lines("a,land,y\n", lambda i, x: f'{x},"{1000 + i:,} m2",{"uv"[i % 2]}'),
        *("y", ("a", "land"), "u"),
    ),
    "September": (
        lines("a,sold,y\n", lambda i, x: f"{x},{i % 28 + 1} {['Mar', 'Sept'][i % 2]} 2019,{'uv'[i % 2]}"),
        *("y", ("a", "sold"), "u"),
    ),
    "lists in brackets": (
        lines(
            "a,has,y\n",
            lambda i, x: f'{x},"[""Wi""{", Heat" * (i % 2)}{", TV" * (i % 3 > 1)}]",{"uv"[i % 2]}',
        ),
        *("y", ("a", "has=Heat", "has=TV", "has=Wi"), "u"),
    ),
    "each label in brackets": (
        lines(
            "a,has,y\n", lambda i, x: f"{x},[Wi]{'|[Heat]' * (i % 2)}{'|[TV]' * (i % 3 > 1)},{'uv'[i % 2]}"
        ),
        *("y", ("a", "has=Heat", "has=TV", "has=Wi"), "u"),
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables(case, tmp_path):
    text, target, features, first = TABLES[case]
    path = tmp_path / "table.csv"
    path.write_text(text)
    source = load(path, target=target)
    train = source.train
    names = tuple(dict.fromkeys(name.split(" (")[0] for name in train.features))
    if case == "quotes that are letters":
        assert {column.name for column in source.encoding.columns} == set(features)
        assert len(train) == ROWS
    elif case == "September":
        assert source.encoding.columns[1].kind == "date"
    else:
        assert names == features
    found = train.classes[int(train.y[0])] if train.classes else train.y[0]
    assert found == pytest.approx(first) if not train.classes else found == first
    again = load(path, encoding=source.encoding)
    np.testing.assert_array_equal(again.train.x, train.x)
    np.testing.assert_array_equal(again.train.y, train.y)


def test_values_of_the_new_forms():
    frame = pl.DataFrame({"height": ["5'6", "6'0", "5'11\""] * 10, "y": ["u", "v", "w"] * 10})
    np.testing.assert_allclose(load(frame).train.x[:3, 0], [5.5, 6, 5 + 11 / 12], rtol=1e-6)
    priced = pl.DataFrame({"a": X, "y": ["ask us" if i % 4 == 1 else f"${i}.50" for i in range(ROWS)]})
    source = load(priced)
    assert any('10 rows without a usable target left out, such as "ask us"' in one for one in source.notes)


def test_labels_of_a_list_stored_with_their_marks_are_still_found():
    entries = pl.Series(['["Wifi", "TV"]', '["TV"]'])
    values, unknown = label_features(entries, ",", ('["TV"]', '"TV"]'), ('["Wifi"',))
    assert values.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert not len(unknown)


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full((6, 5, 3), i * 9 % 250, np.uint8)).save(folder / name)


def test_one_hot_columns_name_the_classes(tmp_path):
    write_images(tmp_path / "images", [f"Train_{i}.png" for i in range(12)])
    write_images(tmp_path / "images", ["Test_0.png"])
    hot = np.eye(3, dtype=int)[np.arange(12) % 3]
    names = ["rust", "healthy", "scab"]
    frame = pl.DataFrame({"image_id": [f"Train_{i}" for i in range(12)]}).with_columns(
        pl.Series(name, hot[:, k]) for k, name in enumerate(names)
    )
    frame.write_csv(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("image_id\nTest_0\n")
    frame.write_csv(tmp_path / "sample_submission.csv")
    for source in (tmp_path, tmp_path / "train.csv"):
        train = load(source, target="rust,healthy,scab").train
        assert (train.classes, train.y[:4].tolist()) == (tuple(names), [0, 1, 2, 0])
    table = frame.with_columns(pl.Series("a", range(12))).drop("image_id")
    train = load(table, target="rust,healthy,scab", kinds={"a": "number"}).train
    assert (train.classes, train.y[:4].tolist()) == (tuple(names), [0, 1, 2, 0])


@pytest.mark.parametrize("part", ["test", "val"])
def test_held_out_images_may_be_of_one_class(part, tmp_path):
    write_images(tmp_path / "train" / "cat", [f"{i}.png" for i in range(3)])
    write_images(tmp_path / "train" / "dog", [f"{i}.png" for i in range(3)])
    write_images(tmp_path / part / "dog", ["0.png", "1.png"])
    source = load(tmp_path)
    held_out = {"test": source.test, "val": source.validation}[part]
    assert held_out is not None
    assert held_out.y.tolist() == [1, 1]


def test_tables_beside_pictures(tmp_path):
    write_images(tmp_path / "loose", [f"{i}.png" for i in range(6)])
    answers = "file,label\n" + "".join(f"{i}.png,{'uv'[i % 2]}\n" for i in range(6))
    (tmp_path / "loose" / "submissions.csv").write_text(answers)
    assert len(load(tmp_path / "loose").train) == 6  # the only table there
    for name in "uv":
        write_images(tmp_path / "classes" / name, [f"{name}{i}.png" for i in range(3)])
    (tmp_path / "classes" / "sizes.csv").write_text("file,kilobytes\nu/u0.png,3\nv/v1.png,4\n")
    assert load(tmp_path / "classes").train.classes == ("u", "v")


def test_numbers_of_groups_name_no_pictures(tmp_path):
    write_images(tmp_path / "faces", [f"{i}.png" for i in range(5)])
    (tmp_path / "taxi.csv").write_text(lines("vendor_id,x,y\n", lambda i, x: f"{i % 2},{x},{'uv'[i % 2]}"))
    assert load(tmp_path / "taxi.csv").kind == "csv table"
