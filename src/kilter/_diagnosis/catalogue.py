"""Every finding by its code: title, explanation, remedies to try, and reference.

Codes are stable: programs match on them. The texts may change.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kilter._diagnosis.entries import compile_and_fit, fit_to_data, pictures, sequences, splits
from kilter._records import Evidence, Finding, Severity
from kilter._text import few, singular


@dataclass(frozen=True)
class Entry:
    """What all findings of one code have in common.

    The ``explanation`` has ``{words}`` that the check fills in; ``{where}`` is the layers or data. The
    ``family`` is what the check looks at: "model", "data", "probe", "training" or "outcome".
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

# By code: title, remedies in the order to try them, reference, explanation.
# fmt: off
_MODEL: Final = {
    "unpaired-initializer": (
        "initialiser does not fit the activation", ("reinitialize-paired",), _HE,
        "{where}: {detail}. With this variance the signal shrinks or grows from layer to layer.",
    ),
    "constant-initializer": (
        "identical units", ("reinitialize-paired",), f"{_BOOK}, section 8.4",
        "All units of {where} start with the same weights. They get the same gradients and stay identical.",
    ),
    "output-activation-loss": (
        "output activation does not fit the loss", ("repair-output",), f"{_BOOK}, section 6.2.2",
        "{detail}.",
    ),
    "targets-loss": (
        "targets do not fit the loss", ("repair-output", "rescale-targets", "stretch-output"),
        "Keras, keras.io/api/losses",
        "{detail}.",
    ),
    "self-normalization": (
        "conditions of self-normalisation violated", ("self-normalize",), _SELU,
        "SELU keeps mean 0 and variance 1 only if all of its conditions hold. Violated: {detail}.",
    ),
    "dropout-with-selu": (
        "plain dropout after SELU", ("alpha-dropout",), _SELU,
        "{where} sets activations to 0, which changes the mean and variance that SELU maintains. "
        "AlphaDropout preserves both.",
    ),
    "redundant-bias": (
        "bias before batch normalisation", ("remove-redundant-bias",), f"{_BN}, section 3.2",
        "The batch normalisation that follows cancels the bias of {where}.",
    ),
    "batch-norm-axis": (
        "batch normalisation over the wrong axis", ("repair-batch-norm",), f"{_BN}, section 3.2",
        "{detail}. It computes statistics of positions or rows instead of features.",
    ),
    "batch-norm-small-batch": (
        "batches too small for batch normalisation", ("change-batch-size", "group-normalization"),
        "Wu & He 2018, Group normalization",
        "A mean and variance of only {rows} numbers are very noisy: the output for a row depends on which "
        "rows share its batch.",
    ),
    "batch-norm-momentum": (
        "moving averages too slow", ("repair-batch-norm",),
        "Keras, keras.io/api/layers/normalization_layers/batch_normalization",
        "After two epochs ({steps:,} steps) the moving averages still contain {share:.0%} of their initial "
        "values, so evaluation lags behind training.",
    ),
    "dropout-before-batch-norm": (
        "dropout before batch normalisation", ("reorder-dropout",),
        "Li et al. 2019, Understanding the disharmony between dropout and batch normalization",
        "{where} changes the variance in training but not in evaluation, so the moving statistics are wrong.",
    ),
    "leaky-slope": (
        "leaky slope of 1 or more", ("replace-activation",),
        "Xu et al. 2015, Empirical evaluation of rectified activations",
        "A negative slope of {slope:g} makes {where} linear, or steeper below zero than above.",
    ),
    "adagrad-deep": (
        "AdaGrad on a deep network", ("change-optimizer",), f"{_BOOK}, section 8.5.1",
        "AdaGrad's steps keep shrinking: with {layers} hidden layers training slows down too early.",
    ),
    "learning-rate-range": (
        "unusual learning rate", ("find-learning-rate",), _BENGIO,
        "{optimizer} usually needs a learning rate from {low:g} to {high:g}; this one is {rate:g}.",
    ),
    "rate-decays-early": (
        "learning rate decays too early", ("find-learning-rate",), _BENGIO,
        "The learning rate falls below {least:.0%} of its maximum after {alive:.0%} of the {steps:,} planned "
        "steps; the rest changes almost nothing. Let it decay over the whole training.",
    ),
    "rate-rises-late": (
        "learning rate rises too late", ("find-learning-rate",), _BENGIO,
        "In the {steps:,} planned steps the learning rate reaches only {share:.1%} of the {most:.2g} that "
        "its schedule has later: the warm-up is longer than the training.",
    ),
    "stale-compile": (
        "layers frozen or unfrozen after compile()", ("recompile",),
        "Keras, keras.io/guides/transfer_learning",
        "The optimiser was built for weights other than those that are trainable now ({detail}).",
    ),
    "all-frozen": (
        "no trainable weights", ("unfreeze",), "Keras, keras.io/guides/transfer_learning",
        "All weights of the model are frozen: training changes nothing.",
    ),
    "saturating-deep": (
        "deep stack of saturating activations", ("replace-activation", "insert-batch-norm"), _GLOROT,
        "{layers} hidden layers use {names} with slopes of at most 1. Each shrinks the gradient, so the "
        "first layers get almost none.",
    ),
    "exponential-hidden": (
        "exponential activation in hidden layers", ("replace-activation",), f"{_BOOK}, section 6.3",
        "The outputs of {where} grow exponentially: an input of 90 overflows float32, and a single row can "
        "dominate the gradient.",
    ),
    "softmax-hidden": (
        "softmax in hidden layers", ("replace-activation",), f"{_BOOK}, section 6.2.2",
        "The outputs of {where} sum to 1, so each is small and little gradient passes. Softmax belongs in "
        "the output layer.",
    ),
    "excessive-dropout": (
        "too much dropout", ("ease-regularization",), "Srivastava et al. 2014, Dropout, section 7.3",
        "{where} drops {rate:.0%} of its inputs, which leaves too little information to learn from.",
    ),
    "excessive-penalty": (
        "weight penalty too strong", ("ease-regularization",), f"{_BOOK}, section 7.1",
        "A penalty of {factor:g} on the weights of {where} outweighs the data and drives them to 0.",
    ),
    "linear-hidden": (
        "hidden layers without activation", ("replace-activation",), f"{_BOOK}, section 6.1",
        "Nothing non-linear follows {where}. Two linear layers in a row compute no more than one.",
    ),
}
_DATA: Final = {
    "data-not-finite": (
        "NaN or infinite values", ("clean-data",), _BENGIO,
        "{detail}. Unless model or loss masks it, a single such value turns every weight into NaN.",
    ),
    "unscaled-inputs": (
        "inputs not standardised", ("standardize-inputs",), f"{_LECUN}, section 4.3",
        "{detail}. Large or unequally scaled inputs saturate units, and no single learning rate suits all "
        "weights.",
    ),
    "unscaled-targets": (
        "targets not standardised", ("rescale-outputs",),
        "Bishop 1995, Neural networks for pattern recognition, section 8.2",
        "{detail}. Outputs start near 0, so the first errors are very large, and so are their gradients: no "
        "usual learning rate works.",
    ),
    "constant-columns": (
        "constant columns", (), f"{_LECUN}, section 4.3",
        "Columns with the same value in every row: {detail}.",
    ),
    "lost-differences": (
        "values that float32 cannot distinguish", (), "IEEE 754-2019, section 3.6",
        "{detail}. Near 1,700,000,000 (a unix time) float32 has steps of 128: smaller differences are lost "
        "before the first layer.",
    ),
    "duplicated-columns": (
        "duplicated columns", (), f"{_LECUN}, section 4.3",
        "Columns that repeat others: {detail}.",
    ),
    "class-imbalance": (
        "imbalanced classes", ("class-weights", "output-bias-prior"),
        "He & Garcia 2009, Learning from imbalanced data",
        "{detail}. Accuracy hides errors on the rare class.",
    ),
    "shared-rows": (
        "validation rows also in the training data", (), "Kaufman et al. 2012, Leakage in data mining",
        "{detail}, so the validation score is too optimistic.",
    ),
    "not-shuffled": (
        "rows not shuffled", ("shuffle",), _BENGIO,
        "{detail}. Batches of similar rows pull the weights back and forth.",
    ),
    "shuffled-labels": (
        "labels seem unrelated to the inputs", (),
        "Zhang et al. 2017, Understanding deep learning requires rethinking generalization",
        "The inputs do not predict the labels ({detail}). Were x and y shuffled separately?",
    ),
    "weak-relation": (
        "the inputs say little about the targets", (),
        "Northcutt et al. 2021, Pervasive label errors in test sets",
        "Neither this network, nor a well configured one, nor simple learners reach more than a skill of "
        "{skill:.2f} (0 is a constant prediction, 1 is perfect). Either many targets are wrong or noisy, or "
        "the inputs lack what decides them. Look at rows that are predicted wrongly with high confidence.",
    ),
    "leakage": (
        "a single column gives the targets away", (), "Kaufman et al. 2012, Leakage in data mining",
        "{detail}. Will it be known when the model is used?",
    ),
    "one-class": (
        "all targets are the same", (), f"{_BOOK}, section 5.1",
        "All training rows have the target {label}: there is nothing to learn.",
    ),
}
_PROBE: Final = {
    "variance-forward": (
        "signal vanishes or explodes with depth",
        ("reinitialize-paired", "reinitialize-lsuv", "replace-activation", "insert-batch-norm"),
        _GLOROT,
        "From the first to the last hidden layer the standard deviation of the activations goes from "
        "{first:.3g} to {last:.3g}, a factor of {rate:.3g} per layer.",
    ),
    "variance-backward": (
        "gradient vanishes or explodes with depth",
        ("reinitialize-paired", "reinitialize-lsuv", "replace-activation", "insert-batch-norm"),
        _GLOROT,
        "From the last to the first hidden layer the standard deviation of the gradient goes from "
        "{last:.3g} to {first:.3g}, a factor of {rate:.3g} per layer.",
    ),
    "saturated-units": (
        "saturated units", _DEAD, _GLOROT,
        "{share:.0%} of the outputs of {where} are in the flat part of the activation and pass no gradient.",
    ),
    "dead-units": (
        "dead units", _DEAD, "Lu et al. 2019, Dying ReLU and initialization",
        "{share:.0%} of the units of {where} output 0 for every row, so they get no gradient.",
    ),
    "disconnected-layer": (
        "layer without gradient", (), f"{_BOOK}, section 6.5",
        "The gradient of the weights of {where} is exactly 0: the loss does not depend on them.",
    ),
}
_TRAINING: Final = {
    "non-finite": (
        "NaN or infinity during training",
        ("standardize-inputs", "find-learning-rate", "clip-gradients", "repair-output"),
        f"{_BOOK}, section 8.2.4",
        "NaN or infinity appeared {detail}.",
    ),
    "vanishing-gradients": (
        "vanishing gradients",
        ("reinitialize-paired", "insert-batch-norm", "clip-gradients", "replace-activation", "add-residuals"),
        _GLOROT,
        "{detail}. The first layers hardly learn.",
    ),
    "exploding-gradients": (
        "exploding gradients",
        ("reinitialize-paired", "insert-batch-norm", "clip-gradients", "replace-activation", "add-residuals"),
        "Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
        "{detail}. Updates become far larger than the weights.",
    ),
    "dying-units": (
        "units die during training", ("find-learning-rate", "replace-activation"),
        "Lu et al. 2019, Dying ReLU and initialization",
        "{detail}.",
    ),
    "saturating-units": ("units saturate during training", _DEAD, _GLOROT, "{detail}."),
    "loss-not-moving": ("loss does not fall", _STUCK, _BENGIO, "{detail}."),
    "rate-too-high": ("learning rate too high", ("find-learning-rate",), _SMITH, "{detail}."),
    "rate-too-low": ("learning rate too low", ("find-learning-rate",), _SMITH, "{detail}."),
    "oscillating-loss": (
        "loss oscillates", ("find-learning-rate", "change-batch-size"), _BENGIO,
        "{detail}.",
    ),
    "slow-convergence": (
        "slow convergence", ("change-optimizer", "one-cycle"), "Smith & Topin 2018, Super-convergence",
        "{detail}.",
    ),
    "overfitting": (
        "overfitting", ("stop-early", "add-dropout", "add-l2", "augment"), f"{_BOOK}, chapter 7",
        "{detail}.",
    ),
    "underfitting": ("underfitting", ("train-longer",), f"{_BOOK}, section 5.2", "{detail}."),
    "stale-batch-norm": (
        "stale batch-norm statistics", ("repair-batch-norm",), f"{_BN}, section 3.1",
        "{detail}. Training and evaluation give different results for the same rows.",
    ),
    "collapsed-output": ("same class predicted for every row", _STUCK, f"{_BOOK}, chapter 8", "{detail}."),
}
_OUTCOME: Final = {
    "falls-short": (
        "training falls short",
        ("find-learning-rate", "change-optimizer", "insert-batch-norm", "replace-activation", "train-longer"),
        f"{_BOOK}, chapter 11",
        "{detail}.",
    ),
    "augmentation-harms": (
        "augmentation that harms", ("drop-augmentation",),
        "Shorten & Khoshgoftaar 2019, A survey on image data augmentation",
        "With augmentation ({where}) the network reaches a skill of {reached:.2f}, without it {plain:.2f} in "
        "as many steps. Look at some augmented rows: a flip or a large rotation can change the label (of a "
        "digit, for example), and a crop can lose the object.",
    ),
}
# fmt: on

