"""Every code block of README.md and docs/ does what the page says, in the order of the page.

Python blocks of a page run in one namespace, commands of a page in one folder. Blocks that take long are left
to `make long`, where the same test runs them with the others; `make test` trains for fewer epochs.
"""

import ast
import builtins
import difflib
import glob
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import plotly.io
import pytest
from PIL import Image
from plotly.io.base_renderers import ExternalRenderer
from typer.testing import CliRunner

from kilter._cli.main import app
from kilter.recipe import parse_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KINDS = ("python", "bash", "console", "toml", "text")

# Blocks that take more than a few seconds, by a word that only they have.
LONG = {
    "README.md": ("kilter.treat(", "kilter.sweep(", "kilter.search_reuse(", "kilter treat ", "contrastive"),
    "augmentation.md": ("for augment in",),
    "compare.md": ("kilter compare plain", 'kilter.compare({"plain"', "def wide", "kilter.sweep("),
    "command-line.md": ("kilter sweep digits",),
    "data.md": ("kilter train cells",),
    "diagnosis.md": ("doctor.restart()",),
    "engine.md": ("GridSearchCV",),
    "mc-dropout.md": ("kilter train people.csv",),
    "pretraining.md": ("kilter.pretrain.gan(", "kilter.pretrain.auxiliary("),
    "reuse-studies.md": ("kilter.search_reuse(", "kilter.reuse_study("),
    "runs.md": ("recipe_for",),
    "transfer.md": ("MobileNetV2", "Stage.gradual", "kilter train recipes/digits.toml"),
    "treatment.md": ("kilter.treat(",),
}
# Lines of shell that prepare a machine; what they name is checked, and nothing is installed or downloaded.
PREPARING = {
    "python3 -m venv .venv && . .venv/bin/activate": lambda: True,
    "pip install .": lambda: "[project]" in PYPROJECT,
}
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A code block: the line of its page that it begins in, its kind, and what stands in it."""

    page: Path
    line: int
    kind: str
    text: str

    def __repr__(self):
        return f"{self.page.name}:{self.line}"

    @property
    def long(self):
        return any(word in self.text for word in LONG.get(self.page.name, ()))

    @property
    def shortened(self):
        """Shallower networks and fewer epochs: as many as a page that measures every fifth needs."""
        text = self.text.replace("range(20)", "range(3)").replace("(100,) * 20", "(100,) * 3")
        text = re.sub(r"(?<=head-epochs )\d+", "1", text)
        return replace(self, text=re.sub(r"(?<=epochs[= ])\d\d", "5", text))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [Block(page, text[: one.start()].count("\n") + 1, one[1], one[2]) for one in found]


EVERY = [block for page in PAGES for block in blocks(page)]


def test_every_block_has_a_kind_and_is_run_by_one_of_the_tests():
    assert {block.kind for block in EVERY} == set(KINDS)
    assert len(EVERY) > 70
    for page, words in LONG.items():
        for word in words:
            assert any(word in block.text for block in EVERY if block.page.name == page), (page, word)


class Quiet(ExternalRenderer):
    """Shows a figure to nobody; it is made all the same."""

    def render(self, fig):
        assert fig["data"]


def write_table(path: Path, *, rows=120, target=True):
    """People: an age, a town and an income that depends on both."""
    rng = np.random.default_rng(0)
    lines = []
    for age, town in zip(rng.integers(20, 65, rows), rng.integers(0, 3, rows), strict=True):
        lines.append(f"{age},{'abc'[town]}" + (f",{1000 * age + 5000 * town}" if target else ""))
    path.write_text("age,town" + (",income" if target else "") + "\n" + "\n".join(lines) + "\n")


def write_images(path: Path):
    """A folder of class folders of small images."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = path / ("cats", "dogs")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")


def write_masks(path: Path):
    """Noise with a bright square, and where it is."""
    rng = np.random.default_rng(0)
    for number in range(24):
        mask = np.zeros((16, 16), np.uint8)
        row, column = rng.integers(0, 10, 2)
        mask[row : row + 6, column : column + 6] = 1
        image = rng.integers(0, 100, mask.shape, dtype=np.uint8) + 100 * mask
        for name, of, ending in (("images", image, "jpg"), ("masks", mask, "png")):
            (path / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(of).save(path / name / f"{number}.{ending}")


def write_digits(path: Path):
    """A few rows of 64 numbers and a class, as a table."""
    rng = np.random.default_rng(0)
    names = ",".join([*(f"pixel_{number}" for number in range(64)), "label"])
    rows = [f"{','.join(map(str, rng.integers(0, 17, 64)))},{'ab'[number % 2]}" for number in range(60)]
    path.write_text("\n".join([names, *rows]) + "\n")


RECIPE = """
name = "{name}"
[data]
source = "digits"
validation = 0.2
[model]
builder = "mlp"
hidden = [16]
batch_norm = {batch_norm}
[train]
epochs = 2
batch_size = 128
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages' files stand for: tables, images and recipes, and the repository's own recipes."""
    write_table(tmp_path / "people.csv")
    write_table(tmp_path / "new.csv", rows=10, target=False)
    (tmp_path / "houses.csv").write_text(
        "size,price\n" + "\n".join(f"{size},{1000 * size + size % 7}" for size in range(20, 120)) + "\n"
    )
    write_images(tmp_path / "new-images")
    write_images(tmp_path / "photos")
    write_masks(tmp_path / "cells")
    write_digits(tmp_path / "few.csv")
    for name, batch_norm in (("plain", "false"), ("normalized", '"before"')):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(name=name, batch_norm=batch_norm))
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    plotly.io.renderers["quiet"] = Quiet()
    monkeypatch.setattr(plotly.io.renderers, "default", "quiet")
    return tmp_path


