"""Seconds from the start of a process to a validation accuracy: a recipe of kilter, and the published one.

The published side is the exercise's first variant (20×100 ELU, Nadam 5e-5, batches of 32, patience 20) with
Keras on TensorFlow. Both read the same decoded file, split it alike and validate after each epoch. The clock
starts before the process does, so that imports, reading the data and compiling count; an accuracy counts from
the moment it can be read outside the process.

Example: ``.venv/bin/python benchmarks/time_to.py --repeats 3``
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.data import CACHE
from bench.pages import RESULTS, Page, Table, between
from bench.peers import HERE, PEERS, make_environment, python_of, settings_for

RECIPE = HERE.parent / "recipes" / "cifar10" / "h-quick.toml"
TARGET = 0.4484
VALIDATION_ROWS = 5_000
POLL_SECONDS = 0.02
ROWS_IF_QUICK = 6_000


@dataclasses.dataclass(frozen=True)
class Session:
    """One process: (seconds since its start, validation accuracy) of each epoch, and its seconds in all."""

    epochs: tuple[tuple[float, float], ...]
    seconds: float

    def reached(self, target: float) -> float | None:
        """Seconds until an epoch had at least the ``target``; None where none had."""
        return next((seconds for seconds, accuracy in self.epochs if accuracy >= target), None)

    @property
    def best(self) -> float:
        """The highest validation accuracy."""
        return max((accuracy for _, accuracy in self.epochs), default=0.0)


def main() -> int:
    """Time both sides, print the table, keep it; 1 where a side did not get there."""
    options = parse_options()
    data = decoded(ROWS_IF_QUICK if options.quick else None)
    scratch = CACHE / "time-to"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    sessions: dict[str, list[Session]] = {}
    for number in range(options.repeats):
        # A folder of its own is an empty cache of compiled programs; the second process finds it filled.
        for cache in ("cold", "warm"):
            name = f"kilter, {cache} cache"
            session = kilter_session(options.recipe, data, scratch / f"cache-{number}")
            sessions.setdefault(name, []).append(session)
            say(name, session, options.target)
    if not options.without_keras:
        limits = ("--epochs", "2") if options.quick else ()
        sessions["keras-tensorflow"] = [keras_session(data, scratch, *limits)]
        say("keras-tensorflow", sessions["keras-tensorflow"][0], options.target)
    found = table(sessions, options.target)
    found.show()
    page = Page(
        name="time-to",
        title=f"Time to {options.target:.2%} validation accuracy",
        introduction=f"CIFAR-10, dense network of 20×100; kilter's recipe is {options.recipe.name}.",
        tables=[found],
        figures={name: [dataclasses.asdict(one) for one in some] for name, some in sessions.items()},
        quick=options.quick,
    )
    print(f"kept in {page.write(options.results)}")
    return 0 if all(one.reached(options.target) for some in sessions.values() for one in some) else 1


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="kilter's side (default: %(default)s)")
    parser.add_argument("--target", type=float, default=TARGET, help="accuracy (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="kilter's processes of each kind")
    parser.add_argument("--without-keras", action="store_true", help="time kilter alone")
    parser.add_argument("--quick", action="store_true", help="few rows: does it run? No figures to quote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for what is kept")
    return parser.parse_args()


def decoded(rows: int | None) -> Path:
    """CIFAR-10's training images as an .npz, decoded once; the first ``rows`` of them."""
    path = CACHE / f"cifar10{'' if rows is None else f'-{rows}'}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # In a process of its own: this one shall not hold JAX while it times others.
        script = (
            "import sys, numpy, kilter; part, rows = sys.argv[1], int(sys.argv[2]);"
            "train = kilter.data.load('cifar10').train;"
            "numpy.savez(part, x_train=train.x[:rows], y_train=train.y[:rows])"
        )
        part = path.with_name(f"part-{path.name}")
        subprocess.run((sys.executable, "-c", script, part, str(rows or 10**9)), check=True)
        part.replace(path)
    return path


