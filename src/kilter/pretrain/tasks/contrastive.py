"""Tasks that compare codes: two views of one row among others (SimCLR), and "the same or not" pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from kilter.data.augmentation import (
    Augmentation,
    Brightness,
    Contrast,
    Cutout,
    Flip,
    Hue,
    Rotate,
    Saturation,
    Shift,
    Transform,
    Zoom,
)
from kilter.pretrain.pretext import Judged

_FAR = -1e9  # a similarity that no view has: its share of a softmax is 0


def default_views(shape: tuple[int, int, int], value_range: tuple[float, float]) -> Augmentation:
    """Views of images of ``shape`` = (height, width, channels): moved, mirrored, recoloured, a piece cut out.

    After SimCLR's crops and colour changes: a zoom and a shift are a crop that is resized; where there are
    three channels, saturation and hue change too.
    """
    transforms: list[Transform] = [
        Flip(),
        Zoom(0.25),
        Rotate(10.0),
        Shift(0.15),
        Brightness(0.3),
        Contrast(0.5),
    ]
    if shape[-1] == 3:
        transforms += [Saturation(0.5), Hue(0.1)]
    transforms.append(Cutout(max(1, min(shape[:2]) // 4)))
    return Augmentation(tuple(transforms), value_range=value_range, fill="reflect")


def nt_xent(first: jax.Array, second: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """The normalised temperature-scaled cross-entropy of SimCLR, and how often the partner was the nearest.

    ``first`` and ``second``, shape (n, d): two views of the same n rows. With cosine similarities s, each of
    the 2n views i with its partner j costs -log(exp(s_ij / t) / Σ_{k ≠ i} exp(s_ik / t)); both results are
    means over the 2n views (Chen et al. 2020, arXiv:2002.05709, algorithm 1). A view of all zeros is like
    nothing, itself included. One row alone costs 0.
    """
    views = jnp.concatenate([first, second])
    count = views.shape[0]
    norms = jnp.sqrt(jnp.square(views).sum(axis=1, keepdims=True) + 1e-12)
    unit = views / norms
    similar = unit @ unit.T / temperature
    similar = jnp.where(jnp.eye(count, dtype=bool), _FAR, similar)
    partner = jnp.roll(jnp.arange(count), count // 2)
    own = jnp.take_along_axis(similar, partner[:, None], axis=1)[:, 0]
    loss = (jax.nn.logsumexp(similar, axis=1) - own).mean()
    nearest = (similar.argmax(axis=1) == partner).astype(jnp.float32).mean()
    return loss, nearest


@dataclass(frozen=True)
class Contrastive:
    """Which of a batch's views is of the same row (SimCLR). Two views of each row go through the encoder."""

    views: Augmentation
    temperature: float
    measure = "accuracy"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, None]:
        """Both views of the rows, one after the other."""
        first, second = (self.views(own, x)[0] for own in jax.random.split(key))
        return jnp.concatenate([first, second]), None

    def judge(self, head: Any, codes: jax.Array, answer: None) -> Judged:
        """NT-Xent of the projections, and the share of views whose partner is the nearest."""
        first, second = jnp.split(head(codes), 2)
        loss, accuracy = nt_xent(first, second, self.temperature)
        return Judged(loss, accuracy, jnp.float32(codes.shape[0]))


@dataclass(frozen=True)
class Pairs:
    """Whether two rows are of the same group: the same person, the same class.

    Each row of a batch gets a partner from the batch, of its own group or of another with probability 1/2
    each; where there is none of that kind, the row does not count. Both kinds have half the loss and half the
    accuracy, however often they occur. The head sees |code - partner's code|.
    """

    measure = "accuracy"

    def pose(self, key: jax.Array, x: Any, *, training: bool) -> tuple[jax.Array, Any]:
        """The rows; each one's partner, whether they are the same, and whether the pair counts."""
        rows, groups = x["rows"], x["groups"]
        key_kind, key_partner = jax.random.split(key)
        same = groups[:, None] == groups[None, :]
        allowed = same & ~jnp.eye(len(groups), dtype=bool)
        wanted = jax.random.bernoulli(key_kind, 0.5, groups.shape)
        allowed = jnp.where(wanted[:, None], allowed, ~same)
        drawn = jax.random.uniform(key_partner, same.shape)
        partner = jnp.where(allowed, drawn, -1.0).argmax(axis=1)
        return rows, (partner, wanted, allowed.any(axis=1))

    def judge(self, head: Any, codes: jax.Array, answer: Any) -> Judged:
        """The cross-entropy of "the same", and how often it is right, each kind by half."""
        partner, same, counts = answer
        apart = jnp.abs(codes - codes[partner])
        logits = head(apart)[:, 0]
        losses = jnp.where(same, jax.nn.softplus(-logits), jax.nn.softplus(logits))
        right = ((logits > 0) == same).astype(jnp.float32)
        kinds = [(counts & same).astype(jnp.float32), (counts & ~same).astype(jnp.float32)]
        both = jnp.float32(kinds[0].any() & kinds[1].any())
        loss, accuracy = (
            sum((each * kind).sum() / jnp.maximum(kind.sum(), 1.0) for kind in kinds) / 2
            for each in (losses, right)
        )
        return Judged(jnp.asarray(loss), jnp.asarray(accuracy), both * codes.shape[0])
