"""Findings about convolutions, segmentation and autoencoders."""

from __future__ import annotations

from typing import Final

from kilter._diagnosis.entries import Text

# fmt: off
MODEL: Final[dict[str, Text]] = {
    "receptive-field": (
        "receptive field smaller than the objects", (),
        "Luo et al. 2016, Understanding the effective receptive field",
        "Each pixel of {where} sees {seen} pixels of the input across; the objects are about {size} pixels "
        "across. Use more pooling, strides or dilation.",
    ),
    "kernel-larger-than-map": (
        "convolutions on maps smaller than their kernels", (),
        "Luo et al. 2016, Understanding the effective receptive field",
        "The maps are only {shape} before {where}: most of the kernel sees padding. Use fewer strides and "
        "poolings, or padding='same' before.",
    ),
    "rare-pixels": (
        "rare pixels in the masks", ("focal-loss", "dice-loss"),
        "Lin et al. 2017, Focal loss for dense object detection",
        "Only {share:.2%} of the elements of the masks are {what}: a network that never answers it has a "
        "small loss.",
    ),
    "batch-norm-one-image": (
        "batch normalisation with one image per batch", ("group-normalization", "change-batch-size"),
        "Wu & He 2018, Group normalization",
        "With batches of {rows} {where} normalises each image by itself in training, but by the averages of "
        "all images at inference.",
    ),
    "uneven-upsampling": (
        "transposed convolutions overlap unevenly", (),
        "Odena et al. 2016, Deconvolution and checkerboard artifacts",
        "Kernels of {where} are no multiple of their strides, so that pixels get unequal sums: a pattern "
        "like a checkerboard.",
    ),
    "wide-bottleneck": (
        "narrowest layer as wide as the input", (),
        "Goodfellow, Bengio & Courville 2016, Deep learning, section 14.1",
        "The targets are the inputs, and the narrowest layer ({where}) has {units} numbers for {inputs}. "
        "Such an autoencoder can copy its input and learn nothing else.",
    ),
}
# fmt: on
