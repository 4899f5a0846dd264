"""LSUV on every kind of model: unit variances, measured another way; orthonormal kernels; nothing else."""

from kilter import nn  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np
import pytest
from keras import layers

from kilter.errors import DataError, ModelError, OptionError

RNG = np.random.default_rng(0)
ROWS = RNG.normal(3, 5, (64, 12)).astype("float32")
IMAGES = RNG.integers(0, 256, (48, 12, 12, 3)).astype("uint8")


def stack(*middle):
    return keras.Sequential([keras.Input((12,)), *middle, layers.Dense(3, activation="softmax")])


def dense():
    return stack(*(layers.Dense(30, activation="tanh", bias_initializer="ones") for _ in range(8)))


def normed():
    return stack(
        layers.BatchNormalization(),
        layers.Dense(30, use_bias=False),
        layers.BatchNormalization(),
        nn.RReLU(seed=1),
        layers.Dropout(0.5, seed=2),
        layers.Dense(30),
        layers.PReLU(),
    )


def branches():
    one, two = keras.Input((12,), name="one"), keras.Input((12, 12, 3), name="two")
    left = layers.Dense(9, activation="relu")(one)
    left = layers.Add()([left, layers.Dense(9, activation="elu")(left)])
    right = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="relu")(two))
    inner = keras.Sequential([keras.Input((109,)), layers.Dense(8), layers.Dense(7)], name="inner")
    return keras.Model([one, two], [inner(layers.Concatenate()([left, right])), layers.Dense(2)(left)])


def convolutions():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
            layers.SeparableConv2D(8, 3, activation="elu"),
            layers.Conv2DTranspose(5, 3, strides=2, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Reshape((5, 1)),
            layers.Conv1D(4, 3),
            layers.EinsumDense("abc,cd->abd", (None, 6), activation="relu"),
        ]
    )


class Backwards(keras.Model):
    """Layers made in another order than called, one of them never, two of them through a loop in Python."""

    def __init__(self):
        super().__init__()
        self.last = layers.Dense(2)
        self.unused = layers.Dense(2)
        self.inner = [layers.Dense(8, activation="relu") for _ in range(2)]

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        return self.last(x)


MODELS = {
    "dense": (dense, ROWS),
    "normed": (normed, ROWS),
    "branches": (branches, [ROWS[:48], IMAGES]),
    "convolutions": (convolutions, IMAGES),
    "subclassed": (Backwards, ROWS),
    "self-normalizing": (lambda: nn.mlp((12,), 3, hidden=(20,) * 5, preset="self-normalizing"), ROWS),
    "attention": (
        lambda: keras.Sequential([keras.Input((12, 12, 3)), layers.Reshape((36, 12)), Attention()]),
        IMAGES,
    ),
}


class Attention(layers.Layer):
    def __init__(self):
        super().__init__()
        self.attend = layers.MultiHeadAttention(2, 4)

    def build(self, shape):
        self.attend.build(shape, shape)

    def call(self, x):
        return self.attend(x, x)


def kernel_layers(model):
    found = [layer for layer in model._flatten_layers() if hasattr(layer, "activation") and layer.weights]
    return [layer for layer in found if hasattr(layer, "kernel") or hasattr(layer, "pointwise_kernel")]


def deviations(model, x):
    """Before the activation, layer by layer: measured by a slower way, in eager calls."""
    found, calls = {}, {}
    for layer in kernel_layers(model):
        calls[layer] = (layer.activation, layer)

        def seeing(z, layer=layer, activation=layer.activation):
            found.setdefault(layer, []).append(np.asarray(z, "float64").ravel())
            return activation(z)

        layer.__dict__["activation"] = seeing
    model(x, training=False)
    for layer, (activation, _) in calls.items():
        layer.__dict__["activation"] = activation
    return {layer: np.concatenate(outputs).std() for layer, outputs in found.items()}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", MODELS)
def test_every_output_has_unit_variance(name):
    make, x = MODELS[name]
    model = make()
    record = nn.lsuv(model, x, seed=1)
    measured = deviations(model, x)
    assert len(measured) == len(record.layers)
    for deviation, entry in zip(measured.values(), record.layers, strict=True):
        # One pass in float32 is exact to rounding, however deep the model.
        assert deviation == pytest.approx(1, abs=1e-3)
        assert entry.after == pytest.approx(deviation, rel=1e-3)
        assert entry.iterations == 1


@pytest.mark.parametrize("name", MODELS)
def test_kernels_are_orthonormal_but_for_their_scale_and_biases_are_zero(name):
    make, x = MODELS[name]
    model = make()
    record = {entry.layer.split("/")[-1]: entry for entry in nn.lsuv(model, x).layers}
    for layer in kernel_layers(model):
        if layer.name not in record:
            continue
        for variable in layer.trainable_variables:
            value = np.asarray(variable, "float64")
            if variable.name == "bias":
                assert not value.any()
                continue
            depthwise = variable.name == "depthwise_kernel" or isinstance(layer, layers.DepthwiseConv2D)
            scale = 1 if variable.name == "depthwise_kernel" else record[layer.name].scale
            channels = np.moveaxis(value, -2, 0) if depthwise else value[None]
            for channel in channels / scale:
                matrix = channel.reshape(-1, channel.shape[-1])
                narrow = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
                np.testing.assert_allclose(narrow.T @ narrow, np.eye(narrow.shape[1]), atol=1e-5)


