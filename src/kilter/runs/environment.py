"""environment.json: what a run was computed with, and what is different when it is resumed."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from kilter import __version__

_PACKAGES: Final = ("keras", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")
# What may change the last bits of a number.
_DECIDING: Final = ("versions", "processor", "device", "variables")


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


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What affects the bits of a training run and has changed, such as ``"jax 0.10.0, was 0.9.1"``.

    Example:
        >>> differences({"device": "cpu", "versions": {"jax": "0.9"}}, {"device": "cpu", "versions": {}})
        ['jax absent, was 0.9']
    """
    found = []
    for name in _DECIDING:
        old, new = before.get(name), now.get(name)
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            old, new = {name: old}, {name: new}
        keys = dict.fromkeys([*old, *new])
        found += [
            f"{key} {_said(new, key)}, was {_said(old, key)}" for key in keys if old.get(key) != new.get(key)
        ]
    return found


def _said(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return "absent" if value is None else str(value)


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
