"""Task "pairs": do two rows belong to the same group?"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from kilter.pretrain.running import Judged, Subject
from kilter.pretrain.tasks.base import Options, Setting, linear_head


@dataclass(frozen=True)
class Pairs:
    """Predict whether two rows belong to the same group: the same person, the same class.

    Each row of a batch is paired with another one, from its own group or from a different group with
    probability 1/2 each. Rows without such a partner do not count. Same and different pairs have equal weight
    in loss and accuracy, however often they occur. The head sees |code - partner's code|.
    """

    measure = "accuracy"

    def pose(self, key: jax.Array, x: Any, *, training: bool) -> tuple[jax.Array, Any]:
        """The rows; each one's partner, whether both are of one group, and whether the pair counts."""
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
        """Cross-entropy and accuracy of "same group", same and different pairs weighted equally."""
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


def setting(subject: Subject, options: Options) -> Setting:
    """The task with one logit."""
    return Setting(Pairs(), linear_head(subject, 1, options.seed), 0.5)
