"""Files as people export them: where the table begins, what stands around it, and the right values."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import polars as pl
import pytest

from kilter.data import load
from kilter.data.survey import survey
from kilter.errors import DataError

ROWS = [(1.5, 7, "red", "yes"), (2.5, 8, "blue", "no"), (3.5, 9, "red", "yes"), (4.5, 6, "blue", "no")]
HEAD = ("size", "count", "color", "sold")


def lines(separator: str = ",", head: tuple[str, ...] = HEAD, rows=ROWS) -> str:
    return "".join(separator.join(map(str, one)) + "\n" for one in (head, *rows))


PLAIN = lines()
PADDED = "Sales 2024,,,\n,,,\n"
TEXTS = {
    "titles above": ("t.csv", "Sales report 2024\nCreated by: finance\n\n" + PLAIN),
    "padded titles above": ("t.csv", PADDED + PLAIN),
    "two title fields": ("t.csv", "Report date:,2024-05-01,,\n" + PLAIN),
    "comments above": ("t.csv", "# exported 2024\n# source: crm\n" + PLAIN),
    "names of groups above": ("t.csv", "measures,,facts,\n" + PLAIN),
    "bars": ("t.csv", lines("|")),
    "tabs in a .txt": ("t.txt", lines("\t")),
    "spaces": ("t.dat", lines("   ")),
    "no ending": ("table", PLAIN),
    "an unknown ending": ("table.export", lines(";")),
    "a separator line": ("t.csv", "sep=;\n" + lines(";").replace(".5", ",5")),
    "carriage returns": ("t.csv", PLAIN.replace("\n", "\r")),
    "spaces after commas": ("t.csv", lines(", ")),
    "a comma at the end of each line": ("t.csv", PLAIN.replace("\n", ",\n")),
    "lines of fixed width": (
        "t.txt",
        "".join(f"{a!s:>5}{b!s:>8}  {c!s:<6}{d}\n" for a, b, c, d in (HEAD, *ROWS, *ROWS)),
    ),
    "a tab among the spaces": ("t.data", lines("  ").replace("  red", '\t"red"').replace("  blue", "\tblue")),
    "lines of separators": ("t.csv", PLAIN + ",,,\n,,,\n"),
    "a row of units": ("t.csv", PLAIN.replace("\n", "\nkg,pcs,,\n", 1)),
    "R's row names": (
        "t.csv",
        "".join(f"{i},{one}\n" if i else f"{one}\n" for i, one in enumerate(PLAIN.splitlines())),
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_the_table_in_a_text_file_is_found(case, tmp_path):
    name, text = TEXTS[case]
    path = tmp_path / name
    path.write_bytes(text.encode())
    source = load(path, target="sold")
    data = source.train
    chosen = [data.features.index(one) for one in ("size", "count", "color=blue", "color=red")]
    rows = ROWS * 2 if case == "lines of fixed width" else ROWS
    expected = [[size, count, color == "blue", color == "red"] for size, count, color, _ in rows]
    assert data.x[:, chosen].tolist() == expected
    assert data.y.tolist() == [int(sold == "yes") for *_, sold in rows]
    above = [note for note in source.notes if "above the names of the columns" in note]
    assert bool(above) == ("above" in case or "title" in case)
    new = load(path, encoding=source.encoding, unlabelled=True)
    assert new.train.x.tolist() == data.x.tolist()


def test_a_pattern_in_a_file_name_is_part_of_the_name(tmp_path):
    (tmp_path / "t[1].csv").write_text(PLAIN)
    (tmp_path / "t1.csv").write_text(lines(rows=ROWS[:1]))
    assert len(load(tmp_path / "t[1].csv", target="sold").train) == 4
    pl.read_csv(tmp_path / "t[1].csv", glob=False).write_parquet(tmp_path / "t[1].parquet")
    assert len(load(tmp_path / "t[1].parquet", target="sold").train) == 4


def test_the_usual_name_of_an_array_wins_and_the_others_are_named(tmp_path):
    np.savez(tmp_path / "t.npz", data=np.zeros((8, 2)), x=np.arange(16.0).reshape(8, 2), y=np.arange(8) % 2)
    source = load(tmp_path / "t.npz")
    assert source.train.x[1].tolist() == [2, 3]
    assert any(note == 'not read: "data"' for note in source.notes)


def test_a_text_beside_lists_of_numbers_keeps_its_words(tmp_path):
    rows = [f'"[{i}, 2]",{i % 2}' for i in range(30)]
    (tmp_path / "t.csv").write_text("place,y\n" + "\n".join([*rows, '"see 3 and 4",1']))
    assert "place[0]" not in load(tmp_path / "t.csv").train.features
    (tmp_path / "t.csv").write_text("place,y\n" + "\n".join(rows))
    assert load(tmp_path / "t.csv").train.features == ("place[0]", "place[1]")


def test_years_with_a_number_are_names(tmp_path):
    (tmp_path / "t.csv").write_text("2019_1,2019_2,2020_1\n1.5,2,0\n2.5,3,1\n3.5,4,0\n4.5,5,1\n")
    assert load(tmp_path / "t.csv").train.features == ("2019_1", "2019_2")


@pytest.mark.parametrize(("name", "remedy"), [("", "check the name"), ("https://a.org/t.csv", "download it")])
def test_no_name_and_addresses_are_no_files(name, remedy, tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=remedy) as raised:
        load(name)
    assert f'"{name}"' in raised.value.received


def _zipped(text: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__MACOSX/._t.csv", b"x")
        archive.writestr("README.md", b"x")
        archive.writestr("t.csv", text)
    return content.getvalue()


PACKED = {
    "t.csv.gz": gzip.compress,
    "t.csv.bz2": bz2.compress,
    "t.csv.xz": lzma.compress,
    "t.csv.zip": _zipped,
}
PACKED |= {"t.zip": _zipped}


@pytest.mark.parametrize("name", PACKED)
def test_compressed_files_are_unpacked_within_the_memory(name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(PACKED[name](PLAIN.encode()))
    assert load(path).train.x[:, 0].tolist() == [1.5, 2.5, 3.5, 4.5]
    monkeypatch.setattr("kilter._system.free_memory", lambda: 100)
    with pytest.raises(DataError, match="100 B free"):
        load(path)


def test_an_archive_of_several_files_is_refused_by_their_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("train.csv", PLAIN)
        archive.writestr("test.csv", PLAIN)
    with pytest.raises(DataError, match=r'2: "train.csv", "test.csv"'):
        load(tmp_path / "t.zip")


OBJECTS = [
    {"size": a, "info": {"count": b, "color": c}, "place": [a, b], "tags": ["x"], "sold": d}
    for a, b, c, d in ROWS
]
FLAT = [dict(zip(HEAD, row, strict=True)) for row in ROWS]
JSON = {
    "a list under a key": ({"data": FLAT, "total": 4}, ("size", "count")),
    "columns": ({name: [one[name] for one in FLAT] for name in HEAD}, ("size", "count")),
    "pandas by default": (
        {name: {str(i): one[name] for i, one in enumerate([*FLAT, *FLAT])} for name in HEAD},
        ("size", "count"),
    ),
    "pandas, split": (
        {"columns": HEAD, "index": [0, 1, 2, 3], "data": ROWS},
        ("size", "count"),
    ),
    "rows by key": ({f"r{i}": one for i, one in enumerate([*FLAT, *FLAT])}, ("size", "count")),
    "nested objects": (OBJECTS, ("size", "info.count", "place[0]", "place[1]")),
}


@pytest.mark.parametrize("case", JSON)
def test_json_of_any_common_shape_is_a_table(case, tmp_path):
    content, names = JSON[case]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content))
    data = load(path, target="sold").train
    assert set(names) <= set(data.features)
    assert data.x[:4, data.features.index("size")].tolist() == [1.5, 2.5, 3.5, 4.5]
    if case == "nested objects":
        assert data.x[:, data.features.index("place[1]")].tolist() == [7, 8, 9, 6]
        assert "info.color=red" in data.features


FEET = {
    "a total": ("Total,29.5,30,yes\n", 6, 'the last row is left out, beginning with "Total"'),
    "a remark": ("Source: the office of statistics,,,\n", 6, "the last row is left out"),
    "a sum without a word": (",18.0,21,\n", 6, "the last row is left out"),
    "both": ("Summe,29.5,30,no\nSource: me,,,\n", 6, "the last 2 rows are left out"),
    "a total that is a category": ("total,2.5,3,yes\nred,3,4,no\ntotal,5,5,yes\n", 9, ""),
    "a row": ("red,3.5,4,yes\n", 7, ""),
}


@pytest.mark.parametrize("case", FEET)
def test_totals_and_remarks_below_the_table_are_no_rows(case, tmp_path):
    foot, rows, note = FEET[case]
    body = "".join(
        f"{color},{i}.5,{i + 1},{'yes' if i % 2 else 'no'}\n" for i, color in enumerate(["red", "blue"] * 3)
    )
    (tmp_path / "t.csv").write_text("color,size,count,sold\n" + body + foot)
    source = load(tmp_path / "t.csv")
    assert len(source.train) == rows
    assert any(note in one for one in source.notes) or not note
    if note:  # every row gets an answer
        new = load(tmp_path / "t.csv", encoding=source.encoding, unlabelled=True)
        assert len(new.train) == 6 + foot.count("\n")


def test_classes_that_differ_in_case_are_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,Yes\n2,no\n3,YES\n4,Yes\n5,No\n6,no\n")
    source = load(path)
    assert source.train.classes == ("Yes", "no")
    assert source.train.y.tolist() == [0, 1, 0, 0, 1, 1]
    assert any('"YES" as "Yes"' in note for note in source.notes)
    path.write_text("a,y\n1,yes\n2,NO\n")
    assert load(path, encoding=source.encoding).train.y.tolist() == [0, 1]
    path.write_text("a,y\n1,a\n2,A\n3,a\n4,A\n")
    assert load(path).train.classes == ("A", "a")


def test_durations_times_and_nested_columns_become_numbers(tmp_path):
    frame = pl.DataFrame(
        {
            "took": pl.Series([5_400_000_000, 1_800_000_000], dtype=pl.Duration("us")),
            "at": pl.Series([45_000_000_000_000, 0], dtype=pl.Time),
            "spot": [{"x": 1, "y": 2.5}, {"x": 3, "y": 4.5}],
            "code": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float64, 2)),
            "sold": ["u", "v"],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    data = load(tmp_path / "t.parquet").train
    assert data.features == ("took", "at", "spot.x", "spot.y", "code[0]", "code[1]")
    np.testing.assert_array_equal(data.x, [[1.5, 12.5, 1, 2.5, 1, 2], [0.5, 0, 3, 4.5, 3, 4]])


DATES = {
    "mixed": (["2024-06-21", "22/06/2024", "2024-06-23"], [0, 1, 2]),
    "two digits": (["6/21/24", "6/22/24", "6/30/24"], [0, 1, 9]),
    "day first, two digits": (["21.06.24", "22.06.24", "01.07.24"], [0, 1, 10]),
    "names of months": (["June 21, 2024", "Jun 22, 2024", "July 1, 2024"], [0, 1, 10]),
    "half days": (["06/21/2024 12:00 AM", "06/21/2024 12:00 PM", "06/22/2024 06:00 PM"], [0, 0.5, 1.75]),
    "names of zones": (
        ["2024/06/21 1:30:00 PM GMT+2", "2024/06/22 12:00:00 AM GMT+2", "2024/06/22 6:00:00 AM GMT+2"],
        [0.5625, 1, 1.25],
    ),
    "zones": (
        ["2024-06-21 02:00:00+02:00", "2024-06-21 00:00:00+00:00", "2024-06-22 00:00:00+00:00"],
        [0, 0, 1],
    ),
    "months": (["2024-06", "2024-07", "2024-05"], [-20, 10, -51]),
    "whole numbers": ([20240621, 20240622, 20240701], [0, 1, 10]),
    "Excel's days": ([45464, 45465, 45466], [0, 1, 2]),
    "unix microseconds": ([1718928000000000, 1719014400000000, 1719100800000000], [0, 1, 2]),
}


@pytest.mark.parametrize("case", DATES)
def test_dates_have_their_days(case):
    written, days = DATES[case]
    source = load(pl.DataFrame({"date": written, "a": [1, 2, 3], "y": ["u", "v", "u"]}))
    (column,) = [one for one in source.encoding.columns if one.name == "date"]
    assert column.kind == "date"
    elapsed = source.train.x[:, 0].astype(float) + column.center - 19_895  # days of 2024-06-21
    np.testing.assert_allclose(elapsed, days, atol=1e-4)


def test_an_ambiguous_order_of_day_and_month_is_said():
    source = load(pl.DataFrame({"when": ["03/04/2025", "05/06/2025"], "y": ["u", "v"]}))
    assert any('column "when" (03/04/2025 is 03 April 2025)' in note for note in source.notes)
    source = load(pl.DataFrame({"when": ["03/04/2025", "25/06/2025"], "y": ["u", "v"]}))
    assert not any("day first" in note for note in source.notes)


def test_a_constant_target_is_no_leak(tmp_path):
    rows = "".join(f"{i},{i % 7},3.5\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a,b,price\n" + rows)
    found = survey(tmp_path / "t.csv")
    assert not found.problems
    assert any("3.5 in every row" in note for note in load(tmp_path / "t.csv").notes)


def test_a_spreadsheet_begins_at_the_names_of_its_columns(tmp_path):
    pytest.importorskip("fastexcel")
    xlsxwriter = pytest.importorskip("xlsxwriter")
    path = tmp_path / "t.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("About").write(0, 0, "This workbook has sales")
        sheet = book.add_worksheet("Data")
        sheet.merge_range(0, 0, 0, 3, "Sales 2024")
        for i, row in enumerate([HEAD, *ROWS]):
            sheet.write_row(i + 1, 0, row)
    source = load(path)
    assert source.train.features == ("size", "count", "color=blue", "color=red")
    assert source.train.x[:, 0].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert any('"Sales 2024"' in note for note in source.notes)


WORDS = {
    "cp1251": ("размер,цвет,продано\n", "красный", "зелёный"),
    "shift_jis": ("サイズ,いろ,はんばい\n", "あか", "みどり"),
    "gb18030": ("尺寸,颜色,已售\n", "红色", "绿色"),
    "euc_kr": ("크기,색깔,판매\n", "빨간색", "초록색"),
    "cp1252": ("größe,farbe,verkauft\n", "weiß", "grün"),
}


@pytest.mark.parametrize("encoding", WORDS)
def test_letters_tell_the_encoding(encoding, tmp_path):
    head, one, other = WORDS[encoding]
    text = head + "".join(f"{i}.5,{one if i % 2 else other},{'yes' if i % 3 else 'no'}\n" for i in range(12))
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    size, color, sold = head.strip().split(",")
    source = load(tmp_path / "t.csv")
    assert source.encoding.target == sold
    assert source.train.features == (size, *(f"{color}={name}" for name in sorted([one, other])))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    new = load(tmp_path / "t.csv", encoding=source.encoding)
    np.testing.assert_array_equal(new.train.x, source.train.x)
