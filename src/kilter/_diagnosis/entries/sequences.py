"""Findings about networks of sequences: recurrent layers, attention, and how they read the steps."""

from typing import Final

from kilter._diagnosis.entries import Text

_PASCANU: Final = "Pascanu et al. 2013, On the difficulty of training recurrent neural networks"
_VASWANI: Final = "Vaswani et al. 2017, Attention is all you need"

# fmt: off
MODEL: Final[dict[str, Text]] = {
    "recurrent-activation": (
        "activation of a recurrent cell", ("recurrent-tanh", "clip-gradients"), _PASCANU,
        "{detail}. An unbounded state that is fed back at every step grows or decays over the steps.",
    ),
    "recurrent-initializer": (
        "recurrent weights start at a wrong scale", ("orthogonal-recurrent",),
        "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning",
        "The kernels of {where} start {scale:.3g} times as large as they should: the state saturates or "
        "fades within a few steps.",
    ),
    "forget-bias": (
        "forget gates start closed", ("unit-forget-bias",),
        "Jozefowicz et al. 2015, An empirical exploration of recurrent network architectures",
        "Each step of {where} keeps only {kept:.0%} of the state, so the layer forgets before it can learn "
        "to remember.",
    ),
    "long-sequence": (
        "long sequence without truncation", ("pool-steps",), _PASCANU,
        "{where} reads {steps:,} steps in sequence before its output: early steps are learnt slowly, if at "
        "all. Pool or stride over the steps first, split the sequences, or use the outputs of all steps.",
    ),
    "stateful-unrelated": (
        "states kept between unrelated rows", ("stateless",), "Keras, keras.io/guides/working_with_rnns",
        "{where} keeps its state from batch to batch, but {detail}: each row starts from the end of another.",
    ),
    "steps-against-one-target": (
        "one prediction per step, one target per row", ("read-last-step",),
        "Keras, keras.io/guides/working_with_rnns",
        "{detail}. Every step has to predict the target, even the first ones, which have not read the row "
        "yet.",
    ),
    "narrow-heads": (
        "attention heads too narrow", (),
        "Bhojanapalli et al. 2020, Low-rank bottleneck in multi-head attention models",
        "The heads of {where} have {size} dimensions each. They can hardly tell tokens apart: use "
        "fewer heads with a larger key_dim.",
    ),
    "rate-without-warm-up": (
        "attention with a high learning rate and no warm-up", ("warm-up", "find-learning-rate"),
        "Liu et al. 2020, On the variance of the adaptive learning rate",
        "A learning rate of {rate:g} from the first step saturates attention. Use 1e-3 or less, reached "
        "over a warm-up.",
    ),
    "post-norm-depth": (
        "many blocks with normalisation after the sum", ("warm-up",),
        "Xiong et al. 2020, On layer normalization in the transformer architecture",
        "{count} normalisations come after a residual sum, so gradients grow towards the last block. "
        "Normalise the inputs of each block instead (pre-norm), or warm up the learning rate.",
    ),
}
PROBE: Final[dict[str, Text]] = {
    "softmax-axis": (
        "softmax over the wrong axis", ("repair-softmax-axis",), f"{_VASWANI}, section 3.2",
        "{detail}.",
    ),
    "attention-collapsed": (
        "attention on one token", ("warm-up", "reinitialize-paired"),
        "Zhai et al. 2023, Stabilizing transformer training by preventing attention entropy collapse",
        "The attention weights of {where} have {entropy:.0%} of the entropy of uniform ones: their logits "
        "are so large that almost no gradient passes. Scale them by 1/√key_dim, or normalise the inputs.",
    ),
    "attention-uniform": (
        "attention ignores its inputs", ("reinitialize-paired",), f"{_VASWANI}, section 3.2",
        "The queries or keys of {where} are 0 for every token, so all tokens get the same weight.",
    ),
    "embedding-scale": (
        "tokens outweighed by their positions", ("scale-embedding",), f"{_VASWANI}, section 3.4",
        "Only {share:.1%} of the variance that enters {where} comes from the tokens. Scale the embedding by "
        "√width, or use smaller positions.",
    ),
    "rank-collapse": (
        "all tokens alike", ("add-residuals",),
        "Dong et al. 2021, Attention is not all you need",
        "The mean cosine between the tokens of a row goes from {first:.2f} to {last:.3f} at {where}: "
        "attention without residual connections averages the tokens.",
    ),
    "inverted-mask": (
        "mask that keeps the padding", ("invert-mask",),
        "Keras, keras.io/guides/understanding_masking_and_padding",
        "In {share:.0%} of the padded rows the loss depends only on the padding. A Keras mask is True for "
        "the steps to use.",
    ),
    "unread-steps": (
        "steps that are never read", ("read-last-step",), "Keras, keras.io/guides/working_with_rnns",
        "{detail}.",
    ),
    "vanishing-through-time": (
        "gradient vanishes through time", ("unit-forget-bias", "orthogonal-recurrent", "recurrent-tanh"),
        _PASCANU,
        "Only the last {horizon} of {steps:,} steps get more than 1 % of the largest gradient: earlier ones "
        "are learnt slowly. Shorten the sequences, read them in both directions, or pool over all steps.",
    ),
    "exploding-through-time": (
        "gradient explodes through time", ("recurrent-tanh", "orthogonal-recurrent", "clip-gradients"),
        _PASCANU, "{detail}.",
    ),
    "missing-positions": (
        "network ignores the order of steps", ("add-positions",), f"{_VASWANI}, section 3.5",
        "The outputs stay the same if the steps of a row are permuted, but the order carries information: "
        "decision trees gain {gain:.2f} of skill from it.",
    ),
    "future-only": (
        "outputs see only later steps", (), f"{_VASWANI}, section 3.2.3",
        "No output of {where} depends on an earlier step: a causal mask the wrong way round. Keep what is at "
        "or before each step, as numpy.tril does.",
    ),
    "missing-causal-mask": (
        "outputs see the step that they predict", (), f"{_VASWANI}, section 3.2.3",
        "The targets are the next inputs, and {where} sees them. Pass use_causal_mask=True, or read in one "
        "direction only.",
    ),
}
# fmt: on
