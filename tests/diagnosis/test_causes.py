"""Causes beyond dense layers: each code comes out where it should; sound programs of the kind give none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from tests.diagnosis.programs import Program, assert_found, blobs, dense, images, one_hot, program, table

from kilter._diagnosis.catalogue import CATALOGUE
from kilter._diagnosis.checks import CHECKS
from kilter._diagnosis.diagnose import diagnose, read_context, run_checks
from kilter._diagnosis.entries import compile_and_fit, fit_to_data, pictures, splits
from kilter._diagnosis.severity import with_causes
from kilter._engine.measuring import probe
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Finding

RNG = np.random.default_rng(11)
X, Y = blobs()
HOT = one_hot(Y)
XB, YB = blobs(classes=2)
XI, YI = images()
XT, YT = table()
UNITS = np.float32([1, 1000, 4, 30, 8])
SPARSE, BINARY = "sparse_categorical_crossentropy", "binary_crossentropy"
Input, Dense, Conv = keras.Input, layers.Dense, layers.Conv2D

IDS = RNG.integers(0, 40, size=(200, 10))
IDS_Y = (IDS == 7).any(axis=1).astype("int32")
WAVES = np.cumsum(RNG.normal(size=(200, 12, 2)), axis=1).astype("float32") / 3
LENGTHS = RNG.integers(2, 8, size=200)
PADDED = np.where(np.arange(12) < LENGTHS[:, None], RNG.integers(1, 40, size=(200, 12)), 0)
PADDED_WAVES = np.where((np.arange(12) < LENGTHS[:, None])[..., None], WAVES + 0.1, 0.0).astype("float32")
SHAPES = RNG.normal(size=(60, 16, 16, 1)).astype("float32")
DOTS = np.zeros((60, 16, 16, 1), "float32")
for _number, (_row, _column) in enumerate(RNG.integers(3, 12, size=(60, 2))):
    DOTS[_number, _row - 3 : _row + 4, _column - 3 : _column + 4] = 1.0
POINTS = np.zeros_like(DOTS)
POINTS[np.arange(60), 5, 5] = 1.0


def findings(case: Program, wanted: str = "targets-loss") -> list[Finding]:
    """Those of data and model, and of a compiled probe unless ``wanted`` is already among them."""
    context = read_context(case.model, case.x, case.y, TrainingSpec(**case.options))
    context = replace(context, epochs=case.options.get("epochs"))
    found = run_checks((*CHECKS["data"], *CHECKS["model"]), context)
    if not {"targets-loss", "foreign-optimizer", wanted} & {one.code for one in found}:
        context = replace(context, probe=probe(case.model, case.x, case.y))
        found += run_checks(CHECKS["probe"], context)
    return found


def chain(*members: Any, features: Any = (8,)) -> keras.Sequential:
    return keras.Sequential([Input(features), *members])


def relu(units: int = 12) -> Any:
    return Dense(units, "relu", kernel_initializer="he_normal")


def lookup(x: np.ndarray, size: int = 40, **options: Any) -> Program:
    model = chain(
        layers.Embedding(size, 4, **options), layers.Flatten(), Dense(1, "sigmoid"), features=x.shape[1:]
    )
    return program(model, BINARY, data=(x, IDS_Y))


def recurrent(x: np.ndarray, *front: Any, cell: Any = None) -> Program:
    cell = layers.LSTM(6) if cell is None else cell
    model = chain(*front, cell, Dense(1, "sigmoid"), features=x.shape[1:])
    return program(model, BINARY, data=(x, IDS_Y))


def averaged(x: np.ndarray, **options: Any) -> Program:
    return recurrent(x, layers.Embedding(40, 4, **options), cell=layers.GlobalAveragePooling1D())


def ending(*last: Any, loss: Any = SPARSE, y: Any = Y) -> Program:
    return program(chain(relu(), *last), loss, data=(X, y))


def filled(value: float, share: float = 0.05) -> np.ndarray:
    x = XT.copy()
    x[np.random.default_rng(2).random(len(x)) < share, 2] = value
    return x


def regression(
    x: np.ndarray = XT, y: Any = YT, loss: Any = "mse", *, features: int = 5, **options: Any
) -> Program:
    return program(dense(outputs=1, output=None, features=features), loss, data=(x, y), **options)


def scaled(x: np.ndarray, *front: Any) -> Program:
    model = chain(*front, relu(), Dense(3, "softmax"), features=x.shape[1:])
    return program(model, data=(x, Y))


def pictures_of(*members: Any, x: np.ndarray = XI, y: Any = YI, **options: Any) -> Program:
    model = chain(*members, layers.GlobalAveragePooling2D(), Dense(4, "softmax"), features=x.shape[1:])
    return program(model, data=(x, y), **options)


def masks_of(*members: Any, y: np.ndarray = DOTS, loss: Any = BINARY, **options: Any) -> Program:
    return program(chain(*members, features=(16, 16, 1)), loss, data=(SHAPES, y), **options)


def by_range(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.min(axis=1, keepdims=True)) / np.ptp(rows, axis=1, keepdims=True)


def by_deviation(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)


def by_length(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same(filters: int, size: int = 3, **options: Any) -> Any:
    return Conv(filters, size, padding="same", **{"activation": "relu", **options})


def masks_and_class(size: int) -> Program:
    """Masks, and beside them a class from a branch that pools over the whole map."""
    value = Input((16, 16, 1))
    seen = same(4, size)(value)
    kind = Dense(2, "softmax", name="kind")(layers.GlobalAveragePooling2D()(same(4)(seen)))
    mask = Conv(1, 1, activation="sigmoid", name="mask")(seen)
    model = keras.Model(value, {"kind": kind, "mask": mask})
    targets = {"kind": (DOTS.mean((1, 2, 3)) > DOTS.mean()).astype("int32"), "mask": DOTS}
    return program(model, {"kind": SPARSE, "mask": BINARY}, data=(SHAPES, targets))


def two_outputs(weights: Any = None, factor: float = 1.0, loss: Any = "mse") -> Program:
    inputs = Input((5,))
    value = relu()(inputs)
    model = keras.Model(inputs, [Dense(1, name="amount")(value), Dense(1, "sigmoid", name="large")(value)])
    model.compile("adam", [loss, BINARY], loss_weights=weights)
    return Program(model, XT, [YT / YT.std() * factor, (YT > 0).astype("float32")])


def two_inputs(factor: float) -> Program:
    ids, numbers = Input((), dtype="int32"), Input((5,))
    value = layers.Concatenate()([layers.Embedding(4, 3)(ids), numbers])
    model = keras.Model([ids, numbers], Dense(1)(relu()(value)))
    return program(model, "mse", data=((np.arange(len(XT)) % 4, XT * factor), YT))


def split(x_val: Any, y_val: Any, x: Any = X, y: Any = Y, loss: Any = SPARSE, **words: Any) -> Program:
    model = dense(features=np.shape(x)[1], **words)
    return program(model, loss, data=(x, y), validation_data=(x_val, y_val))


def windows(*, shuffled: bool) -> Program:
    series = np.random.default_rng(1).normal(size=412).cumsum().astype("float32")
    series = (series - series.mean()) / series.std()
    cut = np.lib.stride_tricks.sliding_window_view(series, 13)
    order = np.random.default_rng(2).permutation(400) if shuffled else np.r_[:290, 310:400]
    mine, held = cut[order[:290]], cut[order[290:]]
    model = chain(layers.LSTM(4), Dense(1), features=(12, 1))
    data = [(one[:, :12, None], one[:, 12]) for one in (mine, held)]
    return program(model, "mse", data=data[0], validation_data=data[1])


def own(loss: Any, output: Any = "softmax", y: Any = HOT, units: int = 3, **options: Any) -> Program:
    return program(dense(outputs=units, output=output), loss, data=(X, y), **options)


def amounts(loss: Any) -> Program:
    return program(dense(outputs=1, output=None, features=5), loss, data=(XT, YT[:, None]))


class Broadcast(keras.losses.Loss):
    """(n, 1) against (n,) makes (n, n)."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(ops.reshape(y_true, (-1,)) - y_pred))


