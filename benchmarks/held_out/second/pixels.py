"""Nets with one answer for each pixel that do not learn."""

import keras
from keras import layers, ops

from held_out.case import case, faulty
from held_out.data import shapes, split


def _net(width=10, augment=()):
    i = keras.Input((16, 16, 1))
    h = i
    for layer in augment:
        h = layer(h)
    a = layers.Conv2D(width, 3, padding="same", activation="relu")(h)
    b = layers.Conv2D(width * 2, 3, padding="same", activation="relu")(layers.MaxPooling2D()(a))
    u = layers.Concatenate()([a, layers.UpSampling2D()(b)])
    c = layers.Conv2D(width, 3, padding="same", activation="relu")(u)
    return keras.Model(i, layers.Conv2D(1, 1, activation="sigmoid")(c))


@faulty(
    "segmentation",
    "https://codemia.io/knowledge-hub/path/correct_implementation_of_dice_loss_in_tensorflow__keras",
)
def _x_dice_of_rounded(fixed):
    """The own dice loss rounds the predictions, so that it has no gradient."""
    x, _, m = shapes(900, seed=5)

    def dice(t, p):
        p = p if fixed else ops.round(p)
        return 1 - (2 * ops.sum(t * p) + 1) / (ops.sum(t) + ops.sum(p) + 1)

    return case(_net(), keras.optimizers.Adam(0.004), dice, split(x, m), 8, 20, "iou")


@faulty("segmentation", "https://datascience.stackexchange.com/q/129632")
def _x_focal_for_background(fixed):
    """The own focal loss gives the few foreground pixels a weight of 0.02, so that everything becomes
    background."""
    x, _, m = shapes(900, seed=7)
    alpha = 0.7 if fixed else 0.02

    def focal(t, p):
        p = ops.clip(p, 1e-6, 1 - 1e-6)
        q = t * p + (1 - t) * (1 - p)
        return -ops.mean((t * alpha + (1 - t) * (1 - alpha)) * (1 - q) ** 2 * ops.log(q))

    return case(_net(8), keras.optimizers.Adam(0.005), focal, split(x, m), 9, 24, "iou")
