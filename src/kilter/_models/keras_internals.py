"""The private parts of Keras that kilter uses, imported here and nowhere else, and why.

- BaseConv, BaseConvTranspose, BaseDepthwiseConv, BaseSeparableConv, BasePooling, BaseGlobalPooling, Merge,
  DropoutRNNCell: the common class of all layers of a kind.
- Functional, functional_like_constructor: whether a model has a graph, and inputs and outputs suffice to
  remake it.
- Node: a call in a functional model's graph.
- Operation, Trainer, KerasSaveable: a copy calls ``__new__`` of the first and starts its own trainer; the
  last is the base of layers, optimisers, losses and metrics.
- TrackedDict, TrackedList, TrackedOrderedDict, TrackedSet, Tracker: how a layer holds its parts; a copy needs
  its own.
- SafeModeScope: a copy in memory may hold the user's own Lambda; a file may not.
- ObjectSharingScope, get_global_attribute, set_global_attribute: build a saved model without initial weights;
  layers that it shares stay shared, and its variables leave Keras's list of those to initialise.
- LossFunctionWrapper, get_keras_mask: the function behind a loss and its mask, to compute it from logits.
- compute_fans: fans as Keras's initialisers count them.
- compute_output_spec, get_stateless_scope: the shapes of a call without computing it; the scope of a
  stateless call.
- data_adapter_utils, io_utils, pythonify_logs, is_default: unpack (x, y, sample_weight), print and return
  results as Keras does, and see which methods a model overrides.
"""
# ruff: noqa: F401

from typing import Final

import keras

from kilter.errors import BackendError

CHECKED_WITH: Final = "3.15.1"

try:
    from keras.src.backend import compute_output_spec, get_keras_mask
    from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
    from keras.src.backend.common.stateless_scope import get_stateless_scope
    from keras.src.initializers.random_initializers import compute_fans
    from keras.src.layers.convolutional.base_conv import BaseConv
    from keras.src.layers.convolutional.base_conv_transpose import BaseConvTranspose
    from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv
    from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv
    from keras.src.layers.merging.base_merge import Merge
    from keras.src.layers.pooling.base_global_pooling import BaseGlobalPooling
    from keras.src.layers.pooling.base_pooling import BasePooling
    from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell
    from keras.src.losses.losses import LossFunctionWrapper
    from keras.src.models.functional import Functional, functional_like_constructor
    from keras.src.models.model import Trainer
    from keras.src.ops.node import Node
    from keras.src.ops.operation import Operation
    from keras.src.saving.keras_saveable import KerasSaveable
    from keras.src.saving.serialization_lib import ObjectSharingScope, SafeModeScope
    from keras.src.trainers.data_adapters import data_adapter_utils
    from keras.src.utils import io_utils
    from keras.src.utils.python_utils import is_default, pythonify_logs
    from keras.src.utils.tracking import TrackedDict, TrackedList, TrackedOrderedDict, TrackedSet, Tracker
except ImportError as moved:
    raise BackendError(
        expected=f"a Keras with the internals of {CHECKED_WITH}",
        received=f"Keras {keras.__version__}: {moved}",
        remedy="install the Keras that kilter was tested with, or a newer kilter",
    ) from moved
