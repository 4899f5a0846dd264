"""Reusing trained networks: cut, adapted, given a new head, and fine-tuned in stages."""
