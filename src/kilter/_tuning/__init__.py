"""Learning-rate finder, clipping threshold, gradient noise scale, curvature."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
