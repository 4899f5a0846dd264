"""Cross-entropy from the logits, also if the model ends in a softmax or a sigmoid.

Keras on JAX clips probabilities to [1e-7, 1 - 1e-7] before it takes their logarithm, so a saturated output
has a gradient of exactly zero and training stalls silently. If a model's output is ``activation(logits)`` and
its loss is the cross-entropy of that activation, the two together are one well-conditioned function of the
logits. While a step is traced, :func:`stable_losses` makes the loss use it.

The values agree with Keras's wherever Keras does not clip. ``stable_loss=False`` keeps Keras's.
"""

import contextlib
import copy
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any

import keras

from kilter._models.keras_internals import LossFunctionWrapper, get_keras_mask
from kilter._models.tracing import intercept_calls, replace_attribute
from kilter._system import context_value
from kilter.nn.losses import smoothed_sparse_categorical_crossentropy

# Loss functions by the target that they are for. Sparse ones read class numbers.
SPARSE = (keras.losses.sparse_categorical_crossentropy, smoothed_sparse_categorical_crossentropy)
OF_CLASSES = (*SPARSE, keras.losses.categorical_crossentropy, keras.losses.categorical_focal_crossentropy)
OF_LABELS = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)

# Loss functions, each with the activation that makes it a function of the logits.
_PARTNERS: dict[Any, Any] = {
    **dict.fromkeys((*SPARSE, keras.losses.categorical_crossentropy), keras.activations.softmax),
    keras.losses.binary_crossentropy: keras.activations.sigmoid,
}
Record = dict[int, tuple[Any, Any, Any]]
"""(output, activation, logits) by the identity of the traced output, which is kept so that none is reused."""
_enabled: ContextVar[bool] = ContextVar("kilter_stable_losses", default=True)
_uses: ContextVar[list[str] | None] = ContextVar("kilter_stable_loss_uses", default=None)


@contextlib.contextmanager
def from_logits(enabled: bool) -> Generator[None]:
    """Context in which cross-entropies are computed from logits only if ``enabled``."""
    with context_value(_enabled, _enabled.get() and enabled):
        yield


def is_from_logits() -> bool:
    """Whether cross-entropies are computed from logits where these are known."""
    return _enabled.get()


@contextlib.contextmanager
def losses_used() -> Generator[list[str]]:
    """The names of the losses that a trace within it computes from logits."""
    names: list[str] = []
    with context_value(_uses, names):
        yield names


class _FromLogits:
    """A loss that uses the logits of its input if they are known, and is the original loss otherwise."""

    def __init__(self, loss: LossFunctionWrapper, record: Record) -> None:
        self._loss = loss
        self._record = record
        self._activation = _PARTNERS[loss.fn]
        self._from_logits = copy.copy(loss)
        self._from_logits._fn_kwargs = {**loss._fn_kwargs, "from_logits": True}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loss, name)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        _, activation, logits = self._record.get(id(y_pred), (None, None, None))
        if activation is not self._activation or get_keras_mask(y_pred) is not None:
            return self._loss(y_true, y_pred, sample_weight)
        if (names := _uses.get()) is not None:
            names.append(self._loss.name)
        return self._from_logits(y_true, logits, sample_weight)


def is_plain(loss: Any) -> bool:
    """Whether ``loss`` is a loss object that only wraps its function ``fn``."""
    return isinstance(loss, LossFunctionWrapper) and type(loss).call is LossFunctionWrapper.call


def is_clipped(loss: Any) -> bool:
    """Whether ``loss`` is a cross-entropy on probabilities, Keras's or ours, with classes last."""
    if not is_plain(loss) or loss.fn not in _PARTNERS:
        return False
    options = loss._fn_kwargs
    return not options.get("from_logits", False) and options.get("axis", -1) == -1


@contextlib.contextmanager
def losses_replaced(model: Any, replace: Callable[[Any], Any]) -> Generator[None]:
    """While active, the compiled model uses ``replace(loss)`` for each of its losses."""
    compiled = model._compile_loss
    entries = compiled._flat_losses
    compiled._flat_losses = [entry._replace(loss=replace(entry.loss)) for entry in entries]
    try:
        yield
    finally:
        compiled._flat_losses = entries


@contextlib.contextmanager
def stable_losses(model: keras.Model) -> Generator[None]:
    """While active, the model's compiled cross-entropies are computed from logits if these are known.

    Use it around tracing only: attributes of layers and losses are replaced meanwhile.
    """
    compiled: Any = getattr(model, "_compile_loss", None)
    entries = [] if compiled is None or not compiled.built else compiled._flat_losses
    if not (is_from_logits() and any(is_clipped(entry.loss) for entry in entries)):
        yield
        return
    record: Record = {}
    layers = list(model._flatten_layers())
    softmaxes = [one for one in layers if isinstance(one, keras.layers.Softmax) and one.axis == -1]

    def softmax(_: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return _recording(keras.activations.softmax, call, record)(*arguments, **options)

    with contextlib.ExitStack() as stack:
        stack.enter_context(intercept_calls(softmaxes, softmax))
        for layer in layers:
            activation: Any = getattr(layer, "activation", None)
            if activation in (keras.activations.softmax, keras.activations.sigmoid):
                replace_attribute(layer, "activation", _recording(activation, activation, record), stack)
        stack.enter_context(
            losses_replaced(model, lambda loss: _FromLogits(loss, record) if is_clipped(loss) else loss)
        )
        yield


def _recording(activation: Any, function: Callable[..., Any], record: Record) -> Callable[..., Any]:
    def recorded(inputs: Any, *arguments: Any, **options: Any) -> Any:
        output = function(inputs, *arguments, **options)
        # A mask changes what the output is a function of; Keras also passes mask=None.
        if all(value is None for value in (*arguments, *options.values())):
            record[id(output)] = output, activation, inputs
        return output

    return recorded
