"""Sound programs as in good tutorials, some with unusual choices."""

import keras
from keras import layers, ops

from held_out.case import case, sound, stack
from held_out.data import (
    bundled,
    fashion,
    first_token,
    onehot,
    ratings,
    reviews,
    scaled,
    shapes,
    split,
    table,
)
from held_out.second.attention import Positions, Visible
from held_out.second.nets import words


@sound(
    "table", "unusual: sigmoid hidden units in a shallow net, SGD with momentum; as in Nielsen's online book"
)
def _x_sound_shallow_sigmoid():
    x, y = bundled("digits")
    model = stack((64,), layers.Dense(60, "sigmoid"), layers.Dense(10, "softmax"))
    sgd = keras.optimizers.SGD(0.3, momentum=0.9)
    return case(model, sgd, "categorical_crossentropy", split(x / 16, onehot(y, 10), seed=1), 30, 32)


@sound("table", "unusual: a tiny net of four tanh units for irises")
def _x_sound_tiny():
    x, y = bundled("iris")
    model = stack((4,), layers.Dense(4, "tanh"), layers.Dense(3, "softmax"))
    data = split(scaled(x), y, held=0.4, seed=3)
    return case(model, keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", data, 60, 16)


@sound(
    "table",
    "unusual: median by the quantile loss, with a cosine schedule; https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay/",
)
def _x_sound_median():
    x, y = table(3000, seed=41)
    y = (y - y.mean()) / y.std()

    def pinball(t, p):
        e = t - p
        return ops.mean(ops.maximum(0.5 * e, -0.5 * e))

    model = stack((8,), layers.Dense(64, "gelu"), layers.Dense(64, "gelu"), layers.Dense(1))
    data = split(x, y, seed=2)
    rate = keras.optimizers.schedules.CosineDecay(0.006, 30 * (2250 // 64 + 1), alpha=0.01)
    return case(model, keras.optimizers.Adam(rate), pinball, data, 30, 64, "rmse")


@sound(
    "table",
    "right class weights for rare ones; https://www.tensorflow.org/tutorials/structured_data/imbalanced_data",
)
def _x_sound_class_weights():
    x, z = table(3600, seed=22, noise=0.1)
    y = (x[:, 0] + x[:, 1] + 0.7 * x[:, 2] + 0.1 * z > 2.2).astype("int64")
    share = y.mean()
    model = stack((8,), layers.Dense(24, "relu"), layers.Dense(1, "sigmoid"))
    return case(
        model,
        keras.optimizers.Adam(0.005),
        "binary_crossentropy",
        split(x, y, held=0.4),
        15,
        32,
        "balanced",
        class_weight={0: 0.5 / (1 - share), 1: 0.5 / share},
    )


@sound("image", "unusual: much dropout with many rows")
def _x_sound_much_dropout():
    x, y = fashion(6000, size=14)
    hidden = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(256, "relu"), layers.Dropout(0.6)]
    model = stack((14, 14, 1), *hidden, layers.Dense(10, "softmax"))
    return case(model, keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy", split(x, y), 22, 128)


@sound(
    "image",
    "unusual: group norm and small batches; https://keras.io/api/layers/normalization_layers/group_normalization/",
)
def _x_sound_group_norm():
    x, y, _ = shapes(1800, seed=14, blur=0.15)
    model = stack(
        (16, 16, 1),
        layers.Conv2D(12, 3, padding="same"),
        layers.GroupNormalization(4),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(24, 3, padding="same"),
        layers.GroupNormalization(4),
        layers.ReLU(),
        layers.GlobalMaxPooling2D(),
        layers.Dense(4, "softmax"),
    )
    return case(model, keras.optimizers.Adam(0.004), "sparse_categorical_crossentropy", split(x, y), 12, 30)


@sound(
    "image",
    "convolutions with batch norm and Nesterov momentum; https://keras.io/examples/vision/mnist_convnet/",
)
def _x_sound_conv_nesterov():
    x, y = bundled("digits")
    x = (x / 16).reshape(-1, 8, 8, 1)
    model = stack(
        (8, 8, 1),
        layers.Conv2D(16, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(24, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(10, "softmax"),
    )
    sgd = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    return case(model, sgd, "sparse_categorical_crossentropy", split(x, y, seed=8), 15, 40)


@sound("segmentation", "a small U-net; https://keras.io/examples/vision/oxford_pets_image_segmentation/")
def _x_sound_unet():
    x, _, m = shapes(1200, seed=15)
    i = keras.Input((16, 16, 1))
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(i)
    b = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(a))
    c = layers.Conv2DTranspose(8, 2, strides=2, activation="relu")(b)
    d = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Concatenate()([a, c]))
    model = keras.Model(i, layers.Conv2D(1, 1, activation="sigmoid")(d))
    return case(model, keras.optimizers.Adam(0.005), "binary_crossentropy", split(x, m), 12, 24, "iou")


@sound("recurrent", "a two-way LSTM on tokens; https://keras.io/examples/nlp/bidirectional_lstm_imdb/")
def _x_sound_two_way():
    x, y = first_token(1500, 12, classes=5, seed=14)
    both_ways = layers.Bidirectional(layers.LSTM(16))
    model = words(12, 11, 12, both_ways, layers.Dropout(0.2), layers.Dense(5, "softmax"))
    return case(model, keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", split(x, y), 14, 40)


@sound(
    "attention",
    "one block with the norm first and a right padding mask; https://keras.io/examples/nlp/text_classification_with_transformer/",
)
def _x_sound_block():
    x, y = reviews(2400, steps=16, seed=16)
    i = keras.Input((16,), dtype="int32")
    h = Positions()(layers.Embedding(200, 16)(i))
    n = layers.LayerNormalization()(h)
    h = h + layers.MultiHeadAttention(2, 8)(n, n, attention_mask=Visible()(i))
    seen = layers.Lambda(lambda t: ops.cast(t > 0, "float32")[:, :, None])(i)
    h = layers.Lambda(lambda p: ops.sum(p[0] * p[1], 1) / ops.sum(p[1], 1))([h, seen])
    model = keras.Model(i, layers.Dense(1, "sigmoid")(layers.LayerNormalization()(h)))
    opt = keras.optimizers.AdamW(0.002, weight_decay=0.01)
    return case(model, opt, "binary_crossentropy", split(x, y), 12, 40)


@sound(
    "text",
    "tastes as products of embeddings, with a mean in the last bias; https://keras.io/examples/structured_data/collaborative_filtering_movielens/",
)
def _x_sound_tastes():
    x, y = ratings(6000, seed=6)
    a, b = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    u = layers.Flatten()(layers.Embedding(60, 8)(a))
    v = layers.Flatten()(layers.Embedding(50, 8)(b))
    h = layers.Concatenate()([u, v, layers.Multiply()([u, v])])
    h = layers.Dense(48, "relu")(h)
    model = keras.Model([a, b], layers.Dense(1, bias_initializer=keras.initializers.Constant(3.0))(h))
    return case(model, keras.optimizers.Adam(0.004), "mse", split(x, y), 20, 96, "rmse")


@sound(
    "autoencoder",
    "unusual: a linear autoencoder, as principal components; https://blog.keras.io/building-autoencoders-in-keras.html",
)
def _x_sound_linear_code():
    x, _ = bundled("digits")
    x = x / 16
    model = stack((64,), layers.Dense(16), layers.Dense(64))
    return case(model, keras.optimizers.Adam(0.006), "mse", split(x, x, seed=9), 30, 32, "rmse")


@sound(
    "several outputs",
    "class and position-free size of a shape from one trunk; https://keras.io/guides/functional_api/",
)
def _x_sound_two_heads():
    x, k, m = shapes(2000, seed=17, blur=0.1)
    size = m.sum((1, 2, 3))
    size = ((size - size.mean()) / size.std()).astype("float32")[:, None]
    i = keras.Input((16, 16, 1))
    h = layers.Conv2D(16, 3, activation="relu")(i)
    h = layers.Conv2D(24, 3, activation="relu")(layers.MaxPooling2D()(h))
    h = layers.Concatenate()([layers.GlobalMaxPooling2D()(h), layers.GlobalAveragePooling2D()(h)])
    h = layers.Dense(32, "relu")(h)
    model = keras.Model(i, [layers.Dense(4, "softmax", name="form")(h), layers.Dense(1, name="size")(h)])
    n = 1500
    data = x[:n], [k[:n], size[:n]], x[n:], [k[n:], size[n:]]
    losses = ["sparse_categorical_crossentropy", "mse"]
    return case(model, keras.optimizers.Adam(0.004), losses, data, 20, 32, ("accuracy", "rmse"))
