"""The parts of Keras that are not public, imported here and nowhere else, each with the reason.

They were checked against Keras 3.15.1. If a later Keras moves one, importing this module raises an error that
names every symbol that is missing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kilter.errors import BackendError

CHECKED_WITH: Final = "3.15.1"

# name -> (module of Keras, why the public API does not do)
INTERNALS: Final = {
    "BaseConv": (
        "keras.src.layers.convolutional.base_conv",
        "all Conv1D/2D/3D at once; keras.layers has no common class",
    ),
    "BaseConvTranspose": ("keras.src.layers.convolutional.base_conv_transpose", "all Conv*Transpose at once"),
    "BaseDepthwiseConv": ("keras.src.layers.convolutional.base_depthwise_conv", "all DepthwiseConv* at once"),
    "BaseGlobalPooling": (
        "keras.src.layers.pooling.base_global_pooling",
        "all global pooling layers at once",
    ),
    "BasePooling": ("keras.src.layers.pooling.base_pooling", "all pooling layers at once"),
    "BaseSeparableConv": ("keras.src.layers.convolutional.base_separable_conv", "all SeparableConv* at once"),
    "DropoutRNNCell": (
        "keras.src.layers.rnn.dropout_rnn_cell",
        "recurrent cells with dropout, which keras.layers does not mark",
    ),
    "Functional": (
        "keras.src.models.functional",
        "copies keep the graph of a functional model; keras.Model does not say which kind it is",
    ),
    "KerasSaveable": (
        "keras.src.saving.keras_saveable",
        "the common base of what Keras saves: layers, optimizers, losses, metrics",
    ),
    "LossFunctionWrapper": (
        "keras.src.losses.losses",
        "the function behind a loss object, to compute it from logits",
    ),
    "Merge": ("keras.src.layers.merging.base_merge", "all merging layers (Add, Concatenate, ...) at once"),
    "Node": ("keras.src.ops.node", "a call in a functional model's graph, to rebuild the graph of a copy"),
    "Operation": (
        "keras.src.ops.operation",
        "layers and operations are made by its own __new__, which copies must use",
    ),
    "SafeModeScope": (
        "keras.src.saving.serialization_lib",
        "a copy in memory may hold the person's own Lambda; a file may not",
    ),
    "TrackedDict": (
        "keras.src.utils.tracking",
        "the dict in which a layer keeps tracked parts; a copy needs its own",
    ),
    "TrackedList": (
        "keras.src.utils.tracking",
        "the list in which a layer keeps tracked parts; a copy needs its own",
    ),
    "TrackedOrderedDict": ("keras.src.utils.tracking", "as TrackedDict, in order"),
    "TrackedSet": ("keras.src.utils.tracking", "as TrackedDict, for sets"),
    "Tracker": (
        "keras.src.utils.tracking",
        "what a layer tracks its variables and layers with; a copy needs its own",
    ),
    "Trainer": (
        "keras.src.models.model",
        "the part of keras.Model that compiles and trains, initialised anew in a copy",
    ),
    "compute_fans": (
        "keras.src.initializers.random_initializers",
        "fan-in and fan-out exactly as Keras's initialisers count them",
    ),
    "compute_output_spec": ("keras.src.backend", "shapes and dtypes of a call without computing it"),
    "data_adapter_utils": (
        "keras.src.trainers.data_adapters",
        "unpacks and checks (x, y, sample_weight) as Keras's trainers do",
    ),
    "functional_like_constructor": (
        "keras.src.models.functional",
        "whether a subclass of Functional can be rebuilt from its inputs and outputs",
    ),
    "get_keras_mask": ("keras.src.backend", "the mask that Keras attaches to an output, used by its losses"),
    "get_stateless_scope": (
        "keras.src.backend.common.stateless_scope",
        "the scope of a stateless call, in which variables are read and written",
    ),
    "io_utils": (
        "keras.src.utils",
        "prints where Keras prints: respects keras.config.disable_interactive_logging",
    ),
    "is_default": ("keras.src.utils.python_utils", "whether a model overrides a method or keeps Keras's own"),
    "pythonify_logs": ("keras.src.utils.python_utils", "the order and types of the results of evaluate"),
}


def missing(symbols: Mapping[str, tuple[str, str]] = INTERNALS) -> list[str]:
    """The symbols that this Keras does not have, as "module.name"."""
    return [f"{module}.{name}" for name, (module, _) in symbols.items() if _find(module, name) is None]


def _find(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None


if TYPE_CHECKING:
    from keras.src.backend import compute_output_spec as compute_output_spec
    from keras.src.backend import get_keras_mask as get_keras_mask
    from keras.src.backend.common.stateless_scope import get_stateless_scope as get_stateless_scope
    from keras.src.initializers.random_initializers import compute_fans as compute_fans
    from keras.src.layers.convolutional.base_conv import BaseConv as BaseConv
    from keras.src.layers.convolutional.base_conv_transpose import BaseConvTranspose as BaseConvTranspose
    from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv as BaseDepthwiseConv
    from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv as BaseSeparableConv
    from keras.src.layers.merging.base_merge import Merge as Merge
    from keras.src.layers.pooling.base_global_pooling import BaseGlobalPooling as BaseGlobalPooling
    from keras.src.layers.pooling.base_pooling import BasePooling as BasePooling
    from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell as DropoutRNNCell
    from keras.src.losses.losses import LossFunctionWrapper as LossFunctionWrapper
    from keras.src.models.functional import Functional as Functional
    from keras.src.models.functional import functional_like_constructor as functional_like_constructor
    from keras.src.models.model import Trainer as Trainer
    from keras.src.ops.node import Node as Node
    from keras.src.ops.operation import Operation as Operation
    from keras.src.saving.keras_saveable import KerasSaveable as KerasSaveable
    from keras.src.saving.serialization_lib import SafeModeScope as SafeModeScope
    from keras.src.trainers.data_adapters import data_adapter_utils as data_adapter_utils
    from keras.src.utils import io_utils as io_utils
    from keras.src.utils.python_utils import is_default as is_default
    from keras.src.utils.python_utils import pythonify_logs as pythonify_logs
    from keras.src.utils.tracking import TrackedDict as TrackedDict
    from keras.src.utils.tracking import TrackedList as TrackedList
    from keras.src.utils.tracking import TrackedOrderedDict as TrackedOrderedDict
    from keras.src.utils.tracking import TrackedSet as TrackedSet
    from keras.src.utils.tracking import Tracker as Tracker
else:
    if gone := missing():
        import keras

        raise BackendError(
            expected=f"a Keras whose internals are those of {CHECKED_WITH}",
            received=f"Keras {keras.__version__} without {', '.join(gone)}",
            remedy="install the Keras that kilter was tested with, or a newer kilter",
        )
    globals().update({name: _find(module, name) for name, (module, _) in INTERNALS.items()})
