"""Whatever is passed as data and options: a History of finite length, or a KilterError. Nothing else."""

import os
from collections.abc import Callable
from typing import Any

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kilter._engine.arrays import collect
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._engine.inference import evaluate, predict
from kilter.errors import KilterError

EXAMPLES = int(os.environ.get("KILTER_FUZZ_EXAMPLES", "0"))

DTYPES = st.sampled_from(
    ["float32", "float64", "float16", "int32", "int64", "uint8", "bool", "<U2", "object"]
)
SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=3).map(tuple)
STRANGE = st.sampled_from([np.nan, np.inf, -np.inf, 1e38, -1.0, 2**31, -(2**31)])


@st.composite
def array(draw: st.DrawFn) -> Any:
    """An array of any dtype and shape, often one that fits, sometimes with a strange value in it."""
    shape = draw(st.one_of(st.just((4, 3)), st.just((4,)), st.just((4, 1)), SHAPES))
    dtype = draw(DTYPES)
    if dtype in ("<U2", "object"):
        return np.full(shape, "a" if dtype == "<U2" else None, dtype)
    made = draw(arrays.arrays("float64", shape, elements=st.integers(0, 1).map(float)))
    if made.size and draw(st.booleans()):
        made.flat[draw(st.integers(0, made.size - 1))] = draw(STRANGE)
    with np.errstate(all="ignore"):
        return made.astype(dtype)


ANYTHING = st.one_of(
    array(),
    st.none(),
    st.lists(array(), max_size=2),
    st.tuples(array(), array()),
    st.dictionaries(st.sampled_from("ab"), array(), max_size=2),
    st.lists(st.tuples(array(), array()), max_size=2),
    st.text(max_size=2),
    st.floats(),
)
FITTING = arrays.arrays("float32", (4, 3), elements=st.integers(-2, 2).map(float))
LABELS = arrays.arrays("int32", (4,), elements=st.integers(0, 1))
WHOLE = st.one_of(st.integers(-1, 3), st.sampled_from([None, 1.5, "2", True, np.int64(2)]))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "validation_data": st.one_of(st.none(), st.tuples(array(), array()), ANYTHING),
        "validation_split": st.sampled_from([0.0, 0.3, 0.99, -1.0, 2.0, "x"]),
        "batch_size": WHOLE,
        "epochs": WHOLE,
        "initial_epoch": WHOLE,
        "validation_freq": WHOLE,
        "validation_batch_size": WHOLE,
        "seed": WHOLE,
        "shuffle": st.booleans(),
        "sample_weight": st.one_of(st.none(), array()),
        "class_weight": st.one_of(st.none(), st.dictionaries(st.integers(-1, 2), st.floats(), max_size=2)),
    },
)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """One model for all examples, so that its programs are compiled once a shape."""
    built = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(keras.optimizers.SGD(0.0), loss=loss)
    return built


def answer(ask: Callable[[], Any]) -> Any:
    """What ``ask`` gives, or the KilterError it raises."""
    try:
        return ask()
    except KilterError as problem:
        return problem


def examples(few: int) -> Any:
    return hypothesis.settings(
        max_examples=EXAMPLES or few,
        deadline=None,
        derandomize=not EXAMPLES,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@pytest.mark.filterwarnings("ignore")
@examples(few=150)
@hypothesis.given(x=st.one_of(FITTING, ANYTHING), y=st.one_of(LABELS, ANYTHING), options=OPTIONS)
def test_fit_trains_or_explains(model: keras.Model, x: Any, y: Any, options: dict[str, Any]):
    outcome = answer(lambda: fit(model, x, y, verbose=0, **options))
    assert isinstance(outcome, History) or all((outcome.expected, outcome.received, outcome.remedy))


@pytest.mark.filterwarnings("ignore")
@examples(few=60)
@hypothesis.given(x=st.one_of(FITTING, ANYTHING), y=st.one_of(LABELS, ANYTHING))
def test_evaluate_and_predict_answer_or_explain(model: keras.Model, x: Any, y: Any):
    assert isinstance(answer(lambda: evaluate(model, x, y)), dict | KilterError)
    assert isinstance(answer(lambda: predict(model, x)), np.ndarray | KilterError)


@examples(few=100)
@hypothesis.given(
    values=arrays.arrays("float32", arrays.array_shapes(min_dims=1, max_dims=3, max_side=6)), places=st.data()
)
def test_exactly_the_rows_that_are_not_finite_are_named(values: np.ndarray, places: st.DataObject):
    values = np.nan_to_num(values, posinf=1.0, neginf=-1.0)
    count = places.draw(st.integers(0, min(3, values.size)))
    where = places.draw(
        st.lists(st.integers(0, values.size - 1), min_size=count, max_size=count, unique=True)
    )
    values.flat[where] = np.nan
    if not where:
        assert collect(values).count == len(values)
        return
    rows = sorted({int(np.unravel_index(place, values.shape)[0]) for place in where})
    with pytest.raises(KilterError) as caught:
        collect(values)
    many = "row" if len(rows) == 1 else "rows"
    said = f"{count} NaN and 0 infinite values in {len(rows)} {many}; first rows {rows}"
    assert caught.value.received == said