def cases(kinds) -> Iterator[object]:
    """Each page with few epochs and without its long blocks, and as it is written for `make long`."""
    for page in PAGES:
        here = [block for block in blocks(page) if block.kind in kinds]
        short = [block.shortened for block in here if not block.long]
        if short:
            yield pytest.param(short, id=page.name)
        if short != here:
            yield pytest.param(here, id=f"{page.name}, all of it", marks=pytest.mark.long)


@pytest.mark.parametrize("page", cases(["python"]))
def test_python_runs_as_it_is_written(page, folder):
    if any("mobilenet_v2" in block.text for block in page):
        network = keras.applications.MobileNetV2(weights=None, include_top=False)
        network.save_weights(NO_TOP)
    namespace = {"__name__": "page"}
    for block in page:
        exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)


NO_TOP = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


@pytest.mark.parametrize("page", cases(["bash"]))
def test_commands_run_as_they_are_written(page, folder):
    for block in page:
        for line in block.text.splitlines():
            command = re.sub(r"(?<!\S)#.*", "", line).strip()
            if command and command not in PREPARING:
                run(command)
            elif command:
                assert PREPARING[command](), command


def run(command: str):
    """Run a command of kilter; of make and of the benchmarks only check that it can be called."""
    first, *words = shlex.split(command)
    if first == "make":
        assert re.search(rf"^{words[0]}:", MAKEFILE, re.MULTILINE), command
        return None
    if first == ".venv/bin/python":
        script = (ROOT / words[0]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in script for word in words if word.startswith("--")), command
        return None
    assert first == "kilter", command
    # As a shell does it: a pattern that fits a path is replaced by it.
    spread = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
    if NO_TOP in words:
        keras.applications.MobileNetV2(weights=None, include_top=False).save_weights(NO_TOP)
    ended = CliRunner().invoke(app, spread)
    assert ended.exit_code == 0, (command, ended.output)
    return ended.stdout


def shape(text: str) -> list[str]:
    """The lines of an output, numbers and blanks left out: other machines round otherwise."""
    lines = [re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", line) for line in text.splitlines()]
    return [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize("block", [block for block in EVERY if block.kind == "console"], ids=repr)
def test_what_a_command_prints_is_what_the_page_shows(block, folder):
    called, _, shown = block.text.partition("\n")
    printed = run(called.removeprefix("$ "))
    assert sorted(set(shape(printed))) == sorted(set(shape(shown)))


@pytest.mark.parametrize("block", [block for block in EVERY if block.kind == "toml"], ids=repr)
def test_recipes_and_parts_of_them_can_be_read(block):
    written = tomllib.loads(block.text)
    base = {"data": {"source": "digits"}, "model": {"builder": "cnn"}}
    assert parse_recipe({**base, **written})


def test_lines_of_epochs_and_of_penalties_are_printed_as_the_pages_show_them(folder):
    shown = [block for block in EVERY if block.kind == "text" and not block.text.startswith("kilter ")]
    assert len(shown) == 3
    recipes = [block for block in EVERY if block.kind == "toml"]
    penalties = next(block.text for block in recipes if block.page.name == "regularization.md")
    base = '[data]\nsource = "digits"\nvalidation = 0.2\n[model]\nbuilder = "mlp"\nhidden = [20]\n'
    Path("regularized.toml").write_text(base + penalties)
    outputs = [run(f"kilter train {words}") for words in ("digits --epochs 1", "regularized.toml")]
    printed = [line for output in outputs for line in shape(output)]
    for block in shown:
        (line,) = shape(block.text)
        found = re.sub(r" (# (ms|s|min|h))+( # s)?$", "", line)
        assert any(found in one for one in printed), (line, difflib.get_close_matches(line, printed))


USAGES = [block for block in EVERY if block.kind == "text" and block.text.startswith("kilter ")]


@pytest.mark.parametrize("block", USAGES, ids=repr)
def test_a_usage_names_the_command_with_its_arguments_and_options(block):
    command, *words = shlex.split(block.text)[1:]
    page = " ".join(CliRunner().invoke(app, [command, "--help"]).stdout.split())
    for word in words:
        name = word.strip("[]").removesuffix("...")
        assert name == "options" or name in page, (command, word)


def names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """What is used in a block, and what it makes: variables, imports, functions and their arguments."""
    nodes = list(ast.walk(tree))
    variables = [node for node in nodes if isinstance(node, ast.Name)]
    imports = [
        alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    ]
    made = {node.id for node in variables if isinstance(node.ctx, ast.Store)}
    made |= {one.asname or one.name.split(".")[0] for one in imports}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {node.id for node in variables}, made


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_page_uses_no_name_that_it_does_not_make(page):
    known = set(dir(builtins))
    for block in blocks(page):
        if block.kind == "python":
            used, made = names(ast.parse(block.text))
            known |= made
            assert used <= known, (block, used - known)
