"""What the outputs of a model mean, and their entropy."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import jax
import jax.numpy as jnp
import keras
from jax.scipy.special import entr

from kilter._engine.objective_for import last_activation
from kilter._engine.stable_losses import OF_CLASSES, OF_LABELS
from kilter._validation import one_of
from kilter.errors import ModelError

Outputs = Literal["auto", "probabilities", "logits", "numbers"]

_OF_NUMBERS: Final = (
    keras.losses.mean_squared_error,
    keras.losses.mean_absolute_error,
    keras.losses.mean_absolute_percentage_error,
    keras.losses.mean_squared_logarithmic_error,
    keras.losses.huber,
    keras.losses.log_cosh,
    keras.losses.poisson,
    keras.losses.cosine_similarity,
)


@dataclass(frozen=True)
class Meaning:
    """What the last axis of an output means.

    ``kind``: "classes", of which exactly one is true; "labels", each independently true or not; or "numbers".
    ``from_logits``: whether the softmax or sigmoid is still to be applied.
    """

    kind: Literal["classes", "labels", "numbers"]
    from_logits: bool = False

    def value(self, raw: jax.Array) -> jax.Array:
        """Probabilities from the raw outputs, or the outputs themselves if numbers; at least float32."""
        raw = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
        if not self.from_logits:
            return raw
        return jax.nn.softmax(raw) if self.kind == "classes" else jax.nn.sigmoid(raw)

    def entropy(self, probabilities: jax.Array) -> jax.Array | None:
        """Entropy in nats over the last axis; None for numbers.

        Classes: -Σ p log p. Labels: Σ of -p log p - (1 - p) log(1 - p), assuming independence. 0 log 0 is 0.
        """
        if self.kind == "numbers":
            return None
        terms = entr(probabilities)
        if self.kind == "labels":
            terms = terms + entr(1 - probabilities)
        return terms.sum(axis=tuple(range(1, terms.ndim))[-1:])  # a vector of labels has one per row


def meanings(model: keras.Model, outputs: Any, asked: Outputs = "auto") -> list[Meaning]:
    """What each leaf of ``outputs`` (arrays or shapes, in the structure that the model returns) means.

    ``"auto"`` uses the compiled loss, then the last activation; :class:`ModelError` if both are unknown. With
    "probabilities" or "logits", outputs with a last axis of length 1 are labels, others classes.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(outputs)
    if asked == "auto":
        return [_found(model, index, path) for index, (path, _) in enumerate(leaves)]
    one_of("outputs", asked, get_args(Outputs))
    if asked == "numbers":
        return [Meaning("numbers") for _ in leaves]
    return [
        Meaning("classes" if leaf.shape[1:][-1:] > (1,) else "labels", asked == "logits")
        for _, leaf in leaves
    ]


def _found(model: keras.Model, index: int, path: tuple[Any, ...]) -> Meaning:
    activation = last_activation(model, index)
    loss = _loss(model, index, path)
    function = getattr(loss, "fn", loss)
    from_logits = bool(getattr(loss, "_fn_kwargs", {}).get("from_logits", False))
    if function in OF_CLASSES:
        return Meaning("classes", from_logits)
    if function in OF_LABELS:
        return Meaning("labels", from_logits)
    if activation == "softmax":
        return Meaning("classes")
    if function in _OF_NUMBERS:
        return Meaning("numbers")
    if activation == "sigmoid":
        return Meaning("labels")
    raise ModelError(
        expected="a loss or last activation that says whether outputs are probabilities",
        received=f"model {model.name!r}, "
        + (
            "not compiled"
            if loss is None
            else f"compiled with {getattr(loss, '__name__', type(loss).__name__)}"
        )
        + ", which ends with "
        + (f"the activation {activation!r}" if activation else "no known activation"),
        remedy='pass outputs="logits", "probabilities" or "numbers", or compile the model with its loss',
    )


def _loss(model: keras.Model, index: int, path: tuple[Any, ...]) -> Any:
    """The loss of the ``index``-th output, at ``path``: a Keras loss object or function, or None."""
    loss: Any = getattr(model, "loss", None)
    if isinstance(loss, dict):
        names = getattr(model, "output_names", [])
        name = getattr(path[-1], "key", None) if path else None
        loss = loss.get(name) or loss.get(names[index] if index < len(names) else None)
    elif isinstance(loss, list | tuple):
        loss = loss[index]
    return keras.losses.get(loss)
