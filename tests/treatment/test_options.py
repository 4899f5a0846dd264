"""Options that name something wrong are refused before a program is compiled."""

from __future__ import annotations

from typing import Any

import pytest

import kilter
from kilter._engine import program_cache
from kilter.errors import OptionError

from .subjects import LABELS, X, dense

SHARED: list[dict[str, Any]] = [
    {"features": ["width"]},
    {"features": "width"},
    {"features": [1] * X.shape[1]},
    {"validation_data": (X,)},
    {"validation_data": 0.2},
    {"verbose": "loud"},
    {"schedule": "cosine"},
    {"augment": "flip"},
    {"class_weight": {"first": 1.0}},
    {"batch_size": 0},
    {"seed": -1},
]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "treat": [
        *SHARED,
        {"metric": "acuracy"},
        {"metric": "accuracy of price"},
        {"metric": 3},
        {"keep": ["nothing"]},
        {"keep": "shuffle"},
        {"policy": {}},
        {"remedies": ["shuffle"]},
        {"remedies": {"shuffle": 1}},
        {"callbacks": ["early"]},
        {"pairs": 3},
        {"budget": "large"},
        {"max_seconds": 0},
    ],
    "diagnose": [
        *SHARED,
        {"thresholds": {}},
        {"history": [1.0]},
        {"history": {"loss": 3.0}},
        {"steps": -1},
    ],
}


@pytest.mark.parametrize(
    ("call", "option"), [(call, option) for call, listed in OPTIONS.items() for option in listed]
)
def test_a_wrong_option_is_refused_before_anything_is_compiled(
    call: str, option: dict[str, Any], monkeypatch
):
    def compiled(*_: Any) -> None:
        raise AssertionError("the option was not checked first")

    monkeypatch.setattr(program_cache, "_compiled", compiled)
    model = dense(5, activation="relu")
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(OptionError) as refused:
        getattr(kilter, call)(model, X, LABELS, **{"verbose": 0, **option})
    assert next(iter(option)) in str(refused.value) or "pairs" in option
