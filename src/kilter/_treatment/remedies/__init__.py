"""Remedies by code: what can be done about a finding, each a function from subject to subject."""

from typing import Final

from kilter._treatment.remedies import (
    activation,
    embeddings,
    endings,
    initialization,
    inputs,
    losses,
    normalization,
    optimization,
    output,
    pictures,
    regularization,
    residuals,
    scales,
    sequences,
    training,
)
from kilter._treatment.remedies.base import Remedy

REMEDIES: Final[dict[str, Remedy]] = {
    **inputs.REMEDIES,
    **output.REMEDIES,
    **activation.REMEDIES,
    **initialization.REMEDIES,
    **normalization.REMEDIES,
    **residuals.REMEDIES,
    **sequences.REMEDIES,
    **regularization.REMEDIES,
    **optimization.REMEDIES,
    **training.REMEDIES,
    **embeddings.REMEDIES,
    **endings.REMEDIES,
    **scales.REMEDIES,
    **losses.REMEDIES,
    **pictures.REMEDIES,
}
"""Every remedy that a finding can name."""

__all__ = ["REMEDIES", "Remedy"]
