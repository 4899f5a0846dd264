"""What a search tries next: every combination, random draws, or what Optuna's TPE expects to be good.

A sampler proposes a round of trials and receives their scores in order. It depends on nothing else, so the
same search has the same trials on any number of workers, and a continued one repeats what it had proposed.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from kilter._compare.spaces import Choice, Space, Values, grid
from kilter._validation import one_of
from kilter.errors import OptionError

SAMPLERS = ("grid", "random", "tpe")


class Sampler(Protocol):
    """Proposes trials."""

    def ask(self, count: int) -> list[Values]:
        """Up to ``count`` further trials; fewer if there are no more."""
        ...

    def tell(self, scores: Sequence[float]) -> None:
        """The scores of the trials asked for last, in order, more being better; NaN: it diverged."""
        ...


def sampler_for(name: str, space: Space, seed: int) -> Sampler:
    """The sampler ``name``. Raises :class:`OptionError` for an unknown one, or if Optuna is missing."""
    one_of("sampler", name, SAMPLERS)
    if name == "grid":
        return _Grid(space)
    return _Random(space, seed) if name == "random" else _Tpe(space, seed)


class _Grid:
    def __init__(self, space: Space) -> None:
        self._left = iter(grid(space))

    def ask(self, count: int) -> list[Values]:
        return list(itertools.islice(self._left, count))

    def tell(self, scores: Sequence[float]) -> None:
        pass


class _Random:
    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed, self._number = space, seed, 0

    def ask(self, count: int) -> list[Values]:
        first, self._number = self._number, self._number + count
        return [self._drawn(number) for number in range(first, self._number)]

    def tell(self, scores: Sequence[float]) -> None:
        pass

    def _drawn(self, number: int) -> Values:
        generator = np.random.Generator(np.random.PCG64([self._seed, number]))
        return {key: one.draw(generator) for key, one in self._space.items()}


class _Tpe:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), of Optuna."""

    def __init__(self, space: Space, seed: int) -> None:
        try:
            import optuna  # pyright: ignore[reportMissingImports]  # an extra
        except ImportError:
            raise OptionError(
                expected="Optuna for --sampler tpe",
                received="Optuna is not installed",
                remedy="pip install 'kilter[sweep]', or take --sampler random",
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # constant_liar: the trials of a round differ, though none has a score yet.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._failed, self._space = optuna.trial.TrialState.FAIL, space
        self._asked: list[Any] = []

    def ask(self, count: int) -> list[Values]:
        self._asked = [self._study.ask() for _ in range(count)]
        return [{key: self._suggested(one, key) for key in self._space} for one in self._asked]

    def tell(self, scores: Sequence[float]) -> None:
        for trial, score in zip(self._asked, scores, strict=True):
            if math.isfinite(score):
                self._study.tell(trial, score)
            else:
                self._study.tell(trial, state=self._failed)

    def _suggested(self, trial: Any, key: str) -> Any:
        one = self._space[key]
        if isinstance(one, Choice):
            # By number: Optuna knows numbers and texts alone, and a value may be a list.
            return one.values[trial.suggest_categorical(key, list(range(len(one.values))))]
        if one.whole:
            return trial.suggest_int(key, int(one.low), int(one.high), log=one.log)
        return trial.suggest_float(key, one.low, one.high, log=one.log)
