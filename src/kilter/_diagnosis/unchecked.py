"""What a diagnosis does not look at: custom losses and layers, and parts that were skipped."""

from collections.abc import Iterator

from kilter._diagnosis.context import Context
from kilter._text import listed

_KNOWN = ("keras", "kilter")


def unchecked(context: Context, *, planned: bool) -> tuple[str, ...]:
    """What was not looked at, as text; ``planned``: whether the outcome of the training was tried."""
    return tuple(_gaps(context, planned))


def _gaps(context: Context, planned: bool) -> Iterator[str]:
    own = [one.where for one in context.outputs if one.loss is not None and one.loss.name is None]
    if own:
        yield f"whether the loss of {listed(own, 4)} fits its output and targets: it is a custom function"
    bare = [one.where for one in context.outputs if one.loss is None]
    if bare:
        yield f"the targets of {listed(bare, 4)}: no loss was found for it"
    classes = [
        type(one.layer).__name__
        for one in context.layers
        if type(one.layer).__module__.partition(".")[0] not in _KNOWN
    ]
    if classes:
        yield f"what happens inside custom layers ({listed(classes, 4)}); their outputs were measured"
    if context.probe is None:
        yield "the forward and backward pass: skipped because of a severe finding"
    elif context.training is None:
        yield "gradients and updates of the first steps: skipped after a severe finding, or by steps=0"
    if not planned:
        yield "whether the training reaches a good result: pass epochs= to check it"
