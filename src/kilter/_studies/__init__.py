"""Studies of reuse: how many layers to keep, and whether reusing helped at all, on paired seeds."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
