"""Run directories: creating, filling, reading and resuming them, and training from a recipe.

Names load on first use (PEP 562), so that reading runs (``kilter runs``) needs neither Keras nor JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

if TYPE_CHECKING:
    from kilter.runs.cross_validation import CrossValidation, cross_validate
    from kilter.runs.directory import Run, create_run, reopen_run
    from kilter.runs.reading import RunRecords, list_runs, open_run
    from kilter.runs.recorder import Recorder
    from kilter.runs.records import RunSummary
    from kilter.runs.replaying import Replay, replay, replay_with
    from kilter.runs.termination import Interrupted
    from kilter.runs.training import TrainResult, resume, train

_HOMES = {
    "CrossValidation": "kilter.runs.cross_validation",
    "cross_validate": "kilter.runs.cross_validation",
    "Interrupted": "kilter.runs.termination",
    "Recorder": "kilter.runs.recorder",
    "Replay": "kilter.runs.replaying",
    "Run": "kilter.runs.directory",
    "RunRecords": "kilter.runs.reading",
    "RunSummary": "kilter.runs.records",
    "TrainResult": "kilter.runs.training",
    "create_run": "kilter.runs.directory",
    "list_runs": "kilter.runs.reading",
    "open_run": "kilter.runs.reading",
    "reopen_run": "kilter.runs.directory",
    "replay": "kilter.runs.replaying",
    "replay_with": "kilter.runs.replaying",
    "resume": "kilter.runs.training",
    "train": "kilter.runs.training",
}

__all__ = [
    "CrossValidation",
    "Interrupted",
    "Recorder",
    "Replay",
    "Run",
    "RunRecords",
    "RunSummary",
    "TrainResult",
    "create_run",
    "cross_validate",
    "list_runs",
    "open_run",
    "reopen_run",
    "replay",
    "replay_with",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kilter.runs' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
