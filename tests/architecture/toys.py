"""A toy member for each row of "Where does it go?": text that is put into a copy of the source.

An edit is (file, anchor, text): the text replaces the anchor, which is kept where ``{}`` stands. Without an
anchor the file is new.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """What is written into one file."""

    path: str
    text: str
    anchor: str | None = None


def new(path: str, text: str) -> Edit:
    return Edit(path, text.lstrip())


def insert(path: str, anchor: str, text: str) -> Edit:
    return Edit(path, text, anchor)


CHECK = [
    insert(
        "_diagnosis/checks/architecture.py",
        "def check_saturating(",
        """
def check_toy(context: Context) -> list[Finding]:
    \"\"\"Batches of 13 rows.\"\"\"
    return [finding("toy-finding", "severe", ["training"], [])] if context.batch_size == 13 else []


{}""",
    ),
    insert(
        "_diagnosis/catalogue.py",
        "_MODEL: Final = {",
        """{}
    "toy-finding": ("a toy", ("toy-remedy",), "nobody", "Thirteen rows in a batch."),""",
    ),
]

REMEDY = [
    insert(
        "_treatment/remedies/training.py",
        "REMEDIES = remedies(",
        """
def toy_remedy(subject: Subject, finding: Finding) -> Subject | None:
    \"\"\"Batches of 14 rows.\"\"\"
    made = {"training": {"batch_size": 14}, "snippet": "batch_size=14"}
    return changed(subject, ("training",), ("13", "14"), recipe=("train.batch_size=14",), **made)


{}toy_remedy, """,
    ),
]

SCHEDULE = [
    new(
        "schedules/kinds/toy.py",
        """
\"\"\"A toy schedule: a rate of its own.\"\"\"

import keras
import jax.numpy as jnp
from dataclasses import dataclass
from kilter.schedules.base import Schedule
from kilter.schedules.registry import SHARE, ScheduleKind, Setting


@keras.saving.register_keras_serializable("kilter")
@dataclass(frozen=True, kw_only=True)
class Toy(Schedule):
    \"\"\"A share of the rate.\"\"\"

    rate: float

    def __call__(self, step):
        return jnp.float32(self.rate)


def toy(rate: float) -> Toy:
    \"\"\"Always this rate.\"\"\"
    return Toy(rate=rate)


KIND = ScheduleKind(
    summary="a toy",
    make=lambda rate, epochs, steps_per_epoch, share: toy(rate * share),
    settings=(Setting("share", float, "a share of the rate", default=0.5, rule=SHARE),),
    function=toy,
)
""",
    ),
    insert("schedules/registry.py", '    "power",\n', '{}    "toy",\n'),
]

FORMAT = [
    new(
        "data/toy.py",
        """
\"\"\"A toy format: 64 images of 4×4 whose class is their brightness.\"\"\"

from pathlib import Path

import numpy as np

from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import Source
from kilter.data.dataset import LoadOptions


def recognises(path: Path) -> bool:
    \"\"\"Whether the path ends in .toy.\"\"\"
    return path.suffix == ".toy"


def read(path: Path, options: LoadOptions) -> Source:
    \"\"\"The images.\"\"\"
    classes = np.arange(64) % 2
    images = np.random.default_rng(0).integers(0, 100, (64, 4, 4, 1)) + 100 * classes[:, None, None, None]
    return assemble(Part(images.astype(np.uint8), classes), None, options, About("toy", str(path), path.stem))
""",
    ),
    insert("data/loading.py", "from kilter.data.dataset import", "from kilter.data import toy\n{}"),
    insert(
        "data/loading.py",
        "FORMATS = (\n",
        '{}    Format("toy", "a .toy file", toy.recognises, toy.read),\n',
    ),
]

AUGMENTATION = [
    new(
        "data/augmentation/toy.py",
        """
\"\"\"A toy transform: darker images.\"\"\"

from dataclasses import dataclass
from typing import ClassVar

TRACED: list[float] = []


@dataclass(frozen=True)
class Darker:
    \"\"\"Images times a factor.\"\"\"

    factor: float
    colour: ClassVar[bool] = False

    def change(self, key, images, span):
        \"\"\"The images.\"\"\"
        TRACED.append(self.factor)
        return images * self.factor
