"""Data: files, folders and named sets as checked arrays, ready to split and train on.

>>> from kilter.data import load, split
>>> source = load("digits")
>>> parts = split(source, validation=0.1, seed=0)
>>> len(parts.train), len(parts.validation), parts.train.input_shape
(1617, 180, (8, 8, 1))

``load`` reads any of ``FORMATS`` or ``NAMED_SETS`` into a ``Source``; ``split`` divides it, the same way on
every machine, and ``fold`` for cross-validation; ``moments`` computes the statistics for standardisation;
``describe`` summarises a source; ``check`` raises for data that cannot be trained on. ``stream`` is for data
larger than memory. Bad data raise ``kilter.errors.DataError``, which counts and names them. Nothing here
imports Keras or JAX, unless a named set comes from Keras. ``augmentation``, which needs JAX, and the readers
of files load on first use.
"""

from kilter._lazy import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__)
