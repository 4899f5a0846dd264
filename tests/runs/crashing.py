"""Trainings that are killed at random moments and resumed, for test_crash.py and ``make crash``.

A child process trains one of :data:`SUBJECTS` and kills itself with SIGKILL where its plan says: before the
n-th system call of a save, after the n-th compiled chunk, or after some time. The next child goes on.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

KINDS = ("save", "chunk", "time")
ROWS = 96


@dataclass(frozen=True)
class Kill:
    """When a child kills itself: before call or chunk number `at`, or after `at` milliseconds."""

    kind: str
    at: int


def plan(generator: random.Random) -> Kill:
    """A third of the kills within a save, half within an epoch, the others at any time."""
    kind = generator.choices(KINDS, (2, 3, 1))[0]
    return Kill(kind, generator.randrange(*{"save": (0, 120), "chunk": (1, 14), "time": (300, 3000)}[kind]))


def train_killed(subject: str, folder: Path, kill: Kill | None) -> int | None:
    """Train in a child process; its exit code: 0 if it finished, -9 if it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kilter", "keras", "kilter.runs.keeping", "kilter.runs.training"])
    child = context.Process(target=_child, args=(subject, folder, kill))
    child.start()
    child.join(240)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise TimeoutError(f"{subject} in {folder} did not end")
    return child.exitcode


def trial(subject: str, folder: Path, kills: list[Kill]) -> tuple[list[int | None], dict[str, str]]:
    """Train with kills, then without until the end: the exit codes, and what is left."""
    codes = [train_killed(subject, folder, kill) for kill in kills]
    codes.append(train_killed(subject, folder, None))
    return codes, outcome(folder) if codes[-1] == 0 else {}


def outcome(folder: Path) -> dict[str, str]:
    """SHA-256 of all that must be as in an undisturbed run: each part of the newest checkpoint, and more."""
    import keras
    import numpy as np

    from kilter.runs import checkpoints, open_run

    (path,) = [one for one in folder.iterdir() if (one / "history.jsonl").exists()]
    found = checkpoints.latest(path)
    assert found is not None
    parts: dict[str, Any] = {name: list(map(np.asarray, group)) for name, group in found.tree.items()}
    model: Any = keras.saving.load_model(path / "model.keras")
    parts["model.keras"] = [np.asarray(one.value) for one in model.weights + model.optimizer.variables]
    sums = {}
    for name, arrays in parts.items():
        sums[name] = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    lines = [(line.epoch, line.logs, line.learning_rate) for line in open_run(path).history]
    result = open_run(path).result
    assert result is not None
    ended = (result.status, result.best_epoch, result.epochs, found.epoch, found.step)
    return {**sums, "history": json.dumps(lines), "result": str(ended)}


def _child(subject: str, folder: Path, kill: Kill | None) -> None:
    import warnings

    from kilter._engine import loop
    from kilter.runs import checkpoints

    warnings.simplefilter("ignore")
    loop._FIRST_CHUNK, loop.CHUNK_SECONDS = 2, 1e-9
    calls = iter(range(10**9))
    checkpoints.Throttle.due = lambda self: next(calls) % 3 == 2  # by chunks, not by the clock
    if kill is not None:
        _arm(kill)
    SUBJECTS[subject](folder)


def _arm(kill: Kill) -> None:
    if kill.kind == "time":
        timer = threading.Timer(kill.at / 1000, _die)
        timer.daemon = True
        timer.start()
        return
    left = iter(range(kill.at, -1, -1))

    def counted(*arguments: Any, **how: Any) -> None:
        if next(left, 1) == 0:
            _die()

    if kill.kind == "save":
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "ftruncate"):
            _before(os, name, counted)
    else:
        from kilter._engine import session

        _before(session, "tell", counted)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(module: Any, name: str, hook: Callable[..., None]) -> None:
    given = getattr(module, name)

    def called(*arguments: Any, **how: Any) -> Any:
        hook()
        return given(*arguments, **how)

    setattr(module, name, called)


def _dense(folder: Path) -> None:
    """A recipe: dense layers with dropout, batch normalisation, one cycle and a moving average."""
    from kilter.errors import RunError
    from kilter.recipe import parse_recipe
    from kilter.runs import resume, train
    from kilter.runs.reading import is_run

    given = {
        "data": {"source": "digits", "validation": 0.2},
        "model": {"builder": "mlp", "hidden": [12], "dropout": 0.2, "batch_norm": "before"},
        "schedule": {"name": "one_cycle"},
        "train": {"epochs": 3, "batch_size": 256, "ema": 0.9},
    }
    runs = [path for path in folder.iterdir() if is_run(path)] if folder.is_dir() else []
    if not runs:
        train(parse_recipe(given), parent=folder, verbose=0)
        return
    try:
        resume(max(runs), verbose=0)
    except RunError as error:
        if "one that is finished" not in error.received:
            raise


def _data(shape: tuple[int, ...]) -> tuple[Any, Any]:
    import numpy as np

    generator = np.random.default_rng(0)
    y = np.arange(ROWS) % 3
    return generator.normal(size=(ROWS, *shape)).astype("float32") + y.reshape(-1, *[1] * len(shape)), y


def _convolutions(folder: Path) -> None:
    """A convolutional network with augmentation and mixup."""
    import keras

    import kilter

    x, y = _data((6, 6, 1))
    keras.utils.set_random_seed(2)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers], name="convolutions")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    augment = [kilter.data.augmentation.Shift(0.1), kilter.data.augmentation.Mixup(0.3)]
    how = {"augment": augment, "validation_data": (x, y), "batch_size": 8, "epochs": 3, "verbose": 0}
    kilter.fit(model, x, y, run=folder, resume=True, **how)


def _stream(folder: Path) -> None:
    """Batches that shuffle themselves, for a network with dropout and early stopping."""
    import keras
    import numpy as np

    import kilter

    x, y = _data((5,))

    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.generator, self.rows = np.random.default_rng(5), np.arange(ROWS)

        def __len__(self) -> int:
            return ROWS // 8

        def __getitem__(self, number: int) -> Any:
            rows = self.rows[number * 8 : number * 8 + 8]
            return x[rows], y[rows]

        def on_epoch_end(self) -> None:
            self.rows = self.generator.permutation(ROWS)

    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.3), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((5,)), *layers], name="stream")
    model.compile("rmsprop", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stops = keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1.0)
    how = {"validation_data": (x, y), "epochs": 3, "callbacks": [stops], "verbose": 0}
    kilter.fit(model, Batches(), run=folder, resume=True, **how)


SUBJECTS: dict[str, Callable[[Path], None]] = {
    "dense": _dense,
    "convolutions": _convolutions,
    "stream": _stream,
}
