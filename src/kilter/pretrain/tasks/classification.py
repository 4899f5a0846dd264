"""Tasks with one answer out of several: by how much an image was turned, how its tiles were shuffled."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kilter.pretrain.pretext import Judged

_CANDIDATES = 2000
QUARTERS = 4


@dataclass(frozen=True)
class Rotation:
    """By how many quarters an image was turned (Gidaris et al. 2018, arXiv:1803.07728); chance is 1/4."""

    measure = "accuracy"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, jax.Array]:
        """The images, each turned by 0 to 3 quarters, counter-clockwise, and by how many."""
        answer = jax.random.randint(key, (x.shape[0],), 0, QUARTERS)
        turned = x
        for quarters in range(1, QUARTERS):
            chosen = (answer == quarters)[:, None, None, None]
            turned = jnp.where(chosen, jnp.rot90(x, quarters, axes=(1, 2)), turned)
        return turned, answer

    def judge(self, head: Any, codes: jax.Array, answer: jax.Array) -> Judged:
        """The cross-entropy of the number of quarters."""
        return classified(head(codes), answer)


@dataclass(frozen=True)
class Jigsaw:
    """By which of some permutations an image's tiles were shuffled (Noroozi and Favaro 2016).

    ``order``: the permutations, each of ``tiles``² numbers: which tile of the image stands at each place,
    row by row. The paper gives each tile to the encoder by itself; here the encoder sees the shuffled image.
    """

    tiles: int
    order: tuple[tuple[int, ...], ...]
    measure = "accuracy"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, jax.Array]:
        """The shuffled images, and the number of each one's permutation."""
        answer = jax.random.randint(key, (x.shape[0],), 0, len(self.order))
        return shuffle_tiles(x, jnp.asarray(self.order)[answer], self.tiles), answer

    def judge(self, head: Any, codes: jax.Array, answer: jax.Array) -> Judged:
        """The cross-entropy of the number of the permutation."""
        return classified(head(codes), answer)


def shuffle_tiles(images: jax.Array, order: jax.Array, tiles: int) -> jax.Array:
    """Images [n, h, w, c] whose ``tiles`` × ``tiles`` squares are put in ``order`` (int [n, tiles²])."""
    count, height, width, channels = images.shape
    high, wide = height // tiles, width // tiles
    squares = images.reshape(count, tiles, high, tiles, wide, channels).swapaxes(2, 3)
    flat = squares.reshape(count, tiles * tiles, high * wide * channels)
    shuffled = jnp.take_along_axis(flat, order[:, :, None], axis=1)
    squares = shuffled.reshape(count, tiles, tiles, high, wide, channels).swapaxes(2, 3)
    return squares.reshape(images.shape)


def distant_permutations(length: int, count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """At most ``count`` permutations of 0 to ``length`` - 1 that differ in many places, each once.

    All of them where there are no more; else one after another that which differs most from those before,
    out of 2,000 drawn with ``seed``.

    Example:
        >>> len(distant_permutations(4, 24, seed=0)), len(distant_permutations(9, 30, seed=0))
        (24, 30)
    """
    if math.factorial(length) <= count:
        return tuple(itertools.permutations(range(length)))
    drawn = np.random.default_rng(seed).permuted(np.tile(np.arange(length), (_CANDIDATES, 1)), axis=1)
    candidates = np.unique(drawn, axis=0)
    chosen = [candidates[0]]
    nearest = (candidates != chosen[0]).sum(axis=1)
    while len(chosen) < min(count, len(candidates)):
        chosen.append(candidates[int(nearest.argmax())])
        nearest = np.minimum(nearest, (candidates != chosen[-1]).sum(axis=1))
    return tuple(tuple(int(place) for place in one) for one in chosen)


def classified(logits: jax.Array, answer: jax.Array) -> Judged:
    """The mean cross-entropy of logits [n, classes] of class numbers [n], and the share of right ones."""
    own = jnp.take_along_axis(logits, answer[:, None], axis=1)[:, 0]
    loss = (jax.nn.logsumexp(logits, axis=1) - own).mean()
    accuracy = (logits.argmax(axis=1) == answer).astype(jnp.float32).mean()
    return Judged(loss, accuracy, jnp.float32(logits.shape[0]))
