"""``kilter.fit(run=...)``: a run directory of a training run that has no recipe, and how it is resumed.

``call.json`` records what determines the result: the seed, the options, and SHA-256 sums of the data.
"""

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from kilter._engine.attributes import is_foreign
from kilter._engine.cuts import Start
from kilter._engine.history import History
from kilter._engine.structure import in_json, structure
from kilter._models.optimizers import inner_optimizer
from kilter.errors import RunError, RunWarning
from kilter.runs.atomic import entries, errors_named
from kilter.runs.best_epoch import Watch
from kilter.runs.callback_states import restore_states
from kilter.runs.checkpoints import Checkpoint
from kilter.runs.checksums import bytes_of
from kilter.runs.consistency import newest_cut, recorder_at
from kilter.runs.describing import code_of, digest_of
from kilter.runs.directory import Run, create_run, discarded_unless_begun, reopen_run, safe_name
from kilter.runs.environment import describe_environment
from kilter.runs.packing import copied_from_first, first_has, written_by_first
from kilter.runs.reading import CALL, is_run, read_call, read_history, read_result
from kilter.runs.recorder import Recorder, average_in, learning_rate, restore
from kilter.runs.records import Status, to_json
from kilter.runs.termination import saving_what_is_done
from kilter.runs.training import device_name, tell_differences

# Of larger arrays, evenly spaced pieces are hashed: reading all of a file of 100 GB would take minutes.
_HASHED: Final = 1 << 30
_PIECES: Final = 1024

Train = Callable[[list[keras.callbacks.Callback], int, Start | None, int], History]


# Arguments that change the numbers: those that JSON can hold, and those that are data.
_OPTIONS: Final = (
    *("batch_size", "shuffle", "validation_split", "class_weight", "steps_per_epoch", "validation_steps"),
)
_DATA: Final = ("sample_weight", "validation_data")
_GIVEN: Final = ("augment", "validation_freq", "evaluate_training")


@dataclass(frozen=True, eq=False)
class Call:
    """A call of :func:`kilter.fit`: seed, first epoch, ``data``, other ``arguments`` and callbacks."""

    seed: int
    initial_epoch: int
    data: Mapping[str, Any]
    arguments: Mapping[str, Any]
    callbacks: list[keras.callbacks.Callback]

    @property
    def epochs(self) -> int:
        """The epoch to stop before."""
        return int(self.arguments["epochs"])

    @property
    def validated(self) -> bool:
        """Whether there are validation data."""
        return self.arguments["validation_data"] is not None or bool(self.arguments["validation_split"])

    def record(self, model: keras.Model) -> dict[str, Any]:
        """The content of call.json: what must be the same when the run is resumed."""
        options = {name: self.arguments[name] for name in _OPTIONS}
        weights = options["class_weight"]
        options["class_weight"] = weights and {str(key): float(one) for key, one in weights.items()}
        data = {**self.data, **{name: self.arguments[name] for name in _DATA}}
        sums = {name: fingerprint(value) for name, value in data.items()}
        return {
            "seed": self.seed,
            "epochs": self.epochs,
            "options": options,
            "data": sums,
            "compiled": {"optimizer": type(model.optimizer).__name__, "loss": _named(model.loss)},
            "settings": _settings(model),
            "given": self._given(model),
            "told": self._told(model),
            "keras": keras.__version__,
            "learning_rate": learning_rate(model),
        }

    def _given(self, model: keras.Model) -> dict[str, str]:
        """SHA-256 of what else decides the numbers and must be the same, by name."""
        given = {name: self.arguments[name] for name in _GIVEN}
        config = getattr(getattr(model, "_compile_config", None), "config", {})
        given |= {"loss": keras.tree.map_structure(_own_settings, model.loss)}
        given |= {"loss_weights": config.get("loss_weights")}
        return {name: digest_of(value) for name, value in given.items()}

    def _told(self, model: keras.Model) -> dict[str, str]:
        """SHA-256 of what may change, but not in silence: a schedule may span more epochs, code be mended."""
        schedule, augment = self.arguments["schedule"], self.arguments["augment"]
        own = getattr(inner_optimizer(model), "_learning_rate", None)
        own = own if isinstance(own, keras.optimizers.schedules.LearningRateSchedule) else None
        code = f"code that Python {sys.version_info.major}.{sys.version_info.minor} compiled"
        return {"schedule": digest_of([schedule, own]), code: code_of(model, [schedule, augment])}


