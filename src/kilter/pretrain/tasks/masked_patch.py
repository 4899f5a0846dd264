"""Task "masked-patch": what is under the masked squares of an image?"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from kilter._validation import number, whole_number
from kilter.data.scaling import moments
from kilter.nn.blocks import Seeds
from kilter.pretrain.decoder import decoder_layers, links
from kilter.pretrain.running import Judged, Subject, baseline_error
from kilter.pretrain.targets import Targets, targets_for
from kilter.pretrain.tasks.base import Options, Setting, check_divides, image_shape


@dataclass(frozen=True)
class MaskedPatch:
    """Predict what is under the masked patches (He et al. 2022, arXiv:2111.06377; Pathak et al. 2016).

    Of the ``patch`` × ``patch`` squares of each image, the share ``masked`` is set to the data's mean, drawn
    again at every step: rounded to whole squares, at least one and not all. Loss and error count masked
    pixels only.
    """

    targets: Targets
    patch: int
    masked: float
    fill: tuple[float, ...]
    measure = "error"

    def hidden(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Which pixels are masked: bool [n, h, w, 1], for images of ``shape`` [n, h, w, c]."""
        count, height, width, _ = shape
        grid = (height // self.patch, width // self.patch)
        squares = grid[0] * grid[1]
        most = min(max(round(self.masked * squares), 1), squares - 1)
        # The squares with the smallest uniform draws: the same number in each image.
        drawn = jax.random.uniform(key, (count, squares))
        chosen = drawn <= jnp.sort(drawn, axis=1)[:, most - 1 : most]
        of_squares = chosen.reshape(count, *grid, 1)
        return of_squares.repeat(self.patch, axis=1).repeat(self.patch, axis=2)

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, Any]:
        """The masked images; the targets and the mask."""
        hidden = self.hidden(key, x.shape)
        question = jnp.where(hidden, jnp.asarray(self.fill, jnp.float32), x.astype(jnp.float32))
        return question, (self.targets.of(x), hidden)

    def judge(self, head: Any, codes: jax.Array, answer: Any) -> Judged:
        """The mean loss of the masked pixels."""
        target, hidden = answer
        outputs = head(codes)
        shares = jnp.broadcast_to(hidden, target.shape).astype(jnp.float32)
        count = shares.sum()
        loss = (self.targets.losses(outputs, target) * shares).sum() / count
        error = (self.targets.errors(outputs, target) * shares).sum() / count
        return Judged(loss, error, jnp.float32(target.shape[0]))


def setting(subject: Subject, options: Options) -> Setting:
    """The task with the encoder's mirror image as its head."""
    height, width, _ = image_shape(subject, "masked-patch")
    whole_number("patch", options.patch, 1)
    check_divides("patch", options.patch, (height, width), even=False)
    masked = number("masked", options.masked, above=0, below=1, remedy="start with 0.5")
    fill = tuple(float(mean) for mean in moments(subject.rows).mean)
    task = MaskedPatch(targets_for(subject.rows), options.patch, masked, fill)
    stages = decoder_layers(links(subject.encoder), seeds=Seeds(options.seed))
    return Setting(task, subject.mirror(stages), baseline_error(subject, task.targets, options.seed))
