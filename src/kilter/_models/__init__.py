"""The one place that reads, copies and edits Keras models and their variables."""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
