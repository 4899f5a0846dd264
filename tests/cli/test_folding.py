"""kilter fold-bn: the file it writes, what it says, and when it refuses."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from .conftest import trained


@pytest.fixture(scope="module")
def norm_run(kilter, tmp_path_factory):
    options = ("--set", "model.hidden=[12, 10]", "--set", 'model.batch_norm="before"')
    return trained(kilter, "digits", tmp_path_factory.mktemp("norms"), "--epochs", 2, *options)


def test_the_folded_file_predicts_what_the_run_does(kilter, norm_run, tmp_path):
    out = tmp_path / "folded.keras"
    ended = kilter("fold-bn", norm_run, "--check", "digits", "--out", out, "--timings", 2)
    assert (ended.code, ended.err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["folded.keras"]
    whole = keras.saving.load_model(norm_run / "model.keras", compile=False)
    folded = keras.saving.load_model(out, compile=False)
    assert not [layer for layer in folded.layers if "norm" in layer.name and "dense" in layer.name]
    x = load_digits().images[..., None].astype("uint8")
    expected = whole.predict(x, verbose=0)
    apart = np.abs(folded.predict(x, verbose=0) - expected).max()
    assert apart < 1e-5 * np.abs(expected).max()  # the promise for float32
    lines = ended.out.splitlines()
    assert lines[0].split("  ")[0] == "batch normalisation"
    assert [line.split() for line in lines[1:3]] == [["dense_1_norm", "dense_1"], ["dense_2_norm", "dense_2"]]
    assert f"parameters: {whole.count_params()}, then {folded.count_params()}" in lines
    assert any(line.startswith("largest relative difference") and "1,797 rows" in line for line in lines)
    assert any("medians of 2 alternating timings" in line for line in lines)
    assert lines[-1] == str(out)


def test_what_stays_is_said(kilter, tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.BatchNormalization(name="first"), keras.layers.Flatten()]
    )
    model.save(tmp_path / "model.keras")
    ended = kilter("fold-bn", tmp_path / "model.keras", "--check", "digits", "--out", tmp_path / "same.keras")
    assert "first                -            the input comes before it; flatten" in ended.out


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("folded.h5", (), "--out with one of .keras"),
        ("none/folded.keras", (), "a folder that exists"),
        ("folded.keras", ("--timings", "-1"), "timings as a whole number"),
    ],
)
def test_what_is_refused_writes_nothing(kilter, norm_run, tmp_path, out, options, said):
    ended = kilter("fold-bn", norm_run, "--check", "digits", "--out", tmp_path / out, *options)
    assert ended.code == 2
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []
