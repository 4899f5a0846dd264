"""Every public function that takes a model says so if it gets something else, as with swapped arguments."""

from collections.abc import Callable

import numpy as np
import pytest

import kilter
from kilter.errors import ModelError

X, Y = np.zeros((8, 3), "float32"), np.zeros(8, "int32")
CALLS: dict[str, Callable[..., object]] = {
    "accelerate": kilter.accelerate,
    "clip_threshold": lambda given: kilter.clip_threshold(given, X, Y),
    "diagnose": lambda given: kilter.diagnose(given, X, Y),
    "evaluate": lambda given: kilter.evaluate(given, X, Y),
    "find_lr": lambda given: kilter.find_lr(given, X, Y),
    "fine_tune": lambda given: kilter.fine_tune(given, X, Y),
    "fit": lambda given: kilter.fit(given, X, Y),
    "fold_batch_norm": lambda given: kilter.fold_batch_norm(given, X),
    "gradient_noise_scale": lambda given: kilter.gradient_noise_scale(given, X, Y),
    "largest_curvature": lambda given: kilter.largest_curvature(given, X, Y),
    "nn.lsuv": lambda given: kilter.nn.lsuv(given, X),
    "predict": lambda given: kilter.predict(given, X),
    "predict_mc": lambda given: kilter.predict_mc(given, X),
    "refresh_batch_norm": lambda given: kilter.refresh_batch_norm(given, X),
    "restore": kilter.restore,
    "reuse": lambda given: kilter.reuse(given, keep=1, head=2),
    "search_reuse": lambda given: kilter.search_reuse(given, X, Y, validation_data=(X, Y), head=2),
    "treat": lambda given: kilter.treat(given, X, Y, epochs=1),
}


@pytest.mark.parametrize("given", [X, "model.keras", None], ids=["array", "path", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_model_is_named(name: str, given: object):
    with pytest.raises(ModelError, match="Expected a Keras model"):
        CALLS[name](given)
