"""Recurrent networks and attention: each fault gives its finding, and sound programs give none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from tests.diagnosis.programs import Program, layers, program

from kilter._diagnosis.checks import CHECKS
from kilter._diagnosis.diagnose import read_context, run_checks
from kilter._diagnosis.entries import sequences as texts
from kilter._diagnosis.sequences import read_sequences
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Finding

OWN = {*texts.MODEL, *texts.PROBE}
STEPS, WORDS = 12, 30
Input, Dense, LSTM, GRU, RNN = keras.Input, layers.Dense, layers.LSTM, layers.GRU, layers.SimpleRNN
Attention, Embedding, Norm = layers.MultiHeadAttention, layers.Embedding, layers.LayerNormalization
NORMAL, CONSTANT = keras.initializers.RandomNormal, keras.initializers.Constant
SPARSE = "sparse_categorical_crossentropy"


@cache
def waves() -> tuple[np.ndarray, np.ndarray]:
    """A series of two columns, and its next value."""
    random = np.random.default_rng(0)
    at = random.uniform(0, 6, (240, 1)) + np.arange(STEPS + 1) * 0.5
    both = np.stack([np.sin(at), np.cos(1.3 * at)], axis=-1) + random.normal(0, 0.05, (240, STEPS + 1, 2))
    return both[:, :STEPS].astype("float32"), both[:, STEPS, :1].astype("float32")


@cache
def tokens(ordered: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Ids, and whether the first is larger than the last; or whether many are small."""
    x = np.random.default_rng(1).integers(1, WORDS, (400, STEPS))
    return x, (x[:, 0] > x[:, -1]).astype("int64") if ordered else ((x < 10).sum(1) > 3).astype("int64")


@cache
def padded() -> tuple[np.ndarray, np.ndarray]:
    """Ids that end in zeros."""
    random = np.random.default_rng(2)
    x, ends = random.integers(1, WORDS, (300, STEPS)), random.integers(4, STEPS + 1, 300)
    x[np.arange(STEPS) >= ends[:, None]] = 0
    return x, (x[:, 0] > 15).astype("int64")


def series(*cells: Any, optimizer: Any = "adam") -> Program:
    model = keras.Sequential([Input((STEPS, 2)), *cells, Dense(1)])
    return program(model, "mse", optimizer, data=waves())


def stateful(shuffle: bool = True, continued: bool = False) -> Program:
    inputs = Input(batch_shape=(8, STEPS, 2))
    x, y = waves()
    if continued:
        at = np.arange(8)[:, None] * 7 + np.arange(30 * STEPS + 1) * 0.1
        long = np.sin(at).reshape(8, -1)
        x = np.concatenate([long[:, k * STEPS : (k + 1) * STEPS] for k in range(30)])[..., None].repeat(2, -1)
        x, y = x.astype("float32"), x[:, -1, :1].astype("float32")
    model = keras.Model(inputs, Dense(1)(LSTM(6, stateful=True)(inputs)))
    return program(model, "mse", data=(x, y), shuffle=shuffle, batch_size=8)


def places(value: Any) -> Any:
    return value + Embedding(STEPS, 8)(ops.arange(STEPS))


def transformer(
    *,
    position: bool = True,
    heads: int = 2,
    size: int = 8,
    blocks: int = 1,
    residual: bool = True,
    rate: Any = 1e-3,
    data: Any = None,
    init: Any = "glorot_uniform",
) -> Program:
    """A transformer as keras.io writes it."""
    inputs = Input((STEPS,), dtype="int32")
    value = Embedding(WORDS, 8)(inputs)
    value = places(value) if position else value
    for _ in range(blocks):
        seen = Attention(heads, size, kernel_initializer=init)(value, value)
        value = Norm()(value + seen) if residual else seen
        if residual:
            value = Norm()(value + Dense(8)(Dense(16, "relu")(value)))
    value = layers.GlobalAveragePooling1D()(value)
    model = keras.Model(inputs, Dense(2, "softmax")(Dense(8, "relu")(layers.Dropout(0.1)(value))))
    return program(model, SPARSE, keras.optimizers.Adam(rate), data=data or tokens())


