"""Pretext tasks: labels made from the data."""
