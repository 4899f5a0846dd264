"""Orthonormal kernels, which neither stretch nor shrink what they are applied to (Saxe et al. 2014)."""

from __future__ import annotations

import math

import numpy as np


def orthonormal(shape: tuple[int, ...], generator: np.random.Generator, *, each_channel: bool) -> np.ndarray:
    """A kernel whose matrix (all axes but the last, the last) has orthonormal columns, or rows if it is wide.

    Drawn uniformly (Haar). With ``each_channel``, every channel of a depthwise kernel (…, channels,
    multiplier) is such a matrix by itself.
    """
    count = shape[-2] if each_channel else 1
    columns = shape[-1]
    rows = math.prod(shape) // (count * columns)
    normal = generator.standard_normal((count, max(rows, columns), min(rows, columns)))
    basis, triangle = np.linalg.qr(normal)
    basis *= np.sign(np.diagonal(triangle, axis1=1, axis2=2))[:, None, :]  # else the draw is not uniform
    matrices = basis if rows >= columns else basis.transpose(0, 2, 1)
    return matrices.transpose(1, 0, 2).reshape(shape)
