"""kilter evaluate and predict, against NumPy on what Keras itself computes."""

import json

import keras
import numpy as np
import polars
import pytest
from sklearn.datasets import load_digits

from kilter._engine.objective_for import Objective

SHARES = [f"probability_{i}" for i in range(10)]


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    return bunch.images[..., None].astype("uint8"), bunch.target


@pytest.fixture(scope="module")
def expected(digits_run, digits):
    """Class probabilities of the run's model, by Keras and NumPy."""
    logits = keras.saving.load_model(digits_run / "model.keras", compile=False).predict(digits[0], verbose=0)
    raised = np.exp(logits.astype("float64"))
    return raised / raised.sum(axis=1, keepdims=True)


def measured(line):
    """The figures of a printed line by name."""
    words = line.partition(" always ")[0].split()
    return {name: float(value.replace(",", "")) for name, value in zip(words[3::2], words[4::2], strict=True)}


def test_evaluate_on_named_data(kilter, digits_run, digits, expected):
    ended = kilter("evaluate", digits_run, "digits")
    assert ended.out.startswith("data: 1,797 rows  loss ")
    found = measured(ended.out)
    loss = -np.log(expected[np.arange(len(digits[1])), digits[1]]).mean()
    assert found["loss"] == pytest.approx(loss, abs=1e-4)  # four decimals are printed
    assert found["accuracy"] == pytest.approx((expected.argmax(axis=1) == digits[1]).mean(), abs=1e-4)


def test_evaluate_on_the_runs_own_data_agrees_with_its_result(kilter, digits_run):
    ended = kilter("evaluate", digits_run)
    result = json.loads((digits_run / "result.json").read_text())["evaluations"]["validation"]
    assert ended.out.startswith(f"validation: {result['rows']} rows")
    assert measured(ended.out) == pytest.approx(result["metrics"], abs=1e-4)


def test_evaluate_a_table_in_the_units_of_its_target(kilter, prices_run, prices):
    found = measured(kilter("evaluate", prices_run, prices).out)
    frame = polars.read_csv(prices)
    predicted = polars.read_csv(kilter("predict", prices_run, prices).out.encode())["prediction"]
    assert found["mae"] == pytest.approx((predicted - frame["price"]).abs().mean(), rel=1e-3)
    assert found["mae"] < frame["price"].std()


def test_evaluate_names_the_column_with_the_right_answers(kilter, prices_run, prices, tmp_path):
    renamed = tmp_path / "renamed.csv"
    polars.read_csv(prices).rename({"price": "paid"}).write_csv(renamed)
    ended = kilter("evaluate", prices_run, renamed)
    assert ended.code == 2
    assert "--target" in ended.err
    assert (
        kilter("evaluate", prices_run, renamed, "--target", "paid").out
        == kilter("evaluate", prices_run, prices).out
    )
    assert "pay" in kilter("evaluate", prices_run, renamed, "--target", "pay").err
    assert "trained on" in kilter("evaluate", prices_run, renamed, "--target", "size").err


@pytest.mark.parametrize("model", ["run", "file in the run"])
def test_predict_on_the_screen_is_csv(kilter, digits_run, expected, model):
    path = digits_run if model == "run" else digits_run / "model.keras"
    frame = polars.read_csv(kilter("predict", path, "digits").out.encode())
    assert frame.columns == ["row", "prediction", "probability", *SHARES]
    assert frame["row"].to_list() == list(range(len(expected)))
    assert frame["prediction"].to_list() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(frame.select(SHARES).to_numpy(), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(frame["probability"], expected.max(axis=1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_predict_into_a_file(kilter, digits_run, expected, tmp_path, suffix):
    out = tmp_path / f"answers{suffix}"
    rows, accuracy = kilter("predict", digits_run, "digits", "--out", out).out.splitlines()
    assert rows == f"1,797 rows: {out}"
    assert accuracy.startswith("accuracy 0.")
    if suffix == ".npz":
        with np.load(out, allow_pickle=False) as arrays:
            answers, shares = arrays["prediction"], arrays["probabilities"]
            assert arrays["classes"].tolist() == [str(i) for i in range(10)]
    else:
        frame = polars.read_csv(out) if suffix == ".csv" else polars.read_parquet(out)
        answers, shares = frame["prediction"].to_numpy(), frame.select(SHARES).to_numpy()
    assert [int(answer) for answer in answers] == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-7)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_predict_needs_no_labels_and_no_order_of_columns(kilter, prices_run, prices, tmp_path):
    whole = polars.read_csv(prices)
    bare = tmp_path / "new.csv"
    whole.select("colour", "size").head(5).write_csv(bare)
    found = polars.read_csv(kilter("predict", prices_run, bare).out.encode())
    same = polars.read_csv(kilter("predict", prices_run, prices).out.encode()).head(5)
    np.testing.assert_allclose(found["prediction"], same["prediction"], rtol=1e-5)


def test_a_bare_file_gives_its_outputs_as_they_are(kilter, digits_run, digits, tmp_path):
    bare = tmp_path / "bare.keras"
    bare.write_bytes((digits_run / "model.keras").read_bytes())
    frame = polars.read_csv(kilter("predict", bare, "digits").out.encode())
    assert frame.columns == ["row", *(f"output_{i}" for i in range(1, 11))]
    model = keras.saving.load_model(bare, compile=False)
    np.testing.assert_allclose(
        frame[:, 1:].to_numpy(), model.predict(digits[0], verbose=0), rtol=1e-4, atol=1e-5
    )


LOGITS = np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]], "float32")


@pytest.mark.parametrize(
    ("binary", "from_logits", "outputs", "expected"),
    [
        (False, True, LOGITS, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]),
        (False, False, np.array([[0.2, 0.8]]), [[0.2, 0.8]]),
        (
            True,
            True,
            np.array([[0.0], [1e4], [-1e4], [np.log(3)]]),
            [[0.5, 0.5], [0, 1], [1, 0], [0.25, 0.75]],
        ),
        (True, False, np.array([[0.3]]), [[0.7, 0.3]]),
    ],
)
def test_probabilities_in_closed_form_without_overflow(binary, from_logits, outputs, expected):
    loss = keras.losses.MeanSquaredError()
    objective = Objective("classification", loss, (), binary=binary, from_logits=from_logits)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(objective.probabilities(outputs), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("words", [["evaluate"], ["report"], ["resume"], ["replay"]])
def test_a_run_by_its_name_alone_is_suggested_with_its_path(kilter, digits_run, words):
    name = digits_run.name.split("-", 2)[2]
    ended = kilter(*words, digits_run.parent / name)
    assert ended.code == 2
    assert "did you mean" in ended.err
    assert digits_run.name in "".join(ended.err.split())


@pytest.mark.parametrize("words", [["evaluate"], ["predict", "digits"]])
def test_a_run_that_has_saved_no_weights_yet(words, kilter, tmp_path):
    (tmp_path / "history.jsonl").touch()
    command, *source = words
    ended = kilter(command, tmp_path, *source)
    assert "has not saved any yet" in ended.err
    assert f"kilter resume {tmp_path}" in ended.err
