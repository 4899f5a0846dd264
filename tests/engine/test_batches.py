"""Arrays on their way to the device."""

import jax
import numpy as np
import pytest

from kilter._engine.arrays import collect

ROWS = 1100  # of 1024 numbers each: large for every type below


@pytest.mark.parametrize("kind", ["float32", "int32", "uint8", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_arrive_whole_and_are_the_device_s_own(kind: str, order: str):
    given = np.random.default_rng(0).integers(0, 200, (ROWS * 4, 1024)).astype(kind, order=order)  # type: ignore[call-overload]
    expected = given.copy()
    rows = collect(given)
    given[:] = 1
    held = rows.data[0]
    assert isinstance(held, jax.Array)
    assert held.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(held), expected)


def test_a_large_array_of_the_device_stays_where_it_is():
    given = jax.numpy.zeros((ROWS, 1024))
    assert collect(given).data[0].unsafe_buffer_pointer() == given.unsafe_buffer_pointer()


def test_what_need_not_be_made_anew_stays_until_it_is_asked_for():
    """An array of another type is on the device at once: it would lie there and here."""
    fitting, wide = np.ones((4, 2), "float32"), np.ones((4, 2), "float64")
    rows = collect({"fitting": fitting, "wide": wide}, np.arange(4), wait=True)
    assert np.may_share_memory(rows.data[0]["fitting"], fitting)
    assert isinstance(rows.data[0]["wide"], jax.Array)
    assert rows.data[0]["wide"].dtype == "float32"
