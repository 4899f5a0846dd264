"""What a generative adversarial network's training gives: both networks, an encoder, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import plotly.graph_objects as graph_objects

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.history import History
from kilter._engine.inference import predict
from kilter.pretrain.diversity import Diversity
from kilter.pretrain.records import Pretrained

# Below this share of the data's modes, or of its spread, samples are said to have collapsed.
LEAST_MODES: Final = 0.5
LEAST_SPREAD: Final = 0.3
# Above this accuracy on both kinds of rows the discriminator has won, and its gradient says little.
MOST_ACCURACY: Final = 0.98
# A discriminator that was never further above chance has learnt nothing.
LEAST_ADVANTAGE: Final = 0.05

_GRID = 8


@dataclass(frozen=True, eq=False)
class Gan(Pretrained):
    """What :func:`kilter.pretrain.gan` trained.

    ``encoder`` is a copy of the discriminator's layers below its last with weights; there is no ``decoder``.
    ``history`` has the means of each epoch: ``discriminator_loss``, ``generator_loss``, ``accuracy_on_real``
    and ``accuracy_on_fake`` (of the discriminator, before each update; both near 0.5 where it cannot tell),
    and ``spread`` (the summed variance of a batch of fakes over that of the rows). ``figures`` has the last
    epoch's accuracies, and ``spread``, ``modes`` and ``data_modes`` of
    :class:`~kilter.pretrain.diversity.Diversity`, of as many samples as rows at the end.
    """

    generator: keras.Model
    discriminator: keras.Model

    def sample(self, count: int, *, seed: int = 0) -> np.ndarray:
        """``count`` new rows, in inference mode, in the data's range."""
        return draw_samples(self.generator, count, seed=seed)

    def plot(self) -> graph_objects.Figure:
        """64 samples as pictures, from the darkest to the brightest of all their pixels.

        The history where samples are no images of one or three channels.
        """
        samples = self.sample(_GRID * _GRID)
        if samples.ndim != 4 or samples.shape[-1] not in (1, 3):
            return self.history.plot()
        _, height, width, channels = samples.shape
        low, high = float(samples.min()), float(samples.max())
        levels = np.uint8(255 * (samples - low) / max(high - low, float(np.finfo(np.float32).tiny)))
        grid = levels.reshape(_GRID, _GRID, height, width, channels).swapaxes(1, 2)
        picture = np.broadcast_to(grid, (*grid.shape[:-1], 3)).reshape(_GRID * height, _GRID * width, 3)
        return graph_objects.Figure(graph_objects.Image(z=picture)).update_layout(
            template="plotly_white",
            xaxis={"visible": False},
            yaxis={"visible": False},
            title=f"samples after {len(self.history.epoch)} epochs",
        )


def gan_record(
    encoder: keras.Model,
    generator: keras.Model,
    discriminator: keras.Model,
    history: History,
    diversity: Diversity,
) -> Gan:
    """The record, with its figures and what they say."""
    last = {name: values[-1] for name, values in history.history.items()}
    balance = {name: last[name] for name in ("accuracy_on_real", "accuracy_on_fake")}
    variety = {"spread": diversity.spread, "modes": diversity.modes, "data_modes": diversity.data_modes}
    both = zip(history.history["accuracy_on_real"], history.history["accuracy_on_fake"], strict=True)
    learnt = max((real + fake) / 2 for real, fake in both) > 0.5 + LEAST_ADVANTAGE
    return Gan(
        task="gan",
        encoder=encoder,
        decoder=None,
        history=history,
        figures=balance | variety,
        notes=_notes(balance["accuracy_on_real"], balance["accuracy_on_fake"], diversity, learnt),
        learnt=learnt,
        generator=generator,
        discriminator=discriminator,
    )


def draw_samples(generator: keras.Model, count: int, *, seed: int) -> np.ndarray:
    """What a generator makes of ``count`` rows of normal noise, in inference mode."""
    noise = np.random.default_rng(seed).standard_normal((count, int(generator.input_shape[-1])))
    return predict(generator, noise.astype("float32"), verbose=0)


def _notes(on_real: float, on_fake: float, diversity: Diversity, learnt: bool) -> tuple[str, ...]:
    said = []
    if diversity.share < LEAST_MODES or diversity.spread < LEAST_SPREAD:
        said.append(
            f"The generator has collapsed: its samples are of {diversity.modes:.1f} kinds where the data are "
            f"of {diversity.data_modes:.1f}, with {diversity.spread:.0%} of their spread. Train longer, at "
            "lower rates, or with the other loss."
        )
    if min(on_real, on_fake) > MOST_ACCURACY:
        said.append(
            f"The discriminator has won: it is right about {on_real:.1%} of the rows and {on_fake:.1%} of "
            "the fakes, so the generator learns little from it. Lower its rate, or raise the generator's."
        )
    if not learnt:
        said.append(
            "The discriminator never told rows from fakes better than chance: its layers have learnt "
            "nothing. Raise its rate, or train longer."
        )
    return tuple(said)
