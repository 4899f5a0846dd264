"""The data section of a recipe: where the data come from, how they are read, and how they are split."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kilter._validation import is_whole
from kilter.recipe.base import LISTED, UNSET, Section, Text, Whole, described, key, refuse, unset

HeldOut = int | float | str
"""A held-out part: rows from the front, a share, or a file."""


class DataSection(Section):
    """Where the data come from and how they are split."""

    source: str = Field(min_length=1, description="a named set, a file or a folder (see docs/data.md)")
    target: Text = unset("the name of the column to predict, for tables", min_length=1)
    task: Literal["auto", "classification", "regression"] = key(
        "auto", '"auto", "classification" or "regression"'
    )
    validation: Annotated[HeldOut | None, UNSET] = key(
        0.1,
        "the number of rows to take from the front (at least 1), a share above 0 and below 1 "
        '(drawn with the seed, stratified by class), a file, or "none"',
    )
    test: Annotated[HeldOut | None, UNSET] = unset("like validation; not for a source with its own test set")
    split_seed: Whole = unset(
        "a whole number from 0 to 2147483647: the seed that draws the shares; set it to train several "
        "seeds on the same split; by default the recipe's seed",
        ge=0,
        le=2**31 - 1,
    )
    folds: Whole = unset(
        "a whole number from 2: cross-validate with this many folds; each is tested by a model trained on "
        "the others",
        ge=2,
        le=10_000,
    )
    fold: Whole = unset(
        "a whole number from 1 to data.folds: train one model, which is tested on this fold", ge=1, le=10_000
    )
    standardize: bool = key(
        True,
        "true or false: the model begins with a layer that scales each input to mean 0 and "
        "variance 1, fitted on the training part only",
    )
    skip_bad: bool = key(
        False, "true or false: leave out bad rows and images and count them, instead of stopping"
    )
    ignore: Annotated[tuple[str, ...], LISTED] = key((), "a list of table columns not to use as features")
    only: Annotated[tuple[str, ...], LISTED] = key(
        (), "a list of the table columns to use as features; [] for all"
    )
    kinds: dict[str, Literal["number", "category", "date", "text", "ignore"]] = key(
        {},
        'a table column name = kind: "number", "category", "date", "text" or "ignore"; kilter decides for '
        "the others",
        alias="as",
    )
    text: Literal["ignore", "hash", "bag"] = key(
        "ignore",
        '"ignore", "hash" or "bag": how free-text columns are used: not at all, as counts of words hashed '
        "into groups, or as counts of their most frequent words",
    )
    missing: Annotated[tuple[str, ...], LISTED] = key(
        (),
        'a list of entries of a table that mean "missing", such as "-999", or "age=0" for one column',
    )
    values: Annotated[tuple[str, ...], LISTED] = key(
        (),
        'a list of entries of a text file to keep as values although they look missing, such as "NA", or '
        '"region=NA" for one column',
    )
    select: Literal["auto", "all", "related"] = key(
        "auto",
        '"all" features of a table, or only those "related" to the target in the training part (F-test, '
        'false discovery rate 10 %); "auto" is "related" for more features than rows',
    )
    split: Literal["random", "time"] = key(
        "random",
        '"random" or "time": hold out random rows, or the latest rows by the first date column',
    )
    group: Text = unset(
        "the name of a table column, such as patient: all rows with the same entry go into the same part, "
        "and the column is not a feature",
        min_length=1,
    )
    image_size: Annotated[tuple[int, int] | None, LISTED, UNSET] = unset(
        "[height, width], each from 1 to 4096 pixels: the images of a folder are resized to it"
    )

    @field_validator("validation", "test", mode="before")
    @classmethod
    def _share_or_rows(cls, value: Any) -> Any:
        fits = (
            value is None
            or is_whole(value, 1)
            or (isinstance(value, float) and 0 < value < 1)
            or (isinstance(value, str) and value != "")
        )
        if not fits:
            raise refuse(described(cls, "validation"))
        return value

    @model_validator(mode="after")
    def _fitting_parts(self) -> Self:
        if self.fold is not None and not (self.folds and self.fold <= self.folds):
            raise refuse("a fold from 1 to data.folds", f"fold={self.fold} of folds={self.folds}")
        if self.folds is not None and (self.test is not None or self.split == "time"):
            raise refuse("data.folds without data.test, on rows drawn at random", f"folds={self.folds}")
        counted = is_whole(self.validation) or is_whole(self.test)
        if self.group is not None and (self.split == "time" or counted):
            raise refuse("data.group with shares drawn at random", f"group={self.group!r}")
        return self

    @field_validator("image_size")
    @classmethod
    def _bounded(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and not all(1 <= side <= 4096 for side in size):
            raise refuse(described(cls, "image_size"))
        return size
