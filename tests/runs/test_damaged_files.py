"""Each file of a run flipped, cut or removed: an error that can be acted on, or the same values as before."""

import contextlib
import shutil

import pytest

from kilter.errors import KilterError, RunError
from kilter.recipe import load_recipe
from kilter.report.page import render
from kilter.runs import open_run, resume
from kilter.runs.checksums import require_same_recipe
from kilter.runs.directory import reopen_run
from kilter.runs.reading import read_data
from kilter.runs.trained import open_trained


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.path, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))


def _flipped(position):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(position * len(content))] ^= 4
        path.write_bytes(bytes(content))

    return damage


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {"first byte": _flipped(0), "third": _flipped(0.33), "end": _flipped(0.97), "cut": _cut}
DAMAGE["removed"] = lambda path: path.unlink()


def _model(run):
    return [array.tobytes() for array in open_trained(run, allow_code=False).model.get_weights()]


# What is read from the file, where damage to it must not go unnoticed.
VALUES = {"model.keras": _model, "data.json": read_data}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", VALUES)
def test_what_decides_about_results_is_verified(name, damage, run):
    wanted = VALUES[name](run)
    assert wanted
    DAMAGE[damage](run / name)
    with pytest.raises(RunError, match=rf"{name} as kilter wrote it.*restore it from a backup"):
        VALUES[name](run)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["recipe.toml", "environment.json", "result.json", "history.jsonl", "checksums.json", "data.json"]
)
def test_whatever_is_damaged_readers_end_with_an_error_in_words(name, damage, run):
    DAMAGE[damage](run / name)
    with contextlib.suppress(KilterError):
        render(open_run(run))
    with contextlib.suppress(KilterError):
        load_recipe(run / "recipe.toml")


CHANGES = {  # before: after, and the keys to name
    "seed = 3": ("seed = 2", "seed"),
    "hidden = [16]": ("hidden = [17]", "model.hidden"),
    "dropout = 0.1": ("dropout = 0.3", "model.dropout"),
    "batch_size = 256": ("", "train.batch_size"),
    "validation = 0.2": ("validation = 0.3\nskip = 1", "data.skip, data.validation"),
}


@pytest.mark.parametrize("before", CHANGES)
def test_a_recipe_that_says_something_else_is_not_resumed(before, run):
    (run / "result.json").unlink()
    recipe = run / "recipe.toml"
    assert before in recipe.read_text()
    after, named = CHANGES[before]
    recipe.write_text(recipe.read_text().replace(before, after))
    with pytest.raises(RunError, match=rf"recipe.toml.*changed: {named}\. .*only name, train.epochs"):
        resume(run, verbose=0)


def test_how_long_is_trained_and_the_layout_may_change(run):
    recipe = run / "recipe.toml"
    recipe.write_text("# longer\n" + recipe.read_text().replace("epochs = 4", "epochs = 9"))
    require_same_recipe(recipe)


def test_a_model_that_could_not_be_replaced_is_still_whole(run):
    class Unsaveable:
        def save(self, filepath, overwrite=True):
            raise OSError(28, "No space left on device")

    before = _model(run)
    with reopen_run(run) as writer:
        with pytest.raises(RunError, match="room on the disk"):
            writer.save_best(Unsaveable())
        assert _model(run) == before
        writer.save_best(open_trained(run, allow_code=False).model)
    assert _model(run) == before
