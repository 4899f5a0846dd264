"""Keras's own tests, run once as they are and once with ``model.fit`` and its like routed through kilter."""
