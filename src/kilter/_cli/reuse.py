"""``kilter transfer`` and ``kilter pretrain``: layers that are trained once and reused."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilter._cli.options import Overrides
from kilter._cli.output import check_out, say, say_json, say_table, unused
from kilter._cli.training import recipe_from, train_recipe
from kilter._progress import Display
from kilter._text import duration, number, printable
from kilter._transfer.cutting import counted_layers, find_cut
from kilter._transfer.sources import load_source
from kilter.pretrain.from_recipe import pretrain as pretrain_recipe
from kilter.pretrain.running import Pretrained
from kilter.recipe import Recipe, ReuseSection
from kilter.runs.atomic import write_text
from kilter.runs.checksums import require_unchanged
from kilter.runs.reading import MODEL, is_run
from kilter.runs.trained import write_model

EPOCHS: Final = 20  # of data without a recipe


def transfer(
    source: str,
    data: str,
    *,
    overrides: Overrides,
    keep: str | None,
    weights: str | None,
    head_epochs: int | None,
    name: str | None,
    epochs: int | None,
    seed: int | None,
    runs: Path,
    allow_code: bool,
    path_only: bool,
    progress: Display,
) -> None:
    """Reuse the model ``source`` for ``data`` and train it in stages."""
    options = {"name": name, "train.epochs": epochs, "seed": seed}
    options |= {"model.keep": _kept(keep), "model.weights": weights}
    if is_run(Path(source)):
        model = Path(source) / MODEL
        require_unchanged(model)
        source = str(model)
    stages = [] if head_epochs is None else [_stages(head_epochs)]
    recipe = recipe_from(data, [f"model.reuse={source}", *stages, *overrides.all], options, average=False)
    if not path_only:
        _tell(recipe, allow_code=allow_code, progress=progress)
    train_recipe(recipe, runs=runs, allow_code=allow_code, path_only=path_only, progress=progress)


def _kept(layers: str | None) -> int | str | None:
    """The layers to keep: a number where ``layers`` is one, else the name of a layer."""
    return int(layers) if layers is not None and layers.removeprefix("-").isdecimal() else layers


def _stages(head_epochs: int) -> str:
    """The override for a head start of this many epochs, then all layers at a tenth of the rate."""
    head = f'{{ train = "head", epochs = {head_epochs} }}, ' if head_epochs else ""
    return f"fine_tune.stages=[{head}{{ rate = 0.1 }}]"


def _tell(recipe: Recipe, *, allow_code: bool, progress: Display) -> None:
    """Print what is reused, before training."""
    section = recipe.model
    assert isinstance(section, ReuseSection)
    progress.stage(f"Reading {printable(section.reuse)}")
    found = load_source(section.reuse, weights=section.weights, sha256=section.sha256, allow_code=allow_code)
    cut = find_cut(found.model, section.keep)
    progress.close()
    say(f"source: {found.file}  SHA-256 {found.sha256}")
    there = counted_layers(found.model)
    say(f"keeps {cut.keep} of {there} layers with weights, up to {cut.layer!r}")


def pretrain(
    source: str,
    *,
    overrides: Overrides,
    out: Path | None,
    task: str | None,
    epochs: int | None,
    seed: int | None,
    curve: Path | None,
    allow_code: bool,
    as_json: bool,
    progress: Display,
) -> None:
    """Pretrain a recipe, or data with the default model."""
    out = unused(Path("encoder.keras")) if out is None else out
    check_out(out, [".keras"])
    check_out(curve, [".html"], option="--curve")
    if epochs is None and not source.endswith(".toml"):
        epochs = EPOCHS
    options = {"pretrain.task": task, "train.epochs": epochs, "seed": seed}
    recipe = recipe_from(source, overrides.all, options, average=False)
    done = pretrain_recipe(recipe, verbose=progress, allow_code=allow_code)
    progress.close()
    write_model(done.encoder, out, done.data)
    if curve is not None:
        write_text(curve, done.plot().to_html())
    if as_json:
        say_json(done.to_json() | {"encoder": str(out)})
        return
    _show(done)
    if curve is not None:
        say(f"curve: {curve}")
    say(f"encoder: {out}")


def _show(done: Pretrained) -> None:
    count = len(done.history.epoch)
    say(f"{done.task}: {count} epoch{'s' * (count != 1)} in {duration(done.seconds)}")
    rows = [(name, number(value)) for name, value in done.figures.items()]
    say_table(("measured", ""), rows, right=(1,))
    for note in done.notes:
        say(note)
