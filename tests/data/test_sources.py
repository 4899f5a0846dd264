"""Every source of a table: the same table gives the same Dataset, whatever it is stored in."""

import gzip
import io
import json
import sqlite3
import sys
from contextlib import closing
from datetime import date, timedelta

import numpy as np
import pandas
import polars as pl
import pyarrow
import pytest
from scipy import sparse

from kilter.data import FORMATS, load
from kilter.errors import DataError
from kilter.recipe import recipe_for

ROWS = 40


def table():
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "id": [f"k-{i}" for i in range(ROWS)],
            "size": [None if i % 9 == 0 else round(float(v), 3) for i, v in enumerate(rng.normal(size=ROWS))],
            "count": rng.integers(0, 50, ROWS),
            "town": [None if i % 7 == 0 else ("Köln", "Zürich", "Ålesund")[i % 3] for i in range(ROWS)],
            "day": [date(2024, 1, 1) + timedelta(days=37 * i % 400) for i in range(ROWS)],
            "paid": [("yes", "no")[i * i % 5 > 1] for i in range(ROWS)],
        }
    )


def in_lines(path, frame):
    frame.with_columns(pl.col("day").cast(pl.String)).write_ndjson(path)
    return path


def in_a_list(path, frame):
    rows = frame.with_columns(pl.col("day").cast(pl.String)).to_dicts()
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def as_text(encoding, *, separator=",", pack=lambda content: content):
    def write(path, frame):
        path.write_bytes(pack(frame.write_csv(separator=separator).encode(encoding)))
        return path

    return write


def as_sqlite(path, frame):
    plain = frame.with_columns(pl.col("day").cast(pl.String))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f'create table "my table" ({", ".join(plain.columns)})')
        connection.execute("create table other (x)")
        marks = ",".join("?" * len(plain.columns))
        connection.executemany(f'insert into "my table" values ({marks})', plain.rows())
    return f"sqlite:///{path}?table=my%20table"


def saved_set(folder, frame):
    folder.mkdir(parents=True)
    frame.write_ipc_stream(folder / "data-00000-of-00001.arrow")
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def saved_parts(folder, frame):
    saved_set(folder / "train", frame)
    saved_set(folder / "test", frame.head(10))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return folder


def in_pieces(path, frame):
    frame.head(15).write_csv(path.with_name("piece-1.csv"))
    frame.slice(15).write_csv(path.with_name("piece-2.csv"))
    return path.with_name("piece-*.csv")


def in_a_folder(folder, frame):
    folder.mkdir(parents=True)
    frame.write_csv(folder / "train.csv")
    frame.drop("paid").write_csv(folder / "test.csv")
    frame.select("id", "paid").write_csv(folder / "sample_submission.csv")
    return folder


def written(method):
    def write(path, frame):
        getattr(frame, method)(path)
        return path

    return write


