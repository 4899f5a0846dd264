"""Reusing trained networks: cut, adapted, given a new head, and fine-tuned in stages."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
