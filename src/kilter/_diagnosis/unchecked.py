"""What a diagnosis does not look at: losses and layers of one's own, and parts that were skipped."""

from __future__ import annotations

from collections.abc import Iterator

from kilter._diagnosis.context import Context

_NAMED = 4
_KNOWN = ("keras", "kilter")


def unchecked(context: Context, *, planned: bool) -> tuple[str, ...]:
    """What was not looked at, in words; ``planned``: whether the outcome of the training was tried."""
    return tuple(_gaps(context, planned))


def _gaps(context: Context, planned: bool) -> Iterator[str]:
    own = [one.where for one in context.outputs if one.loss is not None and one.loss.name is None]
    if own:
        yield f"whether the loss of {_named(own)} fits its output and targets: it is a function of your own"
    bare = [one.where for one in context.outputs if one.loss is None]
    if bare:
        yield f"the targets of {_named(bare)}: no loss was found for it"
    classes = [
        type(one.layer).__name__
        for one in context.layers
        if type(one.layer).__module__.partition(".")[0] not in _KNOWN
    ]
    if classes:
        yield f"what happens inside layers of your own ({_named(classes)}); their outputs were measured"
    if context.probe is None:
        yield "the forward and backward pass: a severe finding rules it out"
    elif context.training is None:
        yield "the first steps of the training: steps=0, or a severe finding rules them out"
    if not planned:
        yield "whether the training gets there: that needs epochs="


def _named(places: list[str]) -> str:
    unique = list(dict.fromkeys(places))
    more = len(unique) - _NAMED
    return ", ".join(unique[:_NAMED]) + (f" and {more} more" if more > 0 else "")
