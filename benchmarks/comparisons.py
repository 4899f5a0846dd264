"""Optimisers, activations and initialisers compared on Fashion-MNIST: tables, figures, pictures.

Example: ``.venv/bin/python benchmarks/comparisons.py --only optimizers``
"""

from __future__ import annotations

import sys
import time

from bench.pages import Page, options_of
from compared.activations import compare_activations
from compared.initializers import compare_initializers
from compared.optimizers import compare_optimizers
from compared.task import FULL, QUICK, fashion

COMPARISONS = {
    "optimizers": compare_optimizers,
    "activations": compare_activations,
    "initializers": compare_initializers,
}


def main() -> int:
    """Compare what the command line asks for, print it, and keep it."""
    options = options_of(__doc__, COMPARISONS)
    task = fashion(QUICK if options.quick else FULL)
    for name in [options.only] if options.only else COMPARISONS:
        began = time.perf_counter()
        found = COMPARISONS[name](task)
        page = Page(
            name=name,
            title=f"{found.table.title} compared",
            introduction=f"Measured in {time.perf_counter() - began:.0f} s.",
            tables=[found.table],
            figures=found.figures,
            pictures={"curves": found.picture},
            quick=options.quick,
        )
        found.table.show()
        print(f"kept in {page.write(options.results)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
