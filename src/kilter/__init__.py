"""kilter: deep networks that train, and the proof of why."""

import os

from kilter._lazy import names_of_stub

# Keras fixes its backend at import, so importing kilter first selects the right one.
os.environ.setdefault("KERAS_BACKEND", "jax")

__version__ = "0.1.0"
__getattr__, __dir__, _names = names_of_stub(__name__)
__all__ = ["__version__", *_names]  # pyright: ignore[reportUnsupportedDunderAll]
