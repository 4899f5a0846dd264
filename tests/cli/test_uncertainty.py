"""kilter predict --mc: the columns that it adds, and what it says of the calibration."""

from pathlib import Path

import keras
import numpy as np
import polars
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from kilter._infer.calibration import calibration
from kilter._infer.monte_carlo import predict_mc

from .conftest import trained

SAMPLES = 5


@pytest.fixture(scope="module")
def dropping_run(kilter, tmp_path_factory) -> Path:
    """A run on digits, whose model drops."""
    parent = tmp_path_factory.mktemp("dropping")
    options = ("--set", "model.hidden=[20]", "--set", "model.dropout=0.3")
    return trained(kilter, "digits", parent, "--epochs", 3, *options)


@pytest.fixture(scope="module")
def expected(dropping_run):
    """The same by the library."""
    model = keras.saving.load_model(dropping_run / "model.keras", compile=False)
    return predict_mc(
        model, load_digits().images[..., None].astype("uint8"), samples=SAMPLES, outputs="logits"
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_the_file_tells_how_uncertain_each_answer_is(kilter, dropping_run, expected, tmp_path, suffix):
    out = tmp_path / f"answers{suffix}"
    ended = kilter("predict", dropping_run, "digits", "--mc", SAMPLES, "--out", out)
    assert ended.code == 0
    names = ("entropy", "mutual_information")
    if suffix == ".npz":
        with np.load(out, allow_pickle=False) as arrays:
            shares, std = arrays["probabilities"], arrays["std"]
            doubts = [arrays[name] for name in names]
    else:
        frame = polars.read_csv(out) if suffix == ".csv" else polars.read_parquet(out)
        classes = range(10)
        assert frame.columns == [
            *("row", "prediction", "probability"),
            *(f"{name}_{i}" for name in ("probability", "std") for i in classes),
            *names,
        ]
        shares, std = (frame.select(f"^{name}_.*$").to_numpy() for name in ("probability", "std"))
        assert [int(answer) for answer in frame["prediction"]] == expected.mean.argmax(axis=1).tolist()
        doubts = [frame[name].to_numpy() for name in names]
    np.testing.assert_allclose(shares, expected.mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(std, expected.std, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(doubts[0], stats.entropy(shares, axis=1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(doubts[1], expected.mutual_information, rtol=1e-3, atol=1e-6)


def test_the_calibration_is_printed_beside_the_table(kilter, dropping_run, expected):
    ended = kilter("predict", dropping_run, "digits", "--mc", SAMPLES)
    frame = polars.read_csv(ended.out.encode())
    assert len(frame) == 1797
    accuracy, headings, without, mean = ended.err.splitlines()
    assert accuracy.startswith("accuracy 0.")
    assert headings.split("  ")[-1].strip() == "expected calibration error"
    assert without.startswith("without dropout")
    assert mean.startswith(f"mean of {SAMPLES} samples")
    found = calibration(expected.mean, load_digits().target)
    figures = [float(word) for word in mean.split()[-4:]]
    wanted = [found.accuracy, found.negative_log_likelihood, found.brier, found.expected_calibration_error]
    assert figures == pytest.approx(wanted, rel=1e-3)
    assert [float(word) for word in without.split()[-4:]] != figures


def test_a_seed_draws_its_own_units(kilter, dropping_run):
    texts = [
        kilter("predict", dropping_run, "digits", "--mc", SAMPLES, *seed).out
        for seed in ((), ("--seed", 0), ("--seed", 1))
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_numbers_have_a_deviation_and_no_entropy(kilter, prices, tmp_path):
    options = ("--target", "price", "--epochs", 2, "--set", "model.hidden=[20]", "--set", "model.dropout=0.3")
    run = trained(kilter, prices, tmp_path, *options)
    ended = kilter("predict", run, prices, "--mc", SAMPLES)
    frame = polars.read_csv(ended.out.encode())
    assert frame.columns == ["row", "prediction", "std", "low", "high"]
    assert (frame["std"] > 0).all()
    middle, half = (frame["high"] + frame["low"]) / 2, (frame["high"] - frame["low"]) / 2
    np.testing.assert_allclose(middle, frame["prediction"], rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(half, 1.96 * frame["std"], rtol=1e-3, atol=0.1)
    assert ended.err == ""


def test_a_bare_file_gives_the_spread_of_its_outputs(kilter, dropping_run, tmp_path):
    bare = tmp_path / "bare.keras"
    bare.write_bytes((dropping_run / "model.keras").read_bytes())
    ended = kilter("predict", bare, "digits", "--mc", SAMPLES)
    frame = polars.read_csv(ended.out.encode())
    assert frame.columns == ["row", *(f"{name}_{i}" for name in ("output", "std") for i in range(1, 11))]
    assert ended.err == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--mc", 1), "samples=1"), (("--seed", 1), "--mc"), (("--mc", 5, "--seed", -1), "seed=-1")],
)
def test_options_that_make_no_sense(kilter, dropping_run, options, said):
    ended = kilter("predict", dropping_run, "digits", *options)
    assert ended.code == 2
    assert said in ended.err


def test_a_run_without_dropout(kilter, digits_run):
    ended = kilter("predict", digits_run, "digits", "--mc", 5)
    assert ended.code == 2
    assert "which has no dropout layer" in ended.err