CATALOGUE: Final[dict[str, Entry]] = {
    code: Entry(title, explanation, remedies, reference, family)
    for family, entries in (
        ("model", _MODEL | fit_to_data.MODEL | compile_and_fit.MODEL | pictures.MODEL | sequences.MODEL),
        ("data", _DATA | fit_to_data.DATA | pictures.DATA | splits.DATA),
        ("probe", _PROBE | fit_to_data.PROBE | pictures.PROBE | compile_and_fit.PROBE | sequences.PROBE),
        ("training", _TRAINING | compile_and_fit.TRAINING),
        ("outcome", _OUTCOME),
    )
    for code, (title, remedies, reference, explanation) in entries.items()
}
"""Entries by code, in the order of the checks."""

_NAMED = 4


def finding(
    code: str,
    severity: Severity,
    where: Iterable[str],
    evidence: Iterable[Evidence] = (),
    remedies: tuple[str, ...] | None = None,
    **words: object,
) -> Finding:
    """A finding with the catalogue's explanation, filled in with ``words``; KeyError for a missing one.

    ``remedies`` replaces the catalogue's list if the cause is known better.
    """
    entry, places = CATALOGUE[code], tuple(where)
    explanation = singular(entry.explanation.format(**({"where": few(places, _NAMED)} | words)))
    return Finding(
        code=code,
        severity=severity,
        where=places,
        evidence=tuple(evidence),
        explanation=explanation,
        remedies=entry.remedies if remedies is None else remedies,
        reference=entry.reference,
    )
