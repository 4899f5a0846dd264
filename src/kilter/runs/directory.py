"""The run directory for the process that writes to it. To read one, see :mod:`kilter.runs.reading`."""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kilter._system import sha256_of
from kilter.errors import KilterError, RunError
from kilter.runs import lock
from kilter.runs.atomic import (
    append_line,
    errors_named,
    fsync_path,
    remove_temporary,
    write_text,
    write_with,
)
from kilter.runs.checksums import give_identity, identity_of, keep_recipe, replacing
from kilter.runs.events import EventWriter
from kilter.runs.reading import (
    CALL,
    CHECKPOINTS,
    DATA,
    ENVIRONMENT,
    FLIGHT,
    HISTORY,
    JOURNAL,
    LOCK,
    MODEL,
    RECIPE,
    RESULT,
    require_run,
)
from kilter.runs.records import DataRecord, EpochRecord, Result, to_json

if TYPE_CHECKING:
    import keras

_LONGEST_NAME = 100  # file systems allow 255 bytes
_PAUSE_SECONDS = 0.1  # between attempts to find a free name


class Run:
    """A run directory that this process writes to; a context manager that releases the lock.

    Made by :func:`create_run`, or :func:`reopen_run` for an interrupted run. A method with a failing write
    raises :class:`RunError` and leaves the old file intact.
    """

    def __init__(self, path: Path, held: lock.Lock) -> None:
        self.path = path
        self._lock = held
        self._events = EventWriter(path)
        self.identity = identity_of(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def discard(self) -> None:
        """Close a run that did not start, and remove its directory."""
        self.close()
        if self.path.exists():  # the user may have removed it
            shutil.rmtree(self.path)

    def close(self) -> None:
        """Close the TensorBoard file and release the lock."""
        try:
            self._events.close()
        finally:
            self._lock.release()

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """environment.json: versions, platform, device, seed."""
        write_text(self.path / ENVIRONMENT, to_json(environment, indent=2) + "\n")

    def write_data(self, data: DataRecord) -> None:
        """data.json: what the model is trained on."""
        self._write_listed(DATA, data.to_json() + "\n")

    def write_call(self, text: str) -> None:
        """call.json: what a call of ``kilter.fit`` was given."""
        self._write_listed(CALL, text)

    def _write_listed(self, name: str, text: str) -> None:
        with replacing(self.path, name, hashlib.sha256(text.encode("utf-8")).hexdigest()):
            write_text(self.path / name, text)

    def write_found(self, name: str, found: Mapping[str, Any]) -> None:
        """find_lr.json or clip_threshold.json: what the recipe's numbers were derived from."""
        write_text(self.path / name, to_json(found) + "\n")

    def record_epoch(self, record: EpochRecord) -> None:
        """Add a line to history.jsonl, then the TensorBoard scalars."""
        append_line(self.path / HISTORY, record.to_json())
        self._events.write(record)

    def restore_history(self, lines: Sequence[str]) -> None:
        """Replace history.jsonl by the lines of the checkpoint that the run is resumed from."""
        write_text(self.path / HISTORY, "".join(f"{line}\n" for line in lines))

    def note(self, text: str) -> None:
        """Add a line to journal.jsonl: an event that the user should know about."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "text": text}
        append_line(self.path / JOURNAL, to_json(line))

    def save_best(self, model: "keras.Model") -> None:
        """model.keras: the model as it is now, architecture and weights."""
        with ExitStack() as replaced:

            def fill(temporary: Path) -> None:
                model.save(str(temporary))
                replaced.enter_context(replacing(self.path, MODEL, sha256_of(temporary)))

            write_with(self.path / MODEL, fill)

    def finish(self, result: Result) -> None:
        """result.json: how the run ended."""
        write_text(self.path / RESULT, result.to_json() + "\n")

    def remove_result(self) -> None:
        """Remove result.json, of a finished run that is trained for longer."""
        with errors_named(self.path / RESULT):
            (self.path / RESULT).unlink(missing_ok=True)
            fsync_path(self.path)

    def write_recipe(self, text: str) -> None:
        """Write recipe.toml."""
        write_text(self.path / RECIPE, text)
        keep_recipe(self.path, text)


def _check_utf8(parent: Path) -> None:
    """Raise :class:`RunError` for a path that is not UTF-8, below which orbax cannot write checkpoints."""
    try:
        str(parent.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        raise RunError(
            expected="a folder for runs with a UTF-8 path: checkpoints need one",
            received=ascii(str(parent)),
            remedy="rename the folder, or choose another folder for runs",
        ) from None


def _require_clock() -> None:
    """model.keras is a ZIP archive: without the check the run would fail when it is saved."""
    now = datetime.now(UTC)
    if now.year < 1980:
        raise RunError(
            expected="a clock set to 1980 or later: model.keras is a ZIP archive, which has no earlier times",
            received=f"{now:%Y-%m-%d}",
            remedy="set the date and time of this machine",
        )


def create_run(
    parent: Path, name: str, *, recipe_text: str | None = None, started: datetime | None = None
) -> Run:
    """Make ``<UTC time>-<name>/`` below `parent`, take its lock and write recipe.toml from `recipe_text`.

    Characters of `name` other than letters, digits, ``.``, ``_`` and ``-`` become ``-``, so that a name
    cannot lead out of `parent`. `started`: by default now, or the next second for which the name is free.
    Raises :class:`RunError` if the directory exists or cannot be made.
    """
    _check_utf8(Path(parent))
    _require_clock()
    path = _named(Path(parent), name, started or datetime.now(UTC))
    with errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _made(path):  # another process may have begun a run in this second
            if started is not None:
                raise RunError(
                    expected="a run directory that does not exist yet",
                    received=str(path),
                    remedy="wait a second, or give the run another name",
                )
            time.sleep(_PAUSE_SECONDS)
            path = _named(Path(parent), name, datetime.now(UTC))
        fsync_path(path.parent)
    try:
        held = lock.acquire(path / LOCK)
        (path / CHECKPOINTS).mkdir()
        give_identity(path)
        run = Run(path, held)
    except BaseException:
        shutil.rmtree(path)
        raise
    with discarded_unless_begun(run):
        if recipe_text is not None:
            run.write_recipe(recipe_text)
    return run


def _made(path: Path) -> bool:
    """Make a folder; False if it exists."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


@contextmanager
def discarded_unless_begun(run: Run) -> Generator[None]:
    """Remove the run directory if an error ends the run before its first epoch."""
    try:
        yield
    except BaseException as error:
        refused = isinstance(error, KilterError) and not isinstance(error, RunError)
        begun = (run.path / HISTORY).exists() or (run.path / FLIGHT).exists()
        if not begun and (refused or not (run.path / RESULT).exists()):
            run.discard()
        raise


def reopen_run(path: Path) -> Run:
    """Take the lock of an interrupted run, to continue it; a lock left by a crash is taken over.

    Temporary files of a writer that was killed are removed.

    Raises :class:`RunError` if `path` is no run directory, contains links, or another process is writing to
    it.
    """
    require_run(path)
    _check_utf8(path)
    _require_no_links(path)
    _require_clock()
    run = Run(path, lock.acquire(path / LOCK))
    try:
        remove_temporary(path)
    except BaseException:
        run.close()
        raise
    return run


def _require_no_links(path: Path) -> None:
    """Raise :class:`RunError` for a link in the run: what is written to it, or removed, could be outside."""
    with errors_named(path, doing="read"):
        links = [one for one in path.rglob("*") if one.is_symlink()]
    if links:
        raise RunError(
            expected=f"no links in {path}, where kilter writes and removes files",
            received=f"the link {links[0].relative_to(path)} to {os.readlink(links[0])}",
            remedy="replace the link by what it points to, or remove it",
        )


def _named(parent: Path, name: str, moment: datetime) -> Path:
    return parent / f"{moment.astimezone(UTC):%Y%m%d-%H%M%S}-{safe_name(name)}"


def safe_name(name: str) -> str:
    """The name as a part of the directory's name."""
    kept = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:_LONGEST_NAME]
    return kept or "run"
