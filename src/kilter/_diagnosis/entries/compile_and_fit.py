"""Findings about compile() and fit(): losses, decay and clipping; how losses and updates go; speed."""

from typing import Final

from kilter._diagnosis.entries import Text

_BOOK: Final = "Goodfellow, Bengio & Courville 2016, Deep learning"
_PASCANU: Final = "Pascanu et al. 2013, On the difficulty of training recurrent neural networks"
_BENGIO: Final = "Bengio 2012, Practical recommendations for gradient-based training of deep architectures"
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
        _PASCANU,
        "The gradient has a norm of {norm:.3g}, and {option}={limit:g} scales it down to {share:.2g} times "
        "that{detail}.",
    ),
    "penalty-outweighs-loss": (
        "penalties outweigh the loss", ("ease-regularization",), f"{_BOOK}, section 7.1",
        "The penalties of {where} are {share:.3g} times the loss of the predictions. Training "
        "shrinks weights or outputs to 0 before it fits the data.",
    ),
}
TRAINING: Final[dict[str, Text]] = {
    "loss-spike": (
        "a batch with a far higher loss", ("clip-gradients", "find-learning-rate"), _PASCANU,
        "{detail}. Inspect the rows of this batch; gradient clipping limits the damage.",
    ),
    "weights-not-moving": (
        "weights that do not change", ("recompile", "unfreeze", "find-learning-rate"), _BENGIO,
        "After {steps:,} steps {detail} still has its initial value, though it is trainable: the updates are "
        "0, undone by a constraint, or never applied.",
    ),
    "infinite-derivative": (
        "operation with an infinite derivative", ("separate-pairs",),
        "Griewank & Walther 2008, Evaluating derivatives, chapter 14",
        "A {name}{place} has an infinite derivative at {count} of its inputs: the gradient becomes NaN "
        "although the loss is finite. Keep its argument 1e-7 away from such values, for instance with "
        "keras.ops.maximum(x, 1e-7) or keras.ops.clip.",
    ),
    "batch-too-large": (
        "batches too large: too few steps", ("change-batch-size",),
        "McCandlish et al. 2018, An empirical model of large-batch training",
        "Batches of {batch} rows allow only {steps:,} updates in total; batches of {usual} give {more}. "
        "Beyond the gradient noise scale, a larger batch hardly improves a step.",
    ),
    "batch-too-small": (
        "batches too small: gradients are mostly noise", ("change-batch-size", "find-learning-rate"),
        "McCandlish et al. 2018, An empirical model of large-batch training",
        "The gradient noise scale is at least {noise:.0f} rows: {signal:.0%} of the gradient of {batch} rows "
        "is signal and the rest noise. Use larger batches, or a lower learning rate.",
    ),
    "edge-of-stability": (
        "learning rate at the edge of stability", ("find-learning-rate",),
        "Cohen et al. 2021, Gradient descent on neural networks typically occurs at the edge of stability",
        "Curvature times learning rate is {product:.2g} along the gradient. Above 2, a step of plain "
        "gradient descent overshoots, and the loss rises.",
    ),
    "update-ratio": (
        "updates of an unusual size", ("find-learning-rate",), _BENGIO,
        "Each step changes the weights of {where} by {ratio:.1e} of their size; 1e-4 to 1e-2 is usual.",
    ),
    "weights-growing": (
        "weights grow quickly", ("find-learning-rate", "clip-gradients"), _BENGIO,
        "In {steps:,} steps the weights of {where} grew to {factor:,.0f} times their initial size.",
    ),
    "attention-logits-growing": (
        "attention sharpens while it trains", ("find-learning-rate", "warm-up", "clip-gradients"),
        "Dehghani et al. 2023, Scaling vision transformers to 22 billion parameters",
        "In {steps:,} steps the logits of {where} grew to a standard deviation of {most:.3g}: each query "
        "attends to one token, and almost no gradient passes. Lower the learning rate, warm it up, or "
        "normalise queries and keys.",
    ),
    "signal-collapse": (
        "rows become alike", ("reinitialize-paired", "insert-batch-norm", "find-learning-rate"),
        "Daneshmand et al. 2020, Batch normalization provably avoids rank collapse",
        "The outputs of {where} vary {share:.1e} times as much between rows and units as before training: "
        "the network no longer tells rows apart.",
    ),
    "input-bound": (
        "training waits for data", (), "Keras, keras.io/guides/distributed_training_with_jax",
        "{share:.0%} of the time goes into {what}. {advice}",
    ),
    "compile-bound": (
        "compilation takes most of the time", (), "JAX, docs.jax.dev/en/latest/persistent_compilation_cache",
        "Compiling took {share:.0%} of the {seconds:.0f} s. Train longer in one call, or use fewer different "
        "shapes; kilter caches compiled programs between runs.",
    ),
    "recompiling": (
        "the step is compiled again and again", (), "JAX, docs.jax.dev/en/latest/jit-compilation",
        "Compilation went on after the first epoch, for {share:.0%} of the {seconds:.0f} s: shapes or types "
        "of the batches change.",
    ),
    "double-precision": (
        "computing in float64", (), "JAX, docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX",
        "{count} of {all} weights are float64, which takes at least twice the time and memory of float32.",
    ),
    "small-batches": (
        "batches too small for the device", ("change-batch-size",), "Smith et al. 2018, Don't decay the rate",
        "An epoch of {steps:,} steps takes {seconds:.2g} s, {each:.2g} ms a step, and only {share:.0%} of it "
        "is computation. Larger batches use the device better.",
    ),
    "memory-growth": (
        "memory grows from epoch to epoch", (), "JAX, docs.jax.dev/en/latest/gpu_memory_allocation",
        "The process held {before} after two epochs and {after} after {epochs}. Look for arrays that a "
        "callback or generator keeps, such as losses that were never converted to numbers.",
    ),
}
# fmt: on
