"""The corpus: families of faults and of sound programs, spread over sets of rows and optimisers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from programs.sketch import OPTIMIZERS, Sketch

Severity = Literal["severe", "warning"]
_CLASSES: Final = ("blobs", "digits", "fashion", "circles", "cifar")
_SMALL: Final = ("blobs", "digits", "circles")
_MANY: Final = ("blobs", "digits", "fashion")
_ALL: Final = ("blobs", "circles", "digits", "fashion", "cifar", "table")


@dataclass(frozen=True)
class Case:
    """One program of the corpus.

    Attributes:
        name: family, set and number; family: what it is an example of.
        sketch: the program in words.
        causes: codes of findings that name what is wrong; none for sound programs.
        severity: how grave a finding has to be, at the least, to count as detection.
        curable: whether a change of the program, and not of its data's meaning, can mend it.
    """

    name: str
    family: str
    sketch: Sketch
    causes: frozenset[str] = frozenset()
    severity: Severity = "severe"
    curable: bool = True

    @property
    def faulty(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.causes)


@dataclass(frozen=True)
class Family:
    """What is wrong in one way (or sound in one way): variants of words, each on the next set of rows."""

    name: str
    causes: tuple[str, ...]
    sets: Sequence[str]
    variants: Sequence[Mapping[str, Any]]
    count: int
    severity: Severity = "severe"
    curable: bool = True

    def cases(self, offset: int) -> Iterator[Case]:
        """Its cases; the optimiser is the next one each time where the variant does not name it."""
        for number in range(self.count):
            rows = self.sets[number % len(self.sets)]
            words = dict(self.variants[number % len(self.variants)])
            words.setdefault("optimizer", OPTIMIZERS[(number + offset) % len(OPTIMIZERS)])
            yield Case(
                f"{self.name}/{rows}/{number}",
                self.name,
                Sketch(rows=rows, **words),
                frozenset(self.causes),
                self.severity,
                self.curable,
            )


def _normal(deviation: float, mean: float = 0.0) -> dict[str, Any]:
    return {"class_name": "RandomNormal", "config": {"mean": mean, "stddev": deviation}}


def _uniform(low: float, high: float) -> dict[str, Any]:
    return {"class_name": "RandomUniform", "config": {"minval": low, "maxval": high}}


_SIGNAL: Final = ("variance-forward", "variance-backward", "vanishing-gradients", "exploding-gradients")
_RATE_HIGH: Final = ("learning-rate-range", "rate-too-high")
_RATE_LOW: Final = ("learning-rate-range", "rate-too-low")

_BEGINNING: Final = (
    Family(
        "zero-init",
        ("constant-initializer",),
        _ALL,
        [{"initializer": "zeros"}, {"initializer": "zeros", "activation": "tanh", "depth": 3}],
        5,
    ),
    Family(
        "one-init",
        ("constant-initializer",),
        _CLASSES,
        [
            {"initializer": "ones"},
            {"initializer": {"class_name": "Constant", "config": {"value": 0.1}}, "activation": "sigmoid"},
        ],
        4,
    ),
    Family(
        "wide-init",
        ("unpaired-initializer", *_SIGNAL, "saturated-units"),
        _ALL,
        [
            {"initializer": _normal(1.0), "depth": 8},
            {"initializer": _uniform(-1, 1), "depth": 15, "units": 24},
            {"initializer": _normal(1.0), "activation": "tanh", "depth": 10},
        ],
        7,
    ),
    Family(
        "positive-init",
        ("unpaired-initializer", *_SIGNAL, "saturated-units"),
        _CLASSES,
        [
            {"initializer": _uniform(0, 1), "depth": 6},
            {"initializer": _uniform(0, 1), "depth": 5, "activation": "tanh"},
            {"initializer": _uniform(0, 1), "activation": "sigmoid", "depth": 4, "units": 50},
        ],
        5,
    ),
    Family(
        "narrow-init",
        ("unpaired-initializer", *_SIGNAL),
        _ALL,
        [
            {"initializer": _normal(0.01), "depth": 6},
            {"initializer": _normal(0.05), "depth": 20, "units": 16},
            {"initializer": _uniform(-0.05, 0.05), "activation": "tanh", "depth": 12},
        ],
        7,
    ),
    Family(
        "negative-init",
        ("dead-units", "unpaired-initializer"),
        _MANY,
        [{"initializer": _normal(0.1, -1.0), "depth": 3}],
        3,
    ),
    Family(
        "negative-bias",
        ("dead-units", "dying-units"),
        _SMALL,
        [{"bias": -10.0, "depth": 3}, {"bias": -5.0, "depth": 4}],
        4,
    ),
    Family(
        "unpaired-deep",
        ("unpaired-initializer", *_SIGNAL),
        _CLASSES,
        [
            {"initializer": "glorot_uniform", "depth": 25, "units": 16, "optimizer": "sgd"},
            {"initializer": "glorot_normal", "depth": 40, "units": 12},
        ],
        4,
    ),
)
_DEPTH: Final = (
    Family(
        "deep-sigmoid",
        ("saturating-deep", *_SIGNAL),
        _ALL,
        [
            {"activation": "sigmoid", "depth": 8},
            {"activation": "sigmoid", "depth": 20, "units": 20},
            {"activation": "sigmoid", "depth": 40, "units": 12},
            {"activation": "sigmoid", "depth": 12, "initializer": "he_normal"},
        ],
        10,
    ),
    Family(
        "deep-tanh",
        ("saturating-deep", "unpaired-initializer", *_SIGNAL),
        _CLASSES,
        [
            {"activation": "tanh", "depth": 40, "units": 16, "optimizer": "sgd"},
            {"activation": "tanh", "depth": 20, "initializer": _normal(0.05)},
            {"activation": "tanh", "depth": 30, "initializer": _uniform(-0.05, 0.05), "units": 10},
        ],
        5,
    ),
    Family(
        "deep-softmax",
        ("saturating-deep", "softmax-hidden", *_SIGNAL),
        _MANY,
        [{"activation": "softmax", "depth": 3}, {"activation": "softmax", "depth": 6}],
        4,
    ),
    Family(
        "exponential",
        ("exponential-hidden",),
        _ALL,
        [{"activation": "exponential", "depth": 3}, {"activation": "exponential", "depth": 6, "units": 16}],
        6,
    ),
    Family(
        "no-activation",
        ("linear-hidden",),
        ("circles", "digits", "table"),
        [{"activation": "linear", "depth": 3}, {"activation": "linear", "depth": 6}],
        4,
        "warning",
    ),
    Family(
        "steep-leak",
        ("leaky-slope",),
        _CLASSES,
        [{"activation": 1.5, "depth": 6}, {"activation": 1.0, "depth": 3}],
        4,
    ),
)
_OUTPUT: Final = (
    Family(
        "softmax-of-one",
        ("output-activation-loss",),
        ("circles",),
        [
            {"output": "softmax", "units_out": 1},
            {"output": "softmax", "units_out": 1, "loss": "mse"},
            {"output": "softmax", "units_out": 1, "depth": 6},
        ],
        3,
    ),
    Family(
        "softmax-amounts",
        ("output-activation-loss", "targets-loss"),
        ("table",),
        [{"output": "softmax", "units_out": 1}],
        2,
    ),
    Family(
        "relu-output", ("output-activation-loss",), ("circles", "digits", "blobs"), [{"output": "relu"}], 4
    ),
    Family(
        "linear-output",
        ("output-activation-loss",),
        ("circles", "digits", "fashion"),
        [{"output": "linear"}],
        4,
    ),
    Family("tanh-output", ("output-activation-loss",), ("circles", "blobs"), [{"output": "tanh"}], 2),
    Family(
        "twice-softmax",
        ("output-activation-loss",),
        ("digits", "fashion", "circles"),
        [{"from_logits": True}],
        3,
    ),
    Family("sigmoids-for-classes", ("output-activation-loss",), _MANY, [{"output": "sigmoid"}], 3),
    Family(
        "numbers-for-rows",
        ("targets-loss",),
        _MANY,
        [{"loss": "categorical_crossentropy"}, {"loss": "mse"}],
        4,
    ),
    Family(
        "rows-for-numbers",
        ("targets-loss",),
        _MANY,
        [{"targets": "one-hot", "loss": "sparse_categorical_crossentropy"}],
        3,
    ),
    Family(
        "one-unit-categorical",
        ("output-activation-loss", "targets-loss"),
        ("circles", "digits"),
        [
            {"loss": "categorical_crossentropy", "units_out": 1, "output": "sigmoid"},
            {"loss": "categorical_crossentropy", "units_out": 1, "output": "softmax"},
        ],
        3,
    ),
    Family("too-few-units", ("targets-loss",), ("blobs", "digits"), [{"units_out": 2}, {"units_out": 9}], 2),
    Family("classes-from-one", ("targets-loss",), _MANY, [{"targets": "from-one"}], 3),
    Family(
        "signed-labels",
        ("targets-loss",),
        ("circles",),
        [{"targets": "signed"}, {"targets": "signed", "activation": "tanh", "depth": 3}],
        3,
    ),
    Family(
        "binary-for-classes",
        ("targets-loss", "output-activation-loss"),
        ("digits", "blobs"),
        [{"loss": "binary_crossentropy", "units_out": 1, "output": "sigmoid"}],
        2,
    ),
    Family(
        "bounded-amounts",
        ("targets-loss",),
        ("table",),
        [{"output": "sigmoid"}, {"output": "tanh"}, {"output": "relu"}],
        3,
    ),
    Family(
        "crossentropy-of-amounts",
        ("targets-loss", "output-activation-loss"),
        ("table",),
        [{"loss": "binary_crossentropy", "output": "sigmoid"}],
        2,
    ),
    Family(
        "large-amounts",
        ("unscaled-targets", "non-finite", "exploding-gradients"),
        ("table",),
        [
            {"targets": "large"},
            {"targets": "large", "depth": 4, "activation": "tanh"},
            {"targets": "large", "output": "sigmoid"},
        ],
        5,
    ),
)
_DATA: Final = (
    Family(
        "raw-pixels",
        ("unscaled-inputs",),
        ("fashion", "cifar", "digits"),
        [
            {"inputs": "raw", "activation": "sigmoid", "optimizer": "sgd"},
            {"inputs": "raw", "activation": "tanh", "depth": 4},
            {"inputs": "raw", "optimizer": "momentum"},
            {"inputs": "bytes", "convolutions": 2, "depth": 1, "optimizer": "sgd"},
        ],
        8,
    ),
    Family(
        "raw-columns",
        ("unscaled-inputs",),
        ("blobs", "circles", "table"),
        [{"inputs": "raw", "activation": "tanh"}, {"inputs": "wild", "depth": 3}, {"inputs": "shifted"}],
        8,
    ),
    Family("tiny-inputs", ("unscaled-inputs",), _SMALL, [{"inputs": "tiny"}], 3),
    Family("missing-values", ("data-not-finite",), _ALL, [{"inputs": "nan"}, {"inputs": "infinite"}], 5),
    Family("sorted", ("not-shuffled",), _MANY, [{"shuffle": False}], 3),
    Family(
        "shuffled-labels", ("shuffled-labels",), _MANY, [{"targets": "shuffled"}], 3, "warning", curable=False
    ),
    Family("one-class", ("one-class",), ("circles", "digits"), [{"targets": "one-class"}], 2, curable=False),
)
_OPTIMIZER: Final = (
    Family(
        "huge-rate",
        _RATE_HIGH,
        _ALL,
        [
            {"optimizer": "sgd", "rate": 10.0},
            {"optimizer": "adam", "rate": 1.0},
            {"optimizer": "momentum", "rate": 2.0, "depth": 4},
            {"optimizer": "rmsprop", "rate": 0.5},
            {"optimizer": "nadam", "rate": 0.3, "depth": 5},
        ],
        10,
    ),
    Family(
        "tiny-rate",
        _RATE_LOW,
        _ALL,
        [
            {"optimizer": "sgd", "rate": 1e-6},
            {"optimizer": "adam", "rate": 1e-8},
            {"optimizer": "rmsprop", "rate": 1e-7},
            {"optimizer": "momentum", "rate": 1e-7},
        ],
        7,
    ),
    Family(
        "adagrad-deep",
        ("adagrad-deep",),
        _MANY,
        [
            {"optimizer": "adagrad", "rate": 1e-3, "depth": 6},
            {"optimizer": "adagrad", "rate": 1e-3, "depth": 12},
        ],
        3,
        "warning",
    ),
    Family("frozen", ("all-frozen",), _SMALL, [{"frozen": "all"}], 2),
    Family("stale-compile", ("stale-compile",), _SMALL, [{"frozen": "stale"}], 2),
)
_KINDS: Final = (
    Family(
        "selu-unpaired",
        ("self-normalization", "unpaired-initializer", *_SIGNAL),
        _MANY,
        [
            {"activation": "selu", "initializer": "he_normal", "depth": 20},
            {"activation": "selu", "initializer": "glorot_uniform", "depth": 10, "inputs": "raw"},
        ],
        3,
        "warning",
    ),
    Family(
        "selu-dropout",
        ("dropout-with-selu", "self-normalization"),
        _MANY,
        [{"activation": "selu", "dropout": 0.2, "depth": 6}],
        2,
        "warning",
    ),
    Family(
        "norm-axis",
        ("batch-norm-axis",),
        ("digits", "fashion"),
        [{"norm": {"axis": 1}, "convolutions": 2, "depth": 1}],
        2,
        "warning",
    ),
    Family(
        "norm-batch",
        ("batch-norm-small-batch",),
        _SMALL,
        [{"norm": {}, "batch_size": 2, "depth": 4, "epochs": 5}],
        2,
        "warning",
    ),
    Family(
        "norm-momentum",
        ("batch-norm-momentum",),
        _SMALL,
        [{"norm": {"momentum": 0.9999}, "depth": 3}],
        2,
        "warning",
    ),
)

_SOUND: Final = (
    Family(
        "relu",
        (),
        _ALL,
        [{}, {"depth": 1, "units": 64}, {"depth": 3, "units": 64}, {"depth": 4, "units": 16}],
        12,
    ),
    Family("elu", (), _ALL, [{"activation": "elu"}, {"activation": "elu", "depth": 5}], 6),
    Family("small-tanh", (), _ALL, [{"activation": "tanh"}, {"activation": "tanh", "depth": 3}], 6),
    Family(
        "small-sigmoid",
        (),
        _SMALL,
        [{"activation": "sigmoid", "depth": 1}, {"activation": "sigmoid", "depth": 2, "optimizer": "adam"}],
        5,
    ),
    Family(
        "keras-default",
        (),
        _ALL,
        [
            {"initializer": "glorot_uniform", "optimizer": "adam"},
            {"initializer": "glorot_uniform", "optimizer": "rmsprop", "depth": 3},
        ],
        6,
    ),
    Family("selu", (), _MANY, [{"activation": "selu", "depth": 10}, {"activation": "selu", "depth": 20}], 4),
    Family(
        "norm",
        (),
        _ALL,
        [
            {"norm": {"momentum": 0.9}, "depth": 4},
            {"norm": {"momentum": 0.9}, "depth": 20},
            {"norm": {}, "depth": 3, "activation": "elu"},
        ],
        7,
    ),
    Family("dropout", (), _MANY, [{"dropout": 0.3}, {"dropout": 0.5, "units": 64}], 4),
    Family(
        "convolutions",
        (),
        ("digits", "fashion", "cifar"),
        [
            {"convolutions": 2, "depth": 1},
            {"convolutions": 2, "depth": 1, "norm": {"momentum": 0.9}},
            {"convolutions": 2, "depth": 1, "dropout": 0.3},
        ],
        6,
    ),
    Family(
        "smooth",
        (),
        _CLASSES,
        [{"activation": "gelu"}, {"activation": "silu", "depth": 3}, {"activation": 0.2, "depth": 4}],
        5,
    ),
    Family("skips", (), _SMALL, [{"skips": True, "depth": 9, "norm": {"momentum": 0.9}}], 2),
    Family(
        "other-targets",
        (),
        ("circles", "digits", "blobs"),
        [
            {"targets": "one-hot"},
            {"targets": "column"},
            {"from_logits": True, "output": "linear"},
            {"targets": "floats"},
        ],
        8,
    ),
    Family(
        "regression",
        (),
        ("table",),
        [{"loss": "mae"}, {"loss": "huber", "activation": "elu"}, {"penalty": 1e-4}],
        3,
    ),
)


def cases(*, faulty: bool | None = None) -> list[Case]:
    """All cases in their order; only the faulty, or the sound ones, where asked."""
    families = (*_BEGINNING, *_DEPTH, *_OUTPUT, *_DATA, *_OPTIMIZER, *_KINDS, *_SOUND)
    found = [case for offset, family in enumerate(families) for case in family.cases(offset)]
    return [case for case in found if faulty is None or case.faulty == faulty]
