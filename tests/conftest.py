"""Set before JAX and Keras load: the backend, where compiled programs are kept, and how they are compiled."""

import gc
import os
import re
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("KERAS_BACKEND", "jax")
# Not the user's own cache; in a folder that git ignores and `make clean` removes, one for each worker.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["KILTER_CACHE"] = str(_ROOT / ".pytest_cache" / "xla" / _WORKER)
# pytest-xdist gives its workers the width of its own terminal; what is tested prints to no terminal.
os.environ.pop("COLUMNS", None)
# The suite starts many processes; without bytecode each would compile all of the source again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The suite compiles many hundred tiny programs once each: quick compilation matters, quick programs do not
# (3 times less time in all). test_default_compilation.py runs without these flags. XLA aborts on a flag it
# does not know: if that happens with another version of JAX than the pinned one, run with XLA_FLAGS= (empty).
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)
# Tracing and lowering take more time here than compiling: no tracebacks are kept with each operation, and the
# garbage collector runs less often (18 % less time in all).
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
gc.set_threshold(100_000, 50, 100)

# Modules of large tables: `make test` runs every n-th case of each table, `make long` the others. A table's
# own mark ``sampled(n)`` goes before.
SAMPLED = {
    "benchmarks/test_compared": 3,
    "benchmarks/test_corpus": 6,
    "cli/test_bad_input": 4,
    "cli/test_columns": 6,
    "cli/test_hostile": 6,
    "cli/test_trust": 9,
    "cli/test_uncertainty": 4,
    "cli/test_widths": 4,
    "data/augmentation/test_every_transform": 3,
    "data/augmentation/test_geometry": 3,
    "data/augmentation/test_mixing": 3,
    "data/test_fuzz_data": 2,
    "diagnosis/test_before_training": 4,
    "diagnosis/test_diagnosing": 6,
    "diagnosis/test_signal_real": 7,
    "engine/test_augmenting": 3,
    "engine/test_averaging": 6,
    "engine/test_batch_sources": 6,
    "engine/test_callbacks": 3,
    "engine/test_convolutions": 4,
    "engine/test_determinism": 3,
    "engine/test_embedding_ids": 4,
    "engine/test_evaluate_training": 4,
    "engine/test_feeds": 6,
    "engine/test_fingerprint": 6,
    "engine/test_inference": 4,
    "engine/test_inference_state": 4,
    "engine/test_measuring": 4,
    "engine/test_mixed_targets": 7,
    "engine/test_model_kinds": 4,
    "engine/test_objective": 6,
    "engine/test_optax_optimizer": 6,
    "engine/test_optimizer_slot": 3,
    "engine/test_overrides": 4,
    "engine/test_parity": 9,
    "engine/test_pooling": 4,
    "engine/test_regularizers": 4,
    "engine/test_rewrite": 4,
    "engine/test_rewrite_fallback": 4,
    "engine/test_scheduling": 6,
    "engine/test_step_data": 4,
    "engine/test_steps": 9,
    "engine/test_together": 12,
    "engine/test_training_options": 6,
    "engine/test_trials": 9,
    "infer/test_folding": 7,
    "infer/test_half_precision": 4,
    "infer/test_monte_carlo": 4,
    "nn/test_builders": 4,
    "nn/test_depth": 6,
    "nn/test_unit_variance": 6,
    "pretrain/test_autoencoder": 6,
    "pretrain/test_auxiliary": 7,
    "pretrain/test_tasks": 4,
    "runs/test_regularization": 4,
    "runs/test_same_data": 3,
    "runs/test_scheduling": 4,
    "runs/test_termination": 7,
    "runs/test_training": 3,
    "runs/test_tuning": 4,
    "runs/test_within_an_epoch": 9,
    "schedules/test_every_schedule": 9,
    "studies/test_reuse_study": 4,
    "test_progress": 2,
    "transfer/test_fine_tuning": 7,
    "transfer/test_reusing": 4,
    "treatment/test_any_model": 7,
    "treatment/test_no_harm": 4,
    "treatment/test_remedies": 9,
    "treatment/test_shared_programs": 4,
    "treatment/test_treating": 7,
    "test_estimators": 8,
}


# Files of tests of under 0.1 s each.
QUICK = ("data/", "schedules/", "test_array", "test_docs", "test_house", "test_public", "test_recipe")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep every compiled program: many tests compile the same small ones.

    In a folder of its own without a size limit, as each write would then read the dates of all files.
    """
    if session.items and not session.config.option.collectonly:
        import jax
        from jax.experimental.compilation_cache import compilation_cache

        from kilter._xla.compilation import cache_directory  # which sets what is set otherwise here

        jax.config.update("jax_compilation_cache_dir", f"{cache_directory()}-unlimited")
        jax.config.update("jax_compilation_cache_max_size", -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        compilation_cache.reset_cache()  # what tables at the top of modules compile has set it up


# Where many tests train the same few networks, and the numbers of the engine are not what is tested.
SHARED = ("cli/", "compare/", "pretrain/", "runs/", "studies/", "test_estimators", "transfer/")


@pytest.fixture(autouse=True, scope="module")
def same_programs(request: pytest.FixtureRequest) -> Generator[None]:
    """Models of equal structure are compiled once in such a module, as in a treatment."""
    if not _module(request.node.nodeid).startswith(SHARED):
        yield
        return
    from kilter._engine.program_cache import shared_programs

    with shared_programs():
        yield


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of cases without addresses: two workers must call the same case the same."""
    text = repr(val)
    return re.sub(r" at 0x[0-9a-f]+", "", text) if " at 0x" in text else None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a sampled table every n-th case is left to ``make test``; the others are long.

    Files of quick tests come last, so that no worker waits for the other at the end.
    """
    items.sort(key=lambda item: _module(item.nodeid).startswith(QUICK))
    seen: Counter[str] = Counter()
    for item in items:
        table, _, case = item.nodeid.partition("[")
        marker = item.get_closest_marker("sampled")
        every = marker.args[0] if marker else SAMPLED.get(_module(table), 1)
        if case and seen[table] % every:
            item.add_marker(pytest.mark.long)
        seen[table] += 1


def _module(nodeid: str) -> str:
    return nodeid.partition(".py")[0].removeprefix("tests/")
