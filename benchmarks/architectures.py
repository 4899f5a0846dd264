"""Known architectures: how far weights after two epochs of kilter are from Keras's.

The yardstick is Keras from itself, begun with weights changed by one part in 1e7. One model trains each way
from the same weights; float32 and float64 each in a process of their own.

Example: ``.venv/bin/python benchmarks/architectures.py --names MobileNetV2 gan``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TYPES = ("float32", "float64")


def main() -> int:
    """Train and print a line for each; 0 when all are within their limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", nargs="+", default=[], help="architectures; all if left out")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(distances(options.names[0], options.types[0])))
        return 0
    from shortly.architectures import LARGE, SMALL

    fine = True
    for name in options.names or (*SMALL, *LARGE):
        for kind in options.types:
            found = child(name, kind)
            limit = max(found["perturbed"], 1e-6) if kind == "float32" else 1e-10
            fine &= found["clipped"] <= limit
            print(
                f"{name:15s} {kind} " + "  ".join(f"{key} {value:.1e}" for key, value in found.items()),
                flush=True,
            )
    return 0 if fine else 1


def child(name: str, kind: str) -> dict[str, float]:
    """The distances, from a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--child", "--names", name, "--types", kind]
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "KILTER_CACHE": "off"}
    environment["JAX_ENABLE_X64"] = "1" if kind == "float64" else "0"
    result = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def distances(name: str, kind: str) -> dict[str, float]:
    """Relative distances from Keras: Keras perturbed, kilter with Keras's clipped loss, kilter by default."""
    import kilter  # isort: skip  (before keras: it chooses the backend)
    import keras
    import numpy as np

    from shortly.architectures import LARGE, SMALL

    keras.config.set_floatx(kind)
    if kind == "float64":  # else layer normalisation and others compute in float32, in Keras too
        from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

        del BIT64_TO_BIT32_DTYPE["float64"]
    keras.utils.set_random_seed(0)
    model, x, y = (SMALL | LARGE)[name]()
    options: dict[str, Any] = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    model._symbolic_build(data_batch=kilter_batch(x, y))
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer else [])]
    start = [np.array(variable.value) for variable in variables]
    drawn = np.random.default_rng(3)

    def trained(fit: Any, *, perturbed: bool = False) -> np.ndarray:
        for variable, value in zip(variables, start, strict=True):
            moved = perturbed and variable.trainable and value.dtype.kind == "f"
            variable.assign(value * (1 + 1e-7 * drawn.standard_normal(value.shape)) if moved else value)
        fit()
        return np.concatenate([np.array(one.value, "float64").ravel() for one in model.weights])

    keras_weights = trained(lambda: model.fit(x, y, **options))
    ways = {
        "perturbed": trained(lambda: model.fit(x, y, **options), perturbed=True),
        "clipped": trained(lambda: kilter.fit(model, x, y, stable_loss=False, **options)),
        "stable": trained(lambda: kilter.fit(model, x, y, **options)),
    }
    size = np.linalg.norm(keras_weights)
    return {way: float(np.linalg.norm(weights - keras_weights) / size) for way, weights in ways.items()}


def kilter_batch(x: Any, y: Any) -> tuple[Any, Any, None]:
    """The first rows, to create all variables from."""
    import keras

    parts = (one if one is None else keras.tree.map_structure(lambda rows: rows[:8], one) for one in (x, y))
    return (*parts, None)


if __name__ == "__main__":
    sys.exit(main())
