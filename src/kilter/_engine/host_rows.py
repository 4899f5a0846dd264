"""Large arrays that a program on a CPU reads in place, sparse inputs, and how batches take rows.

JAX uses host memory without a copy only from a 64-byte boundary on, and most NumPy arrays begin between two.
Sparse inputs are dense on the device; large matrices of SciPy are read dense a block at a time.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from jax.experimental.sparse import JAXSparse

_BOUNDARY: Final = 64  # bytes
_LEAST_BYTES: Final = 1 << 24  # smaller arrays are copied: no reading is saved
_MOST_ELEMENTS: Final = np.iinfo(np.int32).max  # their positions are int32


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HostRows:
    """``flat``: the elements from the ``skipped``-th on, almost to the end; ``first`` and ``last``: rows."""

    flat: Any
    skipped: Any
    first: Any
    last: Any
    shape: tuple[int, ...] = field(metadata={"static": True})

    @property
    def dtype(self) -> Any:
        """The dtype of the rows."""
        return self.flat.dtype

    @property
    def ndim(self) -> int:
        """The number of axes, including the first."""
        return len(self.shape)

    def take(self, rows: jax.Array) -> jax.Array:
        """The given rows; the numbers must be in range."""
        width = math.prod(self.shape[1:])
        starts = jnp.clip(rows * width - self.skipped, 0, self.flat.size - width)
        found = lax.gather(
            self.flat,
            starts[..., None],
            lax.GatherDimensionNumbers((rows.ndim,), (), (0,)),
            (width,),
            mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        ).reshape(*rows.shape, *self.shape[1:])
        at = rows.reshape(*rows.shape, *[1] * (self.ndim - 1))
        return jnp.where(at == 0, self.first, jnp.where(at == self.shape[0] - 1, self.last, found))


def in_place(array: Any) -> Any:
    """A large array as :class:`HostRows`, without a copy; any other one unchanged.

    JAX copies arrays that it converts, and those with rows shorter than the distance between two boundaries.
    """
    if jax.default_backend() != "cpu" or not isinstance(array, np.ndarray) or array.nbytes < _LEAST_BYTES:
        return array
    width = math.prod(array.shape[1:])
    spare = _BOUNDARY // array.itemsize
    skipped, odd = divmod(-array.ctypes.data % _BOUNDARY, array.itemsize)
    if (
        odd
        or not array.flags.c_contiguous
        or jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype
        or not spare <= width < array.size <= _MOST_ELEMENTS
    ):
        return array
    # The same length at every alignment, so that one program serves all arrays of a shape.
    flat = array.reshape(-1)[skipped : skipped + array.size - spare]
    return HostRows(
        jax.device_put(flat), jnp.int32(skipped), jnp.asarray(array[0]), jnp.asarray(array[-1]), array.shape
    )


def take(data: Any, rows: jax.Array) -> Any:
    """The given rows of every array in ``data``; the indices must be in range (they are not checked)."""

    def one(array: Any) -> jax.Array:
        if isinstance(array, HostRows):
            return array.take(rows)
        return jnp.asarray(array).at[rows].get(mode="promise_in_bounds")

    return jax.tree.map(one, data, is_leaf=lambda leaf: isinstance(leaf, HostRows))


_DENSE_BYTES = 1 << 28  # sparse matrices that take more than this when dense are streamed


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix with rows that are read dense, a block at a time."""

    matrix: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.matrix.shape

    @property
    def dtype(self) -> Any:
        """Of the numbers."""
        return self.matrix.dtype

    @property
    def nbytes(self) -> int:
        """The size of the dense array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The given rows, dense."""
        return self.matrix[rows].toarray()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, dense."""
        return self.matrix.toarray() if dtype is None else self.matrix.toarray().astype(dtype)


def with_sparse_rows(x: Any) -> Any:
    """``x`` with sparse arrays (SciPy, JAX, TensorFlow) dense; large ones of SciPy as :class:`SparseRows`."""
    return keras.tree.map_structure(lambda leaf: rows_of(leaf) if is_sparse(leaf) else leaf, x)


def rows_of(sparse: Any) -> Any:
    """A sparse array, dense, or as :class:`SparseRows`."""
    if isinstance(sparse, JAXSparse):
        return sparse.todense()
    if hasattr(sparse, "dense_shape"):
        return _dense_of_tensorflow(sparse)
    large = math.prod(sparse.shape) * sparse.dtype.itemsize > _DENSE_BYTES
    return SparseRows(sparse.tocsr()) if large else sparse.toarray()


def _dense_of_tensorflow(sparse: Any) -> np.ndarray:
    """The array of a ``tf.SparseTensor``, read without importing TensorFlow."""
    values = np.asarray(sparse.values)
    dense = np.zeros(np.asarray(sparse.dense_shape), values.dtype)
    dense[tuple(np.asarray(sparse.indices).T)] = values
    return dense


def is_sparse(value: Any) -> bool:
    """Whether ``value`` is a sparse array of SciPy, JAX or TensorFlow."""
    return isinstance(value, JAXSparse) or hasattr(value, "tocsr") or hasattr(value, "dense_shape")
