"""The training engine: pure functions over pytrees, one compiled call per epoch.

``arrays`` checks the data, ``feed`` and ``batch_feed`` make blocks of it; ``step`` makes the step of a model,
``program_cache`` compiles it, ``loop`` runs the epochs; ``inference`` evaluates and predicts.
"""

from kilter import _backend as _backend  # chooses JAX before Keras loads
