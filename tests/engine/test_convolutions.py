"""Convolutions in every form give what XLA's own kernel gives, forward and backward."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kilter._xla import kernel_gradients
from kilter._xla.rewrite import rewrite, trace

from .cases import relative

# Sizes of space, filters in and out, the kernel's window, and the options of jax.lax.conv_general_dilated.
Case = tuple[tuple[int, ...], int, int, tuple[int, ...], dict[str, Any]]
CASES: dict[str, Case] = {
    "plain": ((7, 6), 3, 5, (3, 3), {"padding": "SAME"}),
    "an odd number of channels": ((7, 6), 3, 17, (3, 3), {"padding": "SAME"}),
    "an odd number of channels, strides": (
        (9, 8),
        5,
        32,
        (2, 3),
        {"padding": "SAME", "window_strides": (2, 1)},
    ),
    "few filters in": ((8, 8), 1, 9, (3, 2), {"padding": "SAME"}),
    "few filters out": ((8, 8), 9, 1, (2, 3), {"padding": "SAME"}),
    "nothing padded": ((7, 7), 2, 2, (3, 3), {"padding": "VALID"}),
    "padded unevenly, and cut": ((9, 8), 2, 3, (2, 3), {"padding": [(3, 0), (-1, 2)]}),
    "strides": ((9, 8), 2, 3, (3, 2), {"padding": "SAME", "window_strides": (2, 3)}),
    "strides beyond the window": ((9, 9), 2, 3, (1, 2), {"padding": "SAME", "window_strides": (2, 3)}),
    "strides, many filters": ((9, 8), 17, 18, (3, 3), {"padding": "SAME", "window_strides": (2, 2)}),
    "taps apart": ((9, 9), 2, 3, (2, 3), {"padding": "SAME", "rhs_dilation": (3, 1)}),
    "taps apart, strides": (
        (9, 9),
        2,
        3,
        (2, 2),
        {"padding": "VALID", "rhs_dilation": (2, 2), "window_strides": (2, 1)},
    ),
    "spread": ((4, 5), 2, 3, (3, 2), {"padding": [(1, 2), (0, 1)], "lhs_dilation": (2, 3)}),
    "spread, many filters": ((4, 5), 2, 16, (3, 4), {"padding": [(2, 2), (2, 1)], "lhs_dilation": (2, 2)}),
    "spread, fewer taps than places": (
        (4, 3),
        2,
        3,
        (1, 2),
        {"padding": [(0, 0), (0, 0)], "lhs_dilation": (3, 1)},
    ),
    "spread, many filters, fewer taps": (
        (4, 3),
        2,
        16,
        (1, 2),
        {"padding": [(0, 0), (0, 0)], "lhs_dilation": (3, 1)},
    ),
    "spread, cut": ((5, 5), 2, 3, (3, 3), {"padding": [(-1, 2), (1, -2)], "lhs_dilation": (2, 2)}),
    "spread, many filters, many kinds": (
        (3, 2),
        2,
        17,
        (5, 4),
        {"padding": [(4, 4), (3, 3)], "lhs_dilation": (5, 4)},
    ),
    "groups": ((6, 6), 4, 6, (3, 3), {"padding": "SAME", "feature_group_count": 2}),
    "groups, strides": (
        (7, 6),
        4,
        6,
        (3, 3),
        {"padding": "SAME", "feature_group_count": 2, "window_strides": (2, 2)},
    ),
    "one dimension": ((11,), 3, 4, (3,), {"padding": "SAME", "window_strides": (2,)}),
    "three dimensions": ((4, 5, 4), 2, 3, (2, 3, 2), {"padding": "SAME", "window_strides": (1, 2, 2)}),
    "a window as large as the images": ((3, 4), 2, 3, (3, 4), {"padding": "VALID"}),
}


def _first(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(name)).normal(size=shape).astype("float32")


def _of_case(case: Case, *, channels_first: bool) -> tuple[Any, jax.Array, jax.Array]:
    size, inputs, filters, window, options = case
    groups = options.get("feature_group_count", 1)
    space = "HWD"[: len(size)]
    order = (f"NC{space}",) * 2 if channels_first else (f"N{space}C",) * 2
    options = {"window_strides": (1,) * len(size), **options}
    shape = (4, inputs, *size) if channels_first else (4, *size, inputs)

    def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers = (order[0], f"{space}IO", order[1])
        return lax.conv_general_dilated(images, kernel, dimension_numbers=numbers, **options)

    images, kernel = (
        jnp.asarray(_first(name, one))
        for name, one in (("x", shape), ("kernel", (*window, inputs // groups, filters)))
    )
    return convolve, images, kernel


@pytest.mark.parametrize("channels_first", [False, True], ids=["channels last", "channels first"])
@pytest.mark.parametrize("name", CASES)
def test_every_form_gives_the_results_and_gradients_of_the_plain_one(name: str, channels_first: bool):
    convolve, images, kernel = _of_case(CASES[name], channels_first=channels_first)
    weight = jnp.asarray(_first(name, jax.eval_shape(convolve, images, kernel).shape))

    def step(images: jax.Array, kernel: jax.Array) -> Any:
        result, back = jax.vjp(convolve, images, kernel)
        return result, *back(weight)

    plain = jax.jit(step)(images, kernel)
    ours = jax.jit(rewrite(trace(step, images, kernel), batch_size=4))(images, kernel)
    for one, other in zip(ours, plain, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert relative(np.asarray(one), np.asarray(other)) < 2e-6


def _equations(closed: Any) -> list[Any]:
    """All equations, those of inner calls included."""
    inner = [one for each in closed.eqns for one in each.params.values() if hasattr(one, "eqns")]
    return [*closed.eqns, *(one for each in inner for one in _equations(each))]


def _rewritten(name: str) -> list[Any]:
    convolve, images, kernel = _of_case(CASES[name], channels_first=False)
    gradients = jax.grad(lambda *both: convolve(*both).sum(), argnums=(0, 1))
    return _equations(jax.make_jaxpr(rewrite(trace(gradients, images, kernel), batch_size=4))(images, kernel))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("few filters out", True),
        ("plain", False),
        ("strides", False),  # of a few filters too: one tap does not meet adjacent places
        ("spread", True),
        ("taps apart", True),
        ("groups", False),
    ],
)
def test_which_forms_are_taken(name: str, product: bool):
    """A product gives the gradient of a kernel of few filters, but not in groups; none convolves zeros."""
    equations = _rewritten(name)
    assert any(one.primitive.name == "dot_general" for one in equations) == product
    spread = [max(one.params.get("lhs_dilation", (1,))) > 1 for one in equations]
    assert name == "groups" or not any(spread)


@pytest.mark.parametrize("limit", ["_MOST_NUMBERS", "_MOST_TAPS"])
def test_a_product_that_would_not_fit_is_left_a_convolution(limit: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernel_gradients, limit, 5)
    assert not any(one.primitive.name == "dot_general" for one in _rewritten("few filters out"))
    convolve, images, kernel = _of_case(CASES["few filters out"], channels_first=False)
    gradients = jax.grad(lambda *both: convolve(*both).sum(), argnums=1)
    plain, ours = (
        gradients(images, kernel),
        rewrite(trace(gradients, images, kernel), batch_size=4)(images, kernel),
    )
    assert relative(np.asarray(ours), np.asarray(plain)) < 2e-6
