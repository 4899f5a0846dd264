"""Trials: paired comparisons of recipes or of functions that make models, and their statistics."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
