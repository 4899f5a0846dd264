"""kilter predict writes what a person can use: names of the rows, answers, and the inputs where asked."""

import numpy as np
import polars as pl
import pytest

from kilter.data.csv_output import csv_text

from .conftest import trained

ROWS = 60
NAMES = [f"{start}{i}" for i, start in enumerate(("=SUM(1)", "+cmd", "-cmd", "@x", "\tx", "\rx", "plain"))]


@pytest.fixture(scope="module")
def customers():
    rng = np.random.default_rng(0)
    size = rng.uniform(1, 9, ROWS).round(2)
    return pl.DataFrame(
        {
            "customerID": [f"C-{1000 + i}" for i in range(ROWS)],
            "Name": [f"{NAMES[i % len(NAMES)]} {i}" for i in range(ROWS)],
            "size": size,
            "colour": rng.choice(["red", "blue"], ROWS),
            "left": np.where(size > 5, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def run(kilter, customers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("customers")
    customers.write_csv(folder / "customers.csv")
    return trained(kilter, folder / "customers.csv", folder, "--target", "left", "--epochs", 2)


def predicted(kilter, run, frame, tmp_path, *options, suffix=".parquet"):
    frame.write_csv(tmp_path / "new.csv")
    out = tmp_path / f"answers{suffix}"
    ended = kilter("predict", run, tmp_path / "new.csv", "--out", out, *options)
    assert ended.code == 0, ended.err
    return pl.read_parquet(out) if suffix == ".parquet" else pl.read_csv(out)


def test_ids_stand_beside_the_answers(kilter, run, customers, tmp_path):
    new = customers.drop("left").head(5)
    found = predicted(kilter, run, new, tmp_path)
    assert found.columns == [
        *("customerID", "Name", "prediction", "probability", "probability_no", "probability_yes")
    ]
    assert found["customerID"].to_list() == new["customerID"].to_list()
    assert found["Name"].str.strip_chars().to_list() == new["Name"].str.strip_chars().to_list()
    shares = found.select("probability_no", "probability_yes").to_numpy()
    np.testing.assert_allclose(found["probability"], shares.max(axis=1))


def test_rows_without_ids_are_numbered_and_one_row_is_enough(kilter, run, customers, tmp_path):
    bare = customers.select("size", "colour")
    assert predicted(kilter, run, bare, tmp_path)["row"].to_list() == list(range(ROWS))
    assert len(predicted(kilter, run, bare.head(1), tmp_path)) == 1


def test_inputs_stand_beside_the_answers(kilter, run, customers, tmp_path):
    new = customers.rename({"left": "prediction"}).with_columns(extra=pl.lit("kept"))
    found = predicted(kilter, run, new, tmp_path, "--with-inputs")
    assert found.columns[:6] == ["customerID", "Name", "size", "colour", "prediction (input)", "extra"]
    assert found["size"].to_list() == new["size"].to_list()
    assert found["prediction (input)"].to_list() == customers["left"].to_list()


def test_formulas_are_harmless_in_csv(kilter, run, customers, tmp_path):
    found = predicted(kilter, run, customers, tmp_path, "--with-inputs", suffix=".csv")
    begins = {name.lstrip("'")[0] for name in found["Name"]}
    assert begins == set("=+-@xp"), "the blanks around a field are no part of it"
    assert all(name[0] in "'xp" for name in found["Name"])


@pytest.mark.parametrize("text", [*NAMES[:-1], "＝1+1", "-", "+"])
def test_each_formula_is_harmless_in_a_cell_and_in_a_heading(text):
    assert csv_text(pl.DataFrame({"a": [text]})).split("\n", 1)[1].lstrip('"').startswith("'")
    assert csv_text(pl.DataFrame({text: [1]})).lstrip('"').startswith("'")


@pytest.mark.parametrize("text", ["-1", "+1.5e3", "-.5", "plain", "a=b"])
def test_numbers_and_plain_texts_keep_their_form(text):
    assert csv_text(pl.DataFrame({"a": [text, None]})) == f"a\n{text}\n\n"


def test_nested_and_binary_columns_are_written():
    frame = pl.DataFrame({"a": [[1, 2]], "b": [{"x": b"123"}], "c": [b"12"]})
    assert pl.read_csv(csv_text(frame).encode()).row(0) == ("[1, 2]", '{"x": "3 bytes"}', "2 bytes")


def test_the_accuracy_is_said_if_the_data_have_labels(kilter, run, customers, tmp_path):
    customers.write_csv(tmp_path / "new.csv")
    out = tmp_path / "answers.csv"
    said = kilter("predict", run, tmp_path / "new.csv", "--out", out).out
    right = float((pl.read_csv(out)["prediction"] == customers["left"]).mean())
    assert f"accuracy {right:.4g}" in said
    customers.drop("left").write_csv(tmp_path / "bare.csv")
    assert "on the labels" not in kilter("predict", run, tmp_path / "bare.csv", "--out", out).out


def test_several_numbers_are_named_for_their_columns(kilter, customers, tmp_path):
    more = customers.drop("left").with_columns(cost=pl.col("size") * 900, gain=7 - pl.col("size"))
    more.write_csv(tmp_path / "two.csv")
    two = trained(kilter, tmp_path / "two.csv", tmp_path, "--target", "cost,gain", "--epochs", 2)
    found = predicted(kilter, two, customers.drop("left"), tmp_path)
    assert found.columns == ["customerID", "Name", "prediction_cost", "prediction_gain"]
