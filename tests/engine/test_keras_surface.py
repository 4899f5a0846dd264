"""All that a person can pass to Keras's trainer or override in it is honoured, refused or documented.

Found by introspection, so a new version of Keras shows what is missing.
"""

import inspect
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.overrides import REFUSED
from kilter.errors import ModelError

DOCS = (Path(__file__).parents[2] / "docs/engine.md").read_text(encoding="utf-8")
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
HOW = {"batch_size": 4, "verbose": 0}
METHODS = ("fit", "evaluate", "predict")
# What Keras's loop reads or calls of a model and the engine does not, or not always, and why.
NOT_CALLED = {
    "jit_compile": "each epoch is compiled, whatever it says",
    "_purge_model_variables": "the model stays readable while it trains, or lends its arrays",
    "_assert_compile_called": "kilter has a check of its own, with another message",
    "_flatten_metrics_in_order": "only for return_dict=False",
}
# What the loop neither reads nor calls, so that an override acts as in Keras.
OUTSIDE = (
    *("train_on_batch", "test_on_batch", "predict_on_batch"),  # Keras's own code runs, as with model.fit
    *("compile", "compile_from_config", "get_compile_config", "build_from_config"),
    *("save", "save_weights", "load_weights", "export", "to_json", "summary"),
    *("layers", "get_layer", "metrics_names", "get_state_tree", "set_state_tree"),
    *("quantize", "get_quantization_layer_structure"),
)
# Keras's own default, where kilter's differs.
DEFAULTS = {
    ("fit", "x"): None,
    ("evaluate", "x"): None,
    ("fit", "batch_size"): None,
    ("fit", "callbacks"): None,
    ("evaluate", "batch_size"): None,
    ("evaluate", "callbacks"): None,
    ("evaluate", "return_dict"): False,
    ("predict", "batch_size"): None,
    ("predict", "callbacks"): None,
}
COMPILE = (
    *("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics"),
    *("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"),
)


@pytest.mark.parametrize("name", METHODS)
def test_every_argument_of_keras_is_one_of_kilter(name: str):
    theirs, ours = (inspect.signature(getattr(one, name)).parameters for one in (keras.Model, kilter))
    for argument in set(theirs) - {"self", "kwargs"}:
        assert argument in ours, f"Keras's {name} takes {argument!r}, kilter's does not"
        default = DEFAULTS.get((name, argument), ours[argument].default)
        assert theirs[argument].default == default, f"{name}: another default of {argument!r}"


def test_every_argument_of_compile_is_known():
    assert set(inspect.signature(keras.Model.compile).parameters) - {"self"} == set(COMPILE)


def _trainer_parts() -> dict[str, type]:
    """Every method and property of Keras's trainers and models, and the class that has it."""
    found: dict[str, type] = {}
    for kind in keras.Model.__mro__:
        if kind.__module__.startswith("keras.src") and kind.__name__ not in (
            "Layer",
            "Operation",
            "JaxLayer",
        ):
            for name, part in vars(kind).items():
                if isinstance(part, types.FunctionType | property) and not name.startswith("__"):
                    found.setdefault(name, kind)
    return found


def _spying(called: set[str]) -> type[keras.Model]:
    """A model that overrides everything with itself, and notes what is called."""

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, *arguments: Any, **named: Any) -> Any:
            called.add(name)
            return getattr(super(kind, self), name)(*arguments, **named)

        return run

    def attribute(name: str, part: property) -> property:
        return property(lambda self: (called.add(name), part.fget(self))[1], part.fset)

    kind: Any = type("Spy", (keras.Model,), {})
    for name, owner in _trainer_parts().items():
        part = vars(owner)[name]
        setattr(kind, name, attribute(name, part) if isinstance(part, property) else method(name))
    return kind


def _model(kind: type[keras.Model]) -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = kind(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def _called_by_kilter(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What kilter reads or calls of a model that overrides everything with itself."""
    by_kilter: set[str] = set()
    ours = _model(_spying(by_kilter))
    monkeypatch.setattr("kilter._engine.overrides.REFUSED", dict.fromkeys(REFUSED, ()))
    by_kilter.clear()
    calls = (kilter.fit, kilter.evaluate, kilter.predict)
    _use(*(lambda *given, call=call, **named: call(ours, *given, **named) for call in calls))
    return by_kilter


def _use(fit: Any, evaluate: Any, predict: Any) -> None:
    fit(X, X[:, :2], validation_data=(X, X[:, :2]), **HOW)
    evaluate(X, X[:, :2], **HOW)
    predict(X, **HOW)


def test_what_keras_calls_kilter_calls_refuses_or_documents(monkeypatch: pytest.MonkeyPatch):
    by_keras: set[str] = set()
    theirs = _model(_spying(by_keras))
    by_keras.clear()
    _use(theirs.fit, theirs.evaluate, theirs.predict)
    by_kilter = _called_by_kilter(monkeypatch)
    refused = {name for names in REFUSED.values() for name in names}
    missing = by_keras - by_kilter - refused - set(NOT_CALLED)
    assert not missing, f"Keras calls these, kilter neither calls nor refuses them: {sorted(missing)}"


def test_every_public_part_of_a_model_is_known(monkeypatch: pytest.MonkeyPatch):
    """A method that a new Keras calls only in some trainings is noticed too."""
    refused = {name for names in REFUSED.values() for name in names}
    known = _called_by_kilter(monkeypatch) | refused | set(NOT_CALLED) | set(OUTSIDE)
    public = {name for name in _trainer_parts() if not name.startswith("_")}
    assert public <= known, f"new in Keras, and not in a table of this test: {sorted(public - known)}"


def test_what_is_not_called_or_refused_is_documented():
    names = [*NOT_CALLED, *(name for names in REFUSED.values() for name in names)]
    assert [name for name in names if not re.search(rf"`{name}\b", DOCS)] == []


@pytest.mark.parametrize("name", sorted({name for names in REFUSED.values() for name in names}))
def test_a_part_of_the_loop_of_its_own_is_refused(name: str):
    model = _model(type("Own", (keras.Model,), {name: lambda self, *_, **__: None}))
    calls = {"train": kilter.fit, "test": kilter.evaluate, "predict": kilter.predict}
    for kind in (kind for kind, names in REFUSED.items() if name in names):
        targets = () if kind == "predict" else (X[:, :2],)
        with pytest.raises(ModelError, match=name):
            calls[kind](model, X, *targets, **HOW)
