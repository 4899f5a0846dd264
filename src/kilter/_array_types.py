"""Types of the arrays that public functions take and return, with their shapes (jaxtyping).

An axis has one size within a call: the ``rows`` of ``x`` are those of ``y``. Tests check it at run time.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer, Key, Num, Shaped, UInt32

if TYPE_CHECKING:
    Nested = Any
else:

    class _Holds(type):
        def __instancecheck__(cls, value: Any) -> bool:
            holds = hasattr(value, "__iter__") or hasattr(value, "__len__")
            is_sparse = any(hasattr(value, name) for name in ("tocsr", "nse", "dense_shape"))
            is_plain = hasattr(value, "dtype") and not is_sparse
            return holds and not is_plain and not isinstance(value, Mapping | str)

    class Nested(metaclass=_Holds):
        """Containers of arrays other than dicts (lists, a Dataset, batches), and sparse arrays."""


RowArray = Shaped[np.ndarray, "rows ..."] | Shaped[jax.Array, "rows ..."]
Arrays = RowArray | Mapping[str, RowArray] | Nested
"""Inputs, targets or weights as Keras takes them: arrays with rows first, nests of them, or batches."""
HeldOut = Shaped[np.ndarray, "held ..."] | Shaped[jax.Array, "held ..."] | Mapping[str, Any] | Nested
"""Like :data:`Arrays`, with a different number of rows."""
ValidationData = tuple[HeldOut, ...] | Nested
"""``(x, y)``, ``(x, y, sample_weight)``, a dataset or batches."""
HeldLabels = Integer[np.ndarray, "held"] | Integer[np.ndarray, "held 1"] | Integer[jax.Array, "held"] | Nested
Labels = Integer[np.ndarray, "rows"] | Integer[np.ndarray, "rows 1"] | Integer[jax.Array, "rows"] | Nested
Probabilities = (
    Float[np.ndarray, "rows classes"]
    | Float[np.ndarray, "rows"]
    | Float[jax.Array, "rows classes"]
    | Float[jax.Array, "rows"]
    | Nested
)
ClassShares = Float[np.ndarray, "rows classes"]
Moment = float | Num[np.ndarray, "..."] | Num[jax.Array, "..."] | Nested
"""A mean or variance of a network's inputs: a number, or of the shape of a row or of its last axis."""
ImageBatch = Num[jax.Array, "rows height width channels"]
RandomKey = Key[jax.Array, ""] | UInt32[jax.Array, "2"]
Matrices = Float[jax.Array, "rows 2 2"]
Offsets = Float[jax.Array, "rows 2"]
Shares = Float[jax.Array, "rows"]
Masks = Float[jax.Array, "rows ..."]
Index = Integer[jax.Array, ""]
Batch = Shaped[jax.Array, "rows ..."]
Elements = Float[jax.Array, "*shape"]
Samples = Shaped[np.ndarray, "count ..."]
Host = Shaped[np.ndarray, "..."]
Mask = Bool[np.ndarray, "features"]
HostRows = Shaped[np.ndarray, "rows ..."]
Numbers = Num[np.ndarray, "rows ..."]
Chosen = Integer[np.ndarray, "chosen"]
Kept = Float[np.ndarray, "*kept"]
Step = int | Integer[np.ndarray, ""] | Integer[jax.Array, ""]
Rate = Float[jax.Array, ""]
