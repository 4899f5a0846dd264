"""Arrays as JAX takes them, and samples of their rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kilter._validation import whole_number
from kilter.errors import DataError


def plain_array(leaf: Any, name: str = "") -> Any:
    """``leaf`` as a numeric array that JAX can read; an array on a device stays there.

    Big-endian numbers become native, and floats wider than 64 bits become float64. ``name``: for the error.
    """
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise DataError(
            expected=f"numbers in {name}" if name else "numbers",
            received=f"an array of dtype {array.dtype}",
            remedy=_to_numbers(array),
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array.astype(np.float64) if array.dtype == np.longdouble and array.itemsize > 8 else array


def _to_numbers(array: Any) -> str:
    if array.dtype == object and all(isinstance(one, int | float | np.number) for one in array.flat):
        return 'these objects are numbers: convert them with .astype("float32")'
    if array.dtype == object and all(isinstance(one, list | tuple | np.ndarray) for one in array.flat):
        return "give all rows one length: keras.utils.pad_sequences(rows) fills lists of numbers with zeros"
    return "encode the values as numbers first: np.unique(values, return_inverse=True)[1] numbers classes"


def some_rows(x: Any, rows: int, seed: int) -> Any:
    """At most ``rows`` rows of the arrays in ``x``, sampled without replacement and kept in order."""
    whole_number("rows", rows, 1, remedy="a few hundred are enough")
    arrays = jax.tree.map_with_path(
        lambda path, leaf: plain_array(leaf, jax.tree_util.keystr(path, simple=True, separator=".")), x
    )
    shapes = [array.shape for array in jax.tree.leaves(arrays)]
    lengths = {shape[:1] for shape in shapes}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise DataError(
            expected="a batch: arrays with the same number of rows, at least 1",
            received=f"shapes {', '.join(map(str, shapes)) or 'of no array'}",
            remedy="give the inputs of some rows of the training data",
        )
    ((count,),) = lengths
    if count <= rows:
        return arrays
    chosen = np.sort(np.random.default_rng(seed).choice(count, rows, replace=False))
    return jax.tree.map(lambda array: array[chosen], arrays)
