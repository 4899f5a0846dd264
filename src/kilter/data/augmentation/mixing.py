"""Mixup and CutMix: each row and target mixed with another of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import betaincinv

from kilter._array_types import Batch, Index, Masks, RandomKey, Shares
from kilter.data.augmentation.base import Mixing, check_number
from kilter.data.augmentation.pixelwise import box

_KNOTS = 4096  # of the tabulated distribution, which changes by 1/4096 between two of them


class Mixture(NamedTuple):
    """The mixture of a batch: row i is ``share[i]`` of itself and 1 - ``share[i]`` of row i + ``offset``.

    ``offset``: int, shape (), cyclic; ``share``: float32 [n].
    """

    offset: Index
    share: Shares

    def others(self, rows: Batch) -> Batch:
        """Each row's partner."""
        # Rolling copies two pieces; fetching rows one by one costs several times as much.
        return jnp.roll(rows, -self.offset, axis=0)

    def blend(self, rows: Batch) -> Batch:
        """share · own + (1 - share) · partner's, for floats [n, ...]."""
        share = self.share.reshape(-1, *[1] * (rows.ndim - 1)).astype(rows.dtype)
        return share * rows + (1 - share) * self.others(rows)

    def dominant(self, rows: Batch) -> Batch:
        """Each row's own value if its share is at least 1/2, else its partner's."""
        own = (self.share >= 0.5).reshape(-1, *[1] * (rows.ndim - 1))
        return jnp.where(own, rows, self.others(rows))


@dataclass(frozen=True)
class _BetaMix:
    """Mixes with a weight drawn from Beta(``alpha``, ``alpha``), a share ``probability`` of the rows."""

    alpha: float
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, 1e-3, 1e3, alpha=self.alpha)
        check_number(self, 0.0, 1.0, probability=self.probability)

    def _weights(self, key: jax.Array, count: int) -> jax.Array:
        """λ, float32 [count]; 1 for the rows that are not mixed."""
        key_share, key_mixed = jax.random.split(key)
        drawn = _beta(key_share, self.alpha, count)
        if self.probability == 1.0:
            return drawn
        return jnp.where(jax.random.bernoulli(key_mixed, self.probability, (count,)), drawn, 1.0)


@dataclass(frozen=True)
class Mixup(_BetaMix):
    """λ x_i + (1 - λ) x_j and λ y_i + (1 - λ) y_j (Zhang et al. 2018, arXiv:1710.09412).

    λ is drawn for each row from Beta(``alpha``, ``alpha``); 0.2 is usual, 1 is uniform. ``probability``: the
    share of rows that are mixed. For images, tables and any other rows of floats.
    """

    alpha: float = 0.2
    whole_images: ClassVar[bool] = False

    def draw_shares(self, key: RandomKey, count: int, sides: tuple[int, int]) -> tuple[Masks, Shares]:
        """λ, constant over each row."""
        share = self._weights(key, count)
        return share[:, None, None], share


@dataclass(frozen=True)
class Cutmix(_BetaMix):
    """A box of another image in each image; targets by area (Yun et al. 2019, arXiv:1905.04899).

    λ is drawn from Beta(``alpha``, ``alpha``) for each image; the box has the image's proportions, 1 - λ of
    its area, and its centre anywhere. Targets are mixed by the exact share of pixels kept, also for a box
    over the border. ``probability``: the share of images that get a box.
    """

    alpha: float = 1.0
    whole_images: ClassVar[bool] = True

    def draw_shares(self, key: RandomKey, count: int, sides: tuple[int, int]) -> tuple[Masks, Shares]:
        """0 inside the box, 1 outside, and the share outside."""
        key_share, key_place = jax.random.split(key)
        share = self._weights(key_share, count)
        box_sides = jnp.floor(jnp.sqrt(1 - share)[:, None] * jnp.array(sides, jnp.float32))
        inside = box(key_place, box_sides.astype(jnp.int32), sides)
        mask = 1.0 - inside.astype(jnp.float32)
        return mask, mask.mean(axis=(1, 2))


def draw_mixture(
    key: jax.Array, mixers: Sequence[Mixing], count: int, sides: tuple[int, int]
) -> tuple[Mixture, jax.Array]:
    """The mixture of a batch and the mask [n, h, w] (or [n, 1, 1]) that makes it.

    With several mixers, each row draws one. The partners are a random cyclic shift of the batch: every row is
    used once, none is its own partner (in a batch of two or more), and over the steps every pair occurs.
    """
    key_partner, key_choice, *keys = jax.random.split(key, 2 + len(mixers))
    offset = jax.random.randint(key_partner, (), 1, max(count, 2))
    drawn = [mixer.draw_shares(own, count, sides) for own, mixer in zip(keys, mixers, strict=True)]
    mask, share = drawn[0]
    choice = jax.random.randint(key_choice, (count,), 0, len(mixers))
    for number, (other_mask, other_share) in enumerate(drawn[1:], start=1):
        chosen = choice == number
        mask = jnp.where(chosen[:, None, None], other_mask, mask)
        share = jnp.where(chosen, other_share, share)
    return Mixture(offset, share), mask


def mix_rows(rows: Any, mixture: Mixture, mask: jax.Array) -> Any:
    """mask · own + (1 - mask) · partner's, for float images [n, h, w, c]; other rows by the share."""
    if rows.ndim != 4 or mask.shape[1:] == (1, 1):
        return mixture.blend(rows)
    weights = mask[..., None].astype(rows.dtype)
    return weights * rows + (1 - weights) * mixture.others(rows)


def _beta(key: jax.Array, alpha: float, count: int) -> jax.Array:
    """Draws from Beta(alpha, alpha), by its inverse distribution function at uniform draws.

    The inverse is tabulated and linear between the knots: jax.random.beta uses rejection, in nested loops
    that take seconds to compile.
    """
    table = jnp.asarray(betaincinv(alpha, alpha, np.linspace(0.0, 1.0, _KNOTS + 1)), jnp.float32)
    place = jax.random.uniform(key, (count,)) * _KNOTS
    below = jnp.minimum(place.astype(jnp.int32), _KNOTS - 1)
    return table[below] + (place - below) * (table[below + 1] - table[below])
