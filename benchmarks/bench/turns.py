"""Timing in turns: A B C, A B C, …, so that a slow spell of the machine falls on all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def in_turns(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action in each round, after one that is not counted: it compiles and warms up.

    An action that returns a float has measured its own seconds.

    Example:
        >>> sorted(in_turns({"a": lambda: None, "b": lambda: None}, 3))
        ['a', 'b']
    """
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            began = time.perf_counter()
            own = action()
            seconds[name].append(own if isinstance(own, float) else time.perf_counter() - began)
    return seconds
