"""Where compiled programs are kept between processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from kilter._xla.compilation import CACHE_BYTES, cache_directory, compile_options, quick_compilation

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def test_the_place_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("KILTER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_directory() == Path.home() / ".cache" / "kilter" / "xla"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "kilter" / "xla"
    monkeypatch.setenv("KILTER_CACHE", str(tmp_path / "here"))
    assert cache_directory() == tmp_path / "here"
    monkeypatch.setenv("KILTER_CACHE", "off")
    assert cache_directory() is None


@pytest.mark.parametrize("hoists", [True, False])
def test_what_each_step_computes_alike_is_hoisted_only_if_asked(hoists: bool):
    def run(frozen: jax.Array, x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 5, lambda _, x: jnp.tanh(x * jnp.cos(frozen)), x)

    lowered = jax.jit(run).lower(jnp.ones(7), jnp.ones((3, 7)))
    text = lowered.compile(compiler_options=compile_options(hoists=hoists)).as_text()
    assert ("cosine" not in _of_body(text)) == hoists


def _of_body(text: str) -> str:
    """The instructions of the loop's body, with the fusions that it calls."""
    blocks = text.split("\n\n")
    body = re.search(r"body=%?([\w.\-]+)", text)
    assert body is not None
    mine = next(block for block in blocks if block.lstrip("%").startswith(body[1]))
    called = set(re.findall(r"calls=%?([\w.\-]+)", mine))
    return mine + "".join(block for block in blocks if block.lstrip("%").split(" ")[0] in called)


_SCRIPT = """
import numpy as np
from kilter._engine.fit import fit
import jax, keras
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, "elu"), keras.layers.Dense(1)])
model.compile("nadam", "mse")
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
x = np.ones((64, 4), "float32")
fit(model, x, x[:, :1], epochs=2, verbose=0)
print(jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size)
print("hit" if "/jax/compilation_cache/cache_hits" in hits else "miss")
print(repr(model.get_weights()))
"""


_COUNTED = """
import collections, sys
import kilter._xla.compilation
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[2]]))
{body}
print(counts["cache_misses"], counts["cache_hits"])
"""
_FITTED = """
import keras, kilter
import numpy as np
from keras import layers
keras.utils.set_random_seed(0)
hidden = [layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Dropout(0.2), layers.Flatten()]
model = keras.Sequential([keras.Input((6, 6, 1)), *hidden, layers.Dense(3, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
x, y = np.ones((21, 6, 6, 1), "float32"), np.arange(21) % 3
kilter.fit(model, x, y, batch_size=8, validation_split=0.2, epochs=2, verbose=0)
kilter.evaluate(model, x, y, batch_size=8, verbose=0)
kilter.predict(model, x, batch_size=8, verbose=0)
"""
_COMMAND = """
from kilter._cli.main import main
sys.argv = ["kilter", "train", "digits", "--epochs", "1", "--runs", {runs!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def run(script: str = _SCRIPT, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KILTER", "JAX"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | {"PYTHONPATH": SOURCE} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.long
def test_the_second_process_loads_what_the_first_compiled_and_gets_the_same_bits(tmp_path: Path):
    place = str(tmp_path / "cache")
    first, second = (run(KILTER_CACHE=place) for _ in range(2))
    assert first[0] == f"{place} {CACHE_BYTES}"
    assert (first[1], second[1]) == ("miss", "hit")
    assert first[2:] == second[2:]


@pytest.mark.long
@pytest.mark.parametrize("body", [_FITTED, _COMMAND], ids=["fit", "command"])
def test_the_second_process_compiles_nothing(body: str, tmp_path: Path):
    script = _COUNTED.format(body=body.format(runs=str(tmp_path / "runs")) if body is _COMMAND else body)
    counts = [run(script, KILTER_CACHE=str(tmp_path / "cache"))[-1].split() for _ in range(2)]
    assert int(counts[0][0]) > 0
    assert int(counts[1][0]) == 0
    assert int(counts[1][1]) > 0


@pytest.mark.long
def test_a_cache_that_the_user_gave_jax_is_left_as_it_is(tmp_path: Path):
    lines = run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"), KILTER_CACHE=str(tmp_path / "kilter"))
    assert lines[0].startswith(f"{tmp_path / 'own'} ")
    assert not (tmp_path / "kilter").exists()


@pytest.mark.parametrize(("version", "tested"), [("0.9.4", False), ("0.10.2", True), ("0.11.0", False)])
def test_an_untested_jax_gets_no_options(version: str, tested: bool, monkeypatch: pytest.MonkeyPatch):
    """Its XLA may not know them, and would compile nothing."""
    monkeypatch.setattr(jax, "__version__", version)
    assert bool(compile_options()) == tested
    with quick_compilation():
        assert bool(compile_options()) == tested
