"""Folded models against the models they came from, and the formula against plain NumPy."""

import keras
import numpy as np
import pytest

from kilter._infer.folding import fold_batch_norm
from kilter._infer.kernels import KINDS
from kilter.errors import DataError, ModelError, OptionError

from .models import Norm, bits, inputs, layers, norms_of, sequential, stir

RELU = layers.ReLU
IMAGE, SERIES, VOLUME = (7, 6, 4), (9, 4), (5, 6, 4, 4)

# Each kind of layer with the options that change its arithmetic: (input shape, layer).
KERNELS = {
    "dense": ((5,), lambda: layers.Dense(3)),
    "dense over time": ((4, 5), lambda: layers.Dense(3, use_bias=False)),
    "conv1d": (SERIES, lambda: layers.Conv1D(3, 3, strides=2)),
    "conv2d": (IMAGE, lambda: layers.Conv2D(6, (3, 2), dilation_rate=2, use_bias=False)),
    "conv2d groups": (IMAGE, lambda: layers.Conv2D(6, 3, groups=2)),
    "conv3d": (VOLUME, lambda: layers.Conv3D(3, 2)),
    "depthwise1d": (SERIES, lambda: layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "depthwise2d": (IMAGE, lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False)),
    "separable1d": (SERIES, lambda: layers.SeparableConv1D(3, 3, depth_multiplier=2)),
    "separable2d": (IMAGE, lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, use_bias=False)),
    "transpose1d": (SERIES, lambda: layers.Conv1DTranspose(3, 3, strides=2)),
    "transpose2d": (IMAGE, lambda: layers.Conv2DTranspose(3, 3, use_bias=False)),
    "transpose3d": (VOLUME, lambda: layers.Conv3DTranspose(3, 2)),
}
NORMS = {
    "plain": {},
    "no gamma": {"scale": False},
    "no beta": {"center": False},
    "neither": {"scale": False, "center": False},
    "renorm": {"renorm": True},
}


def check(model, folds, x=None):
    """Fold the model; ``folds`` is how many norms are to go. The outputs must agree and the model stay."""
    before, x = bits(model), inputs(model) if x is None else x
    expected = model.predict(x, verbose=0)
    folded, record = fold_batch_norm(model, x)
    assert bits(model) == before
    assert len(record.folded) == folds
    assert len(norms_of(folded)) == len(norms_of(model)) - folds
    assert record.difference < 1e-5
    scale = max(np.abs(one).max() for one in keras.tree.flatten(expected))
    for one, other in zip(
        keras.tree.flatten(folded.predict(x, verbose=0)), keras.tree.flatten(expected), strict=True
    ):
        # the same sums in another order: some ten float32 roundings of the largest output
        np.testing.assert_allclose(one, other, atol=1e-5 * scale, rtol=0)
    return folded, record


def reasons(model):
    record = fold_batch_norm(model, inputs(model))[1]
    return [layer.reason for layer in record.left]


def test_the_table_has_every_kind():
    assert {type(make()) for _, make in KERNELS.values()} == set(KINDS)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("norm", ["plain", "neither"])
def test_behind_every_kind_of_kernel(name, norm):
    shape, make = KERNELS[name]
    folded, record = check(sequential(shape, make(), Norm(**NORMS[norm]), RELU()), folds=1)
    assert [type(layer).__name__ for layer in folded.layers] == [type(make()).__name__, "ReLU"]
    assert record.parameters[1] == folded.count_params()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", KERNELS)
def test_in_front_of_every_kind_of_kernel(name):
    shape, make = KERNELS[name]
    model = sequential(shape, Norm(), make(), RELU())
    transposed = name.startswith("transpose")
    check(model, folds=0 if transposed else 1)
    assert not transposed or "fewer terms at the border" in reasons(model)[0]


@pytest.mark.parametrize("norm", NORMS)
def test_every_kind_of_normalisation(norm):
    check(
        sequential((5,), layers.Dense(4), Norm(**NORMS[norm]), RELU(), Norm(**NORMS[norm]), layers.Dense(2)),
        2,
    )


