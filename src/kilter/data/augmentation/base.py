"""The three kinds of transforms, as protocols."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from kilter._array_types import ImageBatch, Masks, Matrices, Offsets, RandomKey, Shares
from kilter._validation import number

Fill = Literal["reflect", "edge", "zero"]
"""The pixels outside an image: its mirror image (without doubling the edge), its edge repeated, or zeros."""


class Map(NamedTuple):
    """Where each image's pixels come from: input position = ``matrix`` · output position + ``offset``.

    Positions are (row, column) in pixels from the image's centre. ``matrix``: [n, 2, 2]; ``offset``: [n, 2].
    """

    matrix: Matrices
    offset: Offsets


class Images(NamedTuple):
    """The shape of a batch of images [rows, height, width, channels]."""

    rows: int
    height: int
    width: int
    channels: int


@runtime_checkable
class Geometric(Protocol):
    """Moves pixels. ``whole``: only by whole pixels, without interpolation."""

    whole: ClassVar[bool]

    def draw_map(self, key: RandomKey, images: Images) -> Map:
        """One map per image."""
        ...


@runtime_checkable
class Pixelwise(Protocol):
    """Changes values in place. ``colour``: needs the value range."""

    colour: ClassVar[bool]

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """The changed float images [n, h, w, c]; ``span``: the length of their value range."""
        ...


@runtime_checkable
class Mixing(Protocol):
    """Mixes each row, and its target, with another one."""

    whole_images: ClassVar[bool]

    def draw_shares(self, key: RandomKey, count: int, sides: tuple[int, int]) -> tuple[Masks, Shares]:
        """The weight of each row's own values: ``(mask, share)``.

        ``mask``: [n, h, w], or [n, 1, 1] if constant; ``share``: [n], its mean.
        """
        ...


Transform = Geometric | Pixelwise | Mixing


@dataclass(frozen=True)
class Share:
    """A transform with a strength, the ``share`` from 0 to ``most``."""

    share: float
    most: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        check_number(self, 0.0, self.most, share=self.share)


def check_number(record: object, least: float, most: float, **named: float) -> None:
    """Raise :class:`OptionError` unless each named argument of ``record`` is a number in the range."""
    for name, value in named.items():
        words = f"{name} of {type(record).__name__} as a number from {least:g} to {most:g}"
        number(name, value, least, most, expected=words, remedy="choose a number in that range")
