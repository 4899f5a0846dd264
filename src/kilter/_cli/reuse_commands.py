"""The commands that reuse what was learnt elsewhere, and their options; what they do loads when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.options import AllowCode, Quiet, QuietRun
from kilter._cli.progress import opened


def transfer(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL.KERAS|NETWORK",
            help="What to reuse: a run, a saved model, or one of keras.applications.",
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|RECIPE.TOML", help="Data to train on, or a recipe for all but the model."
        ),
    ],
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="LAYERS", help="How many layers, or up to which one; -1 without it."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="The weights of a network of Keras.")
    ] = None,
    head_epochs: Annotated[
        int | None,
        typer.Option("--head-epochs", help="Epochs in which the head alone is trained; 5 without it."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the recipe."),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where the run directory goes.")] = Path(
        "runs"
    ),
    name: Annotated[str | None, typer.Option("--name", help="The run's name.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="COLUMN", help="The column of a table to predict.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training data, at most.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the head, order, dropout and splits.")
    ] = None,
    allow_code: AllowCode = False,
    quiet: QuietRun = False,
) -> None:
    """Reuse a trained model's lower layers for other data.

    They get a new head, which is trained first; then all layers, at a tenth of the rate."""
    given = {
        "name": name,
        "data.target": target,
        "train.epochs": epochs,
        "seed": seed,
        "model.keep": _kept(keep),
        "model.weights": weights,
    }
    with opened(quiet=quiet) as progress:
        from kilter._cli import transferring

        options = {key: value for key, value in given.items() if value is not None}
        how = {"allow_code": allow_code, "progress": progress}
        transferring.transfer(source, data, settings or [], options, head_epochs, runs, quiet, **how)


def _kept(layers: str | None) -> int | str | None:
    """The layers to keep: a number where `layers` is one, else the name of a layer."""
    return int(layers) if layers is not None and layers.removeprefix("-").isdecimal() else layers


def pretrain(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE.TOML|DATA", help="A recipe, or data: a file, a folder or a named set."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the encoder goes, a .keras file.")
    ] = Path("encoder.keras"),
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="autoencoder, rotation, masked-patch, jigsaw, pairs, contrastive or gan; see the docs.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the recipe."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training data, at most.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of weights, order and questions.")] = None,
    curve: Annotated[
        Path | None, typer.Option("--curve", metavar="FILE", help="The history as a picture (.html).")
    ] = None,
    allow_code: AllowCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train an encoder on rows without labels.

    Its task's answers are made from the rows; the file is for reuse where labels are few."""
    given = {"pretrain.task": task, "train.epochs": epochs, "seed": seed}
    options = {key: value for key, value in given.items() if value is not None}
    with opened(quiet=quiet, as_json=as_json) as progress:
        from kilter._cli import pretraining

        pretraining.pretrain(
            source,
            settings or [],
            options,
            out,
            curve,
            allow_code=allow_code,
            as_json=as_json,
            progress=progress,
        )
