"""Task "contrastive": which of the batch's views shows the same image (SimCLR)?"""

from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras

from kilter._validation import number
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
from kilter.errors import OptionError
from kilter.nn.blocks import Seeds
from kilter.pretrain.decoder import as_model
from kilter.pretrain.running import Judged, Subject
from kilter.pretrain.targets import value_range
from kilter.pretrain.tasks.base import Options, Setting, classified, flat, image_shape

# SimCLR's projection head, hidden layer and output; discarded after pretraining.
PROJECTION: Final = (128, 64)
_FAR = -1e9  # below every similarity: its share of a softmax is 0


def default_views(shape: tuple[int, int, int], value_range: tuple[float, float]) -> Augmentation:
    """Random views of images of ``shape`` = (height, width, channels), after SimCLR's crops and jitter.

    Zoom and shift together are a resized crop. Images of three channels change in saturation and hue too.
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
    """SimCLR's normalised temperature-scaled cross-entropy, and how often the partner is the nearest view.

    ``first`` and ``second``, shape (n, d): two views of the same n rows. With cosine similarities s, each of
    the 2n views i with its partner j costs -log(exp(s_ij / t) / Σ_{k ≠ i} exp(s_ik / t)); both results are
    means over the 2n views (Chen et al. 2020, arXiv:2002.05709, algorithm 1). A view of zeros has similarity
    0 to every view. A single row costs 0.
    """
    views = jnp.concatenate([first, second])
    count = views.shape[0]
    norms = jnp.sqrt(jnp.square(views).sum(axis=1, keepdims=True) + 1e-12)
    unit = views / norms
    similar = unit @ unit.T / temperature
    similar = jnp.where(jnp.eye(count, dtype=bool), _FAR, similar)
    partner = jnp.roll(jnp.arange(count), count // 2)
    judged = classified(similar, partner)
    return judged.loss, judged.measure


@dataclass(frozen=True)
class Contrastive:
    """Find the view of the same row among the batch's views. The encoder sees two views of each row."""

    views: Augmentation
    temperature: float
    measure = "accuracy"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, None]:
        """Both views of the rows, concatenated."""
        first, second = (self.views(own, x)[0] for own in jax.random.split(key))
        return jnp.concatenate([first, second]), None

    def judge(self, head: Any, codes: jax.Array, answer: None) -> Judged:
        """NT-Xent of the projections, and the share of views for which the partner is the nearest view."""
        first, second = jnp.split(head(codes), 2)
        loss, accuracy = nt_xent(first, second, self.temperature)
        return Judged(loss, accuracy, jnp.float32(codes.shape[0]))


def setting(subject: Subject, options: Options) -> Setting:
    """The task with SimCLR's projection head."""
    temperature = number("temperature", options.temperature, 0.01, 10, remedy="0.1 to 0.5 are usual")
    rivals = 2 * min(options.batch_size, len(subject.rows)) - 1
    if rivals < 2:
        raise OptionError(
            expected="batch_size of at least 2 for task='contrastive', which compares the rows of a batch",
            received=f"batch_size={options.batch_size}",
            remedy="128 or more are usual",
        )
    views = options.views
    if views is None:
        views = default_views(image_shape(subject, "contrastive"), value_range(subject.rows))
    elif views.mixes:
        raise OptionError(
            expected="views of one image each, for task='contrastive'",
            received="Mixup or Cutmix, which mix two",
            remedy="leave them out",
        )
    views.check(subject.rows[:1])
    seeds = Seeds(options.seed)
    hidden, width = PROJECTION
    layers = [
        *flat(subject),
        keras.layers.Dense(hidden, activation="relu", kernel_initializer=seeds.initializer("relu")),
        keras.layers.Dense(width, kernel_initializer=seeds.initializer(None)),
    ]
    head = as_model(layers, subject.code_shape, "projection")
    return Setting(Contrastive(views, temperature), head, 1 / rivals)
