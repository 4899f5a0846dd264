"""Optimisers, activations and initialisers side by side on one task, measured instead of told."""