def test_the_formula_in_numpy():
    model = sequential((5,), layers.Dense(4, name="d"), Norm(epsilon=0.01, name="n"))
    folded, _ = fold_batch_norm(model, inputs(model))
    weight, bias, gamma, beta, mean, variance = (np.asarray(w, "float64") for w in model.get_weights())
    root = np.sqrt(variance + 0.01)
    np.testing.assert_allclose(folded.get_weights()[0], weight * gamma / root, rtol=1e-6)
    np.testing.assert_allclose(folded.get_weights()[1], (bias - mean) * gamma / root + beta, rtol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_with_zeros_stops_a_fold_forward_alone(padding):
    convolution = layers.Conv2D(3, 3, padding=padding)
    model = sequential(IMAGE, RELU(), Norm(), convolution, Norm())
    check(model, folds=2 if padding == "valid" else 1)
    assert padding == "valid" or "pads with zeros (padding='same')" in reasons(model)[0]


def test_a_causal_convolution_pads_and_a_kernel_of_one_does_not():
    assert "padding='causal'" in reasons(sequential(SERIES, Norm(), layers.Conv1D(2, 2, padding="causal")))[0]
    check(sequential(IMAGE, RELU(), Norm(), layers.Conv2D(3, 1, padding="same")), folds=1)


def test_rows_of_normalisations_and_both_directions_at_once():
    both = sequential(
        (5,), Norm(), Norm(), layers.Dense(4), Norm(), Norm(), RELU(), Norm(), layers.Dense(3), Norm()
    )
    folded, record = check(both, folds=6)
    assert [layer.into for layer in record.layers] == [both.layers[i].name for i in (2, 2, 2, 2, 7, 7)]
    assert len(folded.layers) == 3


def test_a_gamma_of_zero():
    model = sequential((5,), layers.Dense(4), Norm(), layers.Dense(2))
    model.layers[1].gamma.assign([0.0, 1.0, 0.0, -2.0])
    check(model, folds=1)


def test_channels_first():
    first = {"data_format": "channels_first"}
    check(sequential((4, 7, 6), layers.Conv2D(3, 3, **first), Norm(axis=1)), folds=1)
    check(sequential((4, 7, 6), RELU(), Norm(axis=1), layers.Conv2D(3, 3, **first)), folds=1)
    wrong = layers.Conv2D(3, 3, data_format="channels_first"), Norm(axis=-1)
    assert "axis -1, which is not the channels" in reasons(sequential((4, 7, 6), *wrong))[0]


def two_branches(used_twice):
    image = keras.Input(IMAGE)
    convolved = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    normal = Norm(name="norm")(convolved)
    joined = layers.Add()([normal, convolved if used_twice else image])
    return stir(keras.Model(image, [layers.Flatten()(joined), normal]))


def test_branches():
    assert reasons(two_branches(True)) == [
        "the output of conv before it is used elsewhere too; its output is an output of the model"
    ]
    check(two_branches(used_twice=False), folds=1)


def test_what_was_returned_before_a_fold_is_returned_after_it():
    x = keras.Input((5,))
    first = Norm()(layers.Dense(3, name="dense")(x))
    model = stir(keras.Model(x, [first, Norm()(first)]))
    check(model, folds=1)
    assert reasons(model) == [
        "the output of dense before it is used elsewhere too; its output is an output of the model"
    ]


def test_a_norm_that_branches_off_is_not_folded_forward():
    x = keras.Input((5,))
    normal = Norm()(RELU()(x))
    model = stir(keras.Model(x, layers.Add()([layers.Dense(3)(normal), layers.Dense(3)(normal)])))
    assert "its output goes to 2 layers" in reasons(model)[0]
    check(model, folds=0)


def test_shared_layers_are_left_alone():
    left, right = keras.Input((5,)), keras.Input((5,))
    dense, norm = layers.Dense(3, name="dense"), Norm()
    for share_dense in (True, False):
        ends = [
            norm(layers.Dense(3)(side)) if not share_dense else Norm()(dense(side)) for side in (left, right)
        ]
        model = stir(keras.Model([left, right], layers.Concatenate()(ends)))
        said = "dense before it is shared: called 2 times" if share_dense else "it is shared: called 2 times"
        assert all(reason.startswith(said) for reason in reasons(model))
        check(model, folds=0)


def test_a_norm_that_always_trains_is_left_alone():
    x = keras.Input((5,))
    model = stir(keras.Model(x, Norm()(layers.Dense(3)(x), training=True)))
    assert "training=True" in reasons(model)[0]
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(3), Norm()])
    outer = stir(keras.Model(x, inner(x, training=True)))
    assert "training=True" in reasons(outer)[0]


class Halved(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask) / 2


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ((layers.Dense(3, activation="relu"), Norm()), "dense_x before it has an activation, relu"),
        ((layers.Dense(3), layers.Dropout(0.5), Norm()), "dropout_x before it is a Dropout"),
        ((layers.Dense(3), Halved()), "it is a Halved, which may compute something else"),
        (
            (layers.Flatten(), Norm()),
            "flatten_x before it is a Flatten; its output is an output of the model",
        ),
        ((Norm(),), "the input comes before it; its output is an output of the model"),
    ],
)
def test_what_cannot_be_folded_is_said(stack, said):
    model = sequential(
        (5,),
        *(
            type(layer).from_config({**layer.get_config(), "name": f"{type(layer).__name__.lower()}_x"})
            for layer in stack
        ),
    )
    assert reasons(model)[0].startswith(said)
    check(model, folds=0)


def test_statistics_that_are_not_finite():
    model = sequential((5,), layers.Dense(3), Norm())
    model.layers[1].moving_variance.assign([1.0, -1.0, 1.0])
    with pytest.raises(ModelError, match="finite"):
        fold_batch_norm(model, inputs(model))


