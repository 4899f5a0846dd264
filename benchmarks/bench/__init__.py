"""The driver of ``make bench``: starts peers, commands epochs in turn, summarises, prints and keeps figures.

Standard library and NumPy only; every framework lives in a peer's own process (package ``peers``). ``pages``
alone, for the programs beside it that measure kilter in their own process, has rich and plotly.
"""
