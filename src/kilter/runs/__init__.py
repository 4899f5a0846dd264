"""Run directories: creating, filling, reading and resuming them, and training from a recipe.

Reading runs (``kilter runs``) loads neither Keras nor JAX.
"""

from kilter import _backend as _backend  # chooses JAX before Keras loads
from kilter._lazy import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__)
