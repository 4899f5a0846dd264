"""The sections of a recipe without a file of their own, and the recipe itself."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kilter._validation import is_whole
from kilter.recipe.augment import AugmentSection
from kilter.recipe.base import UNSET, Number, Section, Text, described, key, refuse, unset
from kilter.recipe.data import DataSection
from kilter.recipe.fine_tune import BY_DEPTH, FineTuneSection
from kilter.recipe.model import BuilderSection, ModelSection, ReuseSection, model_kind
from kilter.recipe.optimizer import MOMENTUM, OptimizerSection
from kilter.recipe.pretrain import PretrainSection
from kilter.recipe.schedule import CONSTANT, CYCLED, AnySchedule


class EarlyStopping(Section):
    """When to stop before the last epoch; the best weights are restored."""

    patience: int = key(
        10, "epochs without improvement before stopping: a whole number from 1", ge=1, le=1_000_000
    )
    monitor: Text = unset(
        "the name in the history of the measure to watch, such as val_loss; by default train.metric's",
        min_length=1,
    )
    min_delta: float = key(0.0, "the smallest change that counts as improvement: 0 or more", ge=0)


class WeightAveraging(Section):
    """Stochastic weight averaging: the weights of which epochs are averaged."""

    start: int | float = key(
        0.75,
        "epochs before averaging begins: a whole number from 0, fewer than train.epochs, or a "
        "share of them from 0.0 to below 1",
    )
    every: int = key(1, "epochs between two averaged ones: a whole number from 1", ge=1, le=1_000_000)

    @field_validator("start", mode="before")
    @classmethod
    def _share_or_epochs(cls, value: Any) -> Any:
        if not is_whole(value, 0) and not (isinstance(value, float) and 0 <= value < 1):
            raise refuse(described(cls, "start"))
        return value


class TrainSection(Section):
    """How the model is trained."""

    epochs: int = key(20, "passes over the training data: a whole number from 1", ge=1, le=1_000_000)
    batch_size: Annotated[int, Field(ge=1, le=10_000_000)] | Literal["auto"] = key(
        32,
        'rows per step: a whole number from 1, or "auto": the power of two nearest to the square root of the '
        "training rows, from 8 to 1024",
    )
    shuffle: bool = key(True, "true or false: a new order of the rows in every epoch")
    early_stopping: Annotated[EarlyStopping | None, UNSET] = unset(
        'a table such as { patience = 10, monitor = "val_accuracy", min_delta = 0.0 }, or "none": train all '
        "epochs"
    )
    class_weight: Annotated[Literal["balanced"] | dict[str, float] | None, UNSET] = unset(
        '"balanced", or a table class name = weight with weights of 0 or more'
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = key(
        "float32", '"float32", "mixed_bfloat16" or "mixed_float16"'
    )
    devices: Annotated[int | Literal["all"] | None, UNSET] = unset(
        'how many devices (GPUs) of this machine to train on: a whole number from 1, or "all"; each takes '
        "its share of every batch",
    )
    ema: Number = unset(
        "a number above 0 and below 1, such as 0.999: the momentum of a moving average of the "
        "weights, which validation and the saved model use",
        gt=0,
        lt=1,
    )
    swa: Annotated[WeightAveraging | None, UNSET] = unset(
        "a table such as { start = 0.75, every = 1 }: the mean of the weights at the ends of "
        "epochs, which validation and the saved model use"
    )
    evaluate_training: bool = key(
        False, "true or false: evaluate the training rows after each epoch, without dropout"
    )

    metric: str = key(
        "auto",
        "the validation measure that decides which epoch is the best and when to stop: loss, or one of "
        'docs/measures.md, such as roc_auc; "auto" is the loss, or if a class is rare, average_precision (of '
        "two classes) or balanced_accuracy (for more)",
        min_length=1,
    )
    threshold: Annotated[float | Literal["auto"] | None, UNSET] = key(
        "auto",
        "for two classes, the probability above 0 and below 1 from which the rarer one is predicted; "
        '"auto" chooses it on the validation rows if that class is rare',
    )

    @field_validator("devices", mode="before")
    @classmethod
    def _some_devices(cls, value: Any) -> Any:
        if not (value in (None, "none", "all") or is_whole(value, 1)):
            raise refuse(described(cls, "devices"))
        return value

    @field_validator("threshold", mode="before")
    @classmethod
    def _probability(cls, value: Any) -> Any:
        if not (value in (None, "none", "auto") or (isinstance(value, float) and 0 < value < 1)):
            raise refuse(described(cls, "threshold"))
        return value

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        monitor = None if self.early_stopping is None else self.early_stopping.monitor
        if monitor is not None and self.metric != "auto":
            raise refuse(
                "train.metric or train.early_stopping.monitor, not both", f"{self.metric}, {monitor}"
            )
        return self

    @property
    def batch(self) -> int:
        """The rows per step: 32 for "auto" before the data are known."""
        return 32 if isinstance(self.batch_size, str) else self.batch_size

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.ema is not None and self.swa is not None:
            raise refuse("one average of the weights, ema or swa", f"ema={self.ema} and swa")
        if self.swa is not None and self.swa.start >= self.epochs:
            raise refuse(
                "swa.start below train.epochs", f"swa.start={self.swa.start} of epochs={self.epochs}"
            )
        return self

    @field_validator("class_weight")
    @classmethod
    def _not_negative(cls, weights: Any) -> Any:
        if isinstance(weights, dict) and not (weights and all(weight >= 0 for weight in weights.values())):
            raise refuse(described(cls, "class_weight"))
        return weights


class RegularizeSection(Section):
    """Penalties and limits on the kernels of a built model, and label smoothing."""

    l1: float = key(0.0, "the factor of the sum of absolute weights added to the loss: 0 or more", ge=0)
    l2: float = key(0.0, "the factor of the sum of squared weights added to the loss: 0 or more", ge=0)
    max_norm: Number = unset("a number above 0: the largest norm of a unit's incoming weights", gt=0)
    label_smoothing: float = key(
        0.0, "the share of each label that is spread evenly over all classes: 0 to below 1", ge=0, lt=1
    )

    @property
    def active(self) -> bool:
        """Whether there is a penalty or limit on kernels."""
        return self.l1 > 0 or self.l2 > 0 or self.max_norm is not None


def _default_stages(earlier: dict[str, Any]) -> FineTuneSection | None:
    return FineTuneSection() if isinstance(earlier["model"], ReuseSection) else None


class Recipe(Section):
    """The whole description of a run. Two equal recipes describe the same run."""

    name: str = key(
        "run",
        "the run's name: 1 to 100 letters, digits, points, hyphens and underscores, "
        "beginning with a letter or digit",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    )
    seed: int = key(
        42, "a whole number from 0 to 2147483647: weights, order, dropout, splits", ge=0, le=2**31 - 1
    )
    data: DataSection
    model: ModelSection
    optimizer: OptimizerSection = OptimizerSection()
    schedule: AnySchedule = CONSTANT
    train: TrainSection = TrainSection()
    fine_tune: Annotated[FineTuneSection | None, UNSET] = Field(default_factory=_default_stages)
    regularize: RegularizeSection = RegularizeSection()
    augment: AugmentSection = AugmentSection()
    pretrain: Annotated[PretrainSection | None, UNSET] = None

    @model_validator(mode="after")
    def _watches_what_is_measured(self) -> Self:
        stopping = self.train.early_stopping
        if stopping is None or self.data.validation is not None:
            return self
        if stopping.monitor is None or stopping.monitor.startswith("val_"):
            watched = stopping.monitor or "val_loss"
            raise refuse(
                f"validation data (data.validation) for train.early_stopping on {watched}",
                'data.validation="none"',
            )
        return self

    @model_validator(mode="after")
    def _schedules_what_there_is(self) -> Self:
        schedule, optimizer = self.schedule, self.optimizer
        if schedule.kind.needs_validation and self.data.validation is None:
            raise refuse(
                f"validation data for schedule.name = {schedule.name}", "validation = none in [data]"
            )
        if schedule.kind.cycles_momentum and schedule.settings()["momentum"] is not None:
            if optimizer.name not in CYCLED:
                raise refuse(
                    f"for {schedule.name} one of {', '.join(CYCLED)}, or schedule.momentum = none",
                    f"optimizer.name={optimizer.name}",
                )
            if optimizer.name in MOMENTUM and not optimizer.momentum:
                raise refuse(
                    f"for {schedule.name} {optimizer.name} with a momentum above 0, "
                    "or schedule.momentum = none",
                    f"optimizer.momentum={optimizer.momentum}",
                )
        return self

    @model_validator(mode="after")
    def _averages_once(self) -> Self:
        doubled = sorted({"use_ema", "ema_momentum"} & set(self.optimizer.options))
        if doubled and (self.train.ema is not None or self.train.swa is not None):
            raise refuse(
                "one average of the weights: train.ema, train.swa or use_ema in optimizer.options",
                f"{', '.join(doubled)} in optimizer.options and in train",
            )
        return self

    @model_validator(mode="after")
    def _standardizes_what_normalizes_itself(self) -> Self:
        if self.data.standardize or not isinstance(self.model, BuilderSection):
            return self
        if self.model.preset == "self-normalizing" and not self.model.unchecked:
            raise refuse(
                "standardised inputs for a self-normalizing network (only signals that begin near mean 0 and "
                "variance 1 are kept there), or model.unchecked = true",
                "standardize = false in [data] with model.preset = 'self-normalizing'",
            )
        return self

    @model_validator(mode="after")
    def _fine_tunes_what_it_reuses(self) -> Self:
        tuned = self.fine_tune
        if not isinstance(self.model, ReuseSection) or tuned is None:
            if isinstance(self.model, ReuseSection) or tuned is not None:
                kind = model_kind(self.model)
                raise refuse(
                    "[fine_tune] with model.reuse, and with that only",
                    f"{'no' if tuned is None else 'a'} [fine_tune] with model.{kind}",
                )
            return self
        *earlier, last = tuned.lengths(self.train.epochs)
        if last < 1 or tuned.stages[-1].epochs not in (None, last):
            open_end = "more than" if tuned.stages[-1].epochs is None else "as many as"
            given = sum(earlier) + (tuned.stages[-1].epochs or 0)
            raise refuse(
                f"train.epochs {open_end} the stages of [fine_tune] take",
                f"train.epochs={self.train.epochs} and stages of {given}",
            )
        if self.schedule.name != CONSTANT.name:
            raise refuse(
                "with model.reuse a schedule for each stage of [fine_tune]",
                f"schedule.name={self.schedule.name}",
            )
        if self.train.ema is not None or self.train.swa is not None:
            raise refuse("no average of the weights over the stages of [fine_tune]", "train.ema or train.swa")
        if any(stage.decay > 1 for stage in tuned.stages):
            self._check_rates_by_depth()
        return self

    def _check_rates_by_depth(self) -> None:
        """Layer-wise learning rates need an optimiser with default settings."""
        given = sorted(self.optimizer.model_fields_set - {"name", "learning_rate"})
        set_keys = [key for key in given if getattr(self.optimizer, key) not in (None, False, {})]
        if self.optimizer.name not in BY_DEPTH or set_keys:
            raise refuse(
                f"for stages with a decay one of {', '.join(BY_DEPTH)}, with only a learning_rate",
                f"optimizer.name={self.optimizer.name}" + "".join(f" with {key}" for key in set_keys),
            )

    @model_validator(mode="after")
    def _regularizes_what_it_builds(self) -> Self:
        if not self.regularize.active:
            return self
        if not isinstance(self.model, BuilderSection):
            raise refuse(
                "[regularize] with a builder only: a given model has its own regularizers",
                f"[regularize] with model.{model_kind(self.model)}",
            )
        self.model.check(l1=self.regularize.l1, l2=self.regularize.l2, max_norm=self.regularize.max_norm)
        return self
