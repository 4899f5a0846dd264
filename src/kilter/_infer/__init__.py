"""Models after training: folded, refreshed, sparse, in half precision, with uncertainty."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
