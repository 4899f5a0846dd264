"""What a diagnosis does not look at: custom losses and layers, and parts that were skipped."""

from collections.abc import Iterator

from kilter._diagnosis.checks.coverage import unknown
from kilter._diagnosis.context import Context
from kilter._text import listed


def unchecked(context: Context, *, planned: bool) -> tuple[str, ...]:
    """What was not looked at, as text; ``planned``: whether the outcome of the training was tried."""
    return tuple(_gaps(context, planned))


def _gaps(context: Context, planned: bool) -> Iterator[str]:
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
