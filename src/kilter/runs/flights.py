"""Steps that broke a training run: their state, batch and random numbers, kept to be run again.

``flight/step-00000123/`` is written like a checkpoint: with a manifest, whole or not at all.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from kilter._engine.divergence import Broken, Event
from kilter._engine.step import Yielded
from kilter._models.variables import State
from kilter.errors import RunError
from kilter.runs import checkpoints
from kilter.runs.atomic import entries
from kilter.runs.checksums import sha256_of_arrays
from kilter.runs.directory import Run
from kilter.runs.reading import FLIGHT, RECIPE

_NAME: Final = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, eq=False)
class Flight:
    """A recorded step: what happened, the state before it, its batch ``leaves``, and the bits after it."""

    event: Event
    before: State
    leaves: list[np.ndarray]
    given: list[np.ndarray]
    after_sha256: str
    structure: Any


def write_flight(run: Run, broken: Broken) -> None:
    """Keep the step in the run directory, and note the event in its journal."""
    event = broken.event
    tree = dict(zip(State._fields, broken.before, strict=True))
    tree |= {"batch": jax.tree.leaves(broken.batch), "given": list(broken.given)}
    leaf = iter(range(len(tree["batch"])))
    scalars = {
        "structure": _structure(broken.batch, leaf),
        "event": asdict(event) | {"rows": None if event.rows is None else list(event.rows)},
        "after": sha256_of_arrays(jax.tree.leaves(broken.after)),
        checkpoints.RUN: run.identity,
    }
    checkpoints.write(run.path / FLIGHT, f"step-{event.iteration:08d}", tree, scalars)
    again = f"kilter replay {run.path} --step {event.iteration}"
    if not (run.path / RECIPE).is_file():  # of kilter.fit: only the caller has the model
        again = f"kilter.runs.replay_with({str(run.path)!r}, model, {event.iteration})"
    run.note(f"{event.sentence}; {again}")


def flights(path: Path) -> list[int]:
    """The recorded steps of a run, by the optimiser's iteration."""
    folder = path / FLIGHT
    names = (_NAME.fullmatch(one.name) for one in entries(folder))
    return sorted(int(found.group(1)) for found in names if found)


def read_flight(path: Path, step: int | None) -> Flight:
    """The recorded step, by default the last one; :class:`RunError` if there is none or it is damaged."""
    known = flights(path)
    if not known:
        raise RunError(
            expected=f"a step that broke the training of {path}",
            received="no recorded step",
            remedy="nothing to replay: a step is recorded when the loss or a weight is not finite, or jumps",
        )
    if step is not None and step not in known:
        raise RunError(
            expected=f"a step that broke the training of {path}",
            received=f"step {step}; the recorded steps are {known}",
            remedy="choose one of these",
        )
    step = known[-1] if step is None else step
    tree, scalars = checkpoints.read(path / FLIGHT / f"step-{step:08d}")
    found = dict(scalars["event"])
    event = Event(**{**found, "rows": None if found["rows"] is None else tuple(found["rows"])})
    state = State(*([np.asarray(one) for one in tree[name]] for name in State._fields))
    leaves, given = ([np.asarray(one) for one in tree[name]] for name in ("batch", "given"))
    return Flight(event, state, leaves, given, str(scalars["after"]), scalars["structure"])


def batch_of(flight: Flight) -> Any:
    """The batch of a recorded step, in the structure that it had."""
    return _rebuilt(flight.structure, flight.leaves)


def _structure(value: Any, leaf: Iterator[int]) -> Any:
    """The nesting of a batch as JSON values, in the order of ``jax.tree.leaves``."""
    if value is None:
        return None
    if isinstance(value, Yielded):
        return {"yielded": [_structure(one, leaf) for one in value], "parts": value.parts}
    if isinstance(value, dict):
        return {"dict": [[key, _structure(value[key], leaf)] for key in sorted(value)]}
    if isinstance(value, tuple | list):
        return {"list": [_structure(one, leaf) for one in value], "tuple": isinstance(value, tuple)}
    return next(leaf)


def _rebuilt(structure: Any, leaves: list[np.ndarray]) -> Any:
    if structure is None:
        return None
    if isinstance(structure, int):
        return leaves[structure]
    if "yielded" in structure:
        return Yielded(*(_rebuilt(one, leaves) for one in structure["yielded"]), parts=structure["parts"])
    if "dict" in structure:
        return {key: _rebuilt(one, leaves) for key, one in structure["dict"]}
    found = [_rebuilt(one, leaves) for one in structure["list"]]
    return tuple(found) if structure["tuple"] else found
