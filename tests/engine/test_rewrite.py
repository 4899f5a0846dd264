"""A step rewritten for the CPU computes what the step computes, for layers of every kind."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
import pytest

from kilter._engine.step import train_step
from kilter._models.variables import build, pull
from kilter._xla import rewrite as rewriting
from kilter._xla.rewrite import carry_layout, rewrite, trace, turn

from .cases import relative

layers = keras.layers
IMAGE, SERIES, TABLE = (6, 5, 4), (6, 4), (8,)


def _attention() -> list[Any]:
    return [layers.Reshape(SERIES), _SelfAttention(), layers.LayerNormalization()]


class _SelfAttention(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 4)

    def build(self, shape: Any) -> None:
        self.attention.build(shape, shape)

    def call(self, x: Any) -> Any:
        return x + self.attention(x, x)


# Shape of a row and the layers in front of a dense head. With a batch of 8 rows the dense layers of 8 units
# are square in every way: nothing tells the batch from the units but where it comes from.
STACKS: dict[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "dense": (TABLE, lambda: [layers.Dense(8, "elu"), layers.Dense(8, "tanh")]),
    "dense, many kinds": (
        TABLE,
        lambda: [
            layers.Dense(8, "selu"),
            layers.BatchNormalization(),
            layers.PReLU(),
            layers.Dense(16, "gelu", use_bias=False),
            layers.LayerNormalization(),
            layers.Dense(8, "softmax"),
            layers.UnitNormalization(),
        ],
    ),
    "dropout": (TABLE, lambda: [layers.Dense(8, "relu"), layers.Dropout(0.5, seed=1), layers.Dense(8)]),
    "dense over a series": (SERIES, lambda: [layers.Dense(8, "relu"), layers.Dense(6)]),
    "reshaped between": (TABLE, lambda: [layers.Dense(24), layers.Reshape(SERIES), layers.Permute((2, 1))]),
    "convolution": (IMAGE, lambda: [layers.Conv2D(8, 3, padding="same", activation="relu")]),
    "transposed, of several kinds": (
        IMAGE,
        lambda: [
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(2, (2, 4), strides=(3, 1), padding="valid"),
            layers.Conv2DTranspose(3, 5, strides=2, padding="same"),
        ],
    ),
    "transposed, of a series": (SERIES, lambda: [layers.Conv1DTranspose(5, 2, strides=3)]),
    "strided": (IMAGE, lambda: [layers.Conv2D(8, (3, 2), strides=2), layers.Conv2D(3, 2)]),
    "dilated": (
        IMAGE,
        lambda: [layers.Conv2D(4, 2, dilation_rate=2, padding="same"), layers.GlobalMaxPooling2D()],
    ),
    "grouped": (
        IMAGE,
        lambda: [layers.Conv2D(8, 3, groups=2, padding="same"), layers.GlobalAveragePooling2D()],
    ),
    "depthwise": (IMAGE, lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2)]),
    "separable": (IMAGE, lambda: [layers.SeparableConv2D(8, 3, strides=2, padding="same")]),
    "transposed": (IMAGE, lambda: [layers.Conv2DTranspose(3, 3, strides=2)]),
    "one dimension": (SERIES, lambda: [layers.Conv1D(8, 3, padding="causal"), layers.Conv1D(8, 2)]),
    "three dimensions": ((4, 4, 4, 2), lambda: [layers.Conv3D(3, 2, padding="same"), layers.MaxPooling3D(2)]),
    "normalised images": (
        IMAGE,
        lambda: [
            layers.Conv2D(8, 2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2),
        ],
    ),
    "recurrent": (
        SERIES,
        lambda: [layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.GRU(8)],
    ),
    "simple recurrent": (SERIES, lambda: [layers.SimpleRNN(8, dropout=0.2, seed=2)]),
    "attention": ((24,), _attention),
    "embedding": ((), lambda: [layers.Embedding(5, 8), layers.Dense(8)]),
    "einsum": (SERIES, lambda: [layers.EinsumDense("abc,cd->abd", (6, 8), activation="tanh")]),
}


def _agree_on_one_step(shape: tuple[int, ...], stack: list[Any], x: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(shape), *stack, layers.Flatten(), layers.Dense(8)])
    # Plain steepest descent: the weights' change is the gradient itself, so every one of its digits counts.
    model.compile(keras.optimizers.SGD(1.0), "mse")
    batch = (x, np.random.default_rng(1).normal(size=(len(x), 8)).astype("float32"), None)
    build(model, batch)
    state, step = pull(model), train_step(model)
    plain, _ = jax.jit(step)(state, batch)
    fast, _ = jax.jit(rewrite(trace(step, state, batch), batch_size=len(x)))(state, batch)
    for before, one, other in zip(*map(jax.tree.leaves, (state, fast, plain)), strict=True):
        assert one.dtype == other.dtype
        change, expected = np.asarray(one - before), np.asarray(other - before)
        assert relative(change, expected) < 1e-4 or np.abs(change - expected).max() < 1e-5


@pytest.mark.sampled(9)
@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("name", STACKS)
def test_the_rewritten_step_gives_the_numbers_of_the_step(name: str, size: int):
    shape, stack = STACKS[name]
    generator = np.random.default_rng(0)
    x = generator.normal(size=(size, *shape)).astype("float32")
    x = generator.integers(0, 5, size).astype("int32") if name == "embedding" else x
    _agree_on_one_step(shape, stack(), x)


@pytest.mark.parametrize("size", [256, 333, 512, 1000])
def test_large_batches_give_the_numbers_of_the_step(size: int):
    x = np.random.default_rng(0).normal(size=(size, 8)).astype("float32")
    _agree_on_one_step(
        (8,), [layers.Dense(16, "elu"), layers.BatchNormalization(), layers.Dense(8, "relu")], x
    )


def test_a_step_with_a_loop_and_a_condition_of_its_own():
    def step(state: Any, batch: Any) -> Any:
        w = jax.lax.fori_loop(0, 3, lambda _, w: w @ w * 0.1, state)
        y = jax.lax.cond(batch.sum() > 0, lambda x: x @ w, lambda x: -x @ w.T, batch)
        return state - y.T @ batch, {"loss": y.sum()}

    generator = np.random.default_rng(0)
    state, batch = (generator.normal(size=(8, 8)).astype("float32") for _ in range(2))
    expected, got = (
        jax.jit(step)(state, batch),
        jax.jit(rewrite(trace(step, state, batch), batch_size=8))(state, batch),
    )
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_types_of_lower_precision_are_kept(dtype: str):
    def step(state: Any, batch: Any) -> Any:
        return jax.grad(lambda w: (jax.nn.tanh(batch @ w) @ w).astype("float32").sum())(state), {}

    state = jax.numpy.ones((4, 4), dtype) / 4
    batch = jax.numpy.ones((6, 4), dtype)
    expected, got = (
        jax.jit(step)(state, batch)[0],
        jax.jit(rewrite(trace(step, state, batch), batch_size=6))(state, batch)[0],
    )
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(np.asarray(got, "float32"), np.asarray(expected, "float32"), rtol=0.02)


@pytest.mark.parametrize("width", [8, 32])
def test_random_numbers_keep_their_bits(width: int):
    def step(state, batch):
        bits = jax.random.bits(batch, (5, 7), f"uint{width}")
        return state + bits.astype("uint32"), {}

    state, key = jax.numpy.zeros((5, 7), "uint32"), jax.random.PRNGKey(3)
    expected = jax.jit(step)(state, key)[0]
    got = jax.jit(rewrite(trace(step, state, key), batch_size=5))(state, key)[0]
    assert (np.asarray(got) == np.asarray(expected)).all()


def test_a_carry_held_transposed_is_the_same_carry():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, activation="tanh"), layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    generator = np.random.default_rng(0)
    batch = (generator.normal(size=(8, 6)).astype("float32"), np.ones((8, 2), "float32"))
    build(model, batch)
    state, step = pull(model), train_step(model)
    traced = trace(step, state, batch)
    layout = carry_layout(traced, batch_size=8)
    # The kernel that sees the data and both of Adam's moments of it, and nothing else.
    assert [leaf.shape for leaf, held in zip(jax.tree.leaves(state), layout, strict=True) if held] == [
        (6, 4)
    ] * 3
    held, _ = jax.jit(rewrite(traced, batch_size=8, layout=layout))(turn(state, layout), batch)
    plain, _ = jax.jit(step)(state, batch)
    for one, other in zip(jax.tree.leaves(turn(held, layout)), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=2e-5, atol=1e-7)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("width", "stays"), [(511, False), (512, True)])
def test_dense_layers_stay_as_written_beside_a_large_kernel(width: int, stays: bool):
    def step(kernels: Any, x: Any) -> Any:
        def loss(kernels: Any) -> Any:
            return jax.numpy.tanh(jax.numpy.tanh(x @ kernels[0]) @ kernels[1]).sum()

        return jax.tree.map(lambda one, by: one - by, kernels, jax.grad(loss)(kernels)), None

    shapes = [(6, width), (width, 512)]
    kernels = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    traced = trace(step, kernels, jax.ShapeDtypeStruct((4, 6), "float32"))
    assert any(carry_layout(traced, batch_size=4)) != stays
    rewritten = jax.make_jaxpr(rewrite(traced, batch_size=4))(kernels, traced.equations.in_avals[2])
    transposed_ahead = any(one.primitive.name == "optimization_barrier" for one in rewritten.eqns)
    assert transposed_ahead != stays


@pytest.mark.parametrize("stack", ["dense, many kinds", "dropout", "reshaped between", "convolution"])
def test_arrays_are_stored_as_planned(stack: str, monkeypatch: pytest.MonkeyPatch):
    shape, make = STACKS[stack]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *make(), layers.Flatten(), layers.Dense(3)])
    model.compile(keras.optimizers.Nadam(0.01), "mse")
    batch = (np.ones((8, *shape), "float32"), np.ones((8, 3), "float32"))
    build(model, batch)
    state = pull(model)
    traced = trace(train_step(model), state, batch)
    seen: dict[str, list[tuple[bool, bool]]] = {"_planned": [], "_rewritten": []}
    for name, found in seen.items():
        given = getattr(rewriting, name)

        def noted(*arguments: Any, given: Any = given, found: Any = found) -> Any:
            results = given(*arguments)
            found.extend((value.transposed, value.turns) for value in results)
            return results

        monkeypatch.setattr(rewriting, name, noted)
    carry_layout(traced, batch_size=8)
    jax.eval_shape(rewrite(traced, batch_size=8), state, batch)
    assert seen["_planned"] == seen["_rewritten"]
    assert any(map(any, seen["_planned"]))  # else this test could not fail


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_division_by_one_number(dtype: str):
    def step(state, batch):
        return state / batch, {}

    state = jax.numpy.asarray(np.random.default_rng(0).normal(size=(5, 7)), dtype)
    for number in (3.0, 1e-3, -0.7):
        divisor = jax.numpy.asarray(number, dtype)
        got = jax.jit(rewrite(trace(step, state, divisor), batch_size=5))(state, divisor)[0]
        # Two roundings instead of one; in half precision the division stays.
        tolerance = 0.0 if dtype == "float16" else 2e-7
        np.testing.assert_allclose(np.asarray(got), np.asarray(state / divisor), rtol=tolerance)


@pytest.mark.parametrize(
    ("shape", "apart"), [((2, 128, 128, 1), True), ((2, 16, 16, 1), False), ((2, 128, 128), False)], ids=str
)
@pytest.mark.parametrize("odd", [0.0, np.inf, -np.inf, np.nan], ids=str)
def test_sums_over_large_images_of_one_channel_stand_apart(shape: tuple[int, ...], apart: bool, odd: float):
    def step(state, batch):
        return state + jax.numpy.sum(jax.numpy.log1p(abs(batch)) - odd), {}

    state = jax.numpy.zeros(())
    batch = jax.numpy.asarray(np.random.default_rng(0).normal(size=shape), "float32")
    rewritten = rewrite(trace(step, state, batch), batch_size=2)
    expected, got = (jax.jit(function)(state, batch)[0] for function in (step, rewritten))
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=1e-6)
    assert ("select_n" in str(jax.make_jaxpr(rewritten)(state, batch))) == apart
