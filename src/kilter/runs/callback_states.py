"""The counts of Keras's own callbacks in a checkpoint, so that patience continues where it was."""

from collections.abc import Sequence
from typing import Any, Final

import keras

# By class: what it counts. Weights that they keep are those of the run's best epoch, which has them.
_COUNTED: Final[dict[type[Any], tuple[str, ...]]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


def states_of(callbacks: Sequence[keras.callbacks.Callback]) -> list[dict[str, Any]]:
    """The counts of each callback that has any, with the name of its class, as JSON values."""
    return [
        {
            "class": type(one).__name__,
            **{name: _plain(getattr(one, name, None)) for name in _COUNTED[type(one)]},
        }
        for one in _counting(callbacks)
    ]


def restore_states(callbacks: Sequence[keras.callbacks.Callback], states: Sequence[dict[str, Any]]) -> None:
    """Give the callbacks their counts, if they are of the classes that the states are of."""
    counting = _counting(callbacks)
    if [state["class"] for state in states] != [type(one).__name__ for one in counting]:
        return
    for one, state in zip(counting, states, strict=True):
        for name in _COUNTED[type(one)]:
            value = state.get(name)
            setattr(one, name, float(value) if isinstance(value, str) else value)


def _counting(callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    return [one for one in callbacks if type(one) in _COUNTED]


def _plain(value: Any) -> Any:
    """A number as JSON has it; infinity and NaN become text."""
    if value is None or isinstance(value, bool | int):
        return value
    number = float(value)
    return number if number - number == 0 else str(number)
