"""Checks of models, data and training: each yields findings."""
