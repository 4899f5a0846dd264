"""The training engine: pure functions over pytrees, one compiled call per epoch.

``stable_losses`` computes cross-entropy from logits; ``step`` and ``program_cache`` make the compiled
functions; ``structure`` says which models share them and ``step_cost`` how much work a step is; ``arrays``,
``feed`` and ``stream`` feed them; ``loop`` runs the epochs; ``inference`` evaluates and predicts.
"""

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)
