"""Small models of every kind that can be cut, with weights that are not what they were drawn as."""

import kilter  # noqa: F401  (first: it chooses Keras's backend)

# isort: split
import keras
import numpy as np

layers = keras.layers
SHAPE = (8, 8, 3)


def rows(shape=SHAPE, count=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def moved(model, seed=1):
    """``model`` with other weights, statistics among them, as after a training."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = np.asarray(variable)
        if value.dtype == np.float32:
            variable.assign(np.abs(value + rng.normal(scale=0.1, size=value.shape)).astype("float32"))
    return model


def stack():
    return moved(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                layers.Conv2D(4, 3, name="conv"),
                layers.BatchNormalization(name="norm"),
                layers.ReLU(name="relu"),
                layers.MaxPooling2D(name="pool"),
                layers.Flatten(name="flatten"),
                layers.Dense(5, activation="tanh", name="dense"),
                layers.Dropout(0.5, name="dropout"),
                layers.Dense(4, name="output"),
            ],
            name="stack",
        )
    )


def residual():
    """Two blocks with a skip each: inside a block there is no place to cut."""
    x = keras.Input((6,), name="x")
    below = layers.Dense(6, name="stem")(x)
    for number in (1, 2):
        inner = layers.Dense(6, activation="relu", name=f"a{number}")(below)
        below = layers.Add(name=f"add{number}")([below, layers.Dense(6, name=f"b{number}")(inner)])
    return moved(keras.Model(x, layers.Dense(3, name="output")(below), name="residual"))


def nested():
    x = keras.Input((6,))
    inner = keras.Model(
        x, layers.ReLU(name="last")(layers.Dense(5, name="two")(layers.Dense(4, name="one")(x)))
    )
    inner.name = "inner"
    return moved(keras.Sequential([keras.Input((6,)), inner, layers.Dense(3, name="output")], name="outer"))


def two_towers():
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    tower = layers.Dense(4, name="tower")
    joined = layers.Concatenate(name="join")([tower(left), tower(right)])
    hidden = layers.Dense(5, activation="relu", name="hidden")(joined)
    return moved(
        keras.Model({"left": left, "right": right}, layers.Dense(1, name="output")(hidden), name="towers")
    )


def repeated():
    """One layer applied twice, one after the other."""
    x = keras.Input((6,))
    layer = layers.Dense(6, activation="tanh", name="again")
    return moved(keras.Model(x, layers.Dense(2, name="output")(layer(layer(x))), name="repeated"))


def two_outputs():
    x = keras.Input((6,))
    below = layers.Dense(4, name="below")(x)
    return moved(
        keras.Model(x, [layers.Dense(2, name="a")(below), layers.Dense(3, name="b")(below)], name="forked")
    )


class Own(keras.Model):
    """A class with a call of its own."""

    def __init__(self):
        super().__init__(name="own")
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def state(model):
    """All of a model that reuse could have changed, in bytes and words."""
    optimizer = model.optimizer.variables if model.compiled else []
    return (
        [np.asarray(variable).tobytes() for variable in [*model.variables, *optimizer]],
        [layer.trainable for layer in model._flatten_layers()],
        [len(layer._inbound_nodes) for layer in model._flatten_layers()],
        model.get_config(),
        model.compiled,
    )
