"""Which findings can be the cause of a training that falls short, and which can be trusted without one.

Codes in order, causes before their consequences; a line for each subject.
"""

from typing import Final

# fmt: off
# With these nothing can learn anything, whatever the data.
PREVENTING: Final = (
    "data-not-finite", "targets-loss",
    "stale-compile", "all-frozen", "foreign-optimizer",
    "ids-outside-table", "infinite-derivative",
    "loss-ignores-prediction", "loss-not-differentiable", "loss-sign", "loss-minimum",
    "loss-axis",
)
# Faults that may hide what there is to learn.
HIDING: Final = (
    *PREVENTING, "output-activation-loss",
    "masks-misplaced", "inputs-alike", "rows-alike", "ids-as-quantities",
    "missing-positions", "softmax-axis", "inverted-mask", "unread-steps", "attention-uniform",
)
# Severe regardless of a short training: the training cannot run as requested, or has nothing to learn from.
CERTAIN: Final = (
    *PREVENTING, "one-class", "inputs-alike", "output-not-trained", "row-weights",
    "shuffled-labels", "pairs-reversed",
    "validation-classes", "validation-class-order", "validation-scale", "validation-unlike-training",
)
BY_CONSTRUCTION: Final = (
    "augmentation-harms", "output-activation-loss", "constant-initializer",
    "output-softmax-axis", "from-logits", "softmax-many-labels",
    "accumulation-too-long", "loss-arguments", "channels-order",
)
# A sound sibling has the same structure, so that it cannot disprove these: severe while skill is missing.
STRUCTURAL: Final = (
    "rows-alike", "rows-mixed", "softmax-axis", "inverted-mask",
    "unread-steps", "missing-positions", "missing-causal-mask", "future-only", "steps-against-one-target",
    "attention-uniform", "masks-misplaced", "kl-collapse", "kl-sign", "discriminator-won",
    "receptive-field", "batch-norm-one-image", "excessive-smoothing",
    "sentinel-values", "ids-as-quantities", "pairs-not-apart",
    "drowned-output", "padding-unmasked", "channels-order",
)
# The sibling has these too: where it falls short of simple learners, they are why, not the number of steps.
SHARED: Final = (
    *STRUCTURAL, "narrow-layer", "dropout-at-output", "batch-too-large", "batch-too-small", "row-weights",
    "frozen-random", "vanishing-through-time", "long-sequence", "rank-collapse", "narrow-heads",
    "embedding-scale",
)
# Under a usual rate these are why the updates are too large; the sibling's clipping only hides them.
SPREADING: Final = (
    "recurrent-initializer", "recurrent-activation", "exploding-through-time", "attention-collapsed",
)
# What can explain a training run that falls short.
ROOTS: Final = (
    *CERTAIN, *BY_CONSTRUCTION, *STRUCTURAL, "stateful-unrelated", *SPREADING,
    "not-shuffled", "loss-not-finite", "weights-not-moving", "loss-scale", "frozen-random",
    "inputs-cut-off", "scaled-by-row", "easy-pairs", "margin-out-of-reach",
    "scaled-twice", "unscaled-targets", "activation-before-softmax",
    "excessive-decay", "penalty-outweighs-loss",
    "rare-pixels", "kernel-larger-than-map", "output-offset",
    "softmax-hidden", "exponential-hidden", "leaky-slope", "excessive-penalty", "excessive-dropout",
    "batch-norm-momentum", "batch-norm-axis", "layer-mode", "batch-norm-small-batch",
    "linear-hidden", "narrow-layer", "dropout-at-output",
    "saturating-deep", "unpaired-initializer", "unscaled-inputs",
    "dead-units", "saturated-units", "variance-forward", "variance-backward", "disconnected-layer",
    "padding-diluted", "rank-collapse", "embedding-scale", "narrow-heads",
    "forget-bias", "vanishing-through-time", "long-sequence", "attention-logits-growing",
    "signal-collapse", "weights-growing", "edge-of-stability",
)
OWN_RATES: Final = (
    "learning-rate-range", "rate-too-high", "rate-too-low",
    "adagrad-deep", "rate-decays-early", "rate-rises-late",
)
RATES: Final = (
    "batch-too-large", "rate-without-warm-up", "post-norm-depth", "clipping-too-strong", *OWN_RATES,
    "batch-too-small",
)
CONSEQUENCES: Final = (
    "non-finite", "vanishing-gradients", "exploding-gradients", "dying-units", "saturating-units",
    "loss-not-moving", "collapsed-output", "slow-convergence", "underfitting",
)
# fmt: on
