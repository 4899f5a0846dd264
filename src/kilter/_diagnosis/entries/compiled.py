"""Findings about what was compiled: own losses, decay, clipping, accumulation and frozen layers."""

from typing import Final

from kilter._diagnosis.entries import Text

_BOOK: Final = "Goodfellow, Bengio & Courville 2016, Deep learning"
_OPTIMIZERS: Final = "Keras, keras.io/api/optimizers"

# fmt: off
MODEL: Final[dict[str, Text]] = {
    "excessive-decay": (
        "weight decay too strong", ("ease-decay",),
        "Loshchilov & Hutter 2019, Decoupled weight decay regularization",
        "A weight decay of {decay:g} pulls every weight to 0 faster than gradients can move it away: "
        "{optimizer} cannot hold a weight above about {most:.2g}.",
    ),
    "excessive-smoothing": (
        "labels smoothed too much", ("ease-smoothing",),
        "Szegedy et al. 2016, Rethinking the inception architecture, section 7",
        "The loss of {where} smooths labels by {share:g}: most of each label is spread evenly over all "
        "classes, so they hardly differ. 0.1 is usual.",
    ),
    "accumulation-too-long": (
        "gradients accumulated over too many batches", ("drop-accumulation",), _OPTIMIZERS,
        "The weights are updated only once every {steps} batches, and {detail}.",
    ),
    "loss-scale": (
        "loss scale too large", ("drop-loss-scale",),
        "Micikevicius et al. 2018, Mixed precision training",
        "Gradients overflow at a loss scale of {scale:g}. Each such step is skipped and halves the scale, so "
        "about the first {lost} steps are lost.",
    ),
    "frozen-random": (
        "frozen layers with random weights", ("unfreeze",), "Keras, keras.io/guides/transfer_learning",
        "The weights of {where} are frozen at their random initial values. Freeze only layers that were "
        "trained or loaded.",
    ),
    "layer-mode": (
        "layers in the wrong mode", (), "Keras, keras.io/guides/making_new_layers_and_models_via_subclassing",
        "{where} run {when}: {detail}. Write call(self, inputs, training=False), and pass "
        "training=training to each of them.",
    ),
    "dropout-at-output": (
        "dropout on the predictions", ("ease-regularization",), "Srivastava et al. 2014, Dropout, section 4",
        "{where} sets predictions to 0 at random during training, which no weights can compensate. Move it "
        "before the output layer.",
    ),
    "foreign-optimizer": (
        "optimiser of another model", ("recompile",), _OPTIMIZERS,
        "The optimiser was built for the {count} weights of another model and knows none of this model's. "
        "Create a new optimiser for each model.",
    ),
}
PROBE: Final[dict[str, Text]] = {
    "loss-ignores-prediction": (
        "loss does not depend on the prediction", ("replace-loss",), f"{_BOOK}, section 6.2.1",
        "{name}: the loss stays {value:.4g} whatever the prediction, so there is no gradient.",
    ),
    "loss-not-differentiable": (
        "loss without gradient", ("replace-loss",), f"{_BOOK}, section 6.2.1",
        "{name}: the loss depends on the prediction only through step functions (such as round, argmax or "
        "a comparison), whose gradient is 0.",
    ),
    "loss-sign": (
        "sign of the loss is wrong", ("replace-loss",), f"{_BOOK}, section 8.1",
        "{name}: the loss is {right:.4g} for right predictions and {wrong:.4g} for wrong ones. "
        "Minimising it makes the predictions wrong. Negate it.",
    ),
    "loss-minimum": (
        "loss does not rise away from the targets", ("replace-loss",), f"{_BOOK}, section 8.1",
        "{name}: the loss is {right:.4g} at the targets and {there:.4g} for predictions {detail}. It does "
        "not rise there, so nothing keeps the predictions at the targets. Is an abs() or a square missing?",
    ),
    "loss-arguments": (
        "targets and predictions exchanged in the loss", ("replace-loss",), "Keras, keras.io/api/losses",
        "{name}: the loss is linear in the predictions and curved in the targets, as if the two were "
        "swapped. Keras calls it with (y_true, y_pred).",
    ),
    "loss-axis": (
        "loss over the wrong axis", ("replace-loss",), f"{_BOOK}, section 6.2.2",
        "{name}: {detail}.",
    ),
    "loss-not-per-row": (
        "loss is not computed per row", (), "Keras, keras.io/api/losses",
        "{name}: the loss of {rows} rows has the shape {shape}, not one number per row{detail}.",
    ),
    "loss-not-finite": (
        "loss is NaN or infinite for a possible prediction", ("replace-loss",), f"{_BOOK}, section 8.2.4",
        "{name}: the loss is {value} for {detail}. Keep the predictions away from it, for instance by "
        "clipping.",
    ),
    "clipping-too-strong": (
        "gradients clipped to almost nothing", ("ease-clipping",),
        "Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
        "The gradient has a norm of {norm:.3g}, and {option}={limit:g} scales it down to {share:.2g} times "
        "that{detail}.",
    ),
    "penalty-outweighs-loss": (
        "penalties outweigh the loss", ("ease-regularization",), f"{_BOOK}, section 7.1",
        "The penalties of {where} are {share:.3g} times the loss of the predictions. Training "
        "shrinks weights or outputs to 0 before it fits the data.",
    ),
}
# fmt: on
