"""Sparse inputs: dense on the device; large matrices of SciPy are read dense a block at a time."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from jax.experimental.sparse import JAXSparse

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
