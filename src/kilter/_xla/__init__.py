"""Compilation by XLA, and rewriting of traced steps for it: one rule family per file."""
