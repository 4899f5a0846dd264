"""Images, and every transformation with what must hold of it: the table that each member has to pass."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kilter.data.augmentation import (
    Augmentation,
    Brightness,
    Contrast,
    Cutmix,
    Cutout,
    Flip,
    Hue,
    Mixup,
    Rotate,
    Saturation,
    Shift,
    Transform,
    Zoom,
)


@dataclass(frozen=True)
class Case:
    """A transformation, the same one made so weak that it does nothing (None: it cannot), bad arguments."""

    strong: Transform
    idle: Transform | None
    bad: tuple[dict[str, Any], ...]


CASES = {
    "flip": Case(Flip("both"), None, ({"direction": "sideways"},)),
    "shift": Case(Shift(0.4), Shift(0.0), ({"share": -0.1}, {"share": 1.1}, {"share": "0.1"})),
    "rotate": Case(Rotate(90), Rotate(0.0), ({"degrees": -1}, {"degrees": 181}, {"degrees": True})),
    "zoom": Case(Zoom(0.5), Zoom(0.0), ({"share": 1.0}, {"share": float("nan")})),
    "brightness": Case(Brightness(0.4), Brightness(0.0), ({"share": 2},)),
    "contrast": Case(Contrast(0.6), Contrast(0.0), ({"share": -1},)),
    "saturation": Case(Saturation(0.8), Saturation(0.0), ({"share": None},)),
    "hue": Case(Hue(0.4), Hue(0.0), ({"share": 0.6},)),
    "cutout": Case(Cutout(4), None, ({"size": 0}, {"size": 2.5}, {"size": 3, "value": float("inf")})),
    "mixup": Case(Mixup(1.0), Mixup(1.0, probability=0.0), ({"alpha": 0}, {"probability": 1.5})),
    "cutmix": Case(Cutmix(1.0), Cutmix(1.0, probability=0.0), ({"alpha": -1.0}, {"probability": -0.1})),
}


def photographs(
    count: int = 12, height: int = 9, width: int = 7, channels: int = 3, seed: int = 0
) -> np.ndarray:
    """Noise of unsigned bytes [count, height, width, channels]: nothing in it is symmetrical."""
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def applied(augment: Augmentation, x: Any, seed: int = 3) -> tuple[np.ndarray, Any]:
    """The inputs augmented by the compiled augmentation, and the mixture."""
    made, mixture = _compiled(augment)(jax.random.key(seed), jnp.asarray(x))
    return np.asarray(made), mixture


@cache
def _compiled(augment: Augmentation) -> Any:
    return jax.jit(augment)


def alone(transform: Transform, **options: Any) -> Augmentation:
    """An augmentation of one transformation."""
    return Augmentation((transform,), **options)
