"""Programs about sequences: each a network, what is wrong with it in words, and the codes that name it.

Built from the mechanism of each fault, on data where it matters; every network also comes sound.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import keras

from programs import reported_data, sequence_data
from programs.reported import LINEAR, SIGMOID, SOFTMAX, Network, Variant
from programs.sequence_networks import NORMAL, WORDS, Words, recurrent, transformer
from programs.sketch import Program

Row = tuple[str, Words, tuple[str, ...]]


NETWORKS: Final[Mapping[str, Network]] = {
    "recall": Network(sequence_data.recall, recurrent((20, 2)), SIGMOID, 1, {"epochs": 16, "rate": 5e-3}),
    "drift": Network(sequence_data.drift, recurrent((25, 1)), LINEAR, 1, {"rate": 4e-3}),
    "running": Network(sequence_data.steps, recurrent((15, 2)), LINEAR, 1, {"read": "all", "rate": 5e-3}),
    "waves": Network(reported_data.waves, recurrent((24, 1)), LINEAR, 1, {"cell": "gru"}),
    "leading": Network(sequence_data.leading, recurrent((16,), 30), SOFTMAX, 3, {"epochs": 20, "rate": 5e-3}),
    "texts": Network(sequence_data.padded, recurrent((30,), 40), SIGMOID, 1, {"mask": "zero", "rate": 4e-3}),
    "ordered": Network(sequence_data.ordered, transformer((14,), 24), SIGMOID, 1,
                       {"epochs": 25, "rate": 3e-3, "pool": "flat"}),
    "first-tokens": Network(sequence_data.leading, transformer((16,), 30), SOFTMAX, 3,
                            {"epochs": 30, "rate": 3e-3, "places": "waves", "loud": 0.1, "norm": "pre"}),
    "topics": Network(reported_data.topics, transformer((25,), 120), SOFTMAX, 4, {}),
    "next-token": Network(sequence_data.language, transformer((12,), 12), SOFTMAX, 12,
                          {"causal": True, "pool": "none"}),
    "sensors": Network(reported_data.gestures, transformer((30, 2)), SOFTMAX, 3, {"epochs": 20}),
    "masked-texts": Network(sequence_data.padded, transformer((30,), 40), SIGMOID, 1, {"mask": "right"}),
}  # fmt: skip

HIGH: Final = ("rate-too-high", "learning-rate-range", "non-finite", "rate-without-warm-up")
LOW: Final = ("rate-too-low", "learning-rate-range", "underfitting")
CELL: Final = ("recurrent-activation", "exploding-through-time", "non-finite")
START: Final = (
    "recurrent-initializer",
    "constant-initializer",
    "exploding-through-time",
    "vanishing-through-time",
)
FADES: Final = ("forget-bias", "vanishing-through-time")
AXIS: Final = ("softmax-axis",)
CLOSED: Final = {"forget": False, "bias": keras.initializers.Constant(-4.0)}

RECURRENT: Final[tuple[Row, ...]] = (
    ("recall", {"cell": "rnn", "act": "relu", "turn": NORMAL(0, 0.6)}, (*CELL, *START)),
    ("recall", {"act": "relu", "turn": NORMAL(0, 0.8), "rate": 0.02}, (*CELL, *START, *HIGH)),
    ("recall", {"cell": "rnn", "act": "linear", "turn": NORMAL(0, 0.7)}, (*CELL, *START)),
    ("recall", {"cell": "rnn", "turn": "zeros"}, START),
    ("recall", {"cell": "rnn", "turn": NORMAL(0, 3.0)}, START),
    ("recall", {"cell": "rnn", "turn": NORMAL(0, 0.02)}, START),
    ("recall", {"enter": NORMAL(0, 20.0)}, START),
    ("recall", {"enter": "zeros", "turn": "zeros"}, START),
    ("recall", CLOSED, FADES),
    ("recall", {"stateful": True, "batch": 30}, ("stateful-unrelated",)),
    ("recall", {"rate": 1e-6}, LOW),
    ("recall", {"rate": 1.0}, HIGH),
    ("recall", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("recall", {"drop": 0.95}, ("excessive-dropout",)),
    ("drift", {"cell": "rnn", "act": "relu", "turn": NORMAL(0, 1.0)}, (*CELL, *START)),
    ("drift", {"gate": "relu", "turn": NORMAL(0, 1.0)}, (*CELL, *START)),
    ("drift", {"cell": "gru", "act": "exponential"}, CELL),
    ("drift", {"cell": "rnn", "act": "linear", "turn": NORMAL(0, 1.0), "opt": "sgd", "rate": 0.05},
     (*CELL, *START, *HIGH)),
    ("drift", {"read": "all"}, ("steps-against-one-target",)),
    ("drift", {"read": "first"}, ("unread-steps",)),
    ("drift", {"target": lambda y: y * 800 + 3000}, ("unscaled-targets",)),
    ("drift", {"scale": 400.0, "cell": "rnn"}, ("unscaled-inputs",)),
    ("drift", {"out": "sigmoid"}, ("output-activation-loss",)),
    ("drift", {"rate": 1e-6}, LOW),
    ("drift", {"turn": "ones", "cell": "rnn", "enter": "ones"}, START),
    ("running", {"cell": "rnn", "act": "relu", "turn": NORMAL(0, 1.2)}, (*CELL, *START)),
    ("running", {"cell": "rnn", "turn": NORMAL(0, 4.0)}, START),
    ("running", {"enter": NORMAL(0, 30.0)}, START),
    ("running", {"out": "relu"}, ("output-activation-loss",)),
    ("running", {"rate": 1e-6}, LOW),
    ("waves", {"cell": "lstm", "act": "relu", "depth": 2, "turn": NORMAL(0, 1.0)}, (*CELL, *START)),
    ("waves", {"cell": "rnn", "turn": NORMAL(0, 3.0)}, START),
    ("waves", {"read": "first"}, ("unread-steps",)),
    ("waves", {"stateful": True, "batch": 20}, ("stateful-unrelated",)),
    ("waves", {"rate": 2.0}, HIGH),
    ("waves", {"target": lambda y: y * 2000 + 9000}, ("unscaled-targets",)),
    ("leading", CLOSED, FADES),
    ("leading", {"cell": "rnn", "turn": NORMAL(0, 0.02)}, START),
    ("leading", {"cell": "rnn", "act": "relu", "turn": NORMAL(0, 0.9)}, (*CELL, *START)),
    ("leading", {"rate": 1e-6}, LOW),
    ("leading", {"units": 2}, ("targets-loss", "output-activation-loss")),
    ("texts", {"mask": "inverted"}, ("inverted-mask",)),
    ("texts", {"mask": None, "cell": "rnn"}, ("padding-unmasked", "unread-steps")),
    ("texts", {"mask": None}, ("padding-unmasked", "vanishing-through-time")),
    ("texts", {"read": "dense", "mask": None}, (*AXIS, "padding-unmasked")),
    ("texts", {"out": "softmax"}, ("output-activation-loss",)),
)  # fmt: skip

ATTENTION: Final[tuple[Row, ...]] = (
    ("ordered", {"places": None, "pool": "mean"}, ("missing-positions",)),
    ("ordered", {"rate": 0.1}, HIGH),
    ("ordered", {"rate": 1e-6}, LOW),
    ("ordered", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("ordered", {"places": "waves", "loud": 80.0, "norm": "post", "pool": "mean"}, ("embedding-scale",)),
    ("ordered", {"blocks": 4, "residual": False, "inner": "linear", "pool": "mean"},
     ("rank-collapse", "linear-hidden")),
    ("ordered", {"attend": NORMAL(0, 10.0), "rate": 3e-4}, ("attention-collapsed", "unpaired-initializer")),
    ("first-tokens", {"places": None}, ("missing-positions",)),
    ("first-tokens", {"places": None, "kind": "own"}, ("missing-positions",)),
    ("first-tokens", {"loud": 200.0, "norm": "post"}, ("embedding-scale",)),
    ("first-tokens", {"rate": 0.3}, HIGH),
    ("first-tokens", {"rate": 1e-6}, LOW),
    ("first-tokens", {"blocks": 8, "norm": "post", "rate": 0.02}, ("post-norm-depth", *HIGH)),
    ("first-tokens", {"drop": 0.95, "rate": 1e-3}, ("excessive-dropout",)),
    ("first-tokens", {"kind": "own", "axis": 0}, AXIS),
    ("topics", {"rate": 0.2}, HIGH),
    ("topics", {"rate": 1e-6}, LOW),
    ("topics", {"opt": "adadelta", "rate": 1e-3}, LOW),
    ("topics", {"units": 3}, ("targets-loss", "output-activation-loss")),
    ("topics", {"kind": "own", "attend": "zeros"}, ("attention-uniform", "constant-initializer")),
    ("topics", {"width": 2, "key": 1, "heads": 1}, ("narrow-heads", "narrow-layer")),
    ("next-token", {"causal": False}, ("missing-causal-mask",)),
    ("next-token", {"causal": False, "blocks": 2}, ("missing-causal-mask",)),
    ("next-token", {"rate": 0.3}, HIGH),
    ("next-token", {"rate": 1e-6}, LOW),
    ("next-token", {"out": "linear"}, ("output-activation-loss",)),
    ("sensors", {"scale": 500.0, "places": None, "residual": False},
     ("unscaled-inputs", "attention-collapsed")),
    ("sensors", {"rate": 0.3}, HIGH),
    ("sensors", {"places": None}, ("missing-positions",)),
    ("sensors", {"kind": "own", "axis": 0}, AXIS),
    ("sensors", {"attend": NORMAL(0, 8.0)}, ("attention-collapsed", "unpaired-initializer")),
    ("sensors", {"opt": "sgd", "rate": 1e-5}, LOW),
    ("masked-texts", {"mask": "inverted", "residual": False}, ("inverted-mask",)),
    ("masked-texts", {"rate": 0.3}, HIGH),
    ("masked-texts", {"out": "softmax"}, ("output-activation-loss",)),
)  # fmt: skip

SOUND: Final[tuple[Row, ...]] = (
    *((name, {}, ()) for name in NETWORKS),
    ("recall", {"cell": "gru"}, ()),
    ("recall", {"both": True}, ()),
    ("recall", {"clip": 1.0, "opt": "rmsprop", "rate": 3e-3}, ()),
    ("drift", {"cell": "rnn"}, ()),
    ("drift", {"cell": "gru", "depth": 2}, ()),
    ("drift", {"read": "scores"}, ()),
    ("drift", {"cell": "rnn", "act": "relu", "turn": "identity", "clip": 1.0}, ()),
    ("running", {"cell": "gru"}, ()),
    ("running", {"depth": 2}, ()),
    ("waves", {"cell": "rnn"}, ()),
    ("waves", {"cell": "lstm", "opt": "nadam"}, ()),
    ("leading", {"cell": "gru"}, ()),
    ("leading", {"both": True, "cell": "gru"}, ()),
    ("texts", {"mask": "right"}, ()),
    ("texts", {"read": "mean"}, ()),
    ("texts", {"cell": "gru"}, ()),
    ("ordered", {"kind": "own"}, ()),
    ("ordered", {"norm": "pre", "opt": "adamw"}, ()),
    ("ordered", {"blocks": 2, "drop": 0.1, "rate": 1e-3}, ()),
    ("first-tokens", {"places": "trained", "pool": "flat"}, ()),
    ("first-tokens", {"blocks": 2}, ()),
    ("topics", {"places": None}, ()),
    ("topics", {"kind": "own", "inner": "gelu"}, ()),
    ("topics", {"norm": "pre", "blocks": 2}, ()),
    ("next-token", {"blocks": 2, "norm": "pre"}, ()),
    ("sensors", {"norm": "pre"}, ()),
    ("sensors", {"kind": "own"}, ()),
    ("masked-texts", {"mask": "zero"}, ()),
)  # fmt: skip

NOISE: Final[tuple[Row, ...]] = tuple(
    (name, {}, ("shuffled-labels",)) for name in ("recall", "drift", "waves", "leading", "ordered", "topics")
)


class Case(Variant[Network]):
    """A variant of a network of sequences; ``causes``: the codes of which one names the fault."""

    def _made(self, words: Words, seed: int) -> Program:
        network = self.origin
        words = {**WORDS, **network.words, **words}
        words = {**words, "units": words["units"] or network.units, "out": words["out"] or network.out[0]}
        rows = reported_data.noise_of(network.rows) if self.kind == "noise" else network.rows
        x, y, x_val, y_val = rows()
        keras.utils.set_random_seed(zlib.crc32(self.name.encode()) % 100_003 + seed)
        model = network.build(words)
        metrics = ["accuracy"] if y.dtype.kind == "i" else None
        model.compile(_optimizer(words), words["loss"] or network.out[1], metrics=metrics)
        if x.dtype.kind == "f":
            x, x_val = (one * words["scale"] for one in (x, x_val))
        truth = y_val
        if words["target"] is not None:
            y, y_val, truth = (words["target"](one) for one in (y, y_val, truth))
        options = {"batch_size": words["batch"], "epochs": words["epochs"], "shuffle": words["shuffle"]}
        return Program(model, x, y, (x_val, y_val), truth, options)


def _optimizer(words: Words) -> keras.optimizers.Optimizer:
    kind = {"sgd": "SGD", "adam": "Adam", "nadam": "Nadam", "rmsprop": "RMSprop", "adamw": "AdamW",
            "adadelta": "Adadelta"}[words["opt"]]  # fmt: skip
    rate: Any = words["rate"] if words["schedule"] is None else words["schedule"]()
    return getattr(keras.optimizers, kind)(rate, clipnorm=words["clip"])


def sequences() -> list[Case]:
    """All of them; the names number the variants of a network."""
    found: list[Case] = []
    groups: tuple[tuple[Literal["sound", "faulty", "noise"], tuple[Row, ...]], ...] = (
        ("sound", SOUND),
        ("faulty", (*RECURRENT, *ATTENTION)),
        ("noise", NOISE),
    )
    for kind, rows in groups:
        seen: dict[str, int] = {}
        for name, words, causes in rows:
            seen[name] = number = seen.get(name, 0) + 1
            found.append(Case(f"{name}/{kind}/{number}", kind, NETWORKS[name], words, frozenset(causes)))
    return found
