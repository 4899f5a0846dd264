"""The program of the last partial batch is traced while the first one compiles."""

import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kilter._engine import program_cache
from kilter._engine.fit import fit
from kilter._engine.program_cache import Compilation, shelf

X = np.random.default_rng(0).normal(size=(22, 3)).astype("float32")
Y = X[:, :1]


def normalized() -> keras.Model:
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    return model


def test_both_programs_are_traced_before_the_first_one_is_awaited(monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    compiled, wait = program_cache._compiled, Compilation.wait

    def compiling(*arguments: Any) -> Any:
        told.append("traced")
        return compiled(*arguments)

    def waiting(self: Any) -> float:
        told.append("awaited")
        return wait(self)

    monkeypatch.setattr(program_cache, "_compiled", compiling)
    monkeypatch.setattr(Compilation, "wait", waiting)
    model = normalized()
    history = fit(model, X, Y, batch_size=8, epochs=2, verbose=0)
    assert told[:3] == ["traced", "traced", "awaited"]
    assert told.count("traced") == len(shelf(model).programs) == 2
    assert history.compile_seconds == sum(history.compiling) > 0
    assert history.compiling[1] < history.compiling[0]


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
def test_what_a_batch_hook_changes_is_traced_after_it(hook: str):
    def trained(call: Callable[..., Any]) -> list[float]:
        keras.utils.set_random_seed(0)
        model = normalized()
        model.layers[0].activation = keras.activations.relu

        def changed(*_: Any, **__: Any) -> None:
            model.layers[0].activation = keras.activations.tanh

        told = keras.callbacks.LambdaCallback(**{hook: changed})
        call(model, X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[told])
        return [float(np.sum(weight)) for weight in model.get_weights()]

    assert trained(fit) == pytest.approx(trained(keras.Model.fit), rel=1e-4)


def test_a_failed_compilation_is_an_error_of_each_call_until_it_succeeds():
    tries, main = [], threading.get_ident()

    def compile_it() -> Callable[..., Any]:
        tries.append(threading.get_ident() != main)
        if len(tries) < 3:
            raise RuntimeError("out of memory")
        return lambda number: number + 1

    program = Compilation(compile_it)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            program(1)
    assert [program(1), program(2)] == [2, 3]
    assert tries == [True] * 3
    assert program.wait() == 0
