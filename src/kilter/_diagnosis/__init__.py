"""Diagnosis: what is wrong with a network, its data and its training, as findings with evidence."""

from kilter import _backend as _backend  # chooses JAX before Keras loads
