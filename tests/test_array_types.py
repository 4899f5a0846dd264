"""Every array that a public function takes or returns has a shape annotation, which holds at run time."""

import builtins
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import keras
import numpy as np
import pytest
from beartype import beartype
from tests.test_public import public_objects

import kilter
from kilter import _array_types

# Parameters annotated with Any that are no arrays.
NOT_ARRAYS = {
    "data": "what a source is read from",
    "source": "what a source is read from",
    "dtype": "a policy",
    "initializer": "one of Keras's",
    "input_shape": "a shape",
    "inputs": "a polars frame",
    "logs": "numbers by name",
    "loss": "one of Keras's",
    "metrics": "Keras's",
    "more": "fields of a record",
    "model": "a model of Keras",
    "optimizer": "one of Keras's",
    "options": "keywords of another function",
    "random_state": "scikit-learn's",
}


class Names(dict[str, Any]):
    """The names that a function's annotations may use; unknown ones (under TYPE_CHECKING) are Any."""

    def __init__(self, function: Callable[..., Any]) -> None:
        modules = {"keras": keras, "np": np, "jax": jax}
        super().__init__(modules | vars(_array_types) | vars(builtins) | inspect.unwrap(function).__globals__)

    def __missing__(self, name: str) -> Any:
        if name.startswith("__"):  # pytest looks into the locals of a frame
            raise KeyError(name)
        return Any


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function, {}, Names(function), include_extras=True)


def parts(annotation: Any) -> Iterator[Any]:
    """An annotation and all in it."""
    yield annotation
    for one in typing.get_args(annotation):
        yield from parts(one)


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in public_objects():
        if inspect.isclass(value):
            own = vars(value).get("__init__"), vars(value).get("__call__")
            yield from ((f"{name}.{one.__name__}", one) for one in own if inspect.isfunction(one))
        elif inspect.isfunction(value):
            yield name, value


FUNCTIONS = dict(functions())


def without_shape(name: str, annotation: Any) -> bool:
    found = list(parts(annotation))
    bare = any(one in (np.ndarray, jax.Array) for one in found)
    return bare or (annotation in (Any, Any | None) and name not in (*NOT_ARRAYS, "return"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_array_has_a_shape(name: str):
    faulty = {one: str(kind) for one, kind in hints(FUNCTIONS[name]).items() if without_shape(one, kind)}
    assert not faulty


def test_the_rule_can_fail():
    def bare(x: np.ndarray, y: Any, loss: Any, z: _array_types.Shares) -> list[jax.Array]: ...

    assert [one for one, kind in hints(bare).items() if without_shape(one, kind)] == ["x", "y", "return"]


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations enforced."""
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = {name: kind for name, kind in hints(function).items() if _describes_arrays(kind)}
    return jaxtyping.jaxtyped(copy, typechecker=beartype)


def _describes_arrays(kind: Any) -> bool:
    return any(
        inspect.isclass(one) and (issubclass(one, jaxtyping.AbstractArray) or one is _array_types.Nested)
        for one in parts(kind)
    )


def model() -> keras.Model:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


def dict_model() -> keras.Model:
    inputs = {"x": keras.Input((3,), name="x")}
    made = keras.Model(inputs, keras.layers.Dense(2, "softmax")(inputs["x"]))
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


X = np.ones((8, 3), "float32")
Y = np.arange(8) % 2
IMAGES, EYES = jnp.ones((2, 8, 8, 1)), jnp.tile(jnp.eye(2), (2, 1, 1))
MIXTURE = kilter.data.augmentation.Mixture(jnp.int32(1), jnp.ones(4))
CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], list[tuple[Any, ...]]]] = {
    "fit": (kilter.fit, (X, Y), [(X, Y[:5]), (np.float32(3), Y), (3, Y)]),
    "fit-dicts": (kilter.fit, ({"x": X}, Y), [({"x": X}, Y[:5])]),
    "fit-lists": (kilter.fit, ([X], Y), []),
    "evaluate": (kilter.evaluate, (X, Y), [(X, Y[:5])]),
    "predict": (kilter.predict, (X,), [(np.float32(3),)]),
    "diagnose": (kilter.diagnose, (X, Y), [(X, Y[:5]), (X, 1)]),
    "fine_tune": (kilter.fine_tune, (X, Y), [(X, Y[:5])]),
    "find_lr": (kilter.find_lr, (X, 0 * Y), [(X, Y[:5])]),
    "treat": (kilter.treat, (), [(X, Y[:5])]),
    "reuse_study": (kilter.reuse_study, (), [(X, Y.astype(float)), (X, Y[:5])]),
    "calibration": (
        kilter.calibration,
        (np.full((8, 2), 0.5), Y),
        [(np.full((8, 2), 0.5), Y[:5]), (X[0, 0], Y)],
    ),
    "moments": (kilter.data.moments, (X,), [(3.0,), (np.array(["a"]),)]),
    "lsuv": (kilter.nn.lsuv, (X,), [(3.0,)]),
    "variance_through_depth": (kilter.nn.variance_through_depth, (X,), [(np.float32(1),)]),
    "autoencoder": (kilter.pretrain.autoencoder, (), [(3.0,)]),
    "gan": (kilter.pretrain.gan, (), [(3.0,)]),
    "take": (kilter.data.Dataset.take, (np.arange(3),), [(np.ones(3),), (np.ones((2, 2), int),)]),
    "warp": (
        kilter.data.augmentation.warp,
        (IMAGES, EYES, jnp.zeros((2, 2)), "zero"),
        [(IMAGES[0], EYES, jnp.zeros((2, 2)), "zero"), (IMAGES, EYES, jnp.zeros((3, 2)), "zero")],
    ),
    "blend": (kilter.data.augmentation.Mixture.blend, (jnp.ones((4, 2)),), [(3.0,)]),
    "time": (kilter.schedules.Schedule.time, (jnp.int32(3),), [(jnp.arange(3),), (1.5,)]),
}
FIRST: dict[str, Callable[[], Any]] = {
    "fit-dicts": dict_model,
    "take": lambda: kilter.data.Dataset(X, Y, "classification", ("a", "b")),
    "blend": lambda: MIXTURE,
    "time": lambda: kilter.schedules.power(0.1, period=2),
}
WITHOUT_MODEL = ("calibration", "moments", "warp", "reuse_study", "gan")


def arguments(name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return given if name in WITHOUT_MODEL else (FIRST.get(name, model)(), *given)


@pytest.mark.parametrize("name", [name for name, (_, right, _) in CALLS.items() if right])
def test_arrays_of_the_right_shape_pass(name: str):
    function, right, _ = CALLS[name]
    checked(function)(*arguments(name, right))


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, one) for name, (_, _, wrong) in CALLS.items() for one in wrong]
)
def test_arrays_of_another_shape_are_refused(name: str, wrong: tuple[Any, ...]):
    required = {"treat": {"validation_data": (X, Y)}, "reuse_study": {"test_data": (X, Y)}}
    with pytest.raises(jaxtyping.TypeCheckError):
        checked(CALLS[name][0])(*arguments(name, wrong), **required.get(name, {}))
