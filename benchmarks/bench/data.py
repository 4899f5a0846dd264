"""The rows every peer trains on, decoded once into plain arrays that any environment can read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.peers import HERE
from bench.workloads import CLASSES, IMAGE_SHAPE

CACHE = HERE.parent / "build" / "benchmarks"
TRAIN = Path("cifar10") / "train-00000-of-00001.parquet"
VALIDATION_ROWS = 5_000  # left out from the front, as in the CIFAR-10 exercise
TRAINING_ROWS = 45_000


def prepare() -> tuple[Path, str]:
    """The folder with ``x.npy`` (uint8 [45000, 32, 32, 3]) and ``y.npy`` (int32 [45000]), and what they are.

    CIFAR-10's Parquet under ``$KILTER_DATA``, decoded once and kept under build/; synthetic rows of the
    same shape where there is none.
    """
    root = os.environ.get("KILTER_DATA")
    if root and (Path(root) / TRAIN).exists():
        folder = CACHE / "cifar10"
        if not (folder / "y.npy").exists():  # written last
            folder.mkdir(parents=True, exist_ok=True)
            script = HERE / "bench" / "decode_parquet.py"
            subprocess.run(
                (sys.executable, script, Path(root) / TRAIN, folder, str(VALIDATION_ROWS)), check=True
            )
        return folder, "CIFAR-10, 45,000 training rows"
    folder = CACHE / "synthetic"
    if not (folder / "y.npy").exists():
        _write_synthetic(folder)
    return folder, "synthetic rows of CIFAR-10's shape (no data under $KILTER_DATA)"


def _write_synthetic(folder: Path) -> None:
    """Random pixels with a class-dependent shift of brightness, so that the loss can fall."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    y = generator.integers(0, CLASSES, TRAINING_ROWS, dtype=np.int32)
    x = generator.integers(0, 156, (TRAINING_ROWS, *IMAGE_SHAPE), dtype=np.uint8)
    x += (11 * y).astype(np.uint8)[:, None, None, None]
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
