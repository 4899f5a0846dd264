"""Findings about data that do not fit the model: ids, scales, padding, labels and the last activations."""

from typing import Final

from kilter._diagnosis.entries import Text

_BOOK: Final = "Goodfellow, Bengio & Courville 2016, Deep learning"
_LECUN: Final = "LeCun et al. 1998, Efficient backprop, section 4.3"

# fmt: off
MODEL: Final[dict[str, Text]] = {
    "narrow-layer": (
        "layer too narrow for the classes", (),
        "Bishop 1995, Neural networks for pattern recognition, section 4.1",
        "{where} outputs only {units} numbers per row, which is too few to tell {classes} classes apart. "
        "Give it more units.",
    ),
    "activation-before-softmax": (
        "activation before the output's own activation", ("remove-first-activation", "shift-logits"),
        f"{_BOOK}, section 6.2.2",
        "{where}: {first} comes before the output's {last}. {why}.",
    ),
    "softmax-many-labels": (
        "softmax for rows with several labels", ("repair-output",), f"{_BOOK}, section 6.2.2",
        "{share:.0%} of the rows do not have exactly one label, but the outputs of a softmax sum to 1, so "
        "they cannot predict several labels, or none. Use a sigmoid with binary_crossentropy.",
    ),
    "not-checked": (
        "parts that kilter cannot check", (), "kilter, docs/diagnosis.md",
        "Not checked: {detail}. The absence of a finding does not mean that they are correct.",
    ),
    "metric-misfit": (
        "metric does not fit the targets", (), "Keras, keras.io/api/metrics",
        "{detail}.",
    ),
}
DATA: Final[dict[str, Text]] = {
    "ids-as-quantities": (
        "ids read as quantities", ("embed-ids",),
        "Guo & Berkhahn 2016, Entity embeddings of categorical variables",
        "Columns {columns} look like ids: the targets depend on which number it is, but hardly on how "
        "large it is. Use an Embedding for them.",
    ),
    "ids-outside-table": (
        "ids outside the table of an Embedding", ("fit-embedding", "project-numbers"),
        "Keras, keras.io/api/layers/core_layers/embedding",
        "{detail}. JAX returns NaN for an id that is too large, counts negative ids from the end of the "
        "table, and truncates fractions.",
    ),
    "inputs-alike": (
        "equal inputs with different targets", (), f"{_BOOK}, section 5.2",
        "{detail}, but rows with equal inputs have different targets. No network can be right about all of "
        "them: the highest possible skill is {most:.2f}. Look at some rows just before training: an integer "
        "division (x // 255), a cast to int or a wrong index may have erased the differences.",
    ),
    "inputs-cut-off": (
        "inputs cut to whole numbers", (), f"{_BOOK}, section 5.2",
        "{detail}. An integer division or a cast to int drops the fractions. Scale as "
        "floats: x.astype('float32') / 255.",
    ),
    "output-not-trained": (
        "output without a loss", ("balance-losses", "add-loss"),
        "Keras, keras.io/api/models/model_training_apis",
        "{detail}. Its predictions stay as they are, although it has targets.",
    ),
    "row-weights": (
        "weights that silence rows", ("equal-weights", "class-weights"),
        "Kish 1965, Survey sampling, section 11.7",
        "{detail}. Rows with little weight contribute little. Check sample_weight and class_weight.",
    ),
    "sentinel-values": (
        'numbers that mean "missing"', ("clip-sentinels",),
        "Kuhn & Johnson 2013, Applied predictive modeling, section 3.4",
        "{detail}. Such a number dominates the mean and deviation, and the network reads it as a real value.",
    ),
    "scaled-twice": (
        "scaling layer does not fit the inputs", ("refit-scaling",), _LECUN,
        "{detail}. The first layer with weights sees inputs far from mean 0 and standard deviation 1.",
    ),
    "padding-unmasked": (
        "padded sequences without a mask", ("mask-padding",),
        "Keras, keras.io/guides/understanding_masking_and_padding",
        "On average {share:.0%} of a sequence is padding at its end ({value:g}), and {where} returns its "
        "state after the padding, when it has forgotten most of the content.",
    ),
    "padding-diluted": (
        "average over padding", ("mask-padding",),
        "Keras, keras.io/guides/understanding_masking_and_padding",
        "On average {share:.0%} of a sequence is padding ({value:g}), and {where} averages over it.",
    ),
    "channels-order": (
        "channels where the layer expects rows or columns", ("move-channels",),
        "Keras, keras.io/api/layers/convolution_layers/convolution2d",
        "{where} reads images of shape {shape} as {format}: it would have {taken} channels. The channels "
        "seem to be on the axis of size {size}.",
    ),
    "drowned-output": (
        "one output's loss outweighs another's", ("balance-losses",),
        "Kendall et al. 2018, Multi-task learning using uncertainty",
        "{detail}. Shared layers learn only from the larger loss.",
    ),
}
PROBE: Final[dict[str, Text]] = {
    "output-softmax-axis": (
        "softmax over the wrong axis", ("softmax-last-axis",), f"{_BOOK}, section 6.2.2",
        "The outputs of {where} sum to 1 along axis {axis}, not along the classes (axis {last}). {meaning}.",
    ),
    "rows-mixed": (
        "predictions depend on other rows", (),
        "Keras, keras.io/guides/making_new_layers_and_models_via_subclassing",
        "The prediction for a row changes with the other rows of its batch. One of {where} computes over "
        "axis 0 (a sum, mean, softmax, reshape or attention), which is the batch. Operations within a row "
        "use axes from 1 on.",
    ),
    "rows-alike": (
        "output does not vary", (), "Ba et al. 2016, Layer normalization, section 3",
        "{where} returns the same number for every row, so nothing after it can tell rows apart. "
        "Normalising over an axis of length 1 gives 0: normalise over the rows instead.",
    ),
    "from-logits": (
        "from_logits does not fit the outputs", ("fix-from-logits", "repair-output"),
        "Keras, keras.io/api/losses/probabilistic_losses",
        "{detail}.",
    ),
}
# fmt: on
