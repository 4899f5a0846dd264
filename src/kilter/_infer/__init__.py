"""Models after training: folded, refreshed, sparse, in half precision, with uncertainty."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
