"""The autoencoder's task: reconstruct rows, possibly from a corrupted copy and with sparse codes."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp

from kilter.pretrain.running import Judged
from kilter.pretrain.targets import Targets

Corruption = Literal["gaussian", "masking"]
Penalty = Literal["kl", "l1"]
CORRUPTIONS: Final[tuple[Corruption, ...]] = ("gaussian", "masking")
PENALTIES: Final[tuple[Penalty, ...]] = ("kl", "l1")
_MEASURED_ONE_OF = 8
_TINY = 1e-6  # keeps the logarithm finite where a mean is exactly 0 or 1


@dataclass(frozen=True)
class Noise:
    """Corruption of a denoising autoencoder's inputs, in training only (Vincent et al. 2010).

    "gaussian" adds noise of standard deviation ``strength``, in the units of the targets. "masking" sets each
    value to 0, in the units of the targets, with probability ``strength``.
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
    """The penalty on active units of a sparse autoencoder's code.

    "kl": ``weight`` · Σ over units of KL(ρ ‖ ρ̂), where ρ is the target ``activity`` and ρ̂ the unit's mean
    over the batch (Ng 2011, CS294A lecture notes), for codes from 0 to 1. "l1": ``weight`` · the mean over
    the rows of Σ |code|.
    """

    penalty: Penalty
    weight: float
    activity: float

    def cost(self, codes: jax.Array) -> jax.Array:
        """The penalty of a batch of codes, shape (rows, ...): a scalar."""
        flat = codes.reshape(codes.shape[0], -1)
        if self.penalty == "l1":
            return self.weight * jnp.abs(flat).sum(axis=1).mean()
        target, mean = self.activity, jnp.clip(flat.mean(axis=0), _TINY, 1 - _TINY)
        divergence = target * jnp.log(target / mean) + (1 - target) * jnp.log((1 - target) / (1 - mean))
        return self.weight * divergence.sum()


@dataclass(frozen=True)
class Reconstruction:
    """Predict the row itself, measured by the mean squared error in the units of the targets.

    In training, every eighth row is measured: a fair sample after the shuffle, where all rows would cost a
    third of a dense autoencoder's step. ``importance`` multiplies the loss; stages of a greedy stack use one
    over the variance of their targets, the codes below.
    """

    targets: Targets
    noise: Noise | None = None
    sparsity: Sparsity | None = None
    importance: float = 1.0
    measure = "error"

    def pose(self, key: jax.Array, x: jax.Array, *, training: bool) -> tuple[jax.Array, Any]:
        """The rows, corrupted in training; their targets, and the stride of the rows to measure."""
        target = self.targets.of(x)
        answer = target, (_MEASURED_ONE_OF if training else 1)
        if self.noise is None or not training:
            return x, answer
        return self.targets.undo(self.noise.corrupt(key, target)), answer

    def judge(self, head: Any, codes: jax.Array, answer: Any) -> Judged:
        """The mean loss, plus the penalty on active codes."""
        target, every = answer
        outputs = head(codes)
        loss = self.importance * self.targets.losses(outputs, target).mean()
        if self.sparsity is not None:
            loss += self.sparsity.cost(codes)
        error = self.targets.errors(outputs[::every], target[::every]).mean()
        return Judged(loss, error, jnp.float32(target.shape[0]))
