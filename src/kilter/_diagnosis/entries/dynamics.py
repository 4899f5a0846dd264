"""Findings about how a training goes: its losses, its updates, and what makes it slow."""

from typing import Final

from kilter._diagnosis.entries import Text

_PASCANU: Final = "Pascanu et al. 2013, On the difficulty of training recurrent neural networks"
_BENGIO: Final = "Bengio 2012, Practical recommendations for gradient-based training of deep architectures"

# fmt: off
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
