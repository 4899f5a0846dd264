"""Pretext tasks: labels made from the rows themselves."""
