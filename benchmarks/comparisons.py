"""Optimisers, activations and initialisers compared on Fashion-MNIST: tables, figures, pictures.

Example: ``.venv/bin/python benchmarks/comparisons.py --only optimizers``
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.pages import RESULTS, Page
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=COMPARISONS, help="one of them (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rows: does it run? No figures to quote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for what is kept")
    options = parser.parse_args()
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
