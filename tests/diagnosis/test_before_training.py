"""Checks of model and data: each code comes out where it should, and sound programs give nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.diagnosis.programs import (
    Program,
    assert_found,
    blobs,
    dense,
    images,
    layers,
    one_hot,
    program,
    table,
)

from kilter._diagnosis.catalogue import CATALOGUE
from kilter._diagnosis.checks import CHECKS
from kilter._diagnosis.diagnose import read_context, run_checks
from kilter._diagnosis.entries import compile_and_fit, fit_to_data, pictures, sequences, splits
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Finding

X, Y = blobs()
HOURS = np.random.default_rng(2).integers(-3, 4, (len(X), 4)).astype("float32") / 2
LATE = (HOURS.sum(axis=1) > 0).astype("int32")
HOT = one_hot(Y)
XB, YB = blobs(classes=2)
XI, YI = images()
XT, YT = table()
NEAR_ZERO = np.where(np.arange(len(YT)) == 3, 1e-6, 5 + abs(YT))
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SGD = keras.optimizers.SGD
Input, Dense, BN = keras.Input, layers.Dense, layers.BatchNormalization


def findings(case: Program) -> list[Finding]:
    context = read_context(case.model, case.x, case.y, TrainingSpec(**case.options))
    context = replace(context, epochs=case.options.get("epochs"))
    return run_checks((*CHECKS["data"], *CHECKS["model"]), context)


def stack(*members: Any, features: Any = (8,)) -> keras.Sequential:
    return keras.Sequential([Input(features), *members])


def selu(*between: Any, init: str = "lecun_normal", depth: int = 4, **options: Any) -> keras.Sequential:
    hidden = [Dense(12, activation="selu", kernel_initializer=init, **options) for _ in range(depth)]
    return stack(*hidden, *between, Dense(3, activation="softmax"))


def binary(
    output: Any = "sigmoid", loss: Any = "binary_crossentropy", y: Any = YB, units: int = 1
) -> Program:
    return program(dense(outputs=units, output=output), loss, data=(XB, y))


def regression(output: Any = None, loss: str = "mse", y: Any = YT, units: int = 1) -> Program:
    return program(dense(outputs=units, output=output, features=5), loss, data=(XT, y))


def convolutional(*between: Any, init: str = "he_normal") -> keras.Sequential:
    return stack(
        layers.Conv2D(6, 3, kernel_initializer=init, use_bias=False),
        *between,
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        Dense(4, activation="softmax"),
        features=(8, 8, 3),
    )


def thawed() -> Program:
    case = program()
    case.model.layers[0].trainable = False
    case.model.optimizer.build(case.model.trainable_variables)
    case.model.layers[0].trainable = True
    return case


def frozen() -> Program:
    model = dense()
    model.trainable = False
    return program(model)


def sorted_rows() -> Program:
    order = np.argsort(Y, kind="stable")
    return program(data=(X[order], Y[order]), shuffle=False)


def with_column(column: np.ndarray, dtype: str = "float32") -> Program:
    return program(dense(features=9), data=(np.column_stack([X, column]).astype(dtype), Y))


def imbalanced() -> tuple[np.ndarray, np.ndarray]:
    kept = np.concatenate([np.flatnonzero(YB == 0), np.flatnonzero(YB == 1)[:8]])
    return XB[kept], YB[kept]


def with_nan() -> np.ndarray:
    x = X.copy()
    x[3, 2] = np.nan
    return x


def optimizer(name: str, rate: Any, **options: Any) -> Program:
    return program(optimizer=getattr(keras.optimizers, name)(rate, **options))


def planned(rate: Any, epochs: int) -> Program:
    return program(optimizer=SGD(rate), epochs=epochs)


SEVERE, WARNING, NOTE = "severe", "warning", "note"
UNIFORM = keras.initializers.RandomUniform(0.0, 1.0)

FAULTY: list[tuple[str, str, Callable[[], Program]]] = [
    ("unpaired-initializer", NOTE, lambda: program(dense(init="glorot_uniform"))),
    ("unpaired-initializer", WARNING, lambda: program(dense(8, init="glorot_normal"))),
    ("unpaired-initializer", SEVERE, lambda: program(dense(20, init="glorot_uniform"))),
    ("unpaired-initializer", WARNING, lambda: program(dense(6, "sigmoid", "he_normal"))),
    (
        "unpaired-initializer",
        SEVERE,
        lambda: program(dense(3, "tanh", keras.initializers.RandomNormal(0, 5))),
    ),
    (
        "unpaired-initializer",
        SEVERE,
        lambda: program(dense(8, init=keras.initializers.RandomNormal(0, 0.01))),
    ),
    ("unpaired-initializer", WARNING, lambda: program(dense(5, "tanh", UNIFORM, units=5))),
    ("unpaired-initializer", WARNING, lambda: program(dense(5, "selu", "he_normal"))),
    ("unpaired-initializer", SEVERE, lambda: program(stack(*(_separate(12) for _ in range(24)), _head()))),
    ("constant-initializer", SEVERE, lambda: program(dense(init="zeros"))),
    ("constant-initializer", SEVERE, lambda: program(dense(init="ones"))),
    ("constant-initializer", SEVERE, lambda: program(dense(1, init=keras.initializers.Constant(0.3)))),
    ("constant-initializer", SEVERE, lambda: program(convolutional(init="ones"), data=(XI, YI))),
    ("output-activation-loss", SEVERE, lambda: program(loss=LOGITS)),
    ("output-activation-loss", SEVERE, lambda: program(dense(output="sigmoid"))),
    ("output-activation-loss", SEVERE, lambda: program(dense(output="relu"))),
    ("output-activation-loss", SEVERE, lambda: program(dense(output=None))),
    ("output-activation-loss", SEVERE, lambda: program(dense(output="exponential"))),
    ("output-activation-loss", SEVERE, lambda: program(dense(output="tanh"), LOGITS)),
    (
        "output-activation-loss",
        SEVERE,
        lambda: program(dense(output="sigmoid"), "categorical_crossentropy", data=(X, HOT)),
    ),
    ("output-activation-loss", SEVERE, lambda: binary("softmax")),
    ("output-activation-loss", SEVERE, lambda: binary(None)),
    ("output-activation-loss", SEVERE, lambda: binary("relu")),
    (
        "output-activation-loss",
        SEVERE,
        lambda: binary(loss=keras.losses.BinaryCrossentropy(from_logits=True)),
    ),
    ("output-activation-loss", SEVERE, lambda: binary(loss="categorical_crossentropy")),
    ("output-activation-loss", SEVERE, lambda: binary("tanh", "mse")),
    ("output-activation-loss", WARNING, lambda: binary("sigmoid", "mse")),
    ("output-activation-loss", WARNING, lambda: program(loss="mse", data=(X, HOT))),
    ("output-activation-loss", WARNING, lambda: program(loss="binary_crossentropy", data=(X, HOT))),
    ("output-activation-loss", SEVERE, lambda: regression("softmax", y=np.column_stack([YT, -YT]), units=2)),
    ("output-activation-loss", WARNING, lambda: regression("relu", y=np.abs(YT))),
    ("output-activation-loss", WARNING, lambda: regression("relu", "poisson", np.floor(np.exp(YT)))),
    ("targets-loss", SEVERE, lambda: program(data=(X, HOT))),
    ("targets-loss", SEVERE, lambda: program(loss="categorical_crossentropy")),
    ("targets-loss", SEVERE, lambda: program(data=(X, Y + 1))),
    ("targets-loss", SEVERE, lambda: program(data=(X, Y - 1))),
    ("targets-loss", SEVERE, lambda: program(dense(outputs=5), "categorical_crossentropy", data=(X, HOT))),
    ("targets-loss", SEVERE, lambda: binary(y=2 * YB - 1)),
    ("targets-loss", SEVERE, lambda: binary(y=YB * 255)),
    ("targets-loss", SEVERE, lambda: program(dense(outputs=1, output="sigmoid"), "binary_crossentropy")),
    ("targets-loss", SEVERE, lambda: regression("relu")),
    ("targets-loss", SEVERE, lambda: regression(loss="msle")),
    ("targets-loss", SEVERE, lambda: regression(loss="poisson")),
    (
        "targets-loss",
        SEVERE,
        lambda: regression(loss="mape", y=NEAR_ZERO),
    ),
    ("targets-loss", SEVERE, lambda: regression("sigmoid")),
    ("targets-loss", SEVERE, lambda: regression(units=3)),
    ("self-normalization", WARNING, lambda: program(selu(init="he_normal"))),
    ("self-normalization", WARNING, lambda: program(selu(kernel_regularizer="l2"))),
    ("self-normalization", WARNING, lambda: program(selu(BN()))),
    ("self-normalization", WARNING, lambda: program(selu(), data=(X * 10, Y))),
    ("self-normalization", WARNING, lambda: program(selu(Dense(12, activation="relu")))),
    ("dropout-with-selu", WARNING, lambda: program(selu(layers.Dropout(0.2)))),
    ("redundant-bias", NOTE, lambda: program(stack(Dense(9), BN(), layers.ReLU(), _head()))),
    ("batch-norm-axis", SEVERE, lambda: program(convolutional(BN(axis=1)), data=(XI, YI))),
    ("batch-norm-axis", SEVERE, lambda: program(convolutional(BN(axis=2)), data=(XI, YI))),
    ("batch-norm-small-batch", WARNING, lambda: program(_normalized(), batch_size=4)),
    ("batch-norm-small-batch", SEVERE, lambda: program(_normalized(), batch_size=1)),
    ("batch-norm-momentum", WARNING, lambda: program(_normalized(0.999))),
    ("batch-norm-momentum", NOTE, lambda: program(_normalized(0.99))),
    ("dropout-before-batch-norm", NOTE, lambda: program(stack(layers.Dropout(0.2), BN(), _head()))),
    ("leaky-slope", SEVERE, lambda: program(stack(Dense(9), layers.LeakyReLU(1.0), _head()))),
    ("leaky-slope", SEVERE, lambda: program(dense(activation=layers.LeakyReLU(negative_slope=3.0)))),
    ("rate-decays-early", WARNING, lambda: planned(_decay(0.1, 2), epochs=40)),
    ("rate-decays-early", WARNING, lambda: planned(_cosine(50), epochs=20)),
    ("rate-rises-late", WARNING, lambda: planned(_cosine(5_000, warm=20_000), epochs=20)),
    ("adagrad-deep", WARNING, lambda: program(dense(5), optimizer=keras.optimizers.Adagrad(0.01))),
    ("learning-rate-range", SEVERE, lambda: optimizer("Adam", 1.0)),
    ("learning-rate-range", WARNING, lambda: optimizer("Nadam", 0.03)),
    ("learning-rate-range", SEVERE, lambda: optimizer("SGD", 10.0)),
    ("learning-rate-range", SEVERE, lambda: optimizer("SGD", 1.0, momentum=0.9)),
    ("learning-rate-range", SEVERE, lambda: optimizer("RMSprop", 1e-8)),
    ("learning-rate-range", WARNING, lambda: optimizer("SGD", 1e-4)),
    ("learning-rate-range", SEVERE, lambda: optimizer("Adam", _decay(2.0))),
    (
        "learning-rate-range",
        SEVERE,
        lambda: program(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1.0))),
    ),
    ("stale-compile", SEVERE, thawed),
    ("all-frozen", SEVERE, frozen),
    ("saturating-deep", WARNING, lambda: program(dense(4, "sigmoid", "glorot_uniform"))),
    ("saturating-deep", SEVERE, lambda: program(dense(10, "sigmoid", "glorot_uniform"))),
    ("saturating-deep", SEVERE, lambda: program(dense(10, keras.ops.sigmoid, "glorot_uniform"))),
    ("exponential-hidden", WARNING, lambda: program(dense(1, "exponential"))),
    ("exponential-hidden", SEVERE, lambda: program(dense(4, "exponential"))),
    ("linear-hidden", SEVERE, lambda: program(dense(3, None, "glorot_uniform"))),
    ("linear-hidden", SEVERE, lambda: program(stack(Dense(9), layers.Dropout(0.1), _head()))),
    ("linear-hidden", WARNING, lambda: program(stack(Dense(9, "relu"), Dense(9), _head()))),
    ("softmax-hidden", SEVERE, lambda: program(dense(2, "softmax", "glorot_uniform"))),
    ("softmax-hidden", WARNING, lambda: program(stack(Dense(9, "relu"), Dense(9, "softmax"), _head()))),
    ("excessive-dropout", SEVERE, lambda: program(stack(Dense(9, "relu"), layers.Dropout(0.9), _head()))),
    ("excessive-dropout", WARNING, lambda: program(stack(Dense(9, "relu"), layers.Dropout(0.7), _head()))),
    ("excessive-penalty", SEVERE, lambda: program(stack(_penalised(1.0), _head()))),
    ("excessive-penalty", WARNING, lambda: program(stack(_penalised(0.05), _head()))),
    ("unscaled-targets", SEVERE, lambda: regression(y=YT * 1000)),
    ("unscaled-targets", WARNING, lambda: regression(y=YT + 30)),
    ("data-not-finite", SEVERE, lambda: program(data=(with_nan(), Y))),
    ("data-not-finite", SEVERE, lambda: regression(y=np.where(XT[:, 0] > 2, np.inf, YT))),
    ("unscaled-inputs", SEVERE, lambda: program(data=(X * 100, Y))),
    ("unscaled-inputs", SEVERE, lambda: program(data=(X * 1e-4, Y))),
    ("unscaled-inputs", WARNING, lambda: program(data=(X * 5, Y))),
    ("unscaled-inputs", WARNING, lambda: program(data=(X * np.logspace(-3, 0, 8, dtype="float32"), Y))),
    (
        "unscaled-inputs",
        SEVERE,
        lambda: program(convolutional(), data=(np.clip(XI * 60 + 128, 0, 255).astype("uint8"), YI)),
    ),
    ("constant-columns", NOTE, lambda: with_column(np.ones(len(X)))),
    ("lost-differences", WARNING, lambda: with_column(1.7e9 + np.arange(len(X)), dtype="float64")),
    ("duplicated-columns", NOTE, lambda: with_column(X[:, 2])),
    ("class-imbalance", WARNING, lambda: program(dense(outputs=2), data=imbalanced())),
    ("shared-rows", WARNING, lambda: program(validation_data=(X[:9], Y[:9]))),
    ("not-shuffled", SEVERE, sorted_rows),
    ("not-shuffled", NOTE, lambda: program(shuffle=False)),
    ("shuffled-labels", WARNING, lambda: program(data=(X, np.random.default_rng(1).permutation(Y)))),
    ("one-class", SEVERE, lambda: program(data=(X, np.zeros_like(Y)))),
    ("one-class", SEVERE, lambda: binary(y=np.ones(len(XB)))),
    ("leakage", WARNING, lambda: with_column(Y * 2.0)),
]


def _head() -> keras.layers.Layer:
    return Dense(3, activation="softmax")


def _penalised(factor: float) -> keras.layers.Layer:
    return Dense(9, activation="relu", kernel_regularizer=keras.regularizers.L2(factor))


def _separate(units: int) -> keras.Sequential:
    """A nested block whose activation is a layer of its own, with Keras's default initialiser."""
    return keras.Sequential([Dense(units), layers.Activation("relu")])