def attending(*, residual: bool = True) -> Program:
    """Attention that reads numbers, not words."""
    inputs = Input((STEPS, 2))
    value = places(Dense(8)(inputs))
    for _ in range(4):
        seen = Attention(2, 8)(value, value)
        value = Norm()(value + seen) if residual else seen
    return program(keras.Model(inputs, Dense(1)(layers.GlobalAveragePooling1D()(value))), "mse", data=waves())


def weighted(axis: int, units: int = 1, activation: Any = None) -> Program:
    """A recurrent layer under an attention of one's own: a score for each step, and a weighted sum."""
    inputs = Input((STEPS, 2))
    states = LSTM(6, return_sequences=True)(inputs)
    scores = Dense(units, activation)(Dense(4, "tanh")(states))
    scores = layers.Softmax(axis)(scores) if activation is None else scores
    return program(keras.Model(inputs, Dense(1)(ops.sum(states * scores, axis=1))), "mse", data=waves())


def dotted(axis: int, scale: float = 1.0) -> Program:
    """Attention written with three dense layers."""
    inputs = Input((STEPS, 2))
    query, key, value = (Dense(8)(Dense(8, "relu")(inputs * scale)) for _ in range(3))
    weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 8**0.5, axis=axis)
    value = layers.GlobalAveragePooling1D()(ops.matmul(weights, value))
    return program(keras.Model(inputs, Dense(1)(value)), "mse", data=waves())


def masked(inverted: bool, cell: bool = False) -> Program:
    inputs = Input((STEPS,), dtype="int32")
    value = Embedding(WORDS, 8)(inputs)
    mask = ops.equal(inputs, 0) if inverted else ops.not_equal(inputs, 0)
    if cell:
        value = LSTM(6)(value, mask=mask)
    else:
        value = Attention(2, 8)(places(value), places(value), attention_mask=mask[:, None, :])[:, 0]
    return program(keras.Model(inputs, Dense(1, "sigmoid")(value)), "binary_crossentropy", data=padded())


def language(causal: bool) -> Program:
    x, _ = tokens()
    inputs = Input((STEPS - 1,), dtype="int32")
    value = Embedding(WORDS, 8)(inputs) + Embedding(STEPS - 1, 8)(ops.arange(STEPS - 1))
    value = Norm()(value + Attention(2, 8)(value, value, use_causal_mask=causal))
    return program(keras.Model(inputs, Dense(WORDS, "softmax")(value)), SPARSE, data=(x[:, :-1], x[:, 1:]))


def first_step() -> Program:
    x, _ = waves()
    inputs = Input((STEPS, 2))
    model = keras.Model(inputs, Dense(1)(GRU(6, return_sequences=True)(inputs)[:, 0]))
    return program(model, "mse", data=(x, x[:, -1, 1:]))


def early(scale: float) -> Program:
    """Noise for 40 steps, and in the first one what decides; the gradient halves every few steps."""
    x = np.random.default_rng(6).normal(size=(240, 40, 2)).astype("float32")
    y, x[:, 1:, 0] = np.sign(x[:, :1, 0]), 0
    cell = RNN(6, recurrent_initializer=keras.initializers.Orthogonal(scale))
    model = keras.Sequential([Input((40, 2)), cell, Dense(1)])
    return program(model, "mse", data=(x, y))


def drowned(loud: float) -> Program:
    inputs = Input((STEPS,), dtype="int32")
    waves = np.sin(np.arange(STEPS)[:, None] * np.exp(-np.arange(8))).astype("float32")
    value = Embedding(WORDS, 8)(inputs) + loud * waves
    value = layers.GlobalAveragePooling1D()(value + Attention(2, 8)(value, value))
    return program(keras.Model(inputs, Dense(2, "softmax")(value)), SPARSE, data=tokens())


