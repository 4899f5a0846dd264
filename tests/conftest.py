"""Set before JAX and Keras load: the backend, where compiled programs are kept, and how they are compiled."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("KERAS_BACKEND", "jax")
# Not the user's own cache; in a folder that git ignores and `make clean` removes.
os.environ.setdefault("KILTER_CACHE", str(_ROOT / ".pytest_cache" / "xla"))
# pytest-xdist gives its workers the width of its own terminal; what is tested prints to no terminal.
os.environ.pop("COLUMNS", None)
# The suite compiles many hundred tiny programs once each: quick compilation matters, quick programs do not
# (3 times less time in all). test_default_compilation.py runs without these flags. XLA aborts on a flag it
# does not know: if that happens with another version of JAX than the pinned one, run with XLA_FLAGS= (empty).
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of cases without addresses: two workers must call the same case the same."""
    text = repr(val)
    return re.sub(r" at 0x[0-9a-f]+", "", text) if " at 0x" in text else None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a table marked ``sampled(n)`` every n-th case is left to ``make test``; the others are long."""
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("sampled")
        if marker is not None:
            table = item.nodeid.partition("[")[0]
            if seen[table] % marker.args[0]:
                item.add_marker(pytest.mark.long)
            seen[table] += 1
