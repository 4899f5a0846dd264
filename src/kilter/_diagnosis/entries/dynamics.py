"""Findings about how a training goes: its losses, its updates, and what makes it slow."""

from __future__ import annotations

from typing import Final

from kilter._diagnosis.entries import Text

_PASCANU: Final = "Pascanu et al. 2013, On the difficulty of training recurrent neural networks"
_BENGIO: Final = "Bengio 2012, Practical recommendations for gradient-based training of deep architectures"

# fmt: off
TRAINING: Final[dict[str, Text]] = {
    "loss-spike": (
        "a batch with a far higher loss", ("clip-gradients", "find-learning-rate"), _PASCANU,
        "{detail}. Look at the rows of this batch; clipped gradients limit what it can do.",
    ),
    "weights-not-moving": (
        "no weight changes", ("recompile", "unfreeze", "find-learning-rate"), _BENGIO,
        "After {steps} steps every trainable weight is what it was at the start: the updates are 0, or lost.",
    ),
}
# fmt: on
