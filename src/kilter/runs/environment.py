"""environment.json: the versions and the machine that a run was trained with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kilter import __version__

_PACKAGES = ("keras", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")


def describe_environment(*, device: str, seed: int) -> dict[str, Any]:
    """Versions, platform, processors, device, seed, and the variables that change JAX's arithmetic."""
    return {
        "versions": {
            "kilter": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "cpu_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": device,
        "seed": seed,
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in {"XLA_FLAGS", "KERAS_BACKEND"} or name.startswith("JAX_")
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    """The processor's model; platform.processor() is empty on most Linux systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
