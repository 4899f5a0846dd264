"""Counts of training steps, traces and compilations, and CPU seconds by phase and by kind of work."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from jax._src import dispatch

import kilter
from kilter._engine.loop import Runner
from kilter._engine.program_cache import shelf

_HOME = str(Path(kilter.__file__).parent)
GIVEN = "training as given"
# Functions of kilter that are a phase of their own; the outermost one on the stack counts, but for the
# training as given, which begins wherever it is first needed.
PHASES = {
    "train_as_given": GIVEN,
    "_begun": "scoring",
    "read_context": "reading the model",
    "_probed": "probe",
    "read_sequences": "sequences",
    "_stepped": "first steps",
    "outcome": "outcome",
    "run_checks": "checks",
    "train_in_full": "full trainings",
    "_searched": "search",
    "persist": "search",
    "lengthen": "search",
    "planned_search": "search",
    "proven": "proof",
    "minimal": "fewest changes",
    "safest": "safeguard",
    "_result": "result",
}
_KINDS = {
    "backend_compile_and_load": "compile",
    "interruptible": "compile",  # waits for the thread that compiles
    "trace_to_jaxpr": "trace",
    "eval_shape": "trace",
    "lower_jaxpr_to_module": "lower",
}


@dataclass
class Count:
    """``events``: by kind, name of the program and phase. ``seconds``: CPU, by phase and kind.

    ``steps`` and ``work``: of training ("train") and evaluation ("test"), by phase and kind; the work, in
    multiply-adds, does not depend on the machine.
    """

    events: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    work: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: float = 0.0

    def compiled(self) -> int:
        """The number of XLA compilations."""
        return sum(count for (kind, *_), count in self.events.items() if kind == "compile")

    def large(self) -> int:
        """Those of kilter's own programs, which are named ``run``; all others are single operations."""
        return sum(
            count for (kind, name, _), count in self.events.items() if kind == "compile" and "run" in name
        )

    def trainings(self) -> dict[str, float]:
        """The work of training and evaluation by phase, as a multiple of that of the training as given."""
        given = self.work[GIVEN, "train"] or math.nan
        found: dict[str, float] = {}
        for (phase, _), work in self.work.items():
            found[phase] = found.get(phase, 0.0) + work / given
        return found

    def of(self, kind: str) -> float:
        """CPU seconds of one kind."""
        return sum(seconds for (_, other), seconds in self.seconds.items() if other == kind)


def phase_of(frame: FrameType | None) -> tuple[str, str]:
    """The phase, and the kind of work: compile, trace, lower or other."""
    phase, kind = "other", "other"
    while frame is not None:
        name = frame.f_code.co_name
        kind = _KINDS.get(name, "other") if kind == "other" else kind
        if name in PHASES and phase != GIVEN and frame.f_code.co_filename.startswith(_HOME):
            phase = PHASES[name]
        frame = frame.f_back
    return phase, kind


@contextlib.contextmanager
def _steps_counted(made: Count) -> Generator[None]:
    """Count the steps of every chunk that runs."""
    call = Runner.call

    def counting(self: Runner, state: Any, block: Any, start: int, stop: int) -> Any:
        result = call(self, state, block, start, stop)
        kind: Any = self.name[0] if isinstance(self.name, tuple) else self.name
        cost = shelf(self.model).cost(kind)
        place = phase_of(sys._getframe())[0], str(kind)
        made.steps[place] += stop - start
        made.work[place] += (stop - start) * (0.0 if cost is None else cost.work)
        return result

    Runner.call = counting
    try:
        yield
    finally:
        Runner.call = call


@contextlib.contextmanager
def counted(every: float = 0.02) -> Generator[Count]:
    """Count what happens in this thread; CPU seconds are sampled ``every`` so many seconds."""
    made, stop, thread = Count(), threading.Event(), threading.get_ident()
    began = last = time.process_time()

    def sample() -> None:
        nonlocal last
        while not stop.wait(every):
            frame, now = sys._current_frames().get(thread), time.process_time()
            made.seconds[phase_of(frame)] += now - last
            last = now

    logged = dispatch.log_elapsed_time

    def counting(fmt: str, fun_name: str, event: Any = None, **rest: Any) -> Any:
        kind = {dispatch.JAXPR_TRACE_EVENT: "trace", dispatch.BACKEND_COMPILE_EVENT: "compile"}.get(event)
        if kind is not None:
            place = sys._current_frames().get(thread)  # programs compile in a thread of their own
            made.events[kind, fun_name, phase_of(place)[0]] += 1
        return logged(fmt, fun_name, event=event, **rest)

    dispatch.log_elapsed_time = counting
    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        with _steps_counted(made):
            yield made
    finally:
        stop.set()
        sampler.join()
        dispatch.log_elapsed_time = logged
        made.total = time.process_time() - began
