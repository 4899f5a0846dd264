"""The ``[fine_tune]`` section: the stages of training a model that reuses another."""

from typing import Annotated, Any, Final, Self

from pydantic import field_validator, model_validator

from kilter._validation import is_whole
from kilter.recipe.base import LISTED, Section, Whole, described, key, refuse, unset
from kilter.schedules.registry import schedules_for_stages

# Optimisers that support a rate for each depth.
BY_DEPTH: Final = ("sgd", "adam", "nadam", "adamw", "adamax", "rmsprop", "adagrad", "lion")


class StageSection(Section):
    """A stage: which layers are trained, for how long and at which rate. All others are frozen."""

    train: int | str | tuple[str, ...] = key(
        "all", '"head", "all", a number of layers with weights from the top, or a list of layer names'
    )
    epochs: Whole = unset(
        "a whole number from 1; the last stage needs none and takes the rest of train.epochs",
        ge=1,
        le=1_000_000,
    )
    rate: float = key(
        1.0,
        "the learning rate of the top layer, as a share of optimizer.learning_rate: above 0",
        gt=0,
        le=1000,
    )
    decay: float = key(
        1.0,
        "1 or more: each layer's rate is that of the layer above divided by this; above 1 only for "
        + ", ".join(BY_DEPTH),
        ge=1,
        le=1000,
    )
    schedule: str = key("constant", 'the learning rate over the stage: "constant", "cosine" or "one_cycle"')

    @field_validator("train", mode="before")
    @classmethod
    def _layers(cls, train: Any) -> Any:
        if isinstance(train, list | tuple):
            known = bool(train) and all(isinstance(one, str) and one for one in train)
            train = tuple(train)
        else:
            known = train in ("head", "all") or is_whole(train, 1)
        if not known:
            raise refuse(described(cls, "train"))
        return train

    @field_validator("schedule")
    @classmethod
    def _spans_a_stage(cls, schedule: str) -> str:
        if schedule not in schedules_for_stages():
            raise refuse(described(cls, "schedule"))
        return schedule


DEFAULT_STAGES: Final = (StageSection(train="head", epochs=5), StageSection(rate=0.1))


class FineTuneSection(Section):
    """How a model that reuses another is trained."""

    stages: Annotated[tuple[StageSection, ...], LISTED] = key(
        DEFAULT_STAGES,
        "a list of tables, in order: what each trains and for how long",
        min_length=1,
        max_length=100,
    )
    freeze_batch_norm: bool = key(
        False, "true or false: reused batch normalisations stay in inference mode in every stage"
    )

    @model_validator(mode="after")
    def _only_the_last_is_open(self) -> Self:
        for number, stage in enumerate(self.stages[:-1], start=1):
            if stage.epochs is None:
                raise refuse("epochs in every stage but the last", f"stage {number} without epochs")
        return self

    def lengths(self, epochs: int) -> tuple[int, ...]:
        """The epochs of each stage if all have ``epochs`` together; the last may be 0 or less."""
        given = [stage.epochs or 0 for stage in self.stages[:-1]]
        return (*given, epochs - sum(given))
