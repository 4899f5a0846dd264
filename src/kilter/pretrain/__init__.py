"""Pretraining: encoders trained without labels, ready for ``kilter.reuse``.

- :func:`autoencoder`: reconstruct the rows; plain, tied, denoising, sparse, convolutional, greedy.
- :func:`auxiliary`: a task with targets made from the rows: rotation, masked patches, jigsaw, pairs of the
  same group, contrastive views (SimCLR).
- :func:`gan`: the lower layers of a discriminator trained against a generator.

Each trains a copy of the given encoder and reports measures that show whether it learnt anything.
"""

from kilter import _backend as _backend  # chooses JAX before Keras loads

# isort: split

from kilter.pretrain.autoencoder import autoencoder
from kilter.pretrain.auxiliary import auxiliary
from kilter.pretrain.gan import Gan, gan
from kilter.pretrain.running import Pretrained

__all__ = ["Gan", "Pretrained", "autoencoder", "auxiliary", "gan"]
