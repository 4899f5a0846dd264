"""What a search tries: the values or the range of each key of a recipe, and what it tries next.

A sampler goes through every combination, draws at random, or asks Optuna's TPE what it expects to be good. It
proposes a round of trials and receives their scores in order. It depends on nothing else, so the
same search has the same trials on any number of workers, and a continued one repeats what it had proposed.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kilter._validation import one_of
from kilter.errors import OptionError

Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        """One of the values, all equally likely."""
        return self.values[int(generator.integers(len(self.values)))]


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log``: even by factor; ``whole``: whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, generator: np.random.Generator) -> float:
        """A number from the range."""
        if self.whole and not self.log:
            return int(generator.integers(int(self.low), int(self.high) + 1))
        share = float(generator.random())
        if not self.log:
            return self.low + share * (self.high - self.low)
        value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return round(value) if self.whole else min(max(value, self.low), self.high)


Space = dict[str, Choice | Range]


def space_of(over: Mapping[str, Any]) -> Space:
    """The space from lists of values and ``{"low": ..., "high": ..., "log": ...}``, by key.

    Example:
        >>> space_of({"train.batch_size": {"low": 16, "high": 256, "log": True}})
        {'train.batch_size': Range(low=16, high=256, log=True, whole=True)}
    """
    if not over:
        raise _refused("no key")
    return {key: _dimension(key, given) for key, given in over.items()}


def _dimension(key: str, given: Sequence[Any] | Mapping[str, Any]) -> Choice | Range:
    if "." in key and isinstance(given, Sequence) and not isinstance(given, str) and given:
        return Choice(tuple(given))
    if "." in key and isinstance(given, Mapping) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        low, high, log = given["low"], given["high"], given.get("log", False)
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high))
        if numbers and isinstance(log, bool) and low < high and math.isfinite(high) and (low > 0 or not log):
            return Range(low, high, log, isinstance(low, int) and isinstance(high, int))
    raise _refused(f"{key}={given!r}")


def _refused(received: str) -> OptionError:
    return OptionError(
        expected="for each section.key a list of values, or a range { low = ..., high = ... } with "
        "low < high, and above 0 with log = true",
        received=received,
        remedy='for example "optimizer.learning_rate={ low = 1e-4, high = 0.1, log = true }" or '
        '"model.dropout=[0.0, 0.2]"',
    )


def grid(space: Space) -> list[Values]:
    """Every combination. Raises :class:`OptionError` for a range, which has no end."""
    ranges = [key for key, one in space.items() if isinstance(one, Range)]
    if ranges:
        raise OptionError(
            expected="lists of values for a grid",
            received=f"a range of {', '.join(ranges)}",
            remedy="list the values; a search (--over) takes ranges with --sampler random or tpe",
        )
    choices = (one.values for one in space.values() if isinstance(one, Choice))
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def settings(values: Values) -> list[str]:
    """``section.key=value`` of each, in TOML; None is "none"."""
    written = {
        key: json.dumps("none" if one is None else one, ensure_ascii=False, default=str)
        for key, one in values.items()
    }
    return [f"{key}={one}" for key, one in written.items()]


SAMPLERS = ("grid", "random", "tpe")


class Sampler(Protocol):
    """Proposes trials."""

    def ask(self, count: int) -> list[Values]:
        """Up to ``count`` further trials; fewer if there are no more."""
        ...

    def tell(self, scores: Sequence[float]) -> None:
        """The scores of the trials asked for last, in order, higher is better; NaN: it diverged."""
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
                remedy="pip install 'kilter[sweep]', or use --sampler random",
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