def optimizer(name: str, **options: Any) -> Program:
    return program(optimizer=getattr(keras.optimizers, name)(**options))


def frozen(initializer: Any = None, bias: float = 0.0) -> Program:
    case = program()
    case.model.layers[0].trainable = False
    if initializer is not None:
        case.model.layers[0].kernel.assign(initializer)
    case.model.layers[0].bias.assign(np.full(12, bias))
    case.model.compile("adam", SPARSE)
    return case


def foreign() -> Program:
    other, case = dense(), program()
    case.model.optimizer.build(other.trainable_variables)
    return case


def scale_of_loss(scale: float) -> Program:
    inner = keras.optimizers.Adam(1e-3)
    return program(optimizer=keras.optimizers.LossScaleOptimizer(inner, initial_scale=scale))


def autoencoder(width: int, *members: Any) -> Program:
    return program(chain(relu(width), *members, Dense(8)), "mse", data=(X, X))


class Own(keras.layers.Layer):
    """A layer of one's own."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


def softmax_over(axis: int) -> Any:
    return layers.Lambda(lambda value: ops.softmax(value, axis=axis))


def log_of(axis: int) -> Callable[[Any, Any], Any]:
    def crossentropy(truth: Any, logits: Any) -> Any:
        return -ops.sum(truth * ops.log_softmax(logits, axis=axis), axis=-1)

    return crossentropy


def dice(truth: Any, answer: Any) -> Any:
    both = ops.sum(truth * answer)
    return 1 - (2 * both + 1) / (ops.sum(truth) + ops.sum(answer) + 1)


def contrastive(truth: Any, distance: Any) -> Any:
    far = ops.square(ops.maximum(1 - distance, 0))
    return ops.mean(truth * ops.square(distance) + (1 - truth) * far, axis=-1)


def siamese(loss: Any, *last: Any) -> Program:
    left, right, encoder = Input((4,)), Input((4,)), relu(6)
    distance = layers.Lambda(lambda pair: ops.norm(pair[0] - pair[1], axis=1, keepdims=True))
    value = distance([encoder(left), encoder(right)])
    for one in last:
        value = one(value)
    model = keras.Model([left, right], value)
    return program(model, loss, data=((XB[:, :4], XB[:, 4:]), YB.astype("float32")))


def _pulls(y: Any, p: Any) -> Any:
    return ops.mean(y * ops.square(p) + (1 - y) * ops.maximum(0.0 - p, 0.0), axis=-1)


NUMBERED = np.random.default_rng(3).integers(0, 12, size=(360, 5)).astype("float32")
NUMBERED_Y = np.random.default_rng(4).normal(size=12)[NUMBERED[:, :2].astype(int)].sum(axis=1)
ORDERED = np.arange(len(XT)) % 3
WORDS = np.random.default_rng(5).integers(21, 600, size=(400, 12))
WORDS[:, 3] = WORDS[:, 7] = np.random.default_rng(6).integers(1, 21, size=400)
ABOUT = WORDS[:, 3] % 2


def reversed_weights(favoured: float) -> Program:
    """Weights by class: that of the common class, in rows of which one in eight is rare, over the other."""
    rare = (np.arange(len(X)) % 8 == 0).astype("int32")
    weights = np.where(rare, 1.0, favoured)
    return program(dense(outputs=1, output="sigmoid"), BINARY, data=(X, rare), sample_weight=weights)


UNLIKE = np.array([40.0, 1.0, 1.0, 30.0, 0.9])
VAL_X, VAL_Y = X[:100] + 0.01, Y[:100]
ODD = np.where(np.arange(len(X))[:, None] % 2, HOT, 1 - HOT).astype("float32")

FAULTY: list[tuple[str, str, Callable[[], Program]]] = [
    ("activation-before-softmax", "warning", lambda: ending(relu(3), layers.Softmax())),
    ("activation-before-softmax", "severe", lambda: ending(Dense(3, "softmax"), layers.Softmax())),
    ("activation-before-softmax", "warning",
     lambda: ending(Dense(3), layers.ReLU(), layers.Activation("softmax"))),
    ("activation-before-softmax", "severe",
     lambda: ending(Dense(1, "sigmoid"), layers.Activation("sigmoid"), loss=BINARY, y=(Y > 0) * 1)),
    ("softmax-many-labels", "severe", lambda: ending(Dense(3, "softmax"), loss=BINARY, y=ODD)),
    ("softmax-many-labels", "severe",
     lambda: ending(Dense(3, "softmax"), loss="categorical_crossentropy", y=ODD)),
    ("activation-before-softmax", "severe", lambda: siamese(BINARY, layers.Activation("sigmoid"))),
    ("activation-before-softmax", "severe",
     lambda: siamese(BINARY, layers.Lambda(lambda distance: ops.sigmoid(2 * distance + 0.5)))),
    ("not-checked", "note", lambda: ending(Own(), Dense(3, "softmax"))),
    ("not-checked", "note", lambda: own(lambda y, p: ops.mean(ops.square(y - p), axis=-1))),
    ("metric-misfit", "note", lambda: _with_metric(regression(), "accuracy")),
    ("ids-outside-table", "severe", lambda: lookup(IDS, 30)),
    ("ids-outside-table", "severe", lambda: lookup(IDS - 5)),
    ("ids-outside-table", "severe", lambda: lookup((IDS / 40).astype("float32"))),
    ("ids-outside-table", "severe", lambda: lookup(((IDS - 20) / 11).astype("float32"))),
    ("sentinel-values", "severe", lambda: regression(filled(-999.0))),
    ("sentinel-values", "severe", lambda: regression(filled(99_999.0, 0.02))),
    ("sentinel-values", "warning", lambda: regression(filled(-20.0, 0.02))),
    ("pairs-not-apart", "severe", lambda: siamese(_pulls)),
    ("ids-as-quantities", "severe", lambda: regression(NUMBERED, NUMBERED_Y)),
    ("ids-as-quantities", "severe", lambda: regression(WORDS, ABOUT, features=12)),
    ("output-activation-loss", "severe", lambda: _with_metric(regression(XT, ORDERED), "accuracy")),
    ("output-activation-loss", "warning", lambda: _with_metric(regression(XT, ORDERED), "mae")),
    ("scaled-twice", "severe", lambda: scaled(X, layers.Rescaling(1 / 255))),
    ("scaled-twice", "severe", lambda: scaled(X, layers.Rescaling(1 / 127.5, -1), layers.Rescaling(1 / 255))),
    ("scaled-twice", "severe", lambda: scaled(X * 50, layers.Normalization(mean=0.0, variance=1.0))),
    ("padding-unmasked", "warning", lambda: recurrent(PADDED, layers.Embedding(40, 4))),
    ("padding-unmasked", "warning", lambda: recurrent(PADDED_WAVES)),
    ("padding-unmasked", "warning",
     lambda: recurrent(PADDED_WAVES, layers.Masking(-1.0), layers.GRU(4, return_sequences=True))),
    ("padding-unmasked", "severe",
     lambda: recurrent(np.pad(IDS, ((0, 0), (0, 40))), layers.Embedding(40, 4))),
    ("padding-diluted", "warning", lambda: averaged(PADDED)),
    ("channels-order", "severe",
     lambda: pictures_of(same(6), x=np.moveaxis(XI, 3, 1), y=YI)),
    ("drowned-output", "warning", lambda: two_outputs(factor=50.0)),
    ("drowned-output", "severe", lambda: two_outputs(weights=[1.0, 1e-4])),
    ("output-not-trained", "severe", lambda: two_outputs(weights=[1.0, 0.0])),
    ("output-not-trained", "severe", lambda: two_outputs(loss=None)),
    ("output-not-trained", "severe", lambda: _weightless(regression())),
    ("row-weights", "severe", lambda: program(sample_weight=(Y > 0).astype("float32"))),
    ("row-weights", "warning", lambda: program(sample_weight=np.where(Y > 0, 1, 1000.0))),
    ("row-weights", "severe", lambda: reversed_weights(7.0)),
    ("row-weights", "warning", lambda: reversed_weights(7.5)),
    ("row-weights", "warning", lambda: reversed_weights(3.0)),  # costs
    ("row-weights", "warning",
     lambda: regression(sample_weight=np.geomspace(1, 1e30, len(XT)), validation_data=(XT[:50], YT[:50]))),
    ("row-weights", "warning", lambda: regression(sample_weight=np.geomspace(1, 1e30, len(XT)))),
    ("inputs-alike", "severe", lambda: regression(np.repeat(XT[:1], len(XT), axis=0))),
    ("inputs-alike", "severe", lambda: pictures_of(same(6), x=(np.abs(XI) % 1).astype("uint8") // 255)),
    ("inputs-alike", "warning", lambda: regression((XT > 0).astype("float32") * [1, 0, 0, 0, 0], y=YT)),
    ("inputs-cut-off", "warning",
     lambda: pictures_of(same(6), x=(np.quantile(XI, 0.99) < XI).astype("int32"))),
    ("inputs-cut-off", "warning", lambda: regression(XT.astype("int32"))),
    *(
        ("scaled-by-row", "warning", lambda scale=scale: regression(scale(XT * UNITS + 9 * UNITS)))
        for scale in (by_range, by_deviation, by_length)
    ),
    ("one-class", "severe", lambda: regression(y=np.zeros(len(XT), "float32"))),
    ("rows-mixed", "severe", lambda: ending(layers.Lambda(_less_batch_mean), Dense(3, "softmax"))),
    ("rows-mixed", "severe", lambda: ending(_across_rows(), Dense(3, "softmax"))),
    ("targets-loss", "severe", lambda: recurrent_output(LENGTHS / 4)),
    ("output-softmax-axis", "severe", lambda: ending(Dense(3), softmax_over(0))),
    ("output-softmax-axis", "severe", lambda: ending(Dense(3), layers.Softmax(axis=0))),
    ("from-logits", "severe", lambda: ending(Dense(3), softmax_over(-1), loss=LOGITS)),
    ("from-logits", "severe", lambda: ending(Dense(3), Own())),
    ("validation-scale", "severe", lambda: split(VAL_X * 255, VAL_Y)),
    ("validation-scale", "severe", lambda: split(VAL_X / 20, VAL_Y)),
    ("validation-scale", "severe", lambda: split(VAL_X + 9, VAL_Y)),
    ("validation-scale", "severe",
     lambda: split(XT[:99] + 0.01, YT[:99] * 90, XT, YT, "mse", outputs=1, output=None)),
    ("validation-scale", "severe",
     lambda: split((XT[:99] * UNLIKE + 5).astype("float32"), YT[:99], (XT - XT.mean(0)) / XT.std(0), YT,
                   "mse", outputs=1, output=None)),
    ("validation-range", "warning", lambda: split(_moved(VAL_X, 3, 12.0), VAL_Y)),
    ("validation-classes", "severe", lambda: split(VAL_X, VAL_Y, X[Y < 2], Y[Y < 2])),
    ("validation-class-mix", "warning", lambda: split(X[Y > 1] + 0.01, Y[Y > 1])),
    ("validation-class-order", "severe", lambda: split(X + 0.01, (Y + 1) % 3)),
    ("validation-unlike-training", "severe",
     lambda: split(X + 0.01, np.random.default_rng(0).permutation(Y))),
    ("overlapping-windows", "warning", lambda: windows(shuffled=True)),
    ("excessive-decay", "severe", lambda: optimizer("AdamW", weight_decay=50.0)),
    ("excessive-decay", "warning", lambda: optimizer("Adam", weight_decay=4.0)),
    ("excessive-smoothing", "severe", lambda: smoothed(0.98)),
    ("excessive-smoothing", "warning", lambda: smoothed(0.6)),
    ("accumulation-too-long", "severe", lambda: _planned(optimizer("Adam", gradient_accumulation_steps=90))),
    ("accumulation-too-long", "warning", lambda: optimizer("SGD", gradient_accumulation_steps=14)),
    ("loss-scale", "severe", lambda: scale_of_loss(2.0**60)),
    ("frozen-random", "warning", lambda: frozen()),
    ("foreign-optimizer", "severe", foreign),
    ("clipping-too-strong", "warning", lambda: optimizer("SGD", clipnorm=1e-5)),
    ("clipping-too-strong", "warning", lambda: optimizer("SGD", momentum=0.9, clipvalue=1e-7)),
    ("penalty-outweighs-loss", "warning",
     lambda: ending(Dense(64, "relu", kernel_regularizer=keras.regularizers.L1(0.9)), Dense(3, "softmax"))),
    ("penalty-outweighs-loss", "warning",
     lambda: ending(Dense(64, "relu", activity_regularizer=keras.regularizers.L1(9.0)), Dense(3, "softmax"))),
    ("loss-ignores-prediction", "severe",
     lambda: own(lambda y, p: ops.mean(ops.square(y - y + 0 * p), axis=-1))),
    ("loss-not-differentiable", "severe",
     lambda: own(lambda y, p: ops.mean(ops.abs(y - ops.round(p)), axis=-1))),
    ("loss-sign", "severe", lambda: own(lambda y, p: ops.sum(y * ops.log(p + 1e-7), axis=-1))),
    ("loss-sign", "severe", lambda: own(lambda y, p: 1 - dice(y, p), "sigmoid", ODD)),
    ("loss-sign", "severe", lambda: amounts(lambda y, p: -ops.mean(ops.square(y - p), axis=-1))),
    *(
        ("loss-minimum", "severe", lambda loss=loss: amounts(loss))
        for loss in (
            lambda y, p: ops.mean(ops.where(ops.abs(y - p) < 1, (y - p) ** 2 / 2, y - p - 0.5), axis=-1),
            lambda y, p: ops.mean(y - p, axis=-1),
            lambda y, p: ops.mean((p - y) ** 3, axis=-1),
            lambda y, p: ops.mean(ops.maximum(y - p, 0) ** 2, axis=-1),
            lambda y, p: ops.mean(ops.maximum(p - y, 0), axis=-1),
            lambda y, p: ops.mean(y - p) ** 2,
        )
    ),
    ("loss-arguments", "severe", lambda: own(lambda p, y: -ops.sum(y * ops.log(p + 1e-7), axis=-1))),
    ("loss-axis", "severe", lambda: own(log_of(0), None)),
    ("loss-axis", "severe", lambda: amounts(Broadcast())),
    ("loss-axis", "severe",
     lambda: own(keras.losses.CategoricalCrossentropy(from_logits=True, axis=0), None)),
    ("loss-not-per-row", "note", lambda: own(dice, "sigmoid", ODD)),
    ("loss-not-per-row", "warning",
     lambda: own(lambda y, p: ops.mean(ops.square(y - p)), sample_weight=np.ones(len(X)))),
    ("loss-not-finite", "severe", lambda: own("poisson", None, np.float32(X[:, :1] > 0) + 1, 1)),
    ("loss-not-finite", "warning",
     lambda: own(lambda y, p: -ops.sum(y * ops.log(p), axis=-1), "sigmoid", ODD)),
    ("receptive-field", "severe", lambda: masks_of(same(4, 1), Conv(1, 1, activation="sigmoid"))),
    ("receptive-field", "severe", lambda: masks_and_class(1)),
    ("receptive-field", "warning", lambda: pictures_of(same(4, 1), same(4, 1))),
    ("receptive-field", "warning", lambda: pictures_of(same(4, 1), layers.MaxPooling2D(), same(4, 1))),
    ("narrow-layer", "warning", lambda: ending(Dense(1, "relu"), Dense(8, "relu"), Dense(3, "softmax"))),
    ("rows-alike", "severe", lambda: ending(
        layers.Reshape((-1, 1)), layers.LayerNormalization(), layers.Flatten(), Dense(3, "softmax"))),
    ("dropout-at-output", "warning", lambda: ending(Dense(3, "softmax"), layers.Dropout(0.3))),
    ("batch-too-large", "warning", lambda: program(batch_size=256, epochs=20)),
    ("kernel-larger-than-map", "warning",
     lambda: pictures_of(Conv(4, 8, activation="relu"), same(4), same(4))),
    ("rare-pixels", "warning",
     lambda: masks_of(same(4), same(4), Conv(1, 1, activation="sigmoid"), y=POINTS)),
    ("batch-norm-one-image", "severe",
     lambda: pictures_of(Conv(4, 3), layers.BatchNormalization(), layers.ReLU(), batch_size=1)),
    ("uneven-upsampling", "note",
     lambda: masks_of(Conv(4, 3, 2, padding="same", activation="relu"),
                      layers.Conv2DTranspose(1, 3, 2, padding="same", activation="sigmoid"))),
    ("wide-bottleneck", "warning", lambda: autoencoder(12)),
    ("unscaled-inputs", "severe", lambda: two_inputs(200.0)),
    ("unscaled-targets", "severe", lambda: two_outputs(factor=900.0)),
    ("targets-loss", "severe",
     lambda: masks_of(Conv(2, 3, padding="same", activation="softmax"), y=one_hot(DOTS[..., 0].astype(int)),
                      loss=SPARSE)),
    ("targets-loss", "severe",
     lambda: masks_of(Conv(2, 3, padding="same", activation="softmax"), loss="categorical_crossentropy")),
    ("targets-loss", "severe", lambda: masks_of(Conv(1, 3, activation="sigmoid"))),
]  # fmt: skip
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _weightless(case: Program) -> Program:
    case.model.compile("adam", "mse", loss_weights=[0.0])
    return case


def _less_batch_mean(value: Any) -> Any:
    return value - ops.mean(value, axis=0)


def _across_rows() -> Any:
    """Attention of one row to the others: the rows became the steps."""
    inputs = Input((12,))
    value = ops.expand_dims(inputs, 0)
    return keras.Model(inputs, ops.squeeze(layers.MultiHeadAttention(2, 4)(value, value), 0))


def attentive(**options: Any) -> Program:
    inputs = Input((12, 2))
    value = layers.MultiHeadAttention(2, 4, **options)(inputs, inputs)
    return program(
        keras.Model(inputs, Dense(1)(ops.mean(value, axis=1))), "mse", data=(WAVES, WAVES[:, 0, 1:])
    )


def recurrent_output(y: np.ndarray) -> Program:
    model = chain(layers.GRU(4, return_sequences=True), layers.LSTM(1), features=(12, 2))
    return program(model, "mse", data=(WAVES, y.astype("float32")))


def _with_metric(case: Program, metric: str) -> Program:
    case.model.compile("adam", "mse", metrics=[metric])
    return case


def smoothed(share: float) -> Program:
    return program(loss=keras.losses.CategoricalCrossentropy(label_smoothing=share), data=(X, HOT))


def _planned(case: Program) -> Program:
    return replace(case, options={"epochs": 3})


def _moved(x: np.ndarray, column: int, by: float) -> np.ndarray:
    x = x.copy()
    x[:, column] += by
    return x


TRAINED = RNG.standard_t(2, size=(8, 12)) * 0.4

SOUND: dict[str, Callable[[], Program]] = {
    "counts of four digits": lambda: regression(
        np.arange(3, 9) * WORDS[:, :6], WORDS[:, 0] / 600.0, features=6
    ),
    "softmax as a layer": lambda: ending(Dense(3), layers.Softmax()),
    "relu before the last kernel": lambda: ending(relu(6), Dense(3, "softmax")),
    "several labels": lambda: ending(Dense(3, "sigmoid"), loss=BINARY, y=ODD),
    "soft labels": lambda: ending(
        Dense(3, "softmax"), loss="categorical_crossentropy", y=HOT * 0.9 + 0.1 / 3
    ),
    "ids in the table": lambda: lookup(IDS),
    "ids shifted by the model": lambda: lookup_shifted(),
    "ids as floats": lambda: lookup(IDS.astype("float32")),
    "a heavy tail": lambda: regression(np.sinh(XT * 2).astype("float32") / 4),
    "an outlier": lambda: regression(_moved_row(XT)),
    "balanced weights": lambda: program(sample_weight=np.bincount(Y).max() / np.bincount(Y)[Y]),
    "bits": lambda: regression((XT > 0).astype("int8")),
    "columns scaled": lambda: regression((XT - XT.min(axis=0)) / np.ptp(XT, axis=0)),
    "rows of like columns scaled": lambda: regression(by_range(XT)),
    "one-hot columns and a constant": lambda: regression(
        np.concatenate(
            [np.eye(3)[np.argmax(XT[:, :3], axis=1)], np.ones((len(XT), 1))], axis=1, dtype="float32"
        )
    ),
    "colours of neighbours, pooled": lambda: pictures_of(same(4, 1), layers.MaxPooling2D(), same(4)),
    "drawings": lambda: pictures_of(same(6), x=(np.quantile(XI, 0.9) < XI).astype("int32")),
    "repeated rows": lambda: regression(np.repeat(XT[:40], 10, axis=0), np.repeat(YT[:40], 10, axis=0)),
    "a function of each row": lambda: ending(
        layers.Lambda(lambda v: v - ops.mean(v, 1, keepdims=True)), Dense(3, "softmax")
    ),
    "a cell's own range": lambda: recurrent_output(LENGTHS / 10 - 0.4),
    "counts": lambda: regression(np.random.default_rng(0).poisson(2, XT.shape).astype("float32")),
    "pixels rescaled": lambda: scaled(np.clip(X * 60 + 128, 0, 255), layers.Rescaling(1 / 127.5, -1)),
    "pixels rescaled to 1": lambda: scaled(np.clip(X * 60 + 128, 0, 255), layers.Rescaling(1 / 255)),
    "adapted normalisation": lambda: scaled(X * 40 + 7, layers.Normalization(mean=7.0, variance=1600.0)),
    "padding masked": lambda: recurrent(PADDED, layers.Embedding(40, 4, mask_zero=True)),
    "padding masked, numbers": lambda: recurrent(PADDED_WAVES, layers.Masking()),
    "weights of a common class": lambda: reversed_weights(1.2),
    "a learnt threshold of a distance": lambda: siamese(BINARY, Dense(1, "sigmoid")),
    "a threshold of a distance": lambda: siamese(BINARY, layers.Lambda(lambda far: ops.sigmoid(1 - far))),
    "single pixels, then shapes": lambda: pictures_of(same(4, 1), same(4, 3)),
    "few rows in usual batches": lambda: program(batch_size=64, epochs=2),
    "padding before": lambda: recurrent(PADDED[:, ::-1], layers.Embedding(40, 4)),
    "padding, both ways": lambda: recurrent(
        PADDED, layers.Embedding(40, 4), cell=layers.Bidirectional(layers.LSTM(4))
    ),
    "padding, the largest": lambda: recurrent(
        PADDED,
        layers.Embedding(40, 4),
        layers.LSTM(4, return_sequences=True),
        cell=layers.GlobalMaxPooling1D(),
    ),
    "no padding": lambda: recurrent(IDS, layers.Embedding(40, 4)),
    "masked sequences far from the pad": lambda: recurrent(_far_padding(), layers.Masking(-99.0)),
    "channels last": lambda: pictures_of(same(6)),
    "two inputs": lambda: two_inputs(1.0),
    "two outputs": lambda: two_outputs(),
    "two outputs, weighted": lambda: two_outputs([0.5, 1.0]),
    "softmax by a function": lambda: ending(Dense(3), softmax_over(-1)),
    "logits of a function": lambda: ending(Dense(3), Own(), loss=LOGITS),
    "the same distribution": lambda: split(VAL_X, VAL_Y),
    "few validation rows": lambda: split(VAL_X[:12], VAL_Y[:12]),
    "validation without a class": lambda: split(X[Y < 2][:90] + 0.01, Y[Y < 2][:90]),
    "windows split by time": lambda: windows(shuffled=False),
    "amounts in both": lambda: split(XT[:99] + 0.01, YT[:99], XT, YT, "mse", outputs=1, output=None),
    "usual decay": lambda: optimizer("AdamW", weight_decay=0.01),
    "some accumulation": lambda: optimizer("Adam", gradient_accumulation_steps=4),
    "usual loss scale": lambda: scale_of_loss(2.0**15),
    "clipping": lambda: optimizer("SGD", clipnorm=1.0),
    "clipping in Adam": lambda: optimizer("Adam", clipnorm=1e-3),
    "frozen and trained": lambda: frozen(TRAINED, 0.1),
    "frozen and trained, no bias": lambda: frozen(TRAINED),
    "usual penalty": lambda: ending(
        Dense(64, "relu", kernel_regularizer="l2", kernel_initializer="he_normal"), Dense(3, "softmax")
    ),
    "own mean squared error": lambda: amounts(lambda y, p: ops.mean(ops.square(y - p), axis=-1)),
    "own cross-entropy": lambda: own(lambda y, p: -ops.sum(y * ops.log(p + 1e-7), axis=-1)),
    "own cross-entropy of logits": lambda: own(log_of(-1), None),
    **{
        f"own loss of amounts: {name}": lambda loss=loss: amounts(loss)
        for name, loss in {
            "Huber": lambda y, p: keras.losses.huber(y, p),
            "steep quantile": lambda y, p: ops.mean(ops.maximum(0.98 * (y - p), 0.02 * (p - y)), axis=-1),
            "asymmetric": lambda y, p: ops.mean(ops.where(p > y, 1.0, 5.0) * (p - y) ** 2, axis=-1),
            "within a margin": lambda y, p: ops.mean(ops.maximum(ops.abs(y - p) - 0.3, 0), axis=-1),
            "log-cosh": lambda y, p: keras.losses.log_cosh(y, p),
            "relative": lambda y, p: ops.mean(ops.abs(y - p) / (ops.abs(y) + 1e-3), axis=-1),
            "exponential": lambda y, p: ops.mean(ops.exp(p - y) - (p - y) - 1, axis=-1),
            "bounded": lambda y, p: ops.mean(1 - ops.exp(-((y - p) ** 2)), axis=-1),
            "log link": lambda y, p: ops.mean(ops.exp(p) - ops.exp(y) * p, axis=-1),
            "identity": lambda y, p: ops.mean(p, axis=-1),
        }.items()
    },
    **{
        f"own loss of large amounts: {name}": lambda loss=loss: program(
            dense(outputs=1, output=None, features=5), loss, data=(XT, 1000 + 300 * YT[:, None])
        )
        for name, loss in {
            "quantile": lambda y, p: ops.mean(ops.maximum(0.9 * (y - p), 0.1 * (p - y)), axis=-1),
            "relative": lambda y, p: ops.mean(ops.abs(y - p) / ops.abs(y), axis=-1),
        }.items()
    },
    "attention with dropout": lambda: attentive(dropout=0.1),
    "own quantile loss": lambda: amounts(
        lambda y, p: ops.mean(ops.maximum(0.9 * (y - p), -0.1 * (y - p)), axis=-1)
    ),
    "dice": lambda: own(dice, "sigmoid", ODD),
    "negative dice": lambda: own(lambda y, p: dice(y, p) - 1, "sigmoid", ODD),
    "contrastive": lambda: siamese(contrastive),
    "focal": lambda: own(lambda y, p: -ops.mean(y * (1 - p) ** 2 * ops.log(p + 1e-7), axis=-1)),
    "negative log likelihood": lambda: amounts(lambda y, p: 0.5 * ops.square(y - p) / 4 + 1.4),
    "segmentation": lambda: masks_of(
        same(4),
        layers.MaxPooling2D(),
        same(8),
        layers.UpSampling2D(),
        same(4),
        Conv(1, 1, activation="sigmoid"),
    ),
    "segmentation, classes": lambda: masks_of(
        same(4),
        same(4),
        same(4),
        Conv(2, 1, activation="softmax"),
        y=DOTS[..., 0].astype("int32"),
        loss=SPARSE,
    ),
    "batches of images": lambda: pictures_of(
        Conv(4, 3), layers.BatchNormalization(momentum=0.8), layers.ReLU()
    ),
    "autoencoder": lambda: autoencoder(3),
    "denoising autoencoder": lambda: autoencoder(12, layers.GaussianNoise(0.1)),
}


def lookup_shifted() -> Program:
    inputs = Input((10,), dtype="int32")
    value = layers.Flatten()(layers.Embedding(50, 4)(inputs + 5))
    return program(keras.Model(inputs, Dense(1, "sigmoid")(value)), BINARY, data=(IDS - 5, IDS_Y))


def _moved_row(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[3, 1] = 9.0
    return x


def _far_padding() -> np.ndarray:
    return np.where((np.arange(12) < LENGTHS[:, None])[..., None], WAVES, -99.0).astype("float32")


CODES = (
    *fit_to_data.MODEL, *fit_to_data.DATA, *fit_to_data.PROBE, *splits.DATA,
    *compile_and_fit.MODEL, *compile_and_fit.PROBE, *pictures.MODEL,
)  # fmt: skip


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("code", "severity", "make"), FAULTY)
def test_causes_are_found(code: str, severity: str, make: Callable[[], Program]):
    assert_found(findings(make(), code), code, severity)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_sound_programs_of_the_kind_are_let_pass(make: Callable[[], Program]):
    loud = [one for one in findings(make()) if one.severity != "note" and one.code in CODES]
    assert not loud, [(one.code, one.severity, one.explanation) for one in loud]


def test_every_code_has_a_faulty_case():
    elsewhere = {"kl-collapse", "kl-sign", "output-offset", "layer-mode"}  # test_generative, test_modes
    assert {*CODES} - {code for code, _, _ in FAULTY} - elsewhere == {"shared-groups"}
    assert {*CODES} <= {*CATALOGUE}


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_saturated_gates_are_explained_by_the_scale_of_the_inputs(kind: Any):
    keras.utils.set_random_seed(7 if kind is layers.GRU else 1)  # with these weights, the gates do saturate
    model = chain(kind(4), Dense(1), features=(12, 2))
    amounts_of = 30000 + 6000 * WAVES
    case = program(model, "mse", data=(amounts_of, WAVES[:, -1, :1]))
    found = {one.code: one for one in with_causes(findings(case))}
    assert found["unscaled-inputs"].severity == "severe"
    silent = found["disconnected-layer"]
    assert (silent.severity, silent.explained_by) == ("note", "unscaled-inputs")


def test_overfitting_is_no_answer_where_validation_rows_are_scaled_otherwise():
    falling, rising = np.linspace(1.0, 0.1, 12), [1.0, 0.8, 0.7, *np.linspace(0.8, 3.0, 9)]
    history = {"loss": falling.tolist(), "val_loss": rising}
    case = split(VAL_X * 255, VAL_Y)
    found = diagnose(case.model, case.x, case.y, history=history, steps=0, verbose=0, **case.options)
    own = diagnose(case.model, case.x, case.y, history=history, steps=0, verbose=0)
    (one,) = [each for each in found.findings if each.code == "overfitting"]
    assert (one.severity, one.explained_by) == ("note", "validation-scale")
    assert [each.severity for each in own.findings if each.code == "overfitting"] == ["warning"]


@pytest.mark.parametrize("names", [("a", "patient_id", "c"), ("a", "patient_id=P1", "patient_id=P2")])
def test_findings_name_the_columns_of_a_table(names):
    rows = np.zeros((24, 3), np.float32)
    rows[:12, 1], rows[12:, 2] = 1, 1
    rows[:, 0] = np.linspace(-1, 1, 24)
    if "c" in names:
        rows[:, 2] = 7
    labels = (np.arange(24) % 2).astype(np.float32)
    model = chain(Dense(1, "sigmoid"), features=(3,))
    model.compile("sgd", "binary_crossentropy")
    how = {"validation_data": (rows[::3], labels[::3]), "steps": 0, "verbose": 0}
    found = {one.code: one for one in diagnose(model, rows, labels, features=names, **how).findings}
    assert "2 values of column patient_id occur in both parts" in found["shared-groups"].explanation
    assert "c" not in names or found["constant-columns"].explanation.endswith("row: c.")
