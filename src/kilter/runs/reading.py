"""Reading run directories, without Keras or JAX, so that ``kilter runs`` is quick."""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kilter._toml import parse_toml
from kilter._validation import errors_as
from kilter.errors import RunError
from kilter.runs import lock
from kilter.runs.atomic import entries, read_lines, read_record
from kilter.runs.checksums import require_unchanged
from kilter.runs.records import (
    UNREADABLE,
    DataRecord,
    EpochRecord,
    Result,
    RunSummary,
    Status,
    best_epoch,
    default_monitor,
    parse_history,
)

RECIPE = "recipe.toml"
ENVIRONMENT = "environment.json"
HISTORY = "history.jsonl"
JOURNAL = "journal.jsonl"
MODEL = "model.keras"
RESULT = "result.json"
DATA = "data.json"
CALL = "call.json"
FLIGHT = "flight"
CHECKPOINTS = "checkpoints"
FOUND_RATE = "find_lr.json"
FOUND_CLIP = "clip_threshold.json"
LOCK = "lock"

# The remedies for a damaged file: the first for any, the others for files that a run needs or can write
# again.
_REMEDY = "restore it from a backup, or remove it: a run can be read without it"
_REMEDIES = {
    DATA: "restore it from a backup, or train the run's recipe.toml again",
    RECIPE: "restore it from a backup",
    RESULT: "restore it from a backup, or remove it and run kilter resume, which writes it again",
}

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class RunRecords:
    """The contents of a run directory, read at one moment.

    `status` is "training" while a process has the lock, "interrupted" if the process ended without a result.
    `recipe` and `environment` are {} and `recipe_text` is "" if the run has none. `found`: what was measured
    before training, the JSON of each file by its name. `journal`: sentences about events, such as a damaged
    checkpoint that was skipped.
    """

    path: Path
    status: Status
    recipe_text: str
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: tuple[EpochRecord, ...]
    data: DataRecord | None
    result: Result | None
    found: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    journal: tuple[str, ...] = ()


def open_run(path: Path) -> RunRecords:
    """Read the run directory at `path`; :class:`RunError` if it is not one, or a file in it is damaged."""
    path = Path(path)
    require_run(path)
    result = read_result(path)
    recipe_text = _parsed(path / RECIPE, str) or ""
    found = {name: _parsed(path / name, _json_object) for name in (FOUND_RATE, FOUND_CLIP)}
    return RunRecords(
        path=path,
        status=_status(path, result),
        recipe_text=recipe_text,
        recipe=_parsed(path / RECIPE, _sections) or {},
        environment=read_environment(path),
        history=tuple(read_history(path)),
        data=read_data(path),
        result=result,
        found={name: value for name, value in found.items() if value is not None},
        journal=_journal(path / JOURNAL),
    )


def list_runs(parent: Path) -> tuple[RunSummary, ...]:
    """The runs below `parent`, oldest first; one that cannot be read is listed as "damaged"."""
    return tuple(_summary(path) for path in entries(Path(parent)) if is_run(path))


def read_result(path: Path) -> Result | None:
    """How the run ended; None while it has not. :class:`RunError` for a damaged file."""
    return _parsed(path / RESULT, Result.from_json)


def read_data(path: Path) -> DataRecord | None:
    """The data record in a folder, if any. :class:`RunError` for a damaged file."""
    return _parsed(path / DATA, DataRecord.from_json)


def read_environment(path: Path) -> dict[str, Any]:
    """What the run was started with; {} if it is not recorded. :class:`RunError` for a damaged file."""
    return _parsed(path / ENVIRONMENT, _json_object) or {}


def read_call(path: Path) -> dict[str, Any]:
    """What :func:`kilter.fit` was given; :class:`RunError` for a run that it did not write."""
    found = _parsed(path / CALL, _json_object)
    if found is None:
        raise RunError(
            expected=f"a run of kilter.fit(run=...) in {path}",
            received=f"a run without {CALL}",
            remedy="use kilter resume for a run of kilter train",
        )
    return found


