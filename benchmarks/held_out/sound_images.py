"""Sound networks for images and signals."""

import keras
import numpy as np
from keras import layers, ops

from held_out.case import CCE, SGD, Adam, case, convolutions, sound, stack
from held_out.data import cifar, clothes, fashion, figures, places, rng, shapes, split, waves

Conv, Dense, Pool, BN = layers.Conv2D, layers.Dense, layers.MaxPooling2D, layers.BatchNormalization


def _masks(n=800, blur=0.3):
    x, _, mask = shapes(n, blur=blur)
    return split(x, mask)


@sound("conv", "https://keras.io/examples/vision/mnist_convnet/")
def _simple_convnet():
    model = stack(
        (14, 14, 1),
        *convolutions(32, 64),
        layers.Flatten(),
        layers.Dropout(0.5),
        Dense(10, activation="softmax"),
    )
    return case(
        model, Adam(0.003), "sparse_categorical_crossentropy", clothes(3000), 30, 64, metrics=["accuracy"]
    )


@sound("conv", "kind: LeNet with tanh and average pooling")
def _lenet():
    model = stack(
        (14, 14, 1),
        Conv(8, 5, padding="same", activation="tanh"),
        layers.AveragePooling2D(2),
        Conv(16, 3, activation="tanh"),
        layers.Flatten(),
        Dense(64, activation="tanh"),
        Dense(10, activation="softmax"),
    )
    return case(model, Adam(0.002), CCE(), clothes(3000), 12)


@sound("conv", "kind: raw bytes with a Rescaling layer in front, as keras.io's image examples")
def _rescaled_inside():
    model = stack(
        (14, 14, 1),
        layers.Rescaling(1 / 255),
        *convolutions(24, 32),
        layers.Flatten(),
        layers.Dropout(0.3),
        Dense(10, activation="softmax"),
    )
    return case(model, Adam(0.002), CCE(), clothes(3000, scale=1), 35)


@sound("conv", "kind: convolution, batch normalisation, relu")
def _conv_batch_norm():
    body = []
    for f in (16, 32):
        body += [
            Conv(f, 3, padding="same", use_bias=False),
            BN(momentum=0.9),
            layers.Activation("relu"),
            Pool(),
        ]
    model = stack((14, 14, 1), *body, layers.Flatten(), layers.Dropout(0.5), Dense(10, activation="softmax"))
    rate = keras.optimizers.schedules.CosineDecay(0.003, 25 * 35)
    return case(model, Adam(rate), CCE(), clothes(3000), 25, 64)


@sound("conv", "kind: small residual network")
def _small_resnet():
    inputs = keras.Input((16, 16, 1))
    x = layers.Activation("relu")(BN(momentum=0.9)(Conv(16, 3, padding="same", use_bias=False)(inputs)))
    for _ in range(2):
        h = layers.Activation("relu")(BN(momentum=0.9)(Conv(16, 3, padding="same", use_bias=False)(x)))
        h = BN(momentum=0.9)(Conv(16, 3, padding="same", use_bias=False)(h))
        x = layers.Activation("relu")(x + h)
    model = keras.Model(inputs, Dense(4, activation="softmax")(layers.GlobalMaxPooling2D()(x)))
    return case(model, Adam(0.003), CCE(), figures(2400), 12)


@sound("conv", "https://keras.io/examples/vision/image_classification_from_scratch/ (separable convolutions)")
def _separable():
    model = stack(
        (16, 16, 1),
        Conv(16, 3, activation="relu"),
        layers.SeparableConv2D(32, 3, activation="relu"),
        Pool(),
        layers.SeparableConv2D(48, 3, activation="relu"),
        layers.GlobalMaxPooling2D(),
        Dense(4, activation="softmax"),
    )
    return case(model, Adam(0.004), CCE(), figures(2400), 20)


@sound("conv", "kind: a hard task: few colour images, small network with dropout")
def _hard_colours():
    x, y = cifar(7000, 16)
    keep = np.isin(y, (0, 1))
    model = stack(
        (16, 16, 3),
        *convolutions(16, 32),
        layers.Flatten(),
        layers.Dropout(0.5),
        Dense(2, activation="softmax"),
    )
    rate = keras.optimizers.schedules.CosineDecay(0.003, 40 * 33)
    return case(model, Adam(rate), CCE(), split(x[keep] / 255, y[keep]), 40)


@sound("conv", "kind: flips as layers of the network")
def _flipped():
    x, y = fashion(4000, size=14)
    keep = np.isin(y, (0, 1, 2, 3))
    model = stack(
        (14, 14, 1),
        layers.RandomFlip("horizontal", seed=1),
        *convolutions(24, 32),
        layers.Flatten(),
        Dense(10, activation="softmax"),
    )
    return case(model, Adam(0.002), CCE(), split(x[keep] / 255, y[keep]), 15)