def long(*members: Any) -> Program:
    x = np.random.default_rng(2).normal(size=(64, 220, 1)).astype("float32")
    return program(keras.Sequential([Input((220, 1)), *members, Dense(1)]), "mse", data=(x, x.mean((1, 2))))


def one_sided(future: bool) -> Program:
    """Attention with a mask over the past, or over the future."""
    inputs = Input((STEPS, 2))
    query, key, value = (Dense(8)(places(Dense(8)(inputs))) for _ in range(3))
    seen = np.tri(STEPS, dtype="float32").T if future else np.tri(STEPS, dtype="float32")
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 8**0.5 - 1e9 * (1 - seen)
    answers = Dense(1)(ops.matmul(ops.softmax(scores), value))
    x, _ = waves()
    return program(keras.Model(inputs, answers), "mse", data=(x, np.cumsum(x[..., :1], axis=1)))


def echoes(*dilations: int) -> Program:
    """The step before the last 12, for each step, by dilated convolutions."""
    x = np.random.default_rng(4).normal(size=(200, 40, 1)).astype("float32")
    y = np.concatenate([np.zeros((200, 12, 1), "float32"), x[:, :-12]], axis=1)
    stack = [layers.Conv1D(8, 3, padding="causal", dilation_rate=one, activation="elu") for one in dilations]
    return program(keras.Sequential([Input((40, 1)), *stack, Dense(1)]), "mse", data=(x, y))


def test_a_field_that_ends_before_what_decides_is_found():
    short, wide = (
        [one for one in findings(echoes(*dilations)) if one.code == "receptive-field"]
        for dilations in ((1, 1), (1, 2, 4, 8))
    )
    assert [one.severity for one in short] == ["severe"]
    assert "5 steps" in short[0].explanation
    assert not wide


FAULTY: dict[str, tuple[str, Callable[[], Program]]] = {
    "relu in a simple cell": ("recurrent-activation", lambda: series(RNN(6, activation="relu"))),
    "relu in an LSTM": ("recurrent-activation", lambda: series(LSTM(6, activation="relu"))),
    "relu in one direction of two": (
        "recurrent-activation", lambda: series(layers.Bidirectional(LSTM(6, activation="relu")))),
    "a gate without bounds": ("recurrent-activation", lambda: series(GRU(6, recurrent_activation="relu"))),
    "a linear state": ("recurrent-activation", lambda: series(RNN(6, activation=None))),
    "a large recurrent kernel": (
        "recurrent-initializer", lambda: series(RNN(6, recurrent_initializer=NORMAL(0, 3)))),
    "a large kernel": ("recurrent-initializer", lambda: series(LSTM(6, kernel_initializer=NORMAL(0, 8)))),
    "no recurrent kernel": ("recurrent-initializer", lambda: series(RNN(6, recurrent_initializer="zeros"))),
    "closed forget gates": ("forget-bias", lambda: series(
        LSTM(6, unit_forget_bias=False, bias_initializer=CONSTANT(-3)))),
    "hundreds of steps": ("long-sequence", lambda: long(LSTM(3))),
    "states of shuffled rows": ("stateful-unrelated", stateful),
    "states of unrelated rows": ("stateful-unrelated", lambda: stateful(False)),
    "an answer for every step": (
        "steps-against-one-target", lambda: series(LSTM(6, return_sequences=True))),
    "a mask over the past": ("future-only", lambda: one_sided(True)),
    "only the first step": ("unread-steps", first_step),
    "a fading gradient": ("vanishing-through-time", lambda: series(
        RNN(6, recurrent_initializer=NORMAL(0, 0.02)))),
    "a gradient that fades before what decides": ("vanishing-through-time", lambda: early(0.7)),
    "a growing gradient": ("exploding-through-time", lambda: series(
        RNN(6, activation=None, recurrent_initializer=NORMAL(0, 3)))),
    "narrow heads": ("narrow-heads", lambda: transformer(heads=2, size=1)),
    "a high rate": ("rate-without-warm-up", lambda: transformer(rate=1e-2)),
    "deep post-norm": ("post-norm-depth", lambda: transformer(blocks=5)),
    "no positions": ("missing-positions", lambda: transformer(position=False)),
    "weights of one": ("softmax-axis", lambda: weighted(-1)),
    "a dense softmax of one": ("softmax-axis", lambda: weighted(-1, activation="softmax")),
    "over the queries": ("softmax-axis", lambda: dotted(1)),
    "over the rows": ("softmax-axis", lambda: dotted(0)),
    "large logits": ("attention-collapsed", lambda: transformer(init=NORMAL(0, 30))),
    "queries of zeros": ("attention-uniform", lambda: transformer(init="zeros")),
    "loud positions": ("embedding-scale", lambda: drowned(3.0)),
    "no residual sums": ("rank-collapse", lambda: transformer(blocks=4, residual=False)),
    "numbers without residual sums": ("rank-collapse", lambda: attending(residual=False)),
    "an inverted mask of attention": ("inverted-mask", lambda: masked(True)),
    "an inverted mask of a cell": ("inverted-mask", lambda: masked(True, cell=True)),
    "no causal mask": ("missing-causal-mask", lambda: language(False)),
}  # fmt: skip


