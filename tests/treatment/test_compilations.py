"""The number of programs that a diagnosis and a treatment compile: most of their time on small networks."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import program_cache

layers = keras.layers
RANDOM = np.random.default_rng(0)


def compiled(*parts: Any, rate: float = 1e-6) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(parts)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def dense() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    x = RANDOM.normal(size=(400, 4)).astype("float32")
    parts = keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(2, "softmax")
    return compiled(*parts), x, np.int32(x[:, 0] > 0)


def recurrent() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    x = RANDOM.normal(size=(400, 6, 2)).astype("float32")
    parts = keras.Input((6, 2)), layers.GRU(4), layers.Dense(2, "softmax")
    return compiled(*parts), x, np.int32(x[:, 0, 0] > 0)


def tokens() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    x = RANDOM.integers(0, 9, (400, 6))
    parts = (
        keras.Input((6,), dtype="int32"),
        layers.Embedding(9, 4),
        layers.LSTM(4),
        layers.Dense(2, "softmax"),
    )
    return compiled(*parts), x, np.int32(x[:, 0] > 4)


def sound() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    x = RANDOM.normal(size=(400, 4)).astype("float32")
    parts = keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(2, "softmax")
    return compiled(*parts, rate=1e-2), x, np.int32(x[:, 0] > 0)


@pytest.fixture
def count(monkeypatch) -> Callable[..., Counter[str]]:
    """Counts the programs that a call compiles, by name."""

    def counting(call: Callable[..., Any], made: Any) -> Counter[str]:
        found: Counter[str] = Counter()
        compile_it, get = program_cache._compiled, program_cache.Shelf.get
        names: list[str] = []

        def getting(self: Any, name: Any, *arguments: Any, **options: Any) -> Any:
            names.append(name[0] if isinstance(name, tuple) else name)
            return get(self, name, *arguments, **options)

        def compiling(*arguments: Any) -> Any:
            found[names[-1]] += 1
            return compile_it(*arguments)

        monkeypatch.setattr(program_cache.Shelf, "get", getting)
        monkeypatch.setattr(program_cache, "_compiled", compiling)
        model, x, y = made
        held = x[300:], y[300:]
        call(model, x[:300], y[:300], validation_data=held, epochs=8, batch_size=20, verbose=0)
        return found

    return counting


@pytest.mark.parametrize(
    ("program", "most"),
    [
        (dense, {"reading": 1, "train": 1, "predict": 1}),
        (recurrent, {"reading": 1, "train": 2, "predict": 1, "gradients": 1, "answers": 1}),
        (tokens, {"reading": 1, "train": 2, "predict": 1, "gradients": 1, "answers": 1}),
        (sound, {"reading": 1, "train": 1, "predict": 1}),
    ],
)
def test_a_diagnosis_compiles_few_programs(program, most, count):
    found = count(kilter.diagnose, program())
    assert found.keys() <= most.keys()
    assert all(found[name] <= most[name] for name in found), found


@pytest.mark.parametrize(
    ("program", "most"),
    [
        (dense, {"reading": 1, "train": 1, "predict": 1, "test": 1}),
        (recurrent, {"reading": 1, "train": 2, "predict": 1, "test": 1, "gradients": 1, "answers": 1}),
        (tokens, {"reading": 1, "train": 2, "predict": 1, "test": 1, "gradients": 1, "answers": 1}),
        (sound, {"reading": 1, "train": 1, "predict": 1, "test": 1}),
    ],
)
def test_a_treatment_compiles_a_network_once_whatever_its_rate_and_initialisers(program, most, count):
    found = count(kilter.treat, program())
    assert found.keys() <= most.keys()
    assert all(found[name] <= most[name] for name in found), found