def kilter_session(recipe: Path, data: Path, cache: Path) -> Session:
    """``kilter train``, with its compiled programs in ``cache``; epochs are read from history.jsonl."""
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        command = (
            Path(sys.executable).parent / "kilter", "train", recipe, "--runs", folder,
            "--set", f"data.source={data}", "--set", f"data.validation={VALIDATION_ROWS}",
        )  # fmt: skip
        variables = settings_for(PEERS[0], cache.parent) | {"KILTER_CACHE": str(cache)}
        log = cache.parent / "kilter.log"
        with log.open("w") as output:
            began = time.perf_counter()
            process = subprocess.Popen([*map(str, command)], env=variables, stdout=output, stderr=output)
            epochs: list[tuple[float, float]] = []
            while process.poll() is None:
                for line in new_lines(Path(folder), len(epochs)):
                    epochs.append((time.perf_counter() - began, json.loads(line)["logs"]["val_accuracy"]))
                time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        for line in new_lines(Path(folder), len(epochs)):
            epochs.append((seconds, json.loads(line)["logs"]["val_accuracy"]))
    if process.returncode:
        sys.exit(f"kilter train ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return Session(tuple(epochs), seconds)


def new_lines(folder: Path, known: int) -> list[str]:
    """The whole lines of the one run's history, without those that are known."""
    path = next(iter(folder.glob("*/history.jsonl")), None)
    text = "" if path is None else path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()[known:]


def keras_session(data: Path, scratch: Path, *arguments: str) -> Session:
    """The published variant with Keras on TensorFlow, to its end; it prints a line an epoch."""
    peer = next(one for one in PEERS if one.name == "keras-tensorflow")
    make_environment(peer)
    command = (python_of(peer), "-m", "peers.keras_patience", data, *arguments)
    with (scratch / "keras.log").open("w") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command)],
            env=settings_for(peer, scratch),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        epochs = tuple(timed_lines(process, began))
        process.wait()
    if process.returncode:
        sys.exit(f"Keras ended with {process.returncode}: {(scratch / 'keras.log').read_text()[-2000:]}")
    return Session(epochs, time.perf_counter() - began)


def timed_lines(process: subprocess.Popen, began: float) -> Iterator[tuple[float, float]]:
    """Seconds and validation accuracy of each line as it comes."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            yield time.perf_counter() - began, json.loads(line)["val_accuracy"]


def say(name: str, session: Session, target: float) -> None:
    """Print one process's outcome."""
    reached = session.reached(target)
    when = "never" if reached is None else f"after {reached:.1f} s"
    print(f"{name}: {target:.2%} {when}; best {session.best:.2%}; {session.seconds:.1f} s in all", flush=True)


def table(sessions: dict[str, list[Session]], target: float) -> Table:
    """Seconds to the target, and of the whole process, beside those of Keras on TensorFlow."""
    published = sessions.get("keras-tensorflow", [None])[0]
    rows = []
    for name, some in sessions.items():
        reached = [seconds for one in some if (seconds := one.reached(target)) is not None]
        middle = statistics.median(reached) if reached else None
        theirs = None if published is None else published.reached(target)
        rows.append(
            (
                name,
                "–" if middle is None else f"{middle:.1f}",
                between(reached, ".1f") if reached else "–",
                f"{len(reached)} of {len(some)}",
                f"{100 * np.median([one.best for one in some]):.2f}",
                f"{statistics.median(one.seconds for one in some):.1f}",
                "–" if middle is None or theirs is None else f"{theirs / middle:.1f}",
                "–" if middle is None or published is None else f"{published.seconds / middle:.1f}",
            )
        )
    header = (
        "process", "s to the target", "min–max", "reached it", "best %", "s in all",
        "times sooner than Keras reaches it", "than Keras ends",
    )  # fmt: skip
    notes = (
        "Medians over the processes. Cold cache: no program of this network was compiled before; warm: by "
        "the process before. Keras on TensorFlow, once: the published variant until its validation loss has "
        "not fallen for 20 epochs.",
    )
    return Table("From the start of the process", header, tuple(rows), notes)


if __name__ == "__main__":
    sys.exit(main())
