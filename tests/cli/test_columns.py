"""A table meets a trained model by the names of its columns, never by their positions."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest

from kilter._cli.output import unused
from kilter.data import TableEncoding
from kilter.recipe import recipe_for, with_overrides
from kilter.runs.recipe_data import read_parts
from kilter.runs.trained import data_of, load_for

from .conftest import trained

ROWS = 120
WORDS = ("w", "x", "z", "ü")


def write(frame, path):
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


@pytest.fixture(scope="session")
def frame():
    """Times in milliseconds that tell the classes apart perfectly, and two columns that do not."""
    rng = np.random.default_rng(0)
    late = rng.integers(0, 2, ROWS)
    return pl.DataFrame(
        {
            "size": rng.normal(50, 9, ROWS).round(3),
            "when": 1_700_000_000_000 + late * 40_000 + rng.integers(0, 20_000, ROWS),
            "code": rng.choice(WORDS, ROWS),
            "y": np.where(late == 1, "late", "early"),
        }
    )


@pytest.fixture(scope="session")
def rows(frame, tmp_path_factory):
    return write(frame, tmp_path_factory.mktemp("columns") / "rows.csv")


SMALL = ("--set", "model.hidden=[8]", "--set", "train.batch_size=12", "--set", "data.validation=0.2")


@pytest.fixture(scope="session")
def run(kilter, rows, tmp_path_factory):
    return trained(kilter, rows, tmp_path_factory.mktemp("runs"), "--epochs", 60, *SMALL)


@pytest.fixture(scope="session")
def treated(kilter, rows, tmp_path_factory):
    out = tmp_path_factory.mktemp("treated") / "out"
    ended = kilter("treat", rows, "--epochs", 2, *SMALL, "--out", out)
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="session")
def folded(kilter, run, rows, tmp_path_factory):
    """A file that left its run directory through fold-bn."""
    out = tmp_path_factory.mktemp("folded") / "folded.keras"
    assert kilter("fold-bn", run, "--check", rows, "--out", out).code == 0
    return out


@pytest.fixture(scope="session")
def model(request, run, treated, folded):
    """What a person names as a trained model."""
    return {
        "run": run,
        "file in the run": run / "model.keras",
        "treated": treated,
        "file of the treatment": treated / "model.keras",
        "folded": folded,
    }


MODELS = ("run", "file in the run", "treated", "file of the treatment", "folded")
# The same rows, written otherwise.
SAME = {
    "as they were": lambda frame: frame,
    "columns reversed": lambda frame: frame.select(frame.columns[::-1]),
    "target first": lambda frame: frame.select("y", "when", "code", "size"),
    "more columns": lambda frame: frame.select(
        pl.lit("n").alias("note"), "when", pl.lit(0.5).alias("a"), "code", "y", pl.lit(3).alias("z"), "size"
    ),
    "rows reversed": lambda frame: frame.reverse(),
    "numbers as text": lambda frame: frame.with_columns(pl.col("size").cast(pl.String)),
    "times as floats": lambda frame: frame.with_columns(pl.col("when").cast(pl.Float64)),
}


def measured(text):
    """Loss and accuracy that were printed for the model."""
    said = text.partition("always the")[0]
    return {name: float(value) for name, value in re.findall(r"\b(loss|accuracy) ([\d.e+-]+)", said)}


@pytest.mark.parametrize("what", SAME)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_rows_are_the_same_however_a_table_is_written(what, suffix, run, frame, tmp_path):
    record = data_of(run / "model.keras")
    expected = load_for(record, str(write(frame, tmp_path / "rows.csv")), model="m", unlabelled=False).train
    changed = write(SAME[what](frame), tmp_path / f"changed{suffix}")
    found = load_for(record, str(changed), model="m", unlabelled=False).train
    turn = slice(None, None, -1) if what == "rows reversed" else slice(None)
    np.testing.assert_array_equal(found.x, expected.x[turn])
    np.testing.assert_array_equal(found.y, expected.y[turn])


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_the_same_with_the_columns_in_another_order(name, model, kilter, frame, rows, tmp_path):
    expected = measured(kilter("evaluate", model[name], rows).out)
    assert set(expected) == {"loss", "accuracy"}
    path = write(SAME["more columns"](frame), tmp_path / "changed.csv")
    assert measured(kilter("evaluate", model[name], path).out) == expected
    bare = write(SAME["columns reversed"](frame).drop("y"), tmp_path / "new.parquet")
    found = pl.read_csv(kilter("predict", model[name], bare).out.encode())
    assert found.columns == ["row", "prediction", "probability", "probability_early", "probability_late"]
    assert (found["prediction"] == frame["y"]).mean() == pytest.approx(expected["accuracy"], abs=1e-4)


def test_times_that_tell_the_classes_apart_do(kilter, run, rows):
    assert measured(kilter("evaluate", run, rows).out)["accuracy"] > 0.97


@pytest.mark.parametrize("name", ["run", "treated"])
def test_a_run_evaluates_its_own_data_by_name_too(name, model, kilter, frame, rows):
    before = kilter("evaluate", model[name]).out
    assert before.startswith(f"validation: {ROWS // 5} rows")
    try:
        write(frame.select("y", "code", "when", "size"), rows)
        assert kilter("evaluate", model[name]).out == before
    finally:
        write(frame, rows)


def test_some_of_the_classes_are_enough(kilter, run, frame, tmp_path):
    late = write(
        frame.filter(pl.col("y") == "late").select("y", "size", "code", "when"), tmp_path / "late.csv"
    )
    assert measured(kilter("evaluate", run, late).out)["accuracy"] > 0.94


# Tables that are refused, and what the message names.
REFUSED = {
    "a column is missing": (lambda frame: frame.drop("size"), '"size"'),
    "the target is missing": (lambda frame: frame.drop("y"), 'no column "y"'),
    "a column is renamed": (lambda frame: frame.rename({"size": "Size"}), '"Size"'),
    "a number is text": (lambda frame: frame.with_columns(pl.lit("big").alias("size")), '"size"'),
    "an unknown class": (lambda frame: frame.with_columns(pl.lit("never").alias("y")), '"never"'),
    "categories are numbers": (lambda frame: frame.with_columns(pl.lit(7).alias("code")), '"code"'),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tables_that_do_not_fit_are_refused_by_name(what, kilter, run, frame, tmp_path):
    change, named = REFUSED[what]
    ended = kilter("evaluate", run, write(change(frame), tmp_path / "rows.csv"))
    assert ended.code == 2
    assert named in ended.err


def test_a_model_without_its_columns_takes_no_table(kilter, run, rows, frame, tmp_path):
    bare = tmp_path / "bare.keras"
    shutil.copy(run / "model.keras", bare)
    table = write(frame, tmp_path / "rows.parquet")
    calls = [("evaluate", bare, rows), ("predict", bare, table), ("transfer", bare, rows)]
    calls.append(("fold-bn", bare, "--check", rows, "--out", tmp_path / "folded.keras"))
    for call in calls:
        ended = kilter(*call)
        assert ended.code == 2, call
        assert "run directory" in ended.err, call
        assert "data.json" in ended.err, call
    shutil.copy(run / "data.json", tmp_path)
    assert kilter("evaluate", bare, table).out == kilter("evaluate", run, table).out


@pytest.mark.parametrize("text", ["{}", "[]", "no json"])
def test_a_damaged_record_in_a_file_is_named(text, kilter, folded, rows, tmp_path):
    damaged = tmp_path / "damaged.keras"
    with zipfile.ZipFile(folded) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, text if name == "kilter/data.json" else old.read(name))
    ended = kilter("predict", damaged, rows)
    assert ended.code == 2
    assert "kilter/data.json" in ended.err


def test_arrays_do_not_name_the_columns_of_a_table(kilter, run, tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 6)), y=np.zeros(3))
    ended = kilter("evaluate", run, tmp_path / "rows.npz")
    assert ended.code == 2
    assert "header" in ended.err


def test_transfer_keeps_the_columns_of_its_source(kilter, run, frame, tmp_path):
    other = frame.select("y", "code", pl.lit("n").alias("note"), "when", "size").rename({"y": "class"})
    new = trained_from(kilter, run, write(other, tmp_path / "other.csv"), tmp_path)
    encodings = [
        TableEncoding.from_json(json.loads((folder / "data.json").read_text())["encoding"])
        for folder in (run, new)
    ]
    assert encodings[0].columns == encodings[1].columns
    assert encodings[1].target == "class"
    missing = kilter("transfer", run, write(frame.drop("when"), tmp_path / "short.csv"), "--runs", tmp_path)
    assert missing.code == 2
    assert '"when"' in missing.err


def trained_from(kilter, run, source, parent):
    options = (
        "--epochs",
        2,
        "--head-epochs",
        1,
        "--set",
        "train.batch_size=12",
        "--set",
        "data.validation=0.2",
    )
    ended = kilter("transfer", run, source, "--runs", parent, "--quiet", *options)
    assert ended.code == 0, ended.err
    return next(path for path in parent.iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def compiled(treated, tmp_path_factory):
    """The treated model, compiled as a person would, with its record beside it and without."""
    folder = tmp_path_factory.mktemp("compiled")
    model = keras.saving.load_model(treated / "model.keras")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(folder / "model.keras")
    (folder / "alone").mkdir()
    shutil.copy(folder / "model.keras", folder / "alone")
    shutil.copy(treated / "data.json", folder)
    return folder


def test_diagnose_takes_the_columns_by_name(kilter, compiled, frame, rows, tmp_path):
    turned = write(frame.select("y", "code", "when", "size"), tmp_path / "turned.csv")
    call = ("diagnose", "--json", "--steps", 0, "--model", compiled / "model.keras")
    assert kilter(*call, turned).out == kilter(*call, rows).out
    short = kilter(*call, write(frame.drop("when"), tmp_path / "short.csv"))
    assert '"when"' in short.err


def test_a_new_model_takes_the_columns_in_their_order_and_says_so(kilter, compiled, rows):
    ended = kilter("diagnose", rows, "--json", "--steps", 0, "--model", compiled / "alone" / "model.keras")
    assert "in the order of" in ended.err


def test_a_treated_model_is_a_finished_run(kilter, treated, rows):
    assert {"recipe.toml", "data.json", "result.json", "environment.json", "model.keras"} <= {
        path.name for path in treated.iterdir()
    }
    assert "finished" in kilter("runs", treated.parent).out
    assert "finished" in kilter("resume", treated).err


@pytest.mark.parametrize("where", ["run", "treated"])
def test_treat_does_not_write_over_an_earlier_result(where, kilter, rows, request):
    ended = kilter("treat", rows, *SMALL, "--out", request.getfixturevalue(where))
    assert ended.code == 2
    assert "which has files" in ended.err
    assert ("of a training run" in ended.err) == (where == "run")


@pytest.mark.parametrize("name", ["treated", "encoder.keras"])
def test_a_result_without_out_gets_a_name_that_is_free(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert unused(Path(name)) == Path(name)
    assert capsys.readouterr().err == ""
    Path(name).write_text("")
    second = Path(name).with_stem(f"{Path(name).stem}-2")
    second.mkdir()
    assert unused(Path(name)) == second  # an empty folder
    (second / "model.keras").touch()
    assert str(unused(Path(name))) == str(second).replace("-2", "-3")
    assert f"{name} exists already" in capsys.readouterr().err


def test_standardize_off_says_what_float32_loses(rows):
    recipe = with_overrides(recipe_for(str(rows)), ["data.standardize=false"])
    with pytest.warns(UserWarning, match='"when"'):
        read_parts(recipe)
