"""Run directories with one damaged file: an error in words, or exactly what a checkpoint of the run had.

A case copies a run and resumes it up to the point where training would begin, so it costs no training. 500
cases are `make fuzz`: every file, and every folder, with every damage.
"""

import contextlib
import hashlib
import os
import random
import shutil
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import loop
from kilter._engine.history import History
from kilter.errors import KilterError
from kilter.report.page import render
from kilter.runs import Interrupted, checkpoints, list_runs, open_run
from kilter.runs.keeping import Call, keep
from kilter.runs.recorder import Saver
from kilter.runs.trained import open_trained

from .test_within_an_epoch import Press

EVERY = 1 if "KILTER_FUZZ_EXAMPLES" in os.environ else 25
CASES = 500
NOBODY = 65534
X = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")


def _model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)], name="net")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in its third epoch, with checkpoints of several moments; and another one."""
    parents = [tmp_path_factory.mktemp(name) for name in ("run", "other")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_FIRST_CHUNK", 2)
        patch.setattr(loop, "CHUNK_SECONDS", 1e-9)
        patch.setattr(checkpoints.Throttle, "due", lambda self: True)
        patch.setattr(Saver, "start", lambda self, save: save())  # each is saved before the next is due
        for parent in parents:
            how = {"batch_size": 10, "epochs": 3, "callbacks": [Press(8)], "verbose": 0}
            with pytest.raises(Interrupted):
                kilter.fit(_model(), X, X[:, :1], run=parent, **how)
    return [next(parent.iterdir()) for parent in parents]


def _resumed(parent):
    """Resume the run in ``parent`` and train nothing: SHA-256 of the state, its place, and the history.

    None if there was no run of this model to resume, so that a new one began.
    """
    model, places = _model(), []

    def train(callbacks, first, start, seed):
        places.append((first, start and start.step))
        for callback in callbacks:
            callback.set_model(model)
            callback.set_params({"epochs": 3})
            callback.on_train_begin()
        state = [np.asarray(one.value) for one in model.weights + model.optimizer.variables]
        places.append(hashlib.sha256(b"".join(one.tobytes() for one in state)).hexdigest())
        return History()

    given = {"batch_size": 10, "shuffle": True, "validation_split": 0.0, "class_weight": None, "epochs": 3}
    given |= dict.fromkeys(("steps_per_epoch", "validation_steps", "sample_weight", "validation_data"))
    given |= {"schedule": None, "augment": None, "validation_freq": 1, "evaluate_training": False}
    call = Call(0, 0, {"x": X, "y": X[:, :1]}, given, [])
    before = set(parent.iterdir())
    keep(model, parent, call, train, resumes=True)
    if set(parent.iterdir()) != before:
        return None
    (path,) = before
    return (*places, tuple((line.epoch, tuple(sorted(line.logs.items()))) for line in open_run(path).history))


@pytest.fixture(scope="module")
def states(stopped, tmp_path_factory):
    """What a resume may restore: the state of each checkpoint of the run, newest first, and the beginning."""
    found, names = [], sorted((one.name for one in (stopped[0] / "checkpoints").iterdir()), reverse=True)
    for number in range(len(names) + 1):
        parent = tmp_path_factory.mktemp("whole")
        path = shutil.copytree(stopped[0], parent / stopped[0].name)
        for name in names[:number]:
            shutil.rmtree(path / "checkpoints" / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(_resumed(parent))
    assert len(set(found)) == len(names) + 1 >= 3
    return dict(zip([*names, "none"], found, strict=True))


def _flip(path, twin, generator):
    content = bytearray(path.read_bytes())
    if content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(bytes(content))


def _cut(path, twin, generator):
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content) + 1)])


def _link_to(target):
    def damage(path, twin, generator):
        _remove(path, twin, generator)
        path.symlink_to(target(path, twin))

    return damage


def _remove(path, twin, generator):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _swap(path, twin, generator):
    _remove(path, twin, generator)
    (shutil.copytree if twin.is_dir() else shutil.copy)(twin, path)


def _replace_by_a_folder(path, twin, generator):
    _remove(path, twin, generator)
    path.mkdir()


OF_FILES = {
    "flip": _flip,
    "flip another bit": _flip,
    "cut": _cut,
    "empty": lambda path, twin, generator: path.write_bytes(b""),
    "random bytes": lambda path, twin, generator: path.write_bytes(generator.randbytes(200)),
    "append": lambda path, twin, generator: path.write_bytes(path.read_bytes() + b"\0{\n"),
}
OF_ALL = {
    "remove": _remove,
    "swap": _swap,
    "replace by a folder": _replace_by_a_folder,
    "link to another run's": _link_to(lambda path, twin: twin),
    "link to nothing": _link_to(lambda path, twin: path.with_name("nothing")),
    "link to itself": _link_to(lambda path, twin: path),
    "link to zeros": _link_to(lambda path, twin: Path("/dev/zero")),
    "forbid": lambda path, twin, generator: path.chmod(0),
}


def _cases(run):
    """Every file and folder of the run with every damage, at most :data:`CASES`, spread over all."""
    every = [
        (path.relative_to(run), name)
        for path in sorted(run.rglob("*"))
        for name in ([] if path.is_dir() else OF_FILES) | OF_ALL.keys()
    ]
    random.Random(0).shuffle(every)
    return every


@contextlib.contextmanager
def _without_privileges(folder):
    """Within it the process may do only what the permissions of files allow, also if it is root's."""
    if os.geteuid():
        yield
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _twin(path, run, other, generator):
    """What is at the same place in another run, or else any file of it."""
    twin = other / path.relative_to(run)
    if twin.exists() and twin.is_dir() == path.is_dir():
        return twin
    return generator.choice(sorted(one for one in other.rglob("*") if one.is_dir() == path.is_dir()))