SOURCES = {
    "csv": ("t.csv", written("write_csv")),
    "csv semicolon": ("t.csv", as_text("utf-8", separator=";")),
    "tsv": ("t.tsv", as_text("utf-8", separator="\t")),
    "csv gzipped": ("t.csv.gz", as_text("utf-8", pack=gzip.compress)),
    "csv UTF-8 with a mark": ("t.csv", as_text("utf-8-sig")),
    "csv UTF-16": ("t.csv", as_text("utf-16")),
    "csv UTF-16 without a mark": ("t.csv", as_text("utf-16-le")),
    "csv Windows-1252": ("t.csv", as_text("cp1252")),
    "json lines": ("t.jsonl", in_lines),
    "ndjson": ("t.ndjson", in_lines),
    "json list": ("t.json", in_a_list),
    "parquet": ("t.parquet", written("write_parquet")),
    "feather": ("t.feather", written("write_ipc")),
    "arrow stream": ("t.arrow", written("write_ipc_stream")),
    "sqlite": ("t.db", as_sqlite),
    "several": ("t.csv", in_pieces),
    "tables": ("folder", in_a_folder),
    "datasets": ("set", saved_set),
    "datasets parts": ("sets", saved_parts),
    "xlsx": ("t.xlsx", written("write_excel")),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "t.parquet"
    table().write_parquet(path)
    return load(path, target="paid", keep_inputs=True)


def made(name, folder):
    file, write = SOURCES[name]
    return write(folder / file, table())


def same(found, reference):
    np.testing.assert_array_equal(found.train.x, reference.train.x)
    np.testing.assert_array_equal(found.train.y, reference.train.y)
    assert found.train.features == reference.train.features
    assert found.train.classes == reference.train.classes
    assert found.encoding.ids == ("id",)


def test_every_kind_of_table_is_in_the_list():
    tested = {"standard input", "csv", "json", "excel", "arrow", "parquet", "sqlite", "several", "datasets"}
    tested |= {"tables", "zip member"}
    tables = {one.name for one in FORMATS if one.is_table or one.frame or one.name == "datasets"}
    assert tables - {"pictures"} == tested  # of test_picture_tables


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_table_is_the_same_data_set_and_reads_new_rows(name, reference, tmp_path):
    source = made(name, tmp_path)
    same(load(source, target="paid"), reference)
    new = load(source, encoding=reference.encoding, unlabelled=True, keep_inputs=True).train
    np.testing.assert_array_equal(new.x, reference.train.x)
    assert new.inputs["id"].to_list() == table()["id"].to_list()
    assert recipe_for(str(source)).train.batch_size == "auto"  # the defaults of tables


def test_folders_named_for_values_are_a_column(tmp_path):
    for half, rows in enumerate((table().head(15), table().slice(15))):
        (tmp_path / f"half={half}").mkdir()
        rows.write_parquet(tmp_path / f"half={half}" / "part.parquet")
    source = load(tmp_path, target="paid")
    assert source.train.x[:, source.train.features.index("half")].tolist() == [0] * 15 + [1] * 25
    (tmp_path / "half=1" / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="the same columns in all 3 files"):
        load(tmp_path, target="paid")


@pytest.mark.parametrize("name", ["csv", "csv gzipped", "json lines", "parquet", "feather", "sqlite", "xlsx"])
def test_standard_input_is_known_by_its_content(name, reference, tmp_path, monkeypatch):
    source = made(name, tmp_path)
    if name == "sqlite":
        with closing(sqlite3.connect(tmp_path / "t.db")) as connection, connection:
            connection.execute("drop table other")
    content = (tmp_path / SOURCES[name][0]).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    found = load("-", target="paid")
    same(found, reference)
    assert (found.origin, source is not None) == ("standard input", True)
    with pytest.raises(DataError, match="nothing"):
        load("-", target="paid")


def pandas_frame():
    frame = pandas.DataFrame(table().to_dict(as_series=False))
    return frame.astype({"town": "category", "count": "Int64", "paid": "string", "day": "datetime64[ns]"})


MEMORY = {
    "polars": table,
    "lazy": lambda: table().lazy(),
    "dict": lambda: table().to_dict(as_series=False),
    "pyarrow": lambda: pyarrow.table(table().to_dict(as_series=False)),
    "pandas": pandas_frame,
}


@pytest.mark.parametrize("name", MEMORY)
def test_a_table_in_memory_is_the_same_data_set(name, reference):
    same(load(MEMORY[name](), target="paid"), reference)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.coo_array])
def test_arrays_and_sparse_rows(kind):
    x = np.eye(6, 4)
    found = load((kind(x), np.arange(6) % 2)).train
    np.testing.assert_array_equal(found.x, x)
    assert found.task == "classification"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-16", "UTF-16"), ("cp1252", "Windows-1252"), ("utf-8-sig", None), ("utf-8", None)],
)
def test_a_note_says_which_encoding_was_assumed(encoding, said, tmp_path):
    path = as_text(encoding)(tmp_path / "t.csv", table())
    notes = [one for one in load(path, target="paid").notes if "is read as" in one]
    assert [said in one for one in notes] == ([True] if said else [])


def test_the_tables_of_a_database_are_named(tmp_path):
    as_sqlite(tmp_path / "t.db", table())
    for source in (tmp_path / "t.db", f"sqlite:///{tmp_path}/t.db?table=my"):
        with pytest.raises(DataError, match='"my table", "other"'):
            load(source)


def test_several_files_must_have_the_same_columns(tmp_path):
    table().write_csv(tmp_path / "1.csv")
    table().drop("size").write_csv(tmp_path / "2.csv")
    with pytest.raises(DataError, match='"size"'):
        load(tmp_path / "*.csv")
    with pytest.raises(DataError, match="no file that fits"):
        load(tmp_path / "*.parquet")


@pytest.mark.parametrize("name", ["json lines", "json list", "feather", "arrow stream", "sqlite", "datasets"])
@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_damaged_file_is_a_data_error(name, damage, tmp_path):
    source = made(name, tmp_path)
    file = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix not in ("", ".txt"))
    if name == "datasets":
        file = tmp_path / "set" / "data-00000-of-00001.arrow"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"<html><body>404</body></html>")
    with pytest.raises(DataError):
        load(source)


def test_a_spreadsheet_without_a_library_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    monkeypatch.setattr("kilter.data.excel.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"kilter\[excel\]"):
        load(tmp_path / "t.xlsx")


def test_ids_are_known_for_the_columns_of_another_training(reference):
    assert load(table(), target="paid", columns=reference.encoding.columns).encoding.ids == ("id",)


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"\x1f\x8b\x08\x00" + b"\x00" * 20, b"\x1f\x8b\x08\x00abc"])
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.jsonl"])
def test_a_damaged_gzip_file_is_a_data_error(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        load(tmp_path / name)