def test_nested_models_and_folds_across_their_borders():
    inner = keras.Sequential(
        [keras.Input((4,)), Norm(name="n0"), RELU(), layers.Dense(4, name="d1")], name="inner"
    )
    x = keras.Input((5,))
    block = keras.Input((4,))
    functional = keras.Model(block, Norm(name="n1")(block), name="block")
    outer = stir(keras.Model(x, RELU()(functional(inner(layers.Dense(4, name="d0")(x))))))
    folded, record = check(outer, folds=2)
    assert [(one.layer, one.into) for one in record.layers] == [("inner/n0", "d0"), ("block/n1", "inner/d1")]
    assert [type(layer).__name__ for layer in folded.get_layer("inner").layers] == ["ReLU", "Dense"]


def test_a_nested_model_called_twice_is_left_alone():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(5), Norm()])
    x = keras.Input((5,))
    model = stir(keras.Model(x, inner(inner(x))))
    assert "it is shared: called 2 times" in reasons(model)
    check(model, folds=0)


def test_a_norm_within_another_layer_is_told():
    model = sequential((4, 5), layers.TimeDistributed(Norm(name="n"), name="each"))
    assert reasons(model) == ["it is inside each, a TimeDistributed"]


def test_several_named_inputs_and_outputs():
    a, b = keras.Input((5,), name="a"), keras.Input((4,), name="b")
    joined = layers.Concatenate()([Norm()(layers.Dense(3)(a)), RELU()(Norm()(b))])
    model = stir(keras.Model({"a": a, "b": b}, {"sum": Norm()(layers.Dense(2)(joined)), "same": joined}))
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(6, 5)).astype("float32"), "b": rng.normal(size=(6, 4)).astype("float32")}
    folded, _ = check(model, folds=2, x=x)
    assert set(folded.predict(x, verbose=0)) == {"sum", "same"}


def test_whole_numbers_stay_with_the_norm_that_makes_them_real():
    model = stir(keras.Sequential([keras.Input((5,), dtype="uint8"), Norm(), layers.Dense(3)]))
    check(model, 0, x=np.arange(20, dtype="uint8").reshape(4, 5))


def test_a_mask_passes_where_the_norm_was():
    stack = layers.Embedding(9, 4, mask_zero=True), layers.Dense(3), Norm(), layers.LSTM(2)
    model = stir(keras.Sequential([keras.Input((6,), dtype="int32"), *stack]))
    check(model, 1, x=np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 0]], "int32"))


def test_the_folded_model_is_saved_and_loaded_like_any_other(tmp_path):
    model = sequential(
        IMAGE, layers.Conv2D(3, 3, use_bias=False), Norm(), RELU(), layers.Flatten(), layers.Dense(2)
    )
    folded, _ = fold_batch_norm(model, inputs(model))
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    assert bits(loaded) == bits(folded)


def test_mixed_precision_folds_to_its_own_rounding():
    stack = [
        layer
        for _ in range(3)
        for layer in (layers.Dense(16, dtype="mixed_bfloat16"), Norm(dtype="mixed_bfloat16"))
    ]
    model = sequential((8,), *stack)
    _, record = fold_batch_norm(model, inputs(model))
    assert 1e-5 < record.difference <= record.tolerance < 0.2


def test_twenty_layers_in_float32():
    stack = [layer for _ in range(20) for layer in (layers.Dense(30, use_bias=False), Norm(), layers.ELU())]
    check(sequential((30,), *stack, layers.Dense(10)), folds=20)


def test_timings():
    model = sequential((5,), layers.Dense(4), Norm())
    speed = fold_batch_norm(model, inputs(model), timings=3)[1].speed
    assert (len(speed.before), len(speed.after), speed.rows) == (3, 3, 12)
    assert min(speed.ratios) <= speed.ratio <= max(speed.ratios)


class Own(keras.Model):
    def call(self, x):
        return x


def test_what_is_refused():
    model = sequential((5,), layers.Dense(4), Norm())
    with pytest.raises(ModelError, match=r"at most 0,.*difference of \d.*with 1 batch"):
        fold_batch_norm(model, inputs(model), tolerance=0.0)
    with pytest.raises(ModelError, match="which overrides call"):
        fold_batch_norm(Own(), inputs(model))
    with pytest.raises(ModelError, match="not built"):
        fold_batch_norm(keras.Sequential([layers.Dense(2)]), inputs(model))
    with pytest.raises(DataError, match="shape"):
        fold_batch_norm(model, inputs(model)[:, :3])
    for options in ({"tolerance": -1.0}, {"tolerance": float("nan")}, {"timings": -1}, {"timings": 1.5}):
        with pytest.raises(OptionError, match=next(iter(options))):
            fold_batch_norm(model, inputs(model), **options)


def test_a_wrong_fold_is_found(monkeypatch):
    model = sequential((5,), layers.Dense(4), Norm())
    monkeypatch.setattr("kilter._infer.folding.write_weights", lambda *_: None)
    with pytest.raises(ModelError, match="relative to the largest"):
        fold_batch_norm(model, inputs(model))