@pytest.mark.parametrize("number", range(0, CASES, EVERY))
def test_fuzz_one_damaged_file(number, stopped, states):
    _one_damage(*_cases(stopped[0])[number], number, stopped, states)


@pytest.mark.parametrize(
    "place", [".", "checkpoints", "checkpoints/{newest}", "checkpoints/{newest}/scalars"]
)
def test_a_forbidden_folder(place, stopped, states):
    """It cannot be read and not even removed."""
    _one_damage(Path(place.format(newest=next(iter(states)))), "forbid", 0, stopped, states)


def _one_damage(place, damage, number, stopped, states):
    run, other = stopped
    generator = random.Random(number)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parent = Path(folder) / "runs"
        path = shutil.copytree(run, parent / run.name)
        twins = shutil.copytree(other, Path(folder) / "other")
        wanted, whole = _contents(twins), _contents(run / place)
        twin = _twin(path / place, path, twins, generator)
        with _without_privileges(Path(folder)):
            (OF_FILES | OF_ALL)[damage](path / place, twin, generator)
            same = damage in ("swap", "cut") and _contents(path / place) == whole  # of both runs, or not cut
            assert [one.path for one in list_runs(parent)] in ([path], [])
            for read in (lambda: render(open_run(path)), lambda: open_trained(path, allow_code=False)):
                with contextlib.suppress(KilterError):
                    read()
            try:
                found = _resumed(parent)
            except KilterError as error:
                found = error
        assert _contents(twins) == wanted
    newest = [name for name in states if same or name not in place.parts]
    if place.parts[:1] == ("checkpoints",) and len(place.parts) > 1 and "link" not in damage:
        assert found == states[newest[0]], (place, damage)  # the newest that is whole
    else:
        assert isinstance(found, KilterError) or found is None or found in states.values(), (place, damage)


def _contents(path):
    """The bytes of a file, or of all files of a folder."""
    return [
        (one.relative_to(path), one.read_bytes() if one.is_file() else None)
        for one in (path, *sorted(path.rglob("*")))
    ]