def _own_settings(loss: Any) -> Any:
    """What one of Keras's losses was given beside its defaults; None for other losses, which are code."""
    if not isinstance(loss, keras.Loss) or is_foreign(type(loss)):
        return None
    config, usual = loss.get_config(), type(loss)().get_config()
    changed = (name for name, value in config.items() if name != "name" and value != usual.get(name))
    return {name: config[name] for name in changed} or None


def _settings(model: keras.Model) -> dict[str, str]:
    """SHA-256 of what weights of the same shapes do not tell; {} for a model with code from elsewhere."""
    known = structure(model)
    if known is None:
        return {}
    stepping = inner_optimizer(model).get_config()
    kept = {name: value for name, value in stepping.items() if name not in ("name", "learning_rate")}
    texts = {"layers": known.network, "optimizer": in_json(kept)}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def _named(losses: Any) -> Any:
    """The names of losses, in their dict or list: one name for "mse", the function and the class."""

    def name(loss: Any) -> str:
        if isinstance(loss, str):
            with suppress(ValueError):  # Keras reports an unknown name
                loss = keras.losses.get(loss)
        text = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text).lower()

    return keras.tree.map_structure(name, losses)


def fingerprint(data: Any) -> str:
    """SHA-256 of the arrays in ``data``; other objects count by their type alone."""
    digest = hashlib.sha256()
    for leaf in keras.tree.flatten(data):
        is_array = hasattr(leaf, "__array__") or isinstance(leaf, list | int | float)
        if not is_array:
            digest.update(type(leaf).__name__.encode())
            continue
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        for piece in _pieces(array):
            digest.update(repr(piece.tolist()).encode() if array.dtype == object else bytes_of(piece))
    return digest.hexdigest()


def _pieces(array: np.ndarray) -> Iterable[np.ndarray]:
    if array.nbytes <= _HASHED or array.ndim == 0:
        return [array]
    rows = max(1, int(_HASHED / array.nbytes * len(array) / _PIECES))
    starts = np.linspace(0, len(array) - rows, _PIECES, dtype=np.int64)
    return (array[start : start + rows] for start in starts)


def keep(model: keras.Model, folder: Path, call: Call, train: Train, *, resumes: bool) -> History:
    """Train with a recorder that fills a run directory; an error before the first epoch leaves none.

    ``resumes``: go on with the newest run of this model in ``folder``, or with ``folder`` if it is a run; a
    new one begins if there is none.
    """
    found = _to_resume(folder, model.name) if resumes else None
    if resumes and first_has(found is not None):
        with copied_from_first(found or folder) as path, reopen_run(path) as run:
            return _resumed(model, run, call, train)
    with (
        written_by_first(folder) as parent,
        create_run(parent, model.name) as run,
        discarded_unless_begun(run),
    ):
        run.write_environment(describe_environment(device=device_name(), seed=call.seed))
        run.write_call(to_json(call.record(model)))
        recorder = Recorder(run, _watch(call), average=average_in(call.callbacks), beside=call.callbacks)
        return _kept(
            model,
            run,
            recorder,
            lambda: train([*call.callbacks, recorder], call.initial_epoch, None, call.seed),
        )


def _watch(call: Call) -> Watch:
    return Watch("val_loss" if call.validated else "loss", "min")


def _kept(model: keras.Model, run: Run, recorder: Recorder, train: Callable[[], History]) -> History:
    recorder.set_model(model)

    def finish(status: Status, reason: str) -> None:
        run.finish(recorder.result(status, reason))

    with saving_what_is_done(recorder, finish, lambda: _where(recorder)):
        history = train()
        finish("finished", "a callback" if model.stop_training else "epochs")
    return history


def _resumed(model: keras.Model, run: Run, call: Call, train: Train) -> History:
    """Go on with a run after its newest checkpoint; nothing is trained if it has all its epochs."""
    before, now = read_call(run.path), json.loads(to_json(call.record(model)))
    _require_same(run.path, before, now)
    _tell_changes(run, before, now)
    call_rate = None if now["learning_rate"] == before.get("learning_rate") else now["learning_rate"]
    checkpoint, average = newest_cut(run.path), average_in(call.callbacks)
    recorder, start = recorder_at(
        *(run, _watch(call), checkpoint),
        average=average,
        beside=call.callbacks,
        restored=lambda recorder: _restore(recorder, checkpoint, call_rate),
    )
    tell_differences(run, call.seed)
    first, result = call.initial_epoch, read_result(run.path)
    if checkpoint is not None:
        first = checkpoint.finished
        if average is not None:
            average.restore(checkpoint.tree["average"])
    finished = result is not None and result.status == "finished"
    if (finished or recorder.stopped) and call.epochs <= before["epochs"]:
        first, start = max(first, call.epochs), Start()  # a callback may have ended it before
    if finished:
        run.remove_result()
    kept = {name: before[name] for name in ("seed", "learning_rate") if name in before}
    run.write_call(to_json(now | kept))
    callbacks = [*call.callbacks, recorder]
    trained = _kept(model, run, recorder, lambda: train(callbacks, first, start, int(before["seed"])))
    return _with_earlier(trained, run, first)


