"""The peer's side of the talk with the driver, and the data it trains on. Standard library and NumPy only."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.workloads import IMAGE_SHAPE, INPUTS, Workload

ROWS_AT_ONCE = 2_000


@dataclasses.dataclass(frozen=True)
class Options:
    """A peer's command line: the workload, the folder of its data, and what only some peers know."""

    workload: Workload
    data: Path
    steps_per_execution: int
    compact: bool


def options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", type=Workload.from_json, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--compact", action="store_true", help="keep the pixels as uint8")
    return Options(**vars(parser.parse_args()))


def load(workload: Workload, folder: Path, *, compact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [rows, 3072], or [rows, 32, 32, 3] for convolutions, and int32 labels [rows].

    Inputs are float32 in 0 to 1; with ``compact`` the pixels as stored, uint8 in 0 to 255. The file is
    mapped anew for every few rows (mapped pages count as resident), so that loading leaves no peak of
    memory behind.
    """
    x = np.empty((workload.rows, *IMAGE_SHAPE), np.uint8 if compact else np.float32)
    for begin in range(0, workload.rows, ROWS_AT_ONCE):
        part = slice(begin, min(begin + ROWS_AT_ONCE, workload.rows))
        pixels = np.load(folder / "x.npy", mmap_mode="r")[part]
        x[part] = pixels if compact else pixels * np.float32(1 / 255)
    y = np.load(folder / "y.npy")[: workload.rows]
    return (x if workload.filters else x.reshape(len(x), INPUTS)), y


class Conversation:
    """One JSON object a line, on stdin and a private copy of stdout; what libraries print goes to stderr."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self, *libraries: str) -> None:
        """Data and model are in place; names the installed versions of ``libraries``."""
        versions = {name: importlib.metadata.version(name) for name in libraries}
        self._say({"versions": {"python": platform.python_version()} | versions})

    def epoch_wanted(self) -> bool:
        """Sleep until the driver asks for an epoch; False when it asks to stop, or is gone."""
        return sys.stdin.readline().strip() == "epoch"

    def report(
        self,
        seconds: float,
        loss: float,
        call_seconds: float | None = None,
        compile_seconds: float | None = None,
    ) -> None:
        """An epoch is done: its wall time and mean training loss.

        ``call_seconds`` is the whole ``fit`` call's where there is one an epoch, ``compile_seconds`` what
        the library itself says it spent on compiling.
        """
        figures = {"seconds": seconds, "loss": loss, "peak_bytes": peak_bytes()}
        self._say(figures | {"call_seconds": call_seconds, "compile_seconds": compile_seconds})

    def _say(self, message: dict[str, Any]) -> None:
        print(json.dumps(message), file=self._answers, flush=True)


def peak_bytes() -> int:
    """Highest resident memory of this process so far.

    VmHWM where Linux tells it: ``ru_maxrss`` may still hold the size of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        match = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if match:
            return int(match.group(1)) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
