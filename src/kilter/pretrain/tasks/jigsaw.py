"""Task "jigsaw": by which permutation were an image's tiles shuffled?"""

import itertools
import math
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from kilter._validation import whole_number
from kilter.pretrain.running import Judged, Subject
from kilter.pretrain.tasks.base import Options, Setting, check_divides, classified, image_shape, linear_head

PERMUTATIONS: Final = 30
_CANDIDATES = 2000


@dataclass(frozen=True)
class Jigsaw:
    """Predict the permutation of an image's tiles (Noroozi and Favaro 2016).

    ``order``: the permutations, each of ``tiles``² indices: the tile that goes to each position, row by row.
    The paper encodes each tile separately; here the encoder sees the shuffled image.
    """

    tiles: int
    order: tuple[tuple[int, ...], ...]
    measure = "accuracy"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, jax.Array]:
        """The shuffled images, and the index of each one's permutation."""
        answer = jax.random.randint(key, (x.shape[0],), 0, len(self.order))
        return shuffle_tiles(x, jnp.asarray(self.order)[answer], self.tiles), answer

    def judge(self, head: Any, codes: jax.Array, answer: jax.Array) -> Judged:
        """The cross-entropy of the permutation's index."""
        return classified(head(codes), answer)


def shuffle_tiles(images: jax.Array, order: jax.Array, tiles: int) -> jax.Array:
    """Images [n, h, w, c] with their ``tiles`` × ``tiles`` squares reordered by ``order`` [n, tiles²]."""
    count, height, width, channels = images.shape
    high, wide = height // tiles, width // tiles
    squares = images.reshape(count, tiles, high, tiles, wide, channels).swapaxes(2, 3)
    flat = squares.reshape(count, tiles * tiles, high * wide * channels)
    shuffled = jnp.take_along_axis(flat, order[:, :, None], axis=1)
    squares = shuffled.reshape(count, tiles, tiles, high, wide, channels).swapaxes(2, 3)
    return squares.reshape(images.shape)


def distant_permutations(length: int, count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """At most ``count`` different permutations of 0 to ``length`` - 1, far apart in Hamming distance.

    All permutations if there are no more than ``count``. Otherwise chosen greedily from 2,000 drawn with
    ``seed``: each is the farthest from those chosen before.

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


def setting(subject: Subject, options: Options) -> Setting:
    """The task with at most 30 permutations."""
    height, width, _ = image_shape(subject, "jigsaw")
    whole_number("tiles", options.tiles, 2)
    check_divides("tiles", options.tiles, (height, width), even=True)
    order = distant_permutations(options.tiles**2, PERMUTATIONS, options.seed)
    head = linear_head(subject, len(order), options.seed)
    return Setting(Jigsaw(options.tiles, order), head, 1 / len(order))