""",
    ),
    insert(
        "data/augmentation/__init__.py",
        "from kilter.data.augmentation.composition",
        "from kilter.data.augmentation.toy import Darker\n{}",
    ),
    insert("recipe/augment.py", "    zoom: Number", "    darker: Number = None\n{}"),
]

PRETEXT = [
    new(
        "pretrain/tasks/toy.py",
        """
\"\"\"A toy task: is the image brighter than the mean?\"\"\"

from dataclasses import dataclass

from kilter.pretrain.running import Subject
from kilter.pretrain.tasks.base import Options, Setting, classified, linear_head


@dataclass(frozen=True)
class Brighter:
    \"\"\"Whether an image is brighter than the mean.\"\"\"

    measure = "accuracy"

    def pose(self, key, x, *, training):
        brightness = x.astype("float32").mean(axis=(1, 2, 3))
        return x, (brightness > brightness.mean()).astype(int)

    def judge(self, head, codes, answer):
        return classified(head(codes), answer)


def setting(subject: Subject, options: Options) -> Setting:
    \"\"\"The task with its head.\"\"\"
    return Setting(Brighter(), linear_head(subject, 2, options.seed), 1 / 2)
""",
    ),
    insert("recipe/pretrain.py", 'Task = Literal["autoencoder", ', '{}"toy", '),
]

LAYER = [
    insert(
        "_models/layers.py",
        "DROP_RATES: Final[Mapping[type, tuple[str, ...]]] = {",
        """@keras.saving.register_keras_serializable("toy")
class ToyDropout(keras.layers.Layer):
    \"\"\"Drops nothing, but has a rate.\"\"\"

    rate = 0.95

    def call(self, inputs):
        \"\"\"The inputs.\"\"\"
        return inputs


{}
    ToyDropout: ("rate",),""",
    ),
]

RULE = [
    new(
        "_xla/toy.py",
        """
\"\"\"A toy rule: logarithms are counted.\"\"\"

from kilter._xla.values import Pass, Value, written

REWRITTEN: list[str] = []


def applies(equation, values: list[Value], passing: Pass) -> bool:
    \"\"\"To every logarithm.\"\"\"
    return True


def rewritten(equation, values: list[Value], passing: Pass) -> Value:
    \"\"\"The same logarithm.\"\"\"
    REWRITTEN.append(equation.primitive.name)
    return written(equation.primitive.bind(values[0].get(), **equation.params))
""",
    ),
    insert("_xla/rules.py", "from kilter._xla.values import", "from kilter._xla import toy\n{}"),
    insert(
        "_xla/rules.py",
        "RULES: Final[dict[str, Rule]] = {\n",
        '{}    "toy": _rule("log", toy.applies, toy.rewritten),\n',
    ),
]

SECTION = [
    insert(
        "report/page.py",
        '        "name": records.recipe',
        '        "toy": f"toy section, {len(records.history)} epochs",\n{}',
    ),
    insert("report/templates/report.html", "<h2>Learning curves</h2>", "<h2>{{ toy }}</h2>\n{}"),
]

COMMAND = [
    new(
        "_cli/toy.py",
        """
\"\"\"A toy command.\"\"\"

from dataclasses import dataclass

import typer

from kilter._cli.options import Command


@dataclass(frozen=True, kw_only=True)
class Toy(Command):
    \"\"\"Say hello to a toy.\"\"\"

    module = "toy"
    stage = ""
    name: str


def toy(asked, progress) -> None:
    typer.echo(f"hello {asked.name}")
""",
    ),
    insert("_cli/main.py", "from kilter._system import", "from kilter._cli.toy import Toy\n{}"),
    insert("_cli/main.py", "        commands.Transfer,\n", "{}        Toy,\n"),
]

TOYS = {
    "check": CHECK,
    "remedy": REMEDY,
    "schedule": SCHEDULE,
    "data format": FORMAT,
    "augmentation": AUGMENTATION,
    "pretext task": PRETEXT,
    "layer kind": LAYER,
    "report section": SECTION,
    "command": COMMAND,
    "XLA rule": RULE,
}
