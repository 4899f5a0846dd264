"""Task "rotation": by how many quarter turns was an image rotated?"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from kilter.errors import DataError
from kilter.pretrain.running import Judged, Subject
from kilter.pretrain.tasks.base import Options, Setting, classified, image_shape, linear_head

QUARTERS = 4


@dataclass(frozen=True)
class Rotation:
    """Predict the number of quarter turns (Gidaris et al. 2018, arXiv:1803.07728); chance is 1/4."""

    measure = "accuracy"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, jax.Array]:
        """The images, each rotated by 0 to 3 quarters counter-clockwise, and by how many."""
        answer = jax.random.randint(key, (x.shape[0],), 0, QUARTERS)
        turned = x
        for quarters in range(1, QUARTERS):
            chosen = (answer == quarters)[:, None, None, None]
            turned = jnp.where(chosen, jnp.rot90(x, quarters, axes=(1, 2)), turned)
        return turned, answer

    def judge(self, head: Any, codes: jax.Array, answer: jax.Array) -> Judged:
        """The cross-entropy of the number of quarters."""
        return classified(head(codes), answer)


def setting(subject: Subject, options: Options) -> Setting:
    """The task for square images."""
    height, width, _ = image_shape(subject, "rotation")
    if height != width:
        raise DataError(
            expected="square images for task='rotation'",
            received=f"images of {height} × {width}",
            remedy="crop or resize them, or use task='jigsaw'",
        )
    return Setting(Rotation(), linear_head(subject, QUARTERS, options.seed), 1 / QUARTERS)
