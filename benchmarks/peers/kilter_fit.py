"""kilter's ``fit`` on the same Keras model, called as Keras's own is."""

from __future__ import annotations

import kilter  # before keras: it chooses the backend

# isort: split
from peers.keras_fit import serve

if __name__ == "__main__":
    serve(kilter.fit, "kilter", "jax", "jaxlib")