def tagging() -> Program:
    """A class for each step: fewer steps than classes."""
    x, _ = tokens()
    model = keras.Sequential(
        [Input((5,)), Embedding(WORDS, 8), GRU(8, return_sequences=True), Dense(WORDS, "softmax")]
    )
    return program(model, SPARSE, data=(x[:, :5], x[:, :5] % 7))


SOUND: dict[str, Callable[[], Program]] = {
    "a causal mask of one's own": lambda: one_sided(False),
    "a class for each of a few steps": tagging,
    "an LSTM": lambda: series(LSTM(8)),
    "a GRU": lambda: series(GRU(8)),
    "a simple cell": lambda: series(RNN(8)),
    "two layers": lambda: series(LSTM(8, return_sequences=True), layers.Dropout(0.2), LSTM(6)),
    "hundreds of steps, pooled": lambda: long(layers.AveragePooling1D(10), LSTM(3)),
    "hundreds of steps, each answered": lambda: long(
        LSTM(3, return_sequences=True), layers.GlobalAveragePooling1D()
    ),
    "both directions": lambda: series(layers.Bidirectional(GRU(8))),
    "relu from the identity": lambda: series(RNN(8, activation="relu", recurrent_initializer="identity")),
    "states that continue": lambda: stateful(False, continued=True),
    "weights over the steps": lambda: weighted(1),
    "attention of one's own": lambda: dotted(-1),
    "a transformer": transformer,
    "a transformer of numbers": attending,
    "a deeper transformer": lambda: transformer(blocks=2),
    "counted words without positions": lambda: transformer(position=False, data=tokens(ordered=False)),
    "a mask": lambda: masked(False),
    "a mask of a cell": lambda: masked(False, cell=True),
    "a causal mask": lambda: language(True),
    "quiet positions": lambda: drowned(0.02),
    "a scheduled rate": lambda: transformer(
        rate=keras.optimizers.schedules.CosineDecay(1e-5, 100, warmup_target=5e-3, warmup_steps=10)
    ),
}


def findings(case: Program) -> list[Finding]:
    """Of the model and of the steps, without a training."""
    context = read_context(case.model, case.x, case.y, TrainingSpec(**case.options))
    context = replace(context, sequences=read_sequences(context, 0))
    probe = [check for check in CHECKS["probe"] if check.__module__.endswith((".steps", ".attention"))]
    return run_checks((*CHECKS["model"], *probe), context)


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_gives_its_finding(name: str):
    code, make = FAULTY[name]
    found = {one.code: one for one in findings(make())}
    assert code in found, found
    assert found[code].severity != "note"


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", SOUND)
def test_sound_programs_give_nothing(name: str):
    found = [one for one in findings(SOUND[name]()) if one.severity != "note"]
    assert not found, [(one.code, one.explanation, one.evidence) for one in found]


def test_every_finding_has_a_faulty_program():
    assert {code for code, _ in FAULTY.values()} == OWN
