"""What Keras lacks: builders with good defaults, initialisation, activations, signal propagation.

Recipes check their options here without loading Keras.
"""

from kilter import _backend as _backend  # chooses JAX before Keras loads
from kilter._lazy import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__)
