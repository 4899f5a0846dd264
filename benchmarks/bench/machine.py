"""What the figures were measured on: processor, memory, system, and its float32 matrix-product limit.

Nothing here names the host: results are published.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

# The vector units that decide how fast float32 products can be.
VECTOR_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve")


@dataclasses.dataclass(frozen=True)
class Machine:
    """The hardware and system of a run; ``cores`` are those this process may use."""

    processor: str
    cores: int
    memory_bytes: int
    flags: tuple[str, ...]
    system: str
    python: str


def describe() -> Machine:
    """The machine this process runs on; without /proc the processor is what Python knows of it."""
    information = _proc("cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", information, re.MULTILINE)
    present = set(flags.group(1).split()) if flags else set()
    return Machine(
        processor=model.group(1).strip() if model else platform.machine(),
        cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        flags=tuple(flag for flag in VECTOR_FLAGS if flag in present),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that can be given out without swapping; half the memory where the system does not tell."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _proc("meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else describe().memory_bytes // 2


def gemm_peak(size: int = 2048, repeats: int = 40) -> float:
    """FLOPs per second of the best float32 product of size × size matrices, NumPy's or XLA's, all threads.

    The best of ``repeats`` each, not the median, and over some seconds: it stands for what the machine can do
    when nobody disturbs it. Of two libraries, since either may be held to older instructions by a setting.
    One product is 2·size³ FLOPs.
    """
    generator = np.random.default_rng(0)
    left, right = (generator.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    result = np.empty((size, size), np.float32)
    on_device, product = (jax.device_put(left), jax.device_put(right)), jax.jit(jax.numpy.matmul)
    ways = (
        lambda: np.matmul(left, right, out=result),
        lambda: jax.block_until_ready(product(*on_device)),
    )
    return 2 * size**3 / min(_seconds(way) for way in ways for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def machine_label(machine: Machine) -> str:
    """A short name for files: processor family, widest vector unit, cores; lower case, no host.

    Example:
        >>> machine_label(Machine("Intel(R) Xeon(R) Processor", 2, 0, ("avx2", "avx512f"), "Linux", "3.11"))
        'intel-xeon-avx512f-2-cores'
    """
    name = re.sub(r"\((?:r|tm)\)|processor|cpu|@.*", " ", machine.processor.lower())
    words = re.findall(r"[a-z0-9]+", name)
    widest = [flag for flag in ("avx512f", "avx2", "sve", "asimd") if flag in machine.flags][:1]
    return "-".join((*words, *widest, f"{machine.cores}-cores"))


def _proc(name: str) -> str:
    path = Path("/proc") / name
    return path.read_text() if path.exists() else ""
