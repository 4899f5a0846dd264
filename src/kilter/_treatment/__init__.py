"""Trials: paired comparisons of recipes or of functions that make models, and their statistics."""
