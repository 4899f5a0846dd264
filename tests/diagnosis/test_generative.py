"""Causes in autoencoders, adversaries, pairs and masks: found where they are, and not in sound programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from tests.diagnosis.programs import Program, assert_found, program
from tests.diagnosis.test_causes import findings

from kilter._diagnosis.checks.generative import check_rivals, kl_weight
from kilter._diagnosis.context import Context
from kilter._diagnosis.diagnose import diagnose, read_context
from kilter._diagnosis.entries import pictures
from kilter._diagnosis.learnable import learnable
from kilter._engine.training_spec import TrainingSpec

RNG = np.random.default_rng(3)
Dense, Input, Conv = layers.Dense, keras.Input, layers.Conv2D
BINARY = "binary_crossentropy"
CODES = {*pictures.DATA, *pictures.PROBE, "kl-collapse", "kl-sign", "output-offset", "one-class"}


class Code(layers.Layer):
    """A code with noise, and the KL term of its normal distribution, of the log-variance or log-deviation."""

    def __init__(self, weight: float, power: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.weight, self.power, self.seed = weight, power, keras.random.SeedGenerator(1)

    def call(self, mean: Any, log: Any) -> Any:
        log = self.power * log
        terms = 0.5 * (ops.square(mean) + ops.exp(log) - 1 - log)
        self.add_loss(self.weight * ops.mean(ops.sum(terms, axis=-1)))
        return mean + ops.exp(0.5 * log) * keras.random.normal(ops.shape(mean), seed=self.seed)


ROWS = np.tanh(RNG.normal(size=(120, 3)) @ RNG.normal(size=(3, 12))).astype("float32")


def variational(weight: float, loss: str = "mse", x: np.ndarray = ROWS, **options: Any) -> Program:
    inputs = Input((12,))
    hidden = Dense(8, "relu")(inputs)
    code = Code(weight, **options)(Dense(2)(hidden), Dense(2)(hidden))
    model = keras.Model(inputs, Dense(12, None if loss == "mse" else "sigmoid")(code))
    return program(model, loss, data=(x, x))


def generator(loss: Any, bias: float) -> Program:
    """A generator before a frozen critic whose logits are far below 0, or not."""
    critic = keras.Sequential([Input((3,)), Dense(4, "tanh"), Dense(1, "sigmoid")])
    critic.layers[0].bias.assign(np.ones(4))
    critic.layers[1].bias.assign([bias])
    critic.trainable = False
    model = keras.Sequential([Input((2,)), Dense(3), critic])
    noise = RNG.normal(size=(64, 2)).astype("float32")
    return program(model, loss, data=(noise, np.ones((64, 1), "float32")))


def saturating(truth: Any, answer: Any) -> Any:
    return ops.mean(ops.log(1 - answer + 1e-7), axis=-1)


KINDS = RNG.integers(0, 8, size=200)
SAME = RNG.random(200) < 0.5
OTHERS = np.where(SAME, KINDS, (KINDS + RNG.integers(1, 8, size=200)) % 8)
CENTRES = RNG.normal(size=(8, 5))
PAIR = [(CENTRES[kind] + RNG.normal(0, 0.7, (200, 5))).astype("float32") for kind in (KINDS, OTHERS)]


def pairs(margin: float = 1.0, *last: Any, pair: Any = PAIR, matching: float = 1.0) -> Program:
    def contrastive(truth: Any, distance: Any) -> Any:
        together = truth if matching else 1 - truth
        apart = ops.square(ops.maximum(margin - distance, 0))
        return ops.mean(together * ops.square(distance) + (1 - together) * apart, axis=-1)

    encoder = keras.Sequential([Input((5,)), Dense(6, "relu"), Dense(3), *last])
    left, right = Input((5,)), Input((5,))
    ways = ops.square(encoder(left) - encoder(right))
    distance = ops.sqrt(ops.sum(ways, axis=-1, keepdims=True) + 1e-6)
    model = keras.Model([left, right], distance)
    return program(model, contrastive, data=(tuple(pair), SAME.astype("float32")))


def triplets(*, swapped: bool, named: bool = False) -> Program:
    """Anchors, rows near them and rows far from them, and a loss on their three embeddings."""
    names = ("anchor", "positive", "negative")

    def triplet(truth: Any, both: Any) -> Any:
        first, second = (ops.sum(ops.square(both[:, :3] - both[:, at : at + 3]), -1) for at in (3, 6))
        return ops.maximum((second - first if swapped else first - second) + 1, 0)

    encoder = keras.Sequential([Input((5,)), Dense(6, "relu"), Dense(3)])
    inputs = [Input((5,), name=name) for name in names]
    joined = layers.Concatenate()([encoder(one) for one in inputs])
    model = keras.Model(dict(zip(names, inputs, strict=True)) if named else inputs, joined)
    near = (PAIR[0] + 0.3 * PAIR[1][::-1]).astype("float32")
    rows = [PAIR[0], near, PAIR[1]]
    x = dict(zip(names, rows, strict=True)) if named else rows
    return program(model, triplet, data=(x, np.zeros((len(near), 1), "float32")))


def _easy() -> Program:
    far = np.where(SAME[:, None], PAIR[0] + PAIR[1] / 9, PAIR[1] + 20).astype("float32")
    return pairs(pair=[PAIR[0], far])


def _spots() -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a lopsided spot in noise, and where it is."""
    masks = np.zeros((80, 16, 16, 1), "float32")
    for number, (row, column) in enumerate(RNG.integers(0, 10, size=(80, 2))):
        masks[number, row : row + 6, column : column + 3] = 1.0
        masks[number, row : row + 2, column : column + 5] = 1.0
    return (masks + RNG.normal(0, 0.6, masks.shape)).astype("float32"), masks


