"""Numbers as people write them: read where they can mean one thing only, refused where they cannot."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kilter.data import load

# Fields of one column, of a file separated so, and the numbers they are.
READ = [
    (",", ['"1,000"', "12", '"1,234,567.5"'], [1000, 12, 1234567.5]),
    (",", ["1 000", "12", "-1 234 567"], [1000, 12, -1234567]),
    (",", ["1'000", "12", "1'000.25"], [1000, 12, 1000.25]),
    (",", ["10%", "5.5 %", "-3%"], [10, 5.5, -3]),
    (",", ["$5", "-$7.5", '"$1,000"'], [5, -7.5, 1000]),
    (",", ["5 €", '"1,000 €"', "7€"], [5, 1000, 7]),
    ("\t", ["1,000", "2,500", "3"], [1000, 2500, 3]),
    (";", ["1,5", "2", "-2,25"], [1.5, 2, -2.25]),
    (";", ["1,500", "2,25", ",5"], [1.5, 2.25, 0.5]),
    (";", ["1,5e3", "2", "nan"], [1500, 2, np.nan]),
    (";", ["10,5 %", "9%", "8,25 %"], [10.5, 9, 8.25]),
    (";", ["1.5", "2", "2.25"], [1.5, 2, 2.25]),
    (";", ["1.234,5", "900,25", "1.000"], [1234.5, 900.25, 1000]),
    (";", ["1,234.5", "2,000", "3"], [1234.5, 2000, 3]),
    (";", ["1,234,567", "2,345", "3"], [1234567, 2345, 3]),
    (";", ["1.234,50 €", "7 €", "2.000 €"], [1234.5, 7, 2000]),
    (",", ['"1,5"', '"2,75"', "3"], [1.5, 2.75, 3]),
    (",", ['"1,5"', '"2,500"', "3"], [1.5, 2.5, 3]),
    ("\t", ["1.234,5", "2,5", "1 000"], [1234.5, 2.5, 1000]),
    (",", ["12 kg", "7.5 kg", '"1,200 kg"'], [12, 7.5, 1200]),
    (",", ["170cm", "9cm", "1e2cm"], [170, 9, 100]),
    (",", ["21 °C", "-5 °C", "0.5 °C"], [21, -5, 0.5]),
    (",", ["12 kg", "9 kg", "300 g"], [12, 9, 0.3]),
    (",", ["9.2 kB", "1 kB", "512 B"], [9.2, 1, 0.512]),
    (",", ["1.2 km", "800 m", "1.5 km"], [1.2, 0.8, 1.5]),
    (",", ["PT38M", "PT1H30M", "P1DT2H"], [38 / 60, 1.5, 26]),
    (",", ["\u221233.5°", "51.5°", "\u22120.5°"], [-33.5, 51.5, -0.5]),
    (",", ['"43°12\'18""N"', "51°30′S", "0.5° W"], [43.205, -51.5, -0.5]),
    (";", ["<0,5", "0,64", "1,2"], [0.5, 0.64, 1.2]),
    (",", ["USD 5", '"USD 1,000"', "USD 7.5"], [5, 1000, 7.5]),
    (",", ['"(1,500)"', "20", "(3.5)"], [-1500, 20, -3.5]),
    (",", ["($5)", "$7", "$(2)"], [-5, 7, -2]),
    (",", ["100-", "5", "3-"], [-100, 5, -3]),
    (",", ["\u22125", "3", "\u22120.5"], [-5, 3, -0.5]),
    (",", ["19M", "14k", "2.5B"], [19e6, 14e3, 2.5e9]),
    (",", ["€1.5M", "€565K", "€0"], [1.5e6, 565e3, 0]),
    (",", ['"10,000+"', "500+", "50+"], [10000, 500, 50]),
    (",", ["12:30", "00:45", "23:15"], [12.5, 0.75, 23.25]),
    (",", ["12:30", "01:10 22 Mar", "23:15"], [12.5, np.nan, 23.25]),
    (",", ["6:15 PM", "12:00 AM", "12:30 pm"], [18.25, 0, 12.5]),
    (";", ["18.00.00", "19.30.00", "0.15.00"], [18, 19.5, 0.25]),
    (",", ["1h 30m", "45m", "2 h"], [1.5, 0.75, 2]),
    (",", ["1d 2h", "3h 36s", "2 hours 30 min"], [26, 3.01, 2.5]),
    (",", ["<0.5", "2", "3.25"], [0.5, 2, 3.25]),
    (",", ["~500", "1200", "3000"], [500, 1200, 3000]),
    (",", ["<0.1%", "12%", "3.5%"], [0.1, 12, 3.5]),
    (",", ['"1,200[1]"', "7*", "3[a][b]"], [1200, 7, 3]),
    (",", ["$5", "0", "7.5"], [5, 0, 7.5]),
    (",", ["$5", "Free", "$7.50"], [5, np.nan, 7.5]),
    (",", ["10%", "none yet", "5.5%"], [10, np.nan, 5.5]),
    (",", ["12 KG", "9 kg", "3 Kgs"], [12, 9, 3]),
    (",", ["1 year", "2 years", "10+ years"], [1, 2, 10]),
    (",", ["1 year", "2 weeks", "3 days"], [8766, 336, 72]),
    (",", ["4.5/5", "3/5", "NEW"], [4.5, 3, np.nan]),
    (",", ['"₹1,20,000"', '"₹85,000"', '"₹12,34,567"'], [120000, 85000, 1234567]),
    (",", ["45 Lac", "1.2 Cr", "80 Lac"], [45e5, 12e6, 8e6]),
    (",", ["$1.2 million", "$3 billion", "$500 million"], [1.2e6, 3e9, 5e8]),
    (",", ["１２", "３４５", "6"], [12, 345, 6]),
    (";", ["1 234,56 zł", "99,00 zł", "5,50 zł"], [1234.56, 99, 5.5]),
    (",", ["10%", "0", "5%"], [10, 0, 5]),
    (",", ["00:58:30", "100:00:00", "01:00:00"], [0.975, 100, 1]),
    (",", ["1:30.600", "2:15.0", "75:36.00"], [1.51, 2.25, 75.6]),
    (",", ["1:30.600", "1:02:15.0", "12:30"], [1.51, 62.25, 12.5]),
    (",", ["12", "7.5", "N5"], [12, 7.5, np.nan]),
    (",", ["1 days 12:00:00", "0 days 00:30:00", "2 days 00:00:00"], [36, 0.5, 48]),
]


@pytest.mark.parametrize(("separator", "fields", "numbers"), READ, ids=lambda value: str(value)[:30])
def test_a_column_of_formatted_numbers_is_one_of_numbers(separator, fields, numbers, write):
    lines = [separator.join(row) for row in zip(fields, "123", "uvu", strict=True)]
    data = load(write("\n".join([separator.join("aby"), *lines]))).train
    missing = np.isnan(numbers)
    assert data.features == (("a", "a missing", "b") if missing.any() else ("a", "b"))
    filled = np.where(missing, np.nanmedian(numbers), numbers)
    np.testing.assert_array_equal(data.x[:, 0], filled.astype("float32"))


@pytest.mark.parametrize(
    "texts",
    [
        ["2-3", "4-5"],
        ["<30", ">30", "NO"],
        ["1.2.3", "a"],
        ["10%", "low"],
        ["00501", "94110"],
        ["001A", "002A"],
        ["P1", "P2"],
        ["250.83", "401", "428", "E909", "V57"],
        ["1:2.5", "1:4.0"],
    ],
)
def test_other_texts_stay_categories(texts, write):
    rows = "".join(f"{text},{i}\n" for i, text in enumerate(texts))
    assert load(write("a,y\n" + rows)).train.features == tuple(f"a={text}" for text in sorted(texts))


def test_a_new_file_is_read_as_the_training_was(write):
    source = load(write('a,b,y\n"1,000",1,u\n"2,500",2,v\n'))
    assert source.train.x[:, 0].tolist() == [1000, 2500]
    new = load(write('a,b\n"3,000",1\n', "new.csv"), encoding=source.encoding)
    assert new.train.x.tolist() == [[3000, 1]]
    source = load(write("a;b;y\n1,25;1;u\n2,5;2;v\n"))
    new = load(write("a;b\n1,500;1\n", "new.csv"), encoding=source.encoding)
    assert new.train.x.tolist() == [[1.5, 1]]


def test_each_column_has_its_own_decimal_mark(write):
    source = load(write("a;b;c;y\n1,5;1.5;1.000;0\n2,5;2;2.500;1\n1,0;3;7;1\n"))
    assert source.train.x.tolist() == [[1.5, 1.5, 1000], [2.5, 2, 2500], [1, 3, 7]]
    assert any('mark of thousands in column "c": "1.000" is 1000' in note for note in source.notes)


def test_new_numbers_are_written_as_in_training(write):
    encoding = load(write('a,b,y\n"1,5",5 kg,u\n"2,25",7 kg,v\n')).encoding
    new = load(write('a,b\n"1,500",6\n"2,000",9 lb\n', "new.csv"), encoding=encoding)
    assert new.train.x[:, 0].tolist() == [1.5, 2]
    assert new.train.x[0, 1] == 6
    assert any('column "b": 1 entry is not a number, such as "9 lb"' in note for note in new.notes)
    encoding = load(write('a;b;y\n"1,234.5";1;u\n"2,000.5";2;v\n')).encoding
    new = load(write("a;b\n1,500;1\n", "new.csv"), encoding=encoding)
    assert new.train.x.tolist() == [[1500, 1]]


@pytest.mark.parametrize(
    ("trained", "new", "number"),
    [
        (["1:39.0", "1:38.2", "2:01.0"], "1:39", 1.65),
        (['6\'0""', '6\'1""', '5\'2""'], "6'", 6),
        (["2 weeks", "2 years", "5 months"], "2 weeks", 336),
        (["30m", "2h 5m", "1h 45m"], "30m", 0.5),
    ],
)
def test_a_single_new_entry_is_read_with_the_unit_of_training(trained, new, number, write):
    rows = "".join(f'"{one}",{i},{"uv"[i % 2]}\n' for i, one in enumerate(trained))
    source = load(write("a,b,y\n" + rows))
    found = load(write(f"a,b\n{new},1\n", "new.csv"), encoding=source.encoding)
    assert [one[0] for one in (source.train.x[0], found.train.x[0])] == pytest.approx([number] * 2)


def test_one_entry_with_a_fraction_makes_no_lap_times_of_times_of_the_day(write):
    rows = "".join(f"{one},u\n{one},v\n" for one in ("08:15", "12:30", "23:45"))
    data = load(write(f"a,y\n{rows}12:30.5,u\n")).train
    assert data.x[:2, 0].tolist() == [8.25, 8.25]


def test_a_few_lettered_entries_among_measured_numbers_are_missing(write):
    values = [f"{10 + i / 7:.3f}" for i in range(300)] + ["J12", "U05"]
    data = load(write("a,y\n" + "".join(f"{one},{'uv'[i % 2]}\n" for i, one in enumerate(values)))).train
    assert data.features == ("a", "a missing")


def test_a_code_of_training_may_have_lost_its_zeros(write):
    encoding = load(write("zip,b,y\n00501,1,u\n94110,2,v\n")).encoding
    assert encoding.columns[0].categories == ("00501", "94110")
    new = load(pl.DataFrame({"zip": [501, 94110], "b": [1, 2]}), encoding=encoding)
    assert new.train.x.tolist() == [[1, 0, 1], [0, 1, 2]]


def test_a_column_that_training_did_not_have_says_nothing_about_decimal_marks(write):
    encoding = load(write("a;y\n1.5;u\n2.5;v\n")).encoding
    assert load(write("a;more\n1.5;1,5\n", "new.csv"), encoding=encoding).train.x.tolist() == [[1.5]]


def test_a_category_of_training_stays_text_in_a_new_file(write):
    encoding = load(write("a;b;y\n1,5;1,5;u\nbig;2;v\n01;3;u\nx;4;v\n")).encoding
    new = load(write("a;b\n1,5;1,5\n", "new.csv"), encoding=encoding)
    assert new.train.features == ("a=01", "a=1,5", "a=big", "a=x", "b")
    assert new.train.x.tolist() == [[0, 1, 0, 0, 1.5]]
    new = load(write("a;b\n01;1,5\n", "newer.csv"), encoding=encoding)
    assert new.train.x.tolist() == [[1, 0, 0, 0, 1.5]]


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["1,000.5", "2,000", "3,000", "4,000"], "regression", ()),
        (["10.5%", "20%", "30%", "40%"], "regression", ()),
        ([" 1.5", " 2.5", " 3.5", " 4.5"], "regression", ()),
        (["10%", "20%", "10%", "20%"], "classification", ("10%", "20%")),
        (["1", "2", "1", "many"], "classification", ("1", "2", "many")),
    ],
)
def test_formatted_targets(labels, task, classes, write):
    frame = pl.DataFrame({"a": [1, 2, 3, 4], "y": labels})
    path = write("", "t.csv")
    frame.write_csv(path, quote_style="non_numeric")
    source = load(path)
    assert (source.train.task, source.train.classes) == (task, classes)
    again = load(path, encoding=source.encoding)
    np.testing.assert_array_equal(again.train.y, source.train.y)


def test_text_may_be_read_as_classes_where_that_is_asked_for(write):
    path = write("a,y\n1,10%\n2,none\n3,20%\n4,none\n")
    assert load(path, task="classification").train.classes == ("10%", "20%", "none")


def test_the_notes_tell_how_numbers_were_read(write):
    notes = load(write('a,b,y\n"1,000",10%,0.5\n"2,000",20%,0.25\n')).notes
    assert 'column "a" is read as numbers: "1,000" is 1000' in notes
    assert 'column "b" is read as numbers: "10%" is 10' in notes
    notes = load(write("a;b;y\n1,5;1;u\n2,5;2;v\n")).notes
    assert 'the comma is read as the decimal mark, as in column "a"' in notes
