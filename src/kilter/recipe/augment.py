"""The ``[augment]`` section: random transforms of the training images in every step."""

from typing import Annotated, Any, Final, Literal

from pydantic import field_validator

from kilter.recipe.base import LISTED, UNSET, Number, Section, Whole, described, key, refuse, unset

SHARE: Final = "a number above 0, at most 1: "
_OPTIONS: Final = ("fill", "value_range")  # of all transforms


class AugmentSection(Section):
    """Transforms of training rows, applied in the order of the keys; none by default."""

    flip: Annotated[Literal["horizontal", "vertical", "both"] | None, UNSET] = unset(
        '"horizontal", "vertical" or "both": mirror every second image'
    )
    rotate: Number = unset("a number above 0, at most 180: rotate by up to ± this many degrees", gt=0, le=180)
    zoom: Number = unset("a number above 0, at most 0.9: zoom by a factor of 1 ± it", gt=0, le=0.9)
    shift: Number = unset(SHARE + "move by whole pixels, up to ± that share of each side", gt=0, le=1)
    fill: Literal["reflect", "edge", "zero"] = key(
        "reflect", '"reflect", "edge" or "zero": how to fill pixels from outside the image'
    )
    brightness: Number = unset(SHARE + "add up to ± that share of the value range", gt=0, le=1)
    contrast: Number = unset(SHARE + "scale the distance from the mean by 1 ± it", gt=0, le=1)
    saturation: Number = unset(SHARE + "scale the distance from grey by 1 ± it", gt=0, le=1)
    hue: Number = unset(
        "a number above 0, at most 0.5: rotate hues by up to ± that share of the colour circle", gt=0, le=0.5
    )
    value_range: Annotated[tuple[float, float] | None, LISTED, UNSET] = unset(
        "[least, most] value of the images, for colours; [0, 255] for images of unsigned bytes"
    )
    cutout: Whole = unset(
        "a whole number from 1: mask a square with sides of that many pixels", ge=1, le=4096
    )
    mixup: Number = unset(
        "a number a from 0.001 to 1000, such as 0.2: mix pairs of rows and their targets, in a ratio "
        "drawn from Beta(a, a)",
        ge=0.001,
        le=1000,
    )
    cutmix: Number = unset(
        "a number from 0.001 to 1000, such as 1: paste a box of another image; with mixup, each "
        "row gets one of the two",
        ge=0.001,
        le=1000,
    )

    @field_validator("value_range")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        if value is not None and value[0] >= value[1]:
            raise refuse(described(cls, "value_range"))
        return value

    def transforms(self) -> dict[str, Any]:
        """The values that are set, by the lower-case name of their class, in the order of application."""
        keys = [key for key in type(self).model_fields if key not in _OPTIONS]
        return {key: value for key in keys if (value := getattr(self, key)) is not None}
