"""Treatment: remedies, short trials, full training, proof and result. Start reading at ``treat.py``."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
