"""What no check can judge: custom losses, metrics, activations, layers, training steps, and skipped parts."""

from collections.abc import Iterator
from typing import Any

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._models.copying import trains_itself
from kilter._models.layers import activation_layers, compiled_metrics, given_losses, name_of, own_activation
from kilter._records import Evidence, Finding
from kilter._text import listed


def check_coverage(context: Context) -> list[Finding]:
    """A note of all parts whose meaning is unknown."""
    parts = list(unknown(context))
    if not parts:
        return []
    evidence = [Evidence("unknown parts", sum(len(names) for _, names in parts))]
    detail = "; ".join(f"{kind} ({listed(names, 4)})" for kind, names in parts)
    where = dict.fromkeys(name for _, names in parts for name in names)
    return [finding("not-checked", "note", where, evidence, detail=detail)]


def unknown(context: Context) -> Iterator[tuple[str, list[str]]]:
    model = context.model
    losses = given_losses(model, len(context.outputs))
    pairs = zip(losses, context.outputs, strict=True)
    own_losses = [
        name_of(loss) for loss, output in pairs if output.loss is not None and output.loss.name is None
    ]
    if own_losses:
        yield "custom losses, which are only probed", own_losses
    metrics = [name_of(one) for one in compiled_metrics(model) if one is not None and _is_own(one)]
    if metrics:
        yield "custom metrics", metrics
    layers = [one.path for one in context.layers if not one.repeated and _is_own(one.layer)]
    if layers:
        yield "custom layers, whose outputs are measured", layers
    functions = [one.path for one in context.layers if not one.repeated and _has_own_activation(one.layer)]
    if functions:
        yield "custom activations", functions
    if trains_itself(model):
        yield "a custom training step", [type(model).__name__]


def _is_own(one: Any) -> bool:
    """Whether its class (or the function) is neither Keras's nor kilter's; a Lambda holds own code too."""
    if isinstance(one, str):
        return False
    kind = one if callable(one) and hasattr(one, "__name__") else type(one)
    module = (getattr(kind, "__module__", "") or "").split(".")[0]
    return module not in ("keras", "kilter") or type(one).__name__ == "Lambda"


def _has_own_activation(layer: Any) -> bool:
    given = getattr(layer, "activation", None)
    known = isinstance(layer, activation_layers()) and given is None
    return given is not None and not known and own_activation(layer) is None


def unchecked(context: Context, *, planned: bool) -> Iterator[str]:
    """What was not looked at, as text; ``planned``: whether the outcome of the training was tried."""
    yield from (f"{kind}: {listed(names, 4)}" for kind, names in unknown(context))
    bare = [one.where for one in context.outputs if one.loss is None]
    if bare:
        yield f"the targets of {listed(bare, 4)}: no loss was found for it"
    if context.probe is None:
        yield "the forward and backward pass: skipped because of a severe finding"
    elif context.training is None:
        yield "gradients and updates of the first steps: skipped after a severe finding, or by steps=0"
    if not planned:
        yield "whether the training reaches a good result: pass epochs= to check it"
