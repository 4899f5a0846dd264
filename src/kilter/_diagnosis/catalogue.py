"""Every finding by its code: what it is called, what it means, what to try, and who says so.

Codes are stable: programs match on them. The words are for people and may change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kilter._records import Evidence, Finding, Severity


@dataclass(frozen=True)
class Entry:
    """What is known of a finding in general.

    Attributes:
        title: a few words.
        explanation: sentences with ``{words}`` that a check fills in; ``{where}`` is filled in by itself.
        remedies: codes of remedies, in the order to try them.
        reference: where it is explained.
        family: "model", "data", "probe" or "training": what it is found in.
    """

    title: str
    explanation: str
    remedies: tuple[str, ...]
    reference: str
    family: str


_GLOROT = "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"
_HE = "He et al. 2015, Delving deep into rectifiers"
_SELU = "Klambauer et al. 2017, Self-normalizing neural networks"
_BN = "Ioffe & Szegedy 2015, Batch normalization"
_BOOK = "Goodfellow, Bengio & Courville 2016, Deep learning"
_LECUN = "LeCun et al. 1998, Efficient backprop"
_BENGIO = "Bengio 2012, Practical recommendations for gradient-based training of deep architectures"
_SMITH = "Smith 2017, Cyclical learning rates for training neural networks"

_STUCK = (
    "find-learning-rate",
    "reinitialize-paired",
    "insert-batch-norm",
    "repair-output",
    "standardize-inputs",
)
_DEAD = ("reinitialize-paired", "standardize-inputs", "replace-activation")

_MODEL: Final = {
    "unpaired-initializer": (
        "initialiser does not fit the activation",
        "{where}: {detail}. Weights drawn with this variance make the signal shrink or grow from layer to "
        "layer.",
        ("reinitialize-paired",),
        _HE,
    ),
    "constant-initializer": (
        "identical units",
        "All units of {where} have the same incoming weights. They get the same gradient, so they stay one "
        "unit for ever.",
        ("reinitialize-paired",),
        f"{_BOOK}, section 8.4",
    ),
    "output-activation-loss": (
        "output and loss do not belong together",
        "{detail}.",
        ("repair-output",),
        f"{_BOOK}, section 6.2.2",
    ),
    "targets-loss": (
        "targets and loss do not belong together",
        "{detail}.",
        ("repair-output",),
        "Keras, keras.io/api/losses",
    ),
    "self-normalization": (
        "self-normalisation is broken",
        "SELU keeps mean 0 and variance 1 only under all of its conditions. Broken here: {detail}.",
        ("self-normalize",),
        _SELU,
    ),
    "dropout-with-selu": (
        "plain dropout after SELU",
        "{where} sets outputs to 0, which is not where SELU is flat; mean and variance leave their fixed "
        "point. AlphaDropout keeps them.",
        ("alpha-dropout",),
        _SELU,
    ),
    "redundant-bias": (
        "bias before batch normalisation",
        "The bias of {where} is subtracted again by the batch normalisation after it.",
        ("remove-redundant-bias",),
        f"{_BN}, section 3.2",
    ),
    "batch-norm-axis": (
        "batch normalisation over the wrong axis",
        "{detail}. Statistics are then of positions or rows and not of features.",
        ("repair-batch-norm",),
        f"{_BN}, section 3.2",
    ),
    "batch-norm-small-batch": (
        "batches too small for batch normalisation",
        "Mean and variance of {rows} numbers say little: what the network computes depends on which rows "
        "share a batch.",
        ("change-batch-size",),
        "Wu & He 2018, Group normalization",
    ),
    "batch-norm-momentum": (
        "moving averages too slow for the data",
        "After two epochs ({steps} steps) the moving averages still hold {share:.0%} of their first values, "
        "so evaluation lags behind training.",
        ("repair-batch-norm",),
        "Keras, keras.io/api/layers/normalization_layers/batch_normalization",
    ),
    "dropout-before-batch-norm": (
        "dropout before batch normalisation",
        "{where} changes the variance in training only, so the statistics kept for evaluation are off.",
        ("reorder-dropout",),
        "Li et al. 2019, Understanding the disharmony between dropout and batch normalization",
    ),
    "leaky-slope": (
        "leaky slope of 1 or more",
        "The slope {slope:g} below zero makes {where} linear, or steeper below zero than above.",
        ("replace-activation",),
        "Xu et al. 2015, Empirical evaluation of rectified activations",
    ),
    "adagrad-deep": (
        "AdaGrad on a deep network",
        "AdaGrad divides by all gradients ever seen; with {layers} hidden layers it slows down too early.",
        ("change-optimizer",),
        f"{_BOOK}, section 8.5.1",
    ),
    "learning-rate-range": (
        "learning rate outside what the optimiser is used with",
        "{optimizer} is used with rates of about {low:g} to {high:g}; here it is {rate:g}.",
        ("find-learning-rate",),
        _BENGIO,
    ),
    "stale-compile": (
        "layers were frozen or thawed after compile()",
        "The optimiser was built for other weights than the ones that are trainable now ({detail}).",
        ("recompile",),
        "Keras, keras.io/guides/transfer_learning",
    ),
    "all-frozen": (
        "no trainable weights",
        "Every weight of the model is frozen: training changes nothing.",
        ("unfreeze",),
        "Keras, keras.io/guides/transfer_learning",
    ),
    "saturating-deep": (
        "many saturating layers in a row",
        "{layers} hidden layers end in {names}, of slope below 1: each multiplies the gradient by less, "
        "and the first layers get next to none.",
        ("replace-activation", "insert-batch-norm"),
        _GLOROT,
    ),
    "exponential-hidden": (
        "exponential hidden units",
        "{where} grow without measure: a sum of 90 overflows, and one row can dominate every gradient.",
        ("replace-activation",),
        f"{_BOOK}, section 6.3",
    ),
    "softmax-hidden": (
        "softmax in hidden layers",
        "The outputs of {where} add up to 1: each is small, units push one another down, and little gradient "
        "passes. A softmax is for the last layer.",
        ("replace-activation",),
        f"{_BOOK}, section 6.2.2",
    ),
    "excessive-dropout": (
        "too much dropout",
        "{where} drops {rate:.0%} of its inputs: what is left of a row says little of it.",
        ("ease-regularization",),
        "Srivastava et al. 2014, Dropout, section 7.3",
    ),
    "excessive-penalty": (
        "too strong a penalty on weights",
        "A penalty of {factor:g} on the weights of {where} outweighs what the data say: weights shrink to 0.",
        ("ease-regularization",),
        f"{_BOOK}, section 7.1",
    ),
    "linear-hidden": (
        "layers without activation between them",
        "{where} are followed by the next layer without an activation, and two linear layers are one.",
        ("replace-activation",),
        f"{_BOOK}, section 6.1",
    ),
}
_DATA: Final = {
    "data-not-finite": (
        "NaN or infinite values",
        "{detail}. One such number makes every weight NaN.",
        ("clean-data",),
        _BENGIO,
    ),
    "unscaled-inputs": (
        "inputs are not standardised",
        "{detail}. Large or unequal inputs saturate units and make one learning rate fit no weight.",
        ("standardize-inputs",),
        f"{_LECUN}, section 4.3",
    ),
    "unscaled-targets": (
        "targets are not standardised",
        "{detail}. An output begins near 0 and moves by a step's size at a time; errors so large make "
        "gradients that no usual learning rate fits.",
        ("rescale-outputs",),
        "Bishop 1995, Neural networks for pattern recognition, section 8.2",
    ),
    "constant-columns": (
        "constant columns",
        "{detail} hold one value in all rows.",
        (),
        f"{_LECUN}, section 4.3",
    ),
    "lost-differences": (
        "numbers that float32 cannot tell apart",
        "{detail}. Near 1,700,000,000, as unix times are, float32 holds every 128th number only: what lies "
        "between is lost before any layer sees it.",
        (),
        "IEEE 754-2019, section 3.6",
    ),
    "duplicated-columns": (
        "duplicated columns",
        "{detail} repeat another column.",
        (),
        f"{_LECUN}, section 4.3",
    ),
    "class-imbalance": (
        "unbalanced classes",
        "{detail}. Accuracy hides what happens to the rare class.",
        ("class-weights",),
        "He & Garcia 2009, Learning from imbalanced data",
    ),
    "shared-rows": (
        "validation rows are training rows too",
        "{detail}: the validation figure is too good.",
        (),
        "Kaufman et al. 2012, Leakage in data mining",
    ),
    "not-shuffled": (
        "rows are not shuffled",
        "{detail}. Batches of one kind pull the weights to and fro.",
        ("shuffle",),
        _BENGIO,
    ),
    "shuffled-labels": (
        "labels look unrelated to the inputs",
        "Near rows share a label no more often than any two rows ({detail}). Were x and y shuffled apart?",
        (),
        "Zhang et al. 2017, Understanding deep learning requires rethinking generalization",
    ),
    "one-class": (
        "one class only",
        "All training rows have the label {label}: there is nothing to tell apart.",
        (),
        f"{_BOOK}, section 5.1",
    ),
}
_PROBE: Final = {
    "variance-forward": (
        "the signal's variance does not survive the depth",
        "From the first to the last hidden layer the deviation goes from {first:.3g} to {last:.3g}, by "
        "{rate:.3g} a layer.",
        ("reinitialize-paired", "reinitialize-lsuv", "replace-activation", "insert-batch-norm"),
        _GLOROT,
    ),
    "variance-backward": (
        "the gradient's variance does not survive the depth",
        "From the last to the first hidden layer the gradient's deviation goes from {last:.3g} to "
        "{first:.3g}, by {rate:.3g} a layer.",
        ("reinitialize-paired", "reinitialize-lsuv", "replace-activation", "insert-batch-norm"),
        _GLOROT,
    ),
    "saturated-units": (
        "saturated units",
        "{share:.0%} of the outputs of {where} lie on a flat end of the activation: no gradient passes.",
        _DEAD,
        _GLOROT,
    ),
    "dead-units": (
        "dead units",
        "{share:.0%} of the units of {where} are 0 for every row, and get no gradient.",
        _DEAD,
        "Lu et al. 2019, Dying ReLU and initialization",
    ),
    "disconnected-layer": (
        "a layer that the loss does not depend on",
        "The weights of {where} get a gradient of exactly 0 from every row.",
        (),
        f"{_BOOK}, section 6.5",
    ),
}
_TRAINING: Final = {
    "non-finite": (
        "NaN or infinity in training",
        "{detail}.",
        ("standardize-inputs", "find-learning-rate", "clip-gradients", "repair-output"),
        f"{_BOOK}, section 8.2.4",
    ),
    "vanishing-gradients": (
        "vanishing gradients",
        "{detail}. The first layers do not learn.",
        ("reinitialize-paired", "insert-batch-norm", "clip-gradients", "replace-activation", "add-residuals"),
        _GLOROT,
    ),
    "exploding-gradients": (
        "exploding gradients",
        "{detail}. Steps become far larger than the weights.",
        ("reinitialize-paired", "insert-batch-norm", "clip-gradients", "replace-activation", "add-residuals"),
        "Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
    ),
    "dying-units": (
        "units die in training",
        "{detail}.",
        ("find-learning-rate", "replace-activation"),
        "Lu et al. 2019, Dying ReLU and initialization",
    ),
    "saturating-units": ("units saturate in training", "{detail}.", _DEAD, _GLOROT),
    "loss-not-moving": ("the loss does not move", "{detail}.", _STUCK, _BENGIO),
    "rate-too-high": ("learning rate too high", "{detail}.", ("find-learning-rate",), _SMITH),
    "rate-too-low": ("learning rate too low", "{detail}.", ("find-learning-rate",), _SMITH),
    "oscillating-loss": (
        "the loss oscillates",
        "{detail}.",
        ("find-learning-rate", "change-batch-size"),
        _BENGIO,
    ),
    "slow-convergence": (
        "slow convergence",
        "{detail}.",
        ("change-optimizer", "one-cycle"),
        "Smith & Topin 2018, Super-convergence",
    ),
    "overfitting": (
        "overfitting",
        "{detail}.",
        ("stop-early", "add-dropout", "add-l2", "augment"),
        f"{_BOOK}, chapter 7",
    ),
    "underfitting": ("underfitting", "{detail}.", ("train-longer",), f"{_BOOK}, section 5.2"),
    "stale-batch-norm": (
        "statistics of batch normalisation are stale",
        "{detail}. Training and evaluation disagree on the same rows.",
        ("repair-batch-norm",),
        f"{_BN}, section 3.1",
    ),
    "collapsed-output": ("one class is predicted for every row", "{detail}.", _STUCK, f"{_BOOK}, chapter 8"),
}

CATALOGUE: Final[dict[str, Entry]] = {
    code: Entry(title, explanation, remedies, reference, family)
    for family, entries in (
        ("model", _MODEL),
        ("data", _DATA),
        ("probe", _PROBE),
        ("training", _TRAINING),
    )
    for code, (title, explanation, remedies, reference) in entries.items()
}
"""Entries by code, in the order in which findings arise."""

_NAMED = 4


def finding(
    code: str,
    severity: Severity,
    where: Iterable[str],
    evidence: Iterable[Evidence] = (),
    remedies: tuple[str, ...] | None = None,
    **words: object,
) -> Finding:
    """A finding with the catalogue's explanation, its gaps filled with ``words``.

    ``remedies`` replaces the catalogue's where the cause at hand calls for another order. Raises KeyError for
    an unknown code and for a word that the explanation needs and is not given.
    """
    entry, places = CATALOGUE[code], tuple(where)
    explanation = entry.explanation.format(**({"where": _named(places)} | words))
    return Finding(
        code=code,
        severity=severity,
        where=places,
        evidence=tuple(evidence),
        explanation=explanation,
        remedies=entry.remedies if remedies is None else remedies,
        reference=entry.reference,
    )


def _named(places: tuple[str, ...]) -> str:
    """The first places by name, and how many more there are."""
    more = len(places) - _NAMED
    return ", ".join(places[:_NAMED]) + (f" and {more} more" if more > 0 else "")