def read_history(path: Path) -> list[EpochRecord]:
    """The finished epochs of a run in order. An incomplete last line is left out."""
    return parse_history(read_lines(path / HISTORY), path / HISTORY)


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory: a folder with a recipe, an environment or a history in it."""
    return any(os.path.isfile(path / name) for name in (RECIPE, ENVIRONMENT, HISTORY))


def near_run(path: Path) -> str:
    """A hint that names the newest run directory ending in ``path``, else in that folder; "" if none is."""
    found: list[Path] = []
    for parent, ending in ((path.parent, f"-{path.name}"), (path, "")):
        with suppress(OSError):
            found = found or [one for one in parent.iterdir() if one.name.endswith(ending) and is_run(one)]
    return f"; did you mean {max(found)}?" if found else ""


def require_run(path: Path) -> None:
    """Raise :class:`RunError` unless `path` is a run directory."""
    if is_run(path):
        return
    raise RunError(
        expected=f"a run directory at {path}",
        received=_what_is_at(path),
        remedy=f"`kilter runs` lists the run directories{near_run(path)}",
    )


def _what_is_at(path: Path) -> str:
    if not os.path.isdir(path):
        return "a file" if os.path.exists(path) else "no such folder"
    if not os.access(path, os.R_OK | os.X_OK):
        return "a folder that you are not permitted to read"
    return f"a folder without {RECIPE} and {HISTORY}"


def _summary(path: Path) -> RunSummary:
    started, name = _started_and_name(path)
    try:
        records = open_run(path)
    except RunError:
        return RunSummary(path, name, started, "damaged", 0, "", None, None, 0.0, {})
    history, result = records.history, records.result
    monitor, direction = (result.monitor, result.direction) if result else default_monitor(history)
    best = best_epoch(history, monitor, direction)
    return RunSummary(
        path=path,
        name=name,
        started=started,
        status=records.status,
        epochs=len(history) or (result.epochs if result else 0),
        monitor=monitor,
        best_epoch=best.epoch if best else None,
        best=best.logs[monitor] if best else None,
        seconds=sum(line.seconds + line.compile_seconds for line in history)
        or (result.seconds if result else 0.0),
        metrics=dict(best.logs) if best else {},
    )


def _status(path: Path, result: Result | None) -> Status:
    if lock.held(path / LOCK):
        return "training"
    return result.status if result else "interrupted"


def _started_and_name(path: Path) -> tuple[str, str]:
    """Both from ``20261122-014823-digits``; "" and the name of a folder with any other name."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-(.+)", path.name)
    if not found:
        return "", path.name
    year, month, day, hour, minute, second, name = found.groups()
    return f"{year}-{month}-{day} {hour}:{minute}:{second}", name


def _journal(path: Path) -> tuple[str, ...]:
    """The sentences of journal.jsonl; a damaged line is shown unchanged."""
    texts = []
    for line in read_lines(path):
        try:
            texts.append(str(_json_object(line)["text"]))
        except (ValueError, KeyError):
            texts.append(line)
    return tuple(texts)


def _sections(text: str) -> dict[str, Any]:
    """The sections of a recipe, which may be of another version of kilter."""
    tables = parse_toml(text)
    wrong = [name for name in ("data", "model") if not isinstance(tables.get(name, {}), dict)]
    if wrong:
        raise ValueError(f"{' and '.join(wrong)} should be tables")
    return tables


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def _parsed(path: Path, parse: Callable[[str], Parsed]) -> Parsed | None:
    """The parsed text of a file, None if it does not exist; :class:`RunError` for a damaged one."""
    content = read_record(path) if path.is_file() else None
    if path.name in (DATA, CALL):  # data would otherwise be read in another way
        require_unchanged(path)
    if content is None:
        return None
    remedy = _REMEDIES.get(path.name, _REMEDY)
    with errors_as(RunError, *UNREADABLE, expected=f"{path} as kilter wrote it", remedy=remedy):
        return parse(content.decode("utf-8"))
