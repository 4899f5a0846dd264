"""The commands for reuse and pretraining, and their options; implementations load when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.options import (
    AllowCode,
    AsJson,
    Epochs,
    Name,
    Quiet,
    QuietRun,
    Runs,
    Settings,
    Source,
    Target,
)
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
        typer.Option(
            "--keep", metavar="LAYERS", help="Number of layers, or name of the last one; default -1."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="The weights of a network of Keras.")
    ] = None,
    head_epochs: Annotated[
        int | None,
        typer.Option("--head-epochs", help="Epochs that train only the head; default 5."),
    ] = None,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    target: Target = None,
    epochs: Epochs = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the head, order, dropout and splits.")
    ] = None,
    allow_code: AllowCode = False,
    quiet: QuietRun = False,
) -> None:
    """Reuse a trained model's lower layers for other data.

    Trains a new head first, then all layers at a tenth of the rate."""
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
    source: Source,
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
    settings: Settings = None,
    epochs: Epochs = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of weights, order and the task.")] = None,
    curve: Annotated[
        Path | None, typer.Option("--curve", metavar="FILE", help="The history as a picture (.html).")
    ] = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Pretrain an encoder without labels.

    The task's targets come from the rows; reuse the encoder where labels are few."""
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
