"""How dropout, noise and penalties of a layer's configuration become moderate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras

# The keys of rates of dropout and of deviations of noise, and the largest value that can be one.
_LARGEST: Final = {"rate": 1.0, "dropout": 1.0, "recurrent_dropout": 1.0, "stddev": math.inf}
# Keys of configurations that hold another layer's: of wrappers and of recurrent cells.
INNER: Final = ("layer", "backward_layer", "cell")


@dataclass(frozen=True)
class Easing:
    """Rates of dropout, and deviations of noise, above ``most`` become ``dropout``.

    Penalties above ``heavy``, or all if that is 0, go; those on kernels become L2 of ``penalty`` if that is
    not 0.
    """

    dropout: float = 0.2
    penalty: float = 0.0
    most: float = 0.5
    heavy: float = 0.0

    def eased(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A layer's configuration with less dropout, noise and penalties; inner configurations too.

        Example:
            >>> Easing().eased({"units": 3, "dropout": 0.9, "recurrent_dropout": 0.1})
            {'units': 3, 'dropout': 0.2, 'recurrent_dropout': 0.1}
        """
        found = dict(config)
        for key, value in config.items():
            if isinstance(value, int | float) and key in _LARGEST:
                is_strong = value is not True and self.most < value <= _LARGEST[key]
                found[key] = self.dropout if is_strong else value
            elif key.endswith("_regularizer") and value is not None and self._is_heavy(value):
                on_kernel = self.penalty and key == "kernel_regularizer"
                light = keras.regularizers.L2(self.penalty) if on_kernel else None
                found[key] = None if light is None else keras.saving.serialize_keras_object(light)
            elif key in INNER and isinstance(value, dict) and "config" in value:
                found[key] = {**value, "config": self.eased(value["config"])}
        return found

    def _is_heavy(self, penalty: Any) -> bool:
        """Whether a serialised penalty is above the limit; the factors of custom ones are unknown."""
        given = penalty if isinstance(penalty, dict) else {}
        config = given.get("config", {}) if str(given.get("module", "")).startswith("keras") else {}
        factors = [one for key in ("l1", "l2") if isinstance(one := config.get(key), int | float)]
        return self.heavy == 0 or max(factors, default=0.0) > self.heavy


MODERATE: Final = Easing()
