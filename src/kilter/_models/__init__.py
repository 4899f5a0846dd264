"""The one place that reads, copies and edits Keras models and their variables."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
