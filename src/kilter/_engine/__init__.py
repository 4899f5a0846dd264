"""The training engine: pure functions over pytrees, one compiled call an epoch, one bridge to Keras.

``bridge`` pulls a Keras model's variables into a :class:`~kilter._models.variables.State` and pushes them back;
``objective`` keeps cross-entropy stable; ``step`` and ``program`` make the compiled functions; ``batches``,
``feed`` and ``stream`` feed them; ``loop`` runs the epochs; ``inference`` evaluates and predicts.
"""
