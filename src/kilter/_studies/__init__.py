"""Studies of reuse: how many layers to keep, and whether reusing helped at all, on paired seeds."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