def test_nothing_else_changes_a_bit():
    model = normed()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(ROWS, np.zeros(64), epochs=1, verbose=0)
    kernels = {id(layer.kernel) for layer in kernel_layers(model)} | {
        id(layer.bias) for layer in kernel_layers(model) if layer.bias is not None
    }
    others = [one for one in [*model.variables, *model.optimizer.variables] if id(one) not in kernels]
    before = [np.asarray(one).copy() for one in others]
    assert any("seed" in one.path for one in others)
    state = keras.random.randint((4,), 0, 1000, seed=keras.random.SeedGenerator(1))
    nn.lsuv(model, ROWS)
    assert all(np.array_equal(one, two) for one, two in zip(before, others, strict=True))
    assert np.array_equal(state, keras.random.randint((4,), 0, 1000, seed=keras.random.SeedGenerator(1)))
    assert not any("activation" in vars(layer) and "look" in str(layer.activation) for layer in model.layers)
    assert model.layers[1].activation is keras.activations.linear


def test_the_seed_decides():
    def weights(seed):
        model = dense()
        nn.lsuv(model, ROWS, seed=seed)
        return model.get_weights()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[2], first[4])


def test_what_is_frozen_or_not_called_is_left_alone_and_named():
    model = Backwards()
    model(ROWS)
    model.inner[0].trainable = False
    model.unused.build((None, 3))
    kept = [*model.inner[0].get_weights(), *model.unused.get_weights()]
    record = nn.lsuv(model, ROWS)
    now = [*model.inner[0].get_weights(), *model.unused.get_weights()]
    assert all(np.array_equal(one, two) for one, two in zip(kept, now, strict=True))
    assert [entry.layer for entry in record.layers] == [model.inner[1].name, model.last.name]
    assert record.skipped == ((model.inner[0].name, "frozen"), (model.unused.name, "not called"))


def test_a_layer_called_twice_settles_within_the_tolerance():
    shared = layers.Dense(12, activation="selu")
    inputs = keras.Input((12,))
    model = keras.Model(inputs, layers.Dense(2)(shared(shared(inputs))))
    entry = nn.lsuv(model, ROWS, tolerance=0.01, max_iterations=30).layers[0]
    assert entry.iterations > 1
    assert entry.after == pytest.approx(deviations(model, ROWS)[shared], rel=1e-3)
    assert abs(entry.after**2 - 1) <= 0.01
    with pytest.raises(ModelError, match="settle within 1e-06 of 1 in 1 iterations"):
        nn.lsuv(model, ROWS, tolerance=1e-6, max_iterations=1)


def test_mixed_precision():
    model = nn.mlp((12,), 3, hidden=(20,) * 5, dtype="mixed_bfloat16")
    record = nn.lsuv(model, ROWS)
    assert model.layers[0].compute_dtype == "bfloat16"
    assert all(abs(entry.after - 1) < 0.02 for entry in record.layers)  # bfloat16 has 3 digits


def test_a_batch_is_drawn_from_many_rows():
    model = dense()
    record = nn.lsuv(model, np.repeat(ROWS, 50, axis=0), rows=100)
    assert record.rows == 100
    assert deviations(model, ROWS)[model.layers[0]] == pytest.approx(1, abs=0.3)


def test_it_makes_a_deep_tanh_net_learn_where_small_weights_do_not():
    labels = (ROWS[:, 0] > 3).astype("int32")

    def last_loss(prepare):
        model = stack(
            *(layers.Dense(30, activation="tanh", kernel_initializer="random_uniform") for _ in range(8))
        )
        prepare(model)
        model.compile("adam", "sparse_categorical_crossentropy")
        return model.fit(ROWS, labels, epochs=15, batch_size=16, shuffle=False, verbose=0).history["loss"][-1]

    assert last_loss(lambda model: nn.lsuv(model, ROWS)) < 0.5 * last_loss(lambda model: None)


def dead():
    return stack(layers.Dense(5, kernel_initializer="zeros", trainable=False), layers.Dense(4))


@pytest.mark.parametrize(
    ("make", "x", "options", "error", "why"),
    [
        (dead, ROWS, {}, ModelError, "'dense_[0-9]+', with a constant output"),
        (dense, ROWS * 0, {}, ModelError, "outputs that vary"),
        (dense, ROWS * np.nan, {}, ModelError, "finite outputs"),
        (dense, ROWS * 1e30, {}, ModelError, "finite outputs"),
        (
            lambda: keras.Sequential([keras.Input((12,)), layers.ReLU()]),
            ROWS,
            {},
            ModelError,
            "no such layer",
        ),
        (dense, ROWS[:, :5], {}, DataError, "inputs that fit model"),
        (dense, ROWS[:0], {}, DataError, "at least 1"),
        (dense, 3.0, {}, DataError, "at least 1"),
        (branches, [ROWS[:5], IMAGES], {}, DataError, "same number of rows"),
        (dense, ROWS, {"tolerance": 0.0}, OptionError, "tolerance"),
        (dense, ROWS, {"max_iterations": 0}, OptionError, "max_iterations"),
        (dense, ROWS, {"rows": 0}, OptionError, "rows"),
    ],
)
def test_refused_with_the_reason_and_the_model_unchanged(make, x, options, error, why):
    model = make()
    before = model.get_weights()
    with pytest.raises(error, match=why):
        nn.lsuv(model, x, **options)
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))
