"""Reports of runs, comparisons and treatments: one self-contained HTML file each."""

from kilter._lazy import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__)
