"""Paired comparisons: candidates, runs, statistics, local processes."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