SPOTS, MASKS = _spots()


def masks(y: np.ndarray, *members: Any, x: np.ndarray = SPOTS, **last: Any) -> Program:
    options = {"padding": "same", "activation": "sigmoid", **last}
    model = keras.Sequential([Input(x.shape[1:]), *members, Conv(1, 3, **options)])
    return program(model, BINARY, data=(x, y))


def same(size: int = 3, **options: Any) -> Any:
    return Conv(3, size, activation="relu", **{"padding": "same", **options})


FAULTY: list[tuple[str, str, Callable[[], Program]]] = [
    ("kl-collapse", "severe", lambda: variational(5.0)),
    ("kl-sign", "severe", lambda: variational(-0.1)),
    ("kl-collapse", "severe", lambda: variational(5.0, power=2)),
    ("kl-collapse", "severe", lambda: variational(5.0, BINARY, (ROWS > 0).astype("float32"))),
    ("discriminator-won", "severe", lambda: generator(saturating, -30.0)),
    ("discriminator-won", "warning", lambda: generator(BINARY, -30.0)),
    ("margin-out-of-reach", "severe", lambda: pairs(12.0, layers.UnitNormalization())),
    ("margin-out-of-reach", "severe", lambda: pairs(9.0, layers.Activation("sigmoid"))),
    ("margin-out-of-reach", "warning", lambda: pairs(900.0)),
    ("pairs-reversed", "severe", lambda: pairs(matching=0.0)),
    ("pairs-reversed", "severe", lambda: triplets(swapped=True)),
    ("pairs-reversed", "severe", lambda: triplets(swapped=True, named=True)),
    ("easy-pairs", "severe",
     lambda: pairs(pair=[PAIR[0], np.where(SAME[:, None], PAIR[0], PAIR[1] + 20).astype("float32")])),
    ("masks-misplaced", "severe", lambda: masks(MASKS.swapaxes(1, 2))),
    ("masks-misplaced", "severe", lambda: masks(MASKS[:, :, ::-1])),
    ("masks-misplaced", "severe", lambda: masks(np.roll(MASKS, (4, 4), (1, 2)))),
    ("masks-misplaced", "warning", lambda: masks(np.roll(MASKS, 4, 1), same(5), same(5))),
    ("output-offset", "warning",
     lambda: masks(MASKS, same(5, padding="valid"), layers.ZeroPadding2D(((0, 4), (0, 4))))),
    ("masks-misplaced", "severe", lambda: masks(MASKS.swapaxes(1, 2)[..., 0].astype("uint8"))),
]  # fmt: skip

SOUND: dict[str, Callable[[], Program]] = {
    "variational": lambda: variational(0.01),
    "variational, summed": lambda: variational(0.01, BINARY, (ROWS > 0).astype("float32")),
    "a critic that doubts": lambda: generator(saturating, 0.0),
    "pairs": pairs,
    "triplets": lambda: triplets(swapped=False),
    "triplets by name": lambda: triplets(swapped=False, named=True),
    "pairs of unit length": lambda: pairs(1.0, layers.UnitNormalization()),
    "masks": lambda: masks(MASKS),
    "masks of dark spots": lambda: masks(MASKS, x=-SPOTS),
    "masks without a relation": lambda: masks(np.random.default_rng(3).permutation(MASKS)),
    "strides and upsampling": lambda: masks(
        MASKS,
        *(same(strides=2), same(), layers.UpSampling2D(), same(4)),
        *(layers.Cropping2D(2), layers.ZeroPadding2D(2)),
    ),
    "padding on both sides": lambda: masks(MASKS, same(5, padding="valid"), layers.ZeroPadding2D(2)),
}  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("code", "severity", "make"), FAULTY)
def test_causes_are_found(code: str, severity: str, make: Callable[[], Program]):
    assert_found(findings(make(), code), code, severity)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_sound_programs_are_let_pass(make: Callable[[], Program]):
    loud = [one for one in findings(make()) if one.code in CODES]
    assert not loud, [(one.code, one.severity, one.explanation) for one in loud]


