"""Models from files: told by their checksum, without a download, without running their code."""

import hashlib

import pytest

from . import models  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np

import kilter
from kilter.errors import KilterError

layers = keras.layers


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "stack.keras"
    models.stack().save(path)
    return path


def test_a_file_and_its_checksum(saved):
    source = kilter.load_source(saved)
    assert source.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert source.file == saved
    assert not source.model.compiled
    assert kilter.load_source(str(saved), sha256=source.sha256[:8].upper()).sha256 == source.sha256
    assert kilter.reuse(source.model, keep=-1, head=2).output_shape == (None, 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights as Keras names it, of a network without its last layers."""
    network = keras.applications.MobileNetV2(weights=None, include_top=False)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("weights") / "mobilenet_no_top.weights.h5"
    network.save_weights(path)
    return path, network


@pytest.mark.long
def test_a_network_of_keras_takes_pixels(weights):
    path, network = weights
    source = kilter.load_source("MobileNetV2", weights=path)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    expected = network(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()))
    np.testing.assert_allclose(source.model(pixels), expected, rtol=1e-4, atol=1e-5)
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    student = kilter.reuse(source.model, keep=2, head=3, input_shape=(28, 28, 1))
    assert student.output_shape == (None, 3)


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "code.keras"
    keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x * 2), layers.Dense(1)]).save(path)
    return path


BAD = {
    "no file": (("absent.keras", {}), "absent.keras"),
    "a folder": ((".keras", {}), ".keras"),
    "near network": (("MobilNetV2", {}), "did you mean 'MobileNetV2'?"),
    "a function of the module": (("mobilenet_v2", {}), "a network of keras.applications"),
    "no weights": (("MobileNetV2", {}), "downloads nothing"),
    "weights that are not there": (
        ("MobileNetV2", {"weights": "absent.h5"}),
        "keras.applications.MobileNetV2()",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_missing_is_named(case, tmp_path, monkeypatch):
    (name, options), says = BAD[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: pytest.fail("a download"))
    with pytest.raises(KilterError) as caught:
        kilter.load_source(name, **options)
    assert says in str(caught.value)


@pytest.mark.long
def test_files_that_are_not_what_they_should_be(saved, code, tmp_path):
    broken = tmp_path / "broken.keras"
    broken.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(KilterError, match="whole"):
        kilter.load_source(broken)
    with pytest.raises(KilterError, match="without code"):
        kilter.load_source(code)
    assert kilter.load_source(code, allow_code=True).model.built
    with pytest.raises(KilterError, match="with the SHA-256 00000000"):
        kilter.load_source(saved, sha256="00000000")
    with pytest.raises(KilterError, match="which has its own"):
        kilter.load_source(saved, weights=saved)
    other = tmp_path / "other.weights.h5"
    models.stack().save_weights(other)
    with pytest.raises(KilterError, match="weights of MobileNetV2"):
        kilter.load_source("MobileNetV2", weights=other)
