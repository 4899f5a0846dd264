"""Studies of reuse: how many layers to keep, and whether reusing helped at all, on paired seeds."""
