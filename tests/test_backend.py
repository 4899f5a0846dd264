"""Keras on another backend is refused, in words; otherwise JAX is chosen before Keras loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).resolve().parents[1] / "src")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    setting = kept | {"PYTHONPATH": SOURCE} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=setting, capture_output=True, text=True, check=False, timeout=120)


def test_a_backend_chosen_in_the_environment_is_refused():
    done = python("import kilter._backend", KERAS_BACKEND="torch")
    assert done.returncode == 1
    assert "BackendError: Expected Keras on the JAX backend" in done.stderr
    assert "KERAS_BACKEND=torch" in done.stderr
    assert "To fix: " in done.stderr


def test_a_backend_that_keras_already_runs_on_is_refused():
    code = """
import sys, types
keras = types.ModuleType("keras")
keras.backend = types.SimpleNamespace(backend=lambda: "tensorflow")
sys.modules["keras"] = keras
import kilter._backend
"""
    done = python(code)
    assert done.returncode == 1
    assert "BackendError" in done.stderr
    assert "KERAS_BACKEND=tensorflow (Keras is already imported with this backend)" in done.stderr


def test_jax_is_chosen_where_nothing_is():
    done = python("import kilter._backend, os; print(os.environ['KERAS_BACKEND'])")
    assert done.stdout == "jax\n"


@pytest.mark.skipif(sys.platform != "linux", reason="no such limits")
@pytest.mark.parametrize(
    ("name", "limit", "said"),
    [
        ("RLIMIT_AS", 3 << 30, "3,221,225,472 bytes of address space"),
        ("RLIMIT_NOFILE", 24, "24 open files"),
        ("RLIMIT_NOFILE", 64, None),
    ],
)
def test_a_low_limit_of_the_shell_is_told_first(name, limit, said):
    code = f"""
import resource
resource.setrlimit(resource.{name}, ({limit}, resource.getrlimit(resource.{name})[1]))
import kilter._backend
"""
    done = python(code)
    assert done.returncode == 0
    assert (f"RunWarning: this process may use only {said}" in done.stderr) if said else not done.stderr
