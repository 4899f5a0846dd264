"""Findings about convolutions, segmentation, autoencoders, adversaries and pairs."""

from typing import Final

from kilter._diagnosis.entries import Text

# fmt: off
MODEL: Final[dict[str, Text]] = {
    "receptive-field": (
        "receptive field smaller than the objects", ("widen-kernels",),
        "Luo et al. 2016, Understanding the effective receptive field",
        "Each place of {where} sees a width of {seen} of the input; {detail}. Use larger kernels, pooling, "
        "strides or dilation.",
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
        "Only {share:.2%} of the elements of the masks are {what}: a network that never predicts "
        "them still has a small loss.",
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
        "The kernel sizes of {where} are not multiples of their strides, so some output pixels sum more "
        "terms than others: a checkerboard pattern.",
    ),
    "output-offset": (
        "outputs shifted against their inputs", (),
        "Araujo et al. 2019, Computing receptive fields of convolutional neural networks",
        "Each pixel of {where} lies {offset:.2g} pixels away from the centre of what it sees: padding on "
        "one side only, or strides without padding. Use padding='same', or crop the masks in the same way.",
    ),
    "kl-collapse": (
        "KL term outweighs the reconstruction", ("weigh-reconstruction",),
        "Lucas et al. 2019, Don't blame the ELBO!",
        "The KL term of {where} costs {share:.2g} times as much as a code can gain, so the best decoder "
        "ignores the code. Give it a weight of at most {most:.2g}, or sum the "
        "reconstruction loss over a row instead of averaging it.",
    ),
    "kl-sign": (
        "KL term is subtracted", (), "Kingma & Welling 2014, Auto-encoding variational Bayes",
        "{where} makes the loss smaller the further its code is from a normal distribution: means and "
        "variances grow without limit. Negate the KL term.",
    ),
    "wide-bottleneck": (
        "narrowest layer as wide as the input", (),
        "Goodfellow, Bengio & Courville 2016, Deep learning, section 14.1",
        "The targets are the inputs, and the narrowest layer ({where}) has {units} numbers for {inputs}. "
        "Such an autoencoder can copy its input and learn nothing else.",
    ),
}
DATA: Final[dict[str, Text]] = {
    "masks-misplaced": (
        "masks misaligned with their images", ("realign-masks",), "Ronneberger et al. 2015, U-Net",
        "The masks fit the images best when {detail}: apply the same flips, rotations and crops to both.",
    ),
    "easy-pairs": (
        "pairs that are too easy", (), "Schroff et al. 2015, FaceNet, section 3.2",
        "{detail}. Such pairs soon have no gradient. Choose harder ones: different rows of the same class, "
        "and rows of other classes that are close.",
    ),
}
PROBE: Final[dict[str, Text]] = {
    "margin-out-of-reach": (
        "margin that no pair reaches", (),
        "Hadsell et al. 2006, Dimensionality reduction by learning an invariant mapping",
        "The loss pushes pairs apart up to a distance of {margin:.3g}, but {detail}. All of them are pushed "
        "apart forever, which outweighs the matching pairs. Use a margin comparable to the distances.",
    ),
    "pairs-not-apart": (
        "loss pushes no pairs apart", ("contrastive-loss",),
        "Hadsell et al. 2006, Dimensionality reduction by learning an invariant mapping",
        "The loss of pairs with the label {label} has no gradient at any distance, so mapping all rows to "
        "one point is optimal. Use a margin above 0.",
    ),
    "pairs-reversed": (
        "loss pushes matching pairs apart", ("swap-pair-labels",),
        "Hadsell et al. 2006, Dimensionality reduction by learning an invariant mapping",
        "The loss pushes {label} apart, but their inputs are the closer ones "
        "({detail}). Swap the labels, or the terms of the loss.",
    ),
    "discriminator-won": (
        "discriminator has won", (), "Goodfellow et al. 2014, Generative adversarial nets",
        "The discriminator is too certain: {detail}. kilter has no remedy for this: only training both "
        "networks shows whether the generated rows improve.",
    ),
}
# fmt: on
