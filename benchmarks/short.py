"""Short trainings: the cost to the end of the first epoch, peak memory and steady epochs, against Keras.

Each training runs in a process of its own, kilter's and Keras's in turns, on the same model and data. Costs
are CPU seconds (user and system of the process), which other work on the machine changes little; wall times
are kept beside them. Compilation caches are off, unless ``--cache`` fills one first.

Example: ``.venv/bin/python benchmarks/short.py --workloads dense-512 lstm --pairs 3``
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WAYS = ("keras", "kilter")
EPOCHS = 4


def main() -> int:
    """Train in turns, print a table, keep the figures."""
    options = parse_options()
    if options.child:
        print(json.dumps(train(options.child, options.workloads[0], options.epochs)))
        return 0
    from shortly.workloads import WORKLOADS

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in options.workloads or WORKLOADS:
        found[name] = measured(name, options.pairs, options.epochs, cached=options.cache)
        print(row(name, found[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", default=[], help="names; all if left out")
    parser.add_argument("--pairs", type=int, default=3, help="trainings of each kind (default: 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"epochs of each (default: {EPOCHS})")
    parser.add_argument("--cache", action="store_true", help="a second process, with a filled program cache")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(name: str, pairs: int, epochs: int, *, cached: bool) -> dict[str, list[dict[str, Any]]]:
    """The figures of each training, kilter's and Keras's in turns."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if cached else "off"
        if cached:
            child("kilter", name, epochs, cache)
        for _ in range(pairs):
            for way in WAYS:
                found[way].append(child(way, name, epochs, cache))
    return found


def child(way: str, name: str, epochs: int, cache: str) -> dict[str, Any]:
    """One training in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--child", way, "--workloads", name]
    environment = os.environ | {"KILTER_CACHE": cache, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [*command, "--epochs", str(epochs)], env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def row(name: str, found: dict[str, list[dict[str, Any]]]) -> str:
    """Medians of kilter over Keras: first epoch, steady epoch, memory; then the figures themselves."""
    parts = []
    for figure in ("first_cpu", "first_wall", "steady_cpu", "steady_wall", "peak", "evaluate", "predict"):
        keras, kilter = (statistics.median(one[figure] for one in found[way]) for way in WAYS)
        parts.append(f"{figure} {kilter / keras:.2f} ({kilter:.4g}/{keras:.4g})")
    return f"{name:12s} " + "  ".join(parts)


def train(way: str, name: str, epochs: int) -> dict[str, Any]:
    """One training in this process: CPU and wall seconds of each epoch, the peak of memory in MiB."""
    import kilter  # isort: skip  (before keras: it chooses the backend)
    import keras

    from shortly.workloads import WORKLOADS

    keras.utils.set_random_seed(0)
    model, x, y, batch_size = WORKLOADS[name]()
    times: list[tuple[float, float]] = []

    class Clock(keras.callbacks.Callback):
        kilter_chunked = True

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            times.append(now())

    before = peak()
    times.append(now())
    options: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "verbose": 0,
        "callbacks": [Clock()],
    }
    history = model.fit(x, y, **options) if way == "keras" else kilter.fit(model, x, y, **options)
    parts = [
        tuple(after - start for after, start in zip(one, other, strict=True))
        for other, one in itertools.pairwise(times)
    ]
    fitted = peak()
    return {
        "first_cpu": parts[0][0],
        "first_wall": parts[0][1],
        "steady_cpu": statistics.median(one[0] for one in parts[1:]),
        "steady_wall": statistics.median(one[1] for one in parts[1:]),
        "before": before,
        "peak": fitted,
        "loss": float(history.history["loss"][-1]),
        **calls(way, model, x, y),
    }


def calls(way: str, model: Any, x: Any, y: Any) -> dict[str, float]:
    """Seconds of one evaluate and one predict of a single row, after calls that compile."""
    import kilter

    def timed(call: Any) -> float:
        call()
        call()
        began = now()
        for _ in range(10):
            call()
        return (now()[0] - began[0]) / 10

    if way == "keras":
        return {
            "evaluate": timed(lambda: model.evaluate(x[:1], y[:1], verbose=0)),
            "predict": timed(lambda: model.predict(x[:1], verbose=0)),
        }
    return {
        "evaluate": timed(lambda: kilter.evaluate(model, x[:1], y[:1], verbose=0)),
        "predict": timed(lambda: kilter.predict(model, x[:1], verbose=0)),
    }


def now() -> tuple[float, float]:
    """CPU seconds of this process, and the clock."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
