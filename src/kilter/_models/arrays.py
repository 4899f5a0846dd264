"""Arrays as JAX takes them: real numbers, in the machine's byte order."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kilter.errors import DataError


def plain_array(leaf: Any) -> Any:
    """The leaf as a NumPy array of real numbers that JAX can read; an array on a device stays there.

    Big-endian numbers are turned round, and floats of more than 64 bits become float64. Raises
    :class:`DataError` for anything that is no number.
    """
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise DataError(
            expected="numbers",
            received=f"an array of dtype {array.dtype}",
            remedy="encode the values as numbers first",
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array.astype(np.float64) if array.dtype == np.longdouble and array.itemsize > 8 else array
