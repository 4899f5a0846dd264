"""``kilter transfer`` and ``kilter pretrain``: layers that are trained once and reused."""

from pathlib import Path
from typing import Final

from kilter._cli.commands import Pretrain, Transfer
from kilter._cli.output import check_out, say, say_json, say_table, unused
from kilter._cli.training import recipe_from, train_recipe
from kilter._progress import Display
from kilter._text import counted, duration, number, printable
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


def transfer(asked: Transfer, progress: Display) -> None:
    """Reuse the model ``source`` for ``data`` and train it in stages."""
    source = asked.source
    options = {"name": asked.name, "train.epochs": asked.epochs, "seed": asked.seed}
    counted_keep = asked.keep is not None and asked.keep.removeprefix("-").isdecimal()
    keep = int(asked.keep or 0) if counted_keep else asked.keep
    options |= {"model.keep": keep, "model.weights": asked.weights}
    if is_run(Path(source)):
        model = Path(source) / MODEL
        require_unchanged(model)
        source = str(model)
    stages = []
    if asked.head_epochs is not None:
        head = f'{{ train = "head", epochs = {asked.head_epochs} }}, ' if asked.head_epochs else ""
        stages = [f"fine_tune.stages=[{head}{{ rate = 0.1 }}]"]
    recipe = recipe_from(
        asked.data, [f"model.reuse={source}", *stages, *asked.overrides.all], options, average=False
    )
    if not asked.path_only:
        _tell(recipe, allow_code=asked.allow_code, progress=progress)
    train_recipe(recipe, asked, progress)


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


def pretrain(asked: Pretrain, progress: Display) -> None:
    """Pretrain a recipe, or data with the default model."""
    epochs = asked.epochs
    out = unused(Path("encoder.keras")) if asked.out is None else asked.out
    check_out(out, [".keras"])
    check_out(asked.curve, [".html"], option="--curve")
    if epochs is None and not asked.source.endswith(".toml"):
        epochs = EPOCHS
    options = {"pretrain.task": asked.task, "train.epochs": epochs, "seed": asked.seed}
    recipe = recipe_from(asked.source, asked.overrides.all, options, average=False)
    done = pretrain_recipe(recipe, verbose=progress, allow_code=asked.allow_code)
    progress.close()
    write_model(done.encoder, out, done.data)
    if asked.curve is not None:
        write_text(asked.curve, done.plot().to_html())
    if asked.as_json:
        say_json(done.to_json() | {"encoder": str(out)})
        return
    _show(done)
    if asked.curve is not None:
        say(f"curve: {asked.curve}")
    say(f"encoder: {out}")


def _show(done: Pretrained) -> None:
    say(f"{done.task}: {counted(len(done.history.epoch), 'epoch')} in {duration(done.seconds)}")
    rows = [(name, number(value)) for name, value in done.figures.items()]
    say_table(("measured", ""), rows, right=(1,))
    for note in done.notes:
        say(note)
