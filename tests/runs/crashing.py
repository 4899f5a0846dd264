"""Trainings that are killed at random moments and resumed, for test_crash.py and ``make crash``.

A child process trains one of :data:`SUBJECTS` and kills itself with SIGKILL where its plan says: before the
n-th system call of a save, after the n-th compiled chunk, or after some time. The next child goes on. Of the
subjects in :data:`TOGETHER` two processes train one model; one kills itself, and the other must end too.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

KINDS = ("save", "chunk", "time")
ROWS = 96
TRAINING_SECONDS = 600
# docs/scale.md: what is left of a training whose other process was killed ends in this time.
LEFT_SECONDS = 30
# What a child imports before it trains; the server that forks the children has it already.
PRELOADED = [
    *("kilter", "keras", "kilter.runs.keeping", "kilter.runs.training", "kilter._engine.processes"),
    *("orbax.checkpoint", "tensorboardX", "sklearn.datasets", "jax.experimental.multihost_utils"),
]


@dataclass(frozen=True)
class Kill:
    """When a child kills itself: before call or chunk number `at`, or after `at` milliseconds.

    `rank`: which child, where two train together; only the first one saves.
    """

    kind: str
    at: int
    rank: int = 0


def plan(generator: random.Random) -> Kill:
    """A third of the kills within a save, half within an epoch, the others at any time."""
    kind = generator.choices(KINDS, (2, 3, 1))[0]
    at = generator.randrange(*{"save": (0, 120), "chunk": (1, 14), "time": (300, 3000)}[kind])
    return Kill(kind, at, 0 if kind == "save" else generator.randrange(2))


def train_killed(subject: str, folder: Path, kill: Kill | None) -> int | None:
    """Train in one or two child processes; the exit code: 0 if all finished, -9 if one was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    count = 2 if subject in TOGETHER else 1
    place = (free_address(), count) if count > 1 else (None, None)
    doomed = None if kill is None else kill.rank % count
    children = [
        context.Process(target=_child, args=(subject, folder, kill if rank == doomed else None, *place, rank))
        for rank in range(count)
    ]
    for child in children:
        child.start()
    try:
        return _ended(children, subject)
    finally:
        for child in children:
            child.kill()
            child.join()


def _ended(children: list[Any], subject: str) -> int | None:
    """The code of the child that ended first with another one than 0, after which the others must end."""
    deadline = time.monotonic() + TRAINING_SECONDS
    failed: int | None = None
    while any(child.exitcode is None for child in children):
        multiprocessing.connection.wait([child.sentinel for child in children if child.exitcode is None], 1)
        codes = [child.exitcode for child in children if child.exitcode not in (None, 0)]
        if codes and failed is None:
            failed = -signal.SIGKILL if -signal.SIGKILL in codes else codes[0]
            deadline = min(deadline, time.monotonic() + LEFT_SECONDS)
        if time.monotonic() > deadline:
            for child in children:
                if child.exitcode is None:
                    os.kill(child.pid, signal.SIGUSR1)  # it writes where it waits to its log
            time.sleep(1)
            raise TimeoutError(f"{subject} did not end: {children}")
    return failed or 0


def free_address() -> str:
    """An address at which no process of this machine listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


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


def _child(
    subject: str, folder: Path, kill: Kill | None, address: str | None, count: int | None, rank: int
) -> None:
    import warnings

    from kilter._engine import loop
    from kilter._engine.joining import together
    from kilter.runs import checkpoints

    with open(f"{folder}.log", "ab") as log:  # JAX says at length that the other process is gone
        os.dup2(log.fileno(), 2)
    faulthandler.register(signal.SIGUSR1)
    warnings.simplefilter("ignore")
    loop._FIRST_CHUNK, loop.CHUNK_SECONDS = 2, 1e-9
    calls = iter(range(10**9))
    checkpoints.Throttle.due = lambda self: next(calls) % 3 == 2  # by chunks, not by the clock
    with together(address, count, None if address is None else rank):
        if kill is not None:  # for a process that never joined, the other would wait for minutes
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
    given = {
        "data": {"source": "digits", "validation": 0.2},
        "model": {"builder": "mlp", "hidden": [12], "dropout": 0.2, "batch_norm": "before"},
        "schedule": {"name": "one_cycle"},
        "train": {"epochs": 3, "batch_size": 256, "ema": 0.9},
    }
    _recipe(folder, given)


def _together(folder: Path) -> None:
    """A recipe that two processes train: dense layers with dropout and batch normalisation."""
    given = {
        "data": {"source": "digits", "validation": 0.2},
        "model": {"builder": "mlp", "hidden": [12], "dropout": 0.2, "batch_norm": "before"},
        "train": {"epochs": 3, "batch_size": 256},
    }
    _recipe(folder, given)


def _recipe(folder: Path, given: dict[str, Any]) -> None:
    """Train a recipe, or go on with the run of it in the folder."""
    from kilter.errors import RunError
    from kilter.recipe import parse_recipe
    from kilter.runs import resume, train
    from kilter.runs.reading import is_run

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
    "together": _together,
}
TOGETHER = {"together"}