def _normalized(momentum: float = 0.9) -> keras.Sequential:
    return stack(Dense(9, use_bias=False), BN(momentum=momentum), layers.ReLU(), _head())


def _decay(rate: float, steps: int = 100) -> Any:
    return keras.optimizers.schedules.ExponentialDecay(rate, steps, 0.9)


def _cosine(steps: int, warm: int = 0) -> Any:
    rises = {"warmup_target": 0.1, "warmup_steps": warm} if warm else {}
    return keras.optimizers.schedules.CosineDecay(0.0 if warm else 0.1, steps, **rises)


def _functional() -> keras.Model:
    entry = Input((8,))
    hidden = Dense(12, activation="elu", kernel_initializer="he_normal")(entry)
    for _ in range(4):
        more = Dense(12, activation="elu", kernel_initializer="he_normal")(hidden)
        hidden = layers.Add()([hidden, more])
    return keras.Model(entry, Dense(3, activation="softmax")(hidden))


class Subclassed(keras.Model):
    """Layers wired by a call of one's own, with an operation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Dense(12, kernel_initializer="he_normal")
        self.last = Dense(3)

    def call(self, inputs: Any) -> Any:
        return keras.ops.softmax(self.last(keras.ops.relu(self.first(inputs))))


HEALTHY: dict[str, Callable[[], Program]] = {
    "relu": lambda: program(),
    "deep relu": lambda: program(dense(20)),
    "shallow, Keras's defaults": lambda: program(dense(2, init="glorot_uniform")),
    "tanh": lambda: program(dense(5, "tanh", "glorot_uniform")),
    "tanh, LeCun's own": lambda: program(dense(5, "tanh", "lecun_normal")),
    "sigmoid, one layer": lambda: program(dense(1, "sigmoid", "glorot_uniform")),
    "deep elu": lambda: program(dense(30, "elu"), optimizer="nadam"),
    "swish": lambda: program(dense(4, "swish"), optimizer="rmsprop"),
    "gelu by function": lambda: program(dense(4, keras.activations.gelu)),
    "leaky layer": lambda: program(dense(4, layers.LeakyReLU(negative_slope=0.2))),
    "selu": lambda: program(selu()),
    "selu with alpha dropout": lambda: program(selu(layers.AlphaDropout(0.1))),
    "orthogonal tanh": lambda: program(dense(4, "tanh", "orthogonal")),
    "zeros in the output only": lambda: program(stack(Dense(3, "softmax", kernel_initializer="zeros"))),
    "logits": lambda: program(dense(output=None), LOGITS),
    "one-hot": lambda: program(loss="categorical_crossentropy", data=(X, HOT)),
    "label smoothing": lambda: program(
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1), data=(X, HOT)
    ),
    "rows of few whole numbers, alike by chance": lambda: program(
        dense(outputs=2, features=4),
        data=(HOURS[:300], LATE[:300]),
        validation_data=(HOURS[300:], LATE[300:]),
    ),
    "column of labels": lambda: program(data=(X, Y[:, None])),
    "float labels": lambda: program(data=(X, Y.astype("float32"))),
    "activation layer": lambda: program(
        stack(Dense(9, kernel_initializer="he_normal"), layers.ReLU(), Dense(3), layers.Softmax())
    ),
    "binary": lambda: binary(),
    "binary, two units": lambda: binary("softmax", "sparse_categorical_crossentropy", units=2),
    "binary logits": lambda: binary(None, keras.losses.BinaryCrossentropy(from_logits=True)),
    "hinge": lambda: binary("tanh", "hinge", 2 * YB - 1),
    "many labels": lambda: program(
        dense(outputs=3, output="sigmoid"), "binary_crossentropy", data=(X, (X[:, :3] > 0).astype("float32"))
    ),
    "regression": lambda: regression(),
    "regression, column": lambda: regression(y=YT[:, None]),
    "regression, huber": lambda: regression(loss="huber"),
    "counts": lambda: regression("exponential", "poisson", np.round(np.exp(XT[:, 0]))),
    "batch normalisation": lambda: program(_normalized(0.8), optimizer=SGD(0.1, momentum=0.9)),
    "convolution": lambda: program(convolutional(), data=(XI, YI)),
    "convolution, normalised": lambda: program(convolutional(BN(momentum=0.8)), data=(XI, YI)),
    "raw pixels behind Rescaling": lambda: program(
        stack(layers.Rescaling(1 / 64, -2), convolutional(), features=(8, 8, 3)),
        data=(np.clip(XI * 60 + 128, 0, 255).astype("uint8"), YI),
    ),
    "residual": lambda: program(_functional()),
    "subclassed": lambda: program(Subclassed()),
    "embedding": lambda: program(
        stack(
            layers.Embedding(500, 4),
            layers.GlobalAveragePooling1D(),
            Dense(9, "relu", kernel_initializer="he_normal"),
            Dense(1, "sigmoid"),
            features=(6,),
        ),
        "binary_crossentropy",
        data=(
            # Each word is of its row's half of the table in four of five cases: no column tells the class.
            np.random.default_rng(2).integers(250, size=(300, 6))
            + 250 * ((np.random.default_rng(3).random((300, 6)) < 0.8) ^ (np.arange(300) % 2)[:, None]),
            1 - np.arange(300) % 2,
        ),
    ),
    "bottleneck": lambda: program(
        stack(Dense(64, "relu", kernel_initializer="he_normal"), Dense(2), _head())
    ),
    "schedule": lambda: optimizer("SGD", _decay(0.1)),
    "schedule of the whole training": lambda: planned(_cosine(20 * 13), epochs=20),
    "short schedule of a training of unknown length": lambda: optimizer("SGD", _cosine(50)),
    "autoencoder": lambda: program(dense(units=6, outputs=8, output=None), "mse", data=(X, X)),
    "a loss of one's own": lambda: program(
        dense(output="relu"), lambda y, p: keras.ops.mean((y - p) ** 2, axis=-1), data=(X, HOT)
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("code", "severity", "make"), FAULTY)
def test_faults_are_found(code: str, severity: str, make: Callable[[], Program]):
    assert_found(findings(make()), code, severity)


@pytest.mark.parametrize("make", HEALTHY.values(), ids=HEALTHY)
def test_sound_programs_are_let_pass(make: Callable[[], Program]):
    loud = [one for one in findings(make()) if one.severity != "note"]
    assert not loud, [(one.code, one.severity, one.explanation) for one in loud]


def test_every_code_of_these_families_has_a_faulty_case():
    covered = {code for code, _, _ in FAULTY}
    elsewhere = {*fit_to_data.MODEL, *fit_to_data.DATA, *splits.DATA, *compile_and_fit.MODEL}
    elsewhere |= {*pictures.MODEL, *pictures.DATA}
    elsewhere |= {*sequences.MODEL, "weak-relation"}
    families = {code for code, entry in CATALOGUE.items() if entry.family in ("model", "data")}
    # test_causes, test_generative, test_outcome and test_sequences have the others.
    assert covered == families - elsewhere


@pytest.mark.parametrize(
    ("rows", "seed"), [(1400, None), (1400, 1), (1000, 0), (500, 0), (1347, 11), (1000, 2)]
)
def test_pixels_are_not_ids(rows, seed):
    digits = load_digits()
    chosen = (
        np.arange(rows) if seed is None else np.random.default_rng(seed).permutation(len(digits.data))[:rows]
    )
    x, y = digits.data[chosen].astype("float32"), digits.target[chosen]
    found = findings(program(dense(outputs=10, features=64), data=(x, y)))
    assert "ids-as-quantities" not in {one.code for one in found}


def test_targets_of_a_dict_go_to_the_outputs_of_their_names():
    inputs = Input((5,))
    value = Dense(9, activation="relu", kernel_initializer="he_normal")(inputs)
    amount, large = Dense(1, name="zeta")(value), Dense(1, activation="sigmoid", name="alpha")(value)
    model = keras.Model(inputs, [amount, large])
    model.compile("adam", {"zeta": "mse", "alpha": "binary_crossentropy"})
    y = {"zeta": YT, "alpha": (YT > 0).astype("float32")}
    assert [one for one in findings(Program(model, XT, y)) if one.severity == "severe"] == []
