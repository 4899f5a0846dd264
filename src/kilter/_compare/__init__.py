"""Paired comparisons: candidates, runs, statistics, local processes."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
