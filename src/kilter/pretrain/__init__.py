"""Pretraining without labels: encoders that have learnt from the rows alone, ready for ``kilter.reuse``.

- :func:`autoencoder`: give the rows back, plain, tied, denoising, sparse, convolutional or in a greedy stack.
- :func:`auxiliary`: a task whose answers are made from the rows: rotation, masked patches, jigsaw, "the same
  or not" pairs, contrast (SimCLR).
- :func:`gan`: a discriminator that tells rows from what a generator makes of noise; its lower layers.

Each leaves the encoder that it is given as it was, and returns a trained copy with figures that say whether
anything was learnt.
"""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split

from kilter.pretrain.autoencoder import autoencoder
from kilter.pretrain.auxiliary import auxiliary
from kilter.pretrain.gan import Gan, gan
from kilter.pretrain.running import Pretrained

__all__ = ["Gan", "Pretrained", "autoencoder", "auxiliary", "gan"]
