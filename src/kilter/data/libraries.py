"""Data sets that other libraries bring or download: scikit-learn's digits, Keras's loaders."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kilter.data.assembling import Part
from kilter.errors import DataError


def digits() -> tuple[Part, None]:
    """scikit-learn's 1,797 handwritten digits, uint8 ``[1797, 8, 8, 1]`` with values 0 to 16; no network
    needed.

    From the UCI repository's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998).
    """
    bunch = _function("sklearn.datasets:load_digits")()
    return Part(bunch.images.astype(np.uint8)[..., np.newaxis], bunch.target), None


def keras_set(name: str) -> tuple[Part, Part]:
    """A set from ``keras.datasets``: from Keras's cache, or downloaded by Keras, which checks what it gets.

    Raises DataError where that fails, for instance without a network.
    """
    load_data = _function(f"keras.datasets.{name}:load_data")
    try:
        (x_train, y_train), (x_test, y_test) = load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise DataError(
            expected=f"the data set {name} in $KILTER_DATA, in Keras's cache, or a network to download it",
            received=f"{type(error).__name__}: {str(error)[:200]}",
            remedy="set KILTER_DATA to a folder that holds the set, or connect to a network",
        ) from error
    return Part(x_train, y_train), Part(x_test, y_test)


def _function(reference: str) -> Callable[..., Any]:
    """The function ``module:name``.

    The one place of kilter.data that imports late, for start-up time: reading a CSV file must not wait
    seconds for Keras, JAX and scikit-learn, and neither must `kilter data --help`.
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