@pytest.mark.parametrize("power", [1, 2])
def test_the_weight_of_a_kl_term_is_measured(power: int):
    case = variational(0.7, power=power)
    (layer,) = [one for one in case.model.layers if isinstance(one, Code)]
    assert kl_weight(layer, 16) == pytest.approx(0.7, rel=1e-4)
    assert kl_weight(case.model.layers[1], 16) is None


def test_easy_pairs_are_let_pass_where_validation_pairs_are_as_easy():
    case = _easy()
    held = (tuple(part[:90] for part in case.x), case.y[:90])
    found = diagnose(case.model, case.x, case.y, validation_data=held, steps=0, verbose=0)
    assert "easy-pairs" not in found.codes()
    plain = (tuple(part[:90] for part in PAIR), case.y[:90])
    found = diagnose(case.model, case.x, case.y, validation_data=plain, steps=0, verbose=0)
    assert "easy-pairs" in found.codes("severe")


def test_a_critic_that_wins_shows_in_the_losses_of_both():
    steps = np.arange(12)
    context = read_context((case := masks(MASKS)).model, case.x, case.y, TrainingSpec())

    def codes(critic: np.ndarray, maker: np.ndarray) -> list[str]:
        history = {"d_loss": critic.tolist(), "g_loss": maker.tolist()}
        return [one.code for one in check_rivals(replace(context, history=history))]

    assert codes(0.69 * 0.5**steps, 0.7 + 0.4 * steps) == ["discriminator-won"]
    assert codes(np.full(12, 0.65), 0.7 + 0.02 * steps) == []
    assert codes(0.69 * 0.9**steps, np.full(12, 0.7)) == []


def test_whether_masks_can_be_learnt_is_seen_around_their_pixels():
    def answer(y: np.ndarray) -> bool | None:
        case = masks(y)
        return learnable(_read(case)).learnable

    assert answer(MASKS) is True
    assert answer(np.random.default_rng(0).permutation(MASKS)) is not True


def _read(case: Program) -> Context:
    return read_context(case.model, case.x, case.y, TrainingSpec())


def test_validation_images_that_were_turned_are_said_to_be():
    random = np.random.default_rng(3)
    kinds = random.integers(0, 3, size=260)
    waves = np.sin(np.linspace(0, 3, 10)[:, None] * (1 + 2 * kinds))[..., None, None].swapaxes(0, 1)
    images = (waves + random.normal(0, 0.2, (260, 10, 10, 1))).astype("float32")
    model = keras.Sequential([Input((10, 10, 1)), layers.Flatten(), Dense(3, "softmax")])
    held = (images[:90].swapaxes(1, 2), kinds[:90])
    case = program(
        model, "sparse_categorical_crossentropy", data=(images[90:], kinds[90:]), validation_data=held
    )
    (one,) = [one for one in findings(case) if one.code == "validation-unlike-training"]
    assert "transposed" in one.explanation


@pytest.mark.parametrize("grouped", [True, False])
def test_groups_that_differ_among_themselves_are_a_split_that_is_meant_so(grouped: bool):
    """With groups no training row tells of another group; without, the validation targets are mixed up."""
    random = np.random.default_rng(4)
    group = np.repeat(np.arange(20), 20)
    place, own = random.normal(0, 3, size=(20, 6)), random.normal(size=20)
    x = (place[group] + random.normal(size=(400, 6))).astype("float32")
    y = (own[group] if grouped else x[:, 0] / 2).astype("float32")
    held = y[:100] if grouped else random.permutation(y[:100])
    model = keras.Sequential([Input((6,)), Dense(1)])
    case = program(model, "mse", data=(x[100:], y[100:]), validation_data=(x[:100], held))
    found = {one.code: one for one in findings(case)}
    assert found["validation-unlike-training"].severity == ("warning" if grouped else "severe")
    assert ("groups" in found["validation-unlike-training"].explanation) is grouped
