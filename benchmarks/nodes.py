"""One search on one Ray node of one core, then on two: the scores are the same; how much time is saved?

    python benchmarks/nodes.py [--trials 12] [--epochs 600]

Run it on a quiet machine with two cores or more, with the extra ``kilter[ray]``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]  # an extra

import kilter
from kilter.recipe import recipe_for, with_overrides

OVER = {"optimizer.learning_rate": {"low": 1e-4, "high": 0.01, "log": True}}


def run(nodes: int, trials: int, epochs: int, folder: Path) -> tuple[float, list[float]]:
    """The seconds of the search, with the start of its workers, and the scores of its trials."""
    keys = [f"train.epochs={epochs}", "train.batch_size=32", "model.hidden=[64, 64]"]
    recipe = with_overrides(recipe_for("digits"), [*keys, "train.early_stopping=none"])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    try:
        began = time.perf_counter()
        how = {"sampler": "random", "stop_early": False, "ray": cluster.address, "verbose": 0}
        found = kilter.search(recipe, OVER, trials=trials, out=folder, **how)
        return time.perf_counter() - began, [one.score for one in found.trials]
    finally:
        cluster.shutdown()


def main() -> None:
    """Run both and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=600)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {nodes: run(nodes, given.trials, given.epochs, Path(folder, str(nodes))) for nodes in (1, 2)}
    (one, scores), (two, others) = found[1], found[2]
    print(json.dumps({"one": one, "two": two, "ratio": two / one, "same": scores == others}, indent=1))


if __name__ == "__main__":
    main()
