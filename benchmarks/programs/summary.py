"""The figures of the corpus, and the page that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.machine import Machine
from programs.measuring import Diagnosed, Treated

# The part of a treatment's time that every program is granted.
FIXED_SECONDS = 10.0


def of_diagnoses(results: Sequence[Diagnosed]) -> list[str]:
    """Detection, names of causes, false alarms, exceptions, seconds."""
    faulty = [one for one in results if one.faulty]
    sound = [one for one in results if not one.faulty]
    seconds = [one.seconds for one in results]
    return [
        _share("detected", [one.detected for one in faulty]),
        _share("cause named", [one.named for one in faulty]),
        _share("sound programs with a severe finding", [one.detected for one in sound]),
        _share("exceptions", [bool(one.error) for one in results]),
        f"seconds a program: {_spread(seconds)}",
    ]


def of_treatments(results: Sequence[Treated]) -> list[str]:
    """Repairs, exceptions, cost against Keras's training of the faulty program."""
    known = [one for one in results if np.isfinite(one.keras_seconds)]
    cost = [max(0.0, one.seconds - FIXED_SECONDS) / one.keras_seconds for one in known]
    processor = [
        max(0.0, one.processor_seconds - FIXED_SECONDS) / one.keras_processor_seconds for one in known
    ]
    return [
        _share("repaired (within 2 points of the reference)", [one.repaired for one in results]),
        _share("exceptions", [bool(one.error) for one in results]),
        f"seconds of treat: {_spread([one.seconds for one in results])}",
        f"seconds of Keras's fit as it came: {_spread([one.keras_seconds for one in known])}",
        f"cost: (treat - {FIXED_SECONDS:g} s) / Keras's fit: {_spread(cost)}",
        f"the same of processor time: {_spread(processor)}",
    ]


def _share(name: str, hits: Sequence[bool]) -> str:
    count = sum(hits)
    return f"{name}: {count} of {len(hits)} ({count / len(hits):.1%})" if hits else f"{name}: none"


def _spread(values: Sequence[float]) -> str:
    if not len(values):
        return "none"
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"median {middle:.2f}, 5 % to 95 %: {low:.2f} to {high:.2f} (n = {len(values)})"


def page(command: str, machine: Machine, lines: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what was run on what, the figures, and a line for each program."""
    head = [
        f"# `{command}`",
        "",
        f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}.",
        "",
        *(f"- {line}" for line in lines),
    ]
    names = list(rows[0]) if rows else []
    if "case" not in names:
        return "\n".join(head) + "\n"
    table = ["", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    table += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows]
    return "\n".join([*head, *table]) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)
