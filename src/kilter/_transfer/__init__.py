"""Reusing trained networks: cut, adapted, given a new head, and fine-tuned in stages."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
