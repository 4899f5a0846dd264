"""What a transformation is: one of three kinds, told apart by what it makes of a key."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import jax

from kilter._validation import number

Fill = Literal["reflect", "edge", "zero"]
"""What lies outside an image: its mirror image (the edge not doubled), its edge drawn out, or zeros."""


class Map(NamedTuple):
    """Where each image's pixels come from: input position = ``matrix`` · output position + ``offset``.

    Positions are (row, column) in pixels from the image's centre. ``matrix``: [n, 2, 2]; ``offset``: [n, 2].
    """

    matrix: jax.Array
    offset: jax.Array


class Images(NamedTuple):
    """The shape of a batch of images [rows, height, width, channels]."""

    rows: int
    height: int
    width: int
    channels: int


@runtime_checkable
class Geometric(Protocol):
    """Moves pixels. ``whole``: only ever by whole pixels, so that none need be interpolated."""

    whole: ClassVar[bool]

    def draw_map(self, key: jax.Array, images: Images) -> Map:
        """One map an image."""
        ...


@runtime_checkable
class Pixelwise(Protocol):
    """Changes values where they are. ``colour``: needs to know the range of the values."""

    colour: ClassVar[bool]

    def change(self, key: jax.Array, images: jax.Array, span: float) -> jax.Array:
        """Float images [n, h, w, c] changed; ``span`` is the length of their value range."""
        ...


@runtime_checkable
class Mixing(Protocol):
    """Mixes each row with another one, so that targets change too."""

    whole_images: ClassVar[bool]

    def draw_shares(self, key: jax.Array, count: int, sides: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
        """How much of itself each row keeps: ``(mask, share)``.

        ``mask``: [n, h, w], or [n, 1, 1] if it is the same everywhere; ``share``: [n], its mean.
        """
        ...


Transform = Geometric | Pixelwise | Mixing


def check_number(record: object, least: float, most: float, **named: float) -> None:
    """Raise :class:`OptionError` unless each named argument of ``record`` is a number in the range."""
    for name, value in named.items():
        words = f"{name} of {type(record).__name__} as a number from {least:g} to {most:g}"
        number(name, value, least, most, expected=words, remedy="choose a number in that range")