def _restore(recorder: Recorder, checkpoint: Checkpoint | None, call_rate: float | None) -> None:
    """Restore the built model and the callbacks' counts when training begins.

    ``call_rate``: the learning rate of this call, if it differs from that of the run's first call.
    """
    if checkpoint is None or recorder.model is None:
        return
    restore(recorder.model, checkpoint)
    rate = learning_rate(recorder.model)
    if call_rate not in (None, rate):
        text = f"the run continues with its own learning rate, {rate:.3g}; the one in this call, "
        warnings.warn(f"{text}{call_rate:.3g}, applies only to a new run", RunWarning, stacklevel=2)
    restore_states(recorder.beside, checkpoint.scalars.get("callbacks", []))
    recorder.save_model()


def _with_earlier(history: History, run: Run, first: int) -> History:
    """The history with the epochs before this call."""
    lines = [
        line for line in read_history(run.path) if line.epoch < first and line.epoch not in history.epoch
    ]
    names = dict.fromkeys([*(name for line in lines for name in line.logs), *history.history])
    history.history = {
        name: [line.logs.get(name, float("nan")) for line in lines] + history.history.get(name, [])
        for name in names
    }
    history.epoch = [line.epoch for line in lines] + history.epoch
    history.seconds = [line.seconds for line in lines] + history.seconds
    return history


def _to_resume(folder: Path, name: str) -> Path | None:
    """The run to go on with: ``folder`` itself, or the newest run of the model in it."""
    if is_run(folder):
        return folder
    with errors_named(folder, doing="read"):
        runs = [path for path in entries(folder) if (path / CALL).is_file()]
    named = [path for path in runs if _family(path.name.split("-", 2)[-1]) == _family(safe_name(name))]
    return max(named, default=None)


def _family(name: str) -> str:
    """The name without the number that Keras appends to those of a process's later models."""
    return re.sub(r"_\d+$", "", name)


def _require_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise :class:`RunError` unless data and options are those that the run was started with."""
    words = {
        "options": "argument",
        "compiled": "compiled",
        "settings": "settings of",
        "given": "settings of",
        "data": "data of argument",
    }
    if before.get("keras") != now["keras"]:
        del words["settings"]  # another version of Keras describes equal layers in another way
    for kind, word in words.items():
        earlier = before.get(kind, now[kind])  # runs of kilter 0.1.0 have only some
        hashed = kind in ("settings", "given", "data")
        for name in dict.fromkeys([*earlier, *now[kind]]):
            old, new = earlier.get(name), now[kind].get(name)
            if old != new:
                raise RunError(
                    expected=f"the {word} {name} that the run in {path} was started with"
                    + (f" (SHA-256 {str(old)[:12]}…)" if hashed else f" ({name}={old!r})"),
                    received="other values" if hashed else f"{name}={new!r}",
                    remedy="pass the same, or leave out resume=True to begin a new run",
                )


def _tell_changes(run: Run, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn of another schedule or other code than that of the last call, and note it."""
    earlier = before.get("told", {})
    changed = [name for name, value in now["told"].items() if earlier.get(name, value) != value]
    if changed:
        text = f"{run.path} is resumed with another {' and other '.join(changed)} than before: the results "
        text += "are not those of an unbroken run"
        warnings.warn(text, RunWarning, stacklevel=3)
        run.note(text)


def _where(recorder: Recorder) -> str:
    """How to go on; without a recipe ``kilter resume`` does not apply."""
    path = recorder.run.path
    if recorder.watch.last_epoch is None and recorder.within is None:
        return f"Nothing was trained yet; the run directory is {path}"
    return (
        f"Its checkpoint and its best weights, which the model has now, are in {path}; to continue: "
        "the same call with resume=True"
    )
