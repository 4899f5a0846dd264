"""Run directories with one damaged file: an error in words, or the bits of an undisturbed run."""

import contextlib
import os
import random
import shutil
import warnings

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import loop
from kilter.errors import KilterError
from kilter.report.page import render
from kilter.runs import Interrupted, checkpoints, list_runs, open_run
from kilter.runs.trained import open_trained

from .test_within_an_epoch import Press

# `make fuzz` sets 2,000, of which each costs a training.
EXAMPLES = int(os.environ.get("KILTER_FUZZ_EXAMPLES", "24")) // 4
X = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")


def _fit(folder, **more):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)], name="net")
    model.compile("adam", "mse")
    return kilter.fit(model, X, X[:, :1], batch_size=10, epochs=3, run=folder, resume=True, verbose=0, **more)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in its third epoch, with checkpoints of the first two; and another one."""
    parents = [tmp_path_factory.mktemp(name) for name in ("run", "other")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_FIRST_CHUNK", 2)
        patch.setattr(loop, "CHUNK_SECONDS", 1e-9)
        for parent in parents:
            patch.setattr(checkpoints.Throttle, "due", lambda self: True)
            with pytest.raises(Interrupted):
                _fit(parent, callbacks=[Press(7)])
    return [next(parent.iterdir()) for parent in parents]


def _flip(path, other, generator):
    content = bytearray(path.read_bytes())
    if content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(bytes(content))


def _cut(path, other, generator):
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content) + 1)])


def _remove(path, other, generator):
    path.unlink()


def _swap(path, other, generator):
    """With the file of the same place in another run, or else with any of its files."""
    files = sorted(one for one in other.rglob("*") if one.is_file())
    run = next(one for one in path.parents if (one / "checkpoints").is_dir())
    twin = other / path.relative_to(run)
    path.write_bytes((twin if twin.is_file() else generator.choice(files)).read_bytes())


DAMAGE = [_flip, _cut, _remove, _swap]


def _bits(folder):
    (path,) = folder.iterdir()
    found = checkpoints.latest(path)
    assert found is not None
    model = keras.saving.load_model(path / "model.keras")
    arrays = [one for group in found.tree.values() for one in group]
    arrays += [one.value for one in model.weights + model.optimizer.variables]
    lines = [(line.epoch, sorted(line.logs.items())) for line in open_run(path).history]
    return [np.asarray(one).tobytes() for one in arrays], lines


@pytest.fixture(scope="module")
def undisturbed(stopped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(stopped[0], folder / stopped[0].name)
    _fit(folder)
    return _bits(folder)


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_fuzz_one_damaged_file(seed, stopped, undisturbed, tmp_path):
    run, other = stopped
    generator = random.Random(seed)
    path = shutil.copytree(run, tmp_path / "runs" / run.name)
    files = sorted(one for one in path.rglob("*") if one.is_file() and one.name != "lock")
    file = files[seed // len(DAMAGE) % len(files)]
    DAMAGE[seed % len(DAMAGE)](file, other, generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [one.path for one in list_runs(tmp_path / "runs")] in ([path], [])
        for read in (lambda: render(open_run(path)), lambda: open_trained(path, allow_code=False)):
            with contextlib.suppress(KilterError):
                read()
        try:
            _fit(tmp_path / "runs")
        except KilterError:
            return
    made = list((tmp_path / "runs").iterdir())
    if len(made) == 1:  # else a run without call.json is no run of fit: a new one began beside it
        assert _bits(tmp_path / "runs") == undisturbed, file
