"""Tasks that give rows back: whole from a corrupted copy, or the patches that were masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp

from kilter.pretrain.pretext import Judged
from kilter.pretrain.targets import Targets

Corruption = Literal["gaussian", "masking"]
Penalty = Literal["kl", "l1"]
CORRUPTIONS: Final[tuple[Corruption, ...]] = ("gaussian", "masking")
PENALTIES: Final[tuple[Penalty, ...]] = ("kl", "l1")
_MEASURED_ONE_OF = 8
_TINY = 1e-6  # keeps the logarithms of a share that is exactly 0 or 1 finite


@dataclass(frozen=True)
class Noise:
    """What a denoising autoencoder's rows go through in training (Vincent et al. 2010), and nowhere else.

    "gaussian" adds noise of the standard deviation ``strength``, in the units of the targets; "masking" sets
    each number, with the probability ``strength``, to what is 0 in the units of the targets.
    """

    corruption: Corruption
    strength: float

    def corrupt(self, key: jax.Array, target: jax.Array) -> jax.Array:
        """A corrupted copy of rows in the units of the targets."""
        if self.corruption == "gaussian":
            return target + self.strength * jax.random.normal(key, target.shape)
        return jnp.where(jax.random.bernoulli(key, self.strength, target.shape), 0.0, target)


@dataclass(frozen=True)
class Sparsity:
    """What a sparse autoencoder pays for units of its code that are active.

    "kl": ``weight`` · Σ over units of KL(ρ ‖ ρ̂), ρ being the ``activity`` wished for and ρ̂ the mean of the
    unit over the batch (Ng 2011, CS294A lecture notes); for codes from 0 to 1. "l1": ``weight`` · the mean
    over the rows of Σ |code|.
    """

    penalty: Penalty
    weight: float
    activity: float

    def cost(self, codes: jax.Array) -> jax.Array:
        """The penalty of a batch of codes, shape (rows, ...): a scalar."""
        flat = codes.reshape(codes.shape[0], -1)
        if self.penalty == "l1":
            return self.weight * jnp.abs(flat).sum(axis=1).mean()
        wished, mean = self.activity, jnp.clip(flat.mean(axis=0), _TINY, 1 - _TINY)
        divergence = wished * jnp.log(wished / mean) + (1 - wished) * jnp.log((1 - wished) / (1 - mean))
        return self.weight * divergence.sum()


@dataclass(frozen=True)
class Reconstruction:
    """The answer is the row itself; the measure is the mean squared error in the units of the targets.

    While training it is that of every eighth row, which the shuffle makes a fair sample: of all of them it
    would cost a third of the step of a dense autoencoder, for a number that only the history shows.

    ``importance`` multiplies the loss: one over the variance, for the stages of a stack, whose targets are
    the codes below.
    """

    targets: Targets
    noise: Noise | None = None
    sparsity: Sparsity | None = None
    importance: float = 1.0
    measure = "error"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, Any]:
        """The rows, corrupted in training; their targets, and of how many rows one is measured."""
        target = self.targets.of(x)
        answer = target, (_MEASURED_ONE_OF if training else 1)
        if self.noise is None or not training:
            return x, answer
        return self.targets.undo(self.noise.corrupt(key, target)), answer

    def judge(self, head: Any, codes: jax.Array, answer: Any) -> Judged:
        """The mean loss of the numbers, and what the codes' activity costs."""
        target, every = answer
        outputs = head(codes)
        loss = self.importance * self.targets.losses(outputs, target).mean()
        if self.sparsity is not None:
            loss += self.sparsity.cost(codes)
        error = self.targets.errors(outputs[::every], target[::every]).mean()
        return Judged(loss, error, jnp.float32(target.shape[0]))


@dataclass(frozen=True)
class MaskedPatch:
    """The answer is what was under the masked patches (He et al. 2022, arXiv:2111.06377; Pathak et al. 2016).

    Of the ``patch`` × ``patch`` squares of each image, ``masked`` of them (a share, rounded to whole squares,
    at least one and not all) are set to the data's mean, drawn anew in every step. Loss and measure are of
    the masked pixels only.
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
        # The squares with the smallest of even draws: exactly that many of each image.
        drawn = jax.random.uniform(key, (count, squares))
        chosen = drawn <= jnp.sort(drawn, axis=1)[:, most - 1 : most]
        of_squares = chosen.reshape(count, *grid, 1)
        return of_squares.repeat(self.patch, axis=1).repeat(self.patch, axis=2)

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, Any]:
        """The masked images; the targets and which pixels count."""
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
