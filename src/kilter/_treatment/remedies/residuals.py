"""The remedy for plain stacks too deep to train: skip connections every two layers (He et al. 2016)."""

from typing import Any

import keras

from kilter._models.copying import input_like
from kilter._models.editing import cut, linear_chain
from kilter._models.layers import NORMALIZATIONS
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, hidden_layers, remedies, replaceable
from kilter._treatment.subject import Subject


def add_residuals(subject: Subject, finding: Finding) -> Subject | None:
    """Skip connections around every two neighbouring hidden dense layers of equal width.

    For plain stacks of at least 8 hidden layers; None for any other network. y = x + block(x), where the
    block includes activations, normalisation and dropout between its layers. All weights are kept. Without
    normalisation, y = x + gain * block(x): gains of 0 to begin with, one for each unit, keep the sums from
    growing with depth (De & Smith 2020, SkipInit; Bachlechner et al. 2021, ReZero).
    """
    policy = subject.policy.remedies
    chain = linear_chain(subject.model)
    hidden = [one.layer for one in hidden_layers(subject)]
    dense = [layer for layer in hidden if isinstance(layer, keras.layers.Dense)]
    if chain is None or len(dense) < policy.residual_layers or len(dense) != len(hidden):
        return None
    replaceable(subject, hidden_layers(subject), every=True)
    blocks = _blocks(chain, dense, policy.residual_span)
    if not blocks:
        return None
    copied = cut(subject.model, {})
    gains = not any(isinstance(layer, NORMALIZATIONS) for layer in chain)
    model = _connected(subject.model, [copied.twin(layer) for layer in chain], blocks, gains=gains)
    before = f"{len(dense)} dense layers, one after the other"
    after = f"{len(blocks)} skip connections, each around {policy.residual_span} layers"
    after += " whose output has trained gains, 0 to begin with" if gains else ""
    return changed(subject, tuple(chain[start].name for start, _ in blocks), (before, after), model=model)


def _blocks(chain: list[Any], dense: list[Any], span: int) -> list[tuple[int, int]]:
    """The index of each block's first layer in the chain, and of the dense layer after it."""
    places = [chain.index(layer) for layer in dense]
    later = range(places[-1] + 1, len(chain))
    dense_after = (i for i in later if chain[i].count_params() and isinstance(chain[i], keras.layers.Dense))
    ends = [*places[1:], next(dense_after, len(chain))]
    blocks, at = [], 1
    while at + span <= len(dense):
        widths = {dense[i].units for i in range(at - 1, at + span)}
        if len(widths) == 1:
            blocks.append((places[at], ends[at + span - 1]))
            at += span
        else:
            at += 1
    return blocks


def _connected(
    like: keras.Model, layers: list[Any], blocks: list[tuple[int, int]], *, gains: bool
) -> keras.Model:
    """The model of ``layers`` in sequence, with a skip connection around each of ``blocks`` (from, to).

    ``gains``: whether the output of a block is multiplied by trained gains.
    """
    starts, ends = {start for start, _ in blocks}, {end for _, end in blocks}
    inputs = input_like(like.inputs[0])
    value = kept = inputs
    count = 0
    for place, layer in enumerate([*layers, None]):
        if place in ends:
            count += 1
            if gains:
                value = _gain(f"gain_{count}", value.shape[-1])(value)
            value = keras.layers.Add(name=f"skip_{count}")([kept, value])
        if place in starts:
            kept = value
        if layer is not None:
            value = layer(value)
    return keras.Model(inputs, value, name=like.name)


def _gain(name: str, units: int) -> keras.layers.Layer:
    """One trained factor for each unit, 0 to begin with."""
    return keras.layers.EinsumDense("ab,b->ab", units, kernel_initializer="zeros", name=name)


REMEDIES = remedies(add_residuals, needs_surgery=True)
