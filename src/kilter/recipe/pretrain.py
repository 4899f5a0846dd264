"""The ``[pretrain]`` section: the task that an encoder learns without labels (docs/pretraining.md)."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from kilter.recipe.base import LISTED, UNSET, Number, Section, Whole, key, refuse, unset

Task = Literal["autoencoder", "rotation", "masked-patch", "jigsaw", "pairs", "contrastive", "gan"]
Kind = Literal["plain", "tied", "denoising", "sparse", "convolutional"]
# Which task each key is for; the others are for all.
KEYS_OF: Final[dict[str, str]] = {
    "kind": "autoencoder",
    "loss": "autoencoder",
    "corruption": "autoencoder",
    "noise": "autoencoder",
    "penalty": "autoencoder",
    "activity": "autoencoder",
    "penalty_weight": "autoencoder",
    "greedy": "autoencoder",
    "patch": "masked-patch",
    "masked": "masked-patch",
    "tiles": "jigsaw",
    "temperature": "contrastive",
}


class PretrainSection(Section):
    """The task for which ``kilter pretrain`` trains the encoder, the recipe's model without its output."""

    task: Task = Field(
        description='"autoencoder", "rotation", "masked-patch", "jigsaw", "pairs", "contrastive" or "gan"'
    )
    drop: int = key(
        1, "a whole number from 0: layers left out at the end of the model; 1 for its output", ge=0, le=1000
    )
    kind: Annotated[tuple[Kind, ...] | None, LISTED, UNSET] = unset(
        'a list out of "plain", "tied", "denoising", "sparse", "convolutional", for autoencoder',
        min_length=1,
        max_length=5,
    )
    loss: Annotated[Literal["mse", "bce"] | None, UNSET] = unset(
        '"mse" or "bce", for autoencoder; chosen from the data if none'
    )
    corruption: Annotated[Literal["gaussian", "masking"] | None, UNSET] = unset(
        '"gaussian" or "masking", for a denoising autoencoder; gaussian if none'
    )
    noise: Number = unset(
        "a number above 0 and below 10, for a denoising autoencoder: deviation, or share masked", gt=0, lt=10
    )
    penalty: Annotated[Literal["kl", "l1"] | None, UNSET] = unset(
        '"kl" or "l1", for a sparse autoencoder; kl if none'
    )
    activity: Number = unset(
        "a number above 0 and below 1, for a sparse autoencoder: the target mean of the codes", gt=0, lt=1
    )
    penalty_weight: Number = unset("a number above 0, for a sparse autoencoder: the penalty's factor", gt=0)
    greedy: Annotated[bool | None, UNSET] = unset(
        "true or false, for autoencoder: first layer by layer, then all layers together"
    )
    patch: Whole = unset("a whole number from 1, for masked-patch: side in pixels", ge=1, le=4096)
    masked: Number = unset(
        "a number above 0 and below 1, for masked-patch: the share of the image that is masked", gt=0, lt=1
    )
    tiles: Whole = unset("a whole number from 2, for jigsaw: tiles per side", ge=2, le=64)
    temperature: Number = unset(
        "a number from 0.01 to 10, for contrastive: 0.1 to 0.5 are usual", ge=0.01, le=10
    )

    @model_validator(mode="after")
    def _for_the_task(self) -> Self:
        strangers = [key for key, task in KEYS_OF.items() if task != self.task and key in self.options()]
        if strangers:
            tasks = " and ".join(dict.fromkeys(KEYS_OF[key] for key in strangers))
            raise refuse(f"{', '.join(strangers)} with task = {tasks} only", f"task={self.task!r}")
        return self

    def options(self) -> dict[str, Any]:
        """The keys that are set and belong to one task, as its function takes them."""
        return {key: getattr(self, key) for key in KEYS_OF if getattr(self, key) is not None}
