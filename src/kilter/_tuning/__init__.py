"""Learning-rate finder, clipping threshold, gradient noise scale, curvature."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