@sound("conv", "https://keras.io/examples/timeseries/timeseries_classification_from_scratch/")
def _signal_classes():
    body = []
    for _ in range(2):
        body += [layers.Conv1D(32, 5, padding="same"), BN(momentum=0.9), layers.ReLU()]
    model = stack((32, 1), *body, layers.GlobalAveragePooling1D(), Dense(3, activation="softmax"))
    return case(model, Adam(0.003), CCE(), split(*waves(1600)), 15)


@sound("conv", "kind: coordinates of a spot, scaled to 1")
def _spot():
    x, at = places(1600)
    model = stack(
        (16, 16, 1),
        *convolutions(16, 16),
        layers.Flatten(),
        Dense(64, activation="relu"),
        Dense(2, activation="sigmoid"),
    )
    return case(model, Adam(0.002), "mse", split(x, at / 16), 40, measure="rmse")


@sound("segmentation", "kind: small U-Net with binary cross-entropy")
def _unet():
    options = {"padding": "same", "activation": "relu"}
    inputs = keras.Input((16, 16, 1))
    a = Conv(12, 3, **options)(inputs)
    b = Conv(24, 3, **options)(Conv(24, 3, **options)(Pool()(a)))
    up = layers.Conv2DTranspose(12, 2, strides=2)(b)
    c = Conv(12, 3, **options)(layers.Concatenate()([a, up]))
    model = keras.Model(inputs, Conv(1, 1, activation="sigmoid")(c))
    return case(model, Adam(0.003), "binary_crossentropy", _masks(), 25, 16, "iou", metrics=["accuracy"])


@sound("segmentation", "kind: soft Dice loss")
def _dice_masks():
    def loss(y, p):
        y = ops.cast(y, p.dtype)
        return 1 - (2 * ops.sum(y * p, (1, 2, 3)) + 1) / (ops.sum(y, (1, 2, 3)) + ops.sum(p, (1, 2, 3)) + 1)

    body = [Conv(16, 3, padding="same", activation="relu") for _ in range(3)]
    model = stack((16, 16, 1), *body, Conv(1, 3, padding="same", activation="sigmoid"))
    return case(model, Adam(0.003), loss, _masks(), 25, 16, "iou")


@sound("segmentation", "kind: three classes a pixel")
def _pixel_classes():
    x, kind, mask = shapes(800, blur=0.15)
    y = (mask[..., 0] * (1 + (kind[:, None, None] == 0))).astype("int64")
    body = [Conv(16, 5, padding="same", activation="relu"), Conv(16, 5, padding="same", activation="relu")]
    model = stack(
        (16, 16, 1), *body, Conv(16, 5, padding="same", activation="relu"), Conv(3, 1, activation="softmax")
    )
    return case(model, Adam(0.004), CCE(), split(x, y), 25, 16)


@sound("autoencoder", "kind: denoiser of images")
def _denoiser():
    a, _, b, _ = clothes(1600)
    g = rng(2)
    noisy = [(v + g.normal(0, 0.3, v.shape)).astype("float32") for v in (a, b)]
    body = [Conv(16, 3, padding="same", activation="relu"), Conv(16, 3, padding="same", activation="relu")]
    model = stack((14, 14, 1), *body, Conv(1, 3, padding="same", activation="sigmoid"))
    return case(model, Adam(0.003), "mse", (noisy[0], a, noisy[1], b), 12, measure="rmse")


@sound("conv", "kind: transfer: a frozen base that was trained before on other classes")
def _frozen_trained_base():
    x, y = fashion(4000, start=8000, size=14)
    base = stack((14, 14, 1), *convolutions(24, 32), layers.Flatten())
    whole = keras.Sequential([base, Dense(10, activation="softmax")])
    whole.compile("adam", CCE())
    whole.fit(x / 255, y, epochs=8, batch_size=64, verbose=0)
    base.trainable = False
    model = stack((14, 14, 1), base, Dense(10, activation="softmax"))
    return case(model, Adam(0.002), CCE(), clothes(2400), 40)


@sound("conv", "kind: relu6 and small leaks, RMSprop")
def _leaky_rmsprop():
    model = stack(
        (16, 16, 1),
        Conv(16, 3, padding="same"),
        layers.LeakyReLU(negative_slope=0.1),
        Pool(),
        Conv(32, 3, padding="same"),
        layers.LeakyReLU(negative_slope=0.1),
        layers.GlobalMaxPooling2D(),
        Dense(4, activation="softmax"),
    )
    rate = keras.optimizers.schedules.CosineDecay(0.004, 45 * 57)
    return case(model, keras.optimizers.RMSprop(rate), CCE(), figures(2400), 45)


@sound("conv", "kind: SGD with Nesterov momentum and weight decay")
def _nesterov():
    model = stack(
        (14, 14, 1),
        Conv(16, 3, activation="relu", kernel_initializer="he_normal"),
        Pool(),
        Conv(32, 3, activation="relu", kernel_initializer="he_normal"),
        layers.Flatten(),
        layers.Dropout(0.3),
        Dense(10, activation="softmax"),
    )
    return case(model, SGD(0.03, momentum=0.9, nesterov=True, weight_decay=1e-4), CCE(), clothes(3000), 15)
