"""Findings about validation rows that are unlike the training rows."""

from typing import Final

from kilter._diagnosis.entries import Text

_SHIFT: Final = "Quiñonero-Candela et al. 2009, Dataset shift in machine learning"
_LEAK: Final = "Kaufman et al. 2012, Leakage in data mining"

# fmt: off
DATA: Final[dict[str, Text]] = {
    "validation-scale": (
        "validation data scaled differently from training data", (), _SHIFT,
        "{detail}. Fit the scaling on the training rows and apply the same scaling to both.",
    ),
    "validation-range": (
        "validation data in another range", (), _SHIFT,
        "{detail}. The network sees no such values in training.",
    ),
    "validation-classes": (
        "classes in the validation data that training lacks", (), _SHIFT,
        "{detail}. No training can learn them; split the rows by class.",
    ),
    "validation-class-mix": (
        "different class proportions in the validation data", (), _SHIFT,
        "{detail}. Shuffle the rows before splitting them, or split by class.",
    ),
    "validation-class-order": (
        "class numbers mean other classes in the validation data", (), _SHIFT,
        "{detail}. The names of the classes were numbered in another order.",
    ),
    "validation-unlike-training": (
        "relations in the training rows do not hold in the validation rows", (), _SHIFT,
        "{detail}. Rows, labels or their order differ between the two: this is not overfitting.",
    ),
    "overlapping-windows": (
        "windows of one series on both sides of the split", (), _LEAK,
        "{detail}, so the validation score is too optimistic. Split the series by time, then cut "
        "windows.",
    ),
    "shared-groups": (
        "the same groups in training and validation", (), _LEAK,
        "{detail}. If rows of one group are alike, the validation score is too optimistic: split by group.",
    ),
}
# fmt: on
