"""Uses every toy once, from a recipe, the command line and Python; prints what it saw as JSON."""

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

RECIPE = """
name = "toys"
[data]
source = "some.toy"
[model]
builder = "mlp"
hidden = [4]
[optimizer]
learning_rate = 0.01
[train]
epochs = 1
batch_size = 13
[schedule]
name = "toy"
share = 0.25
[augment]
darker = 0.5
"""


def command(*words: str) -> tuple[int, str]:
    """A command's exit code and output."""
    from typer.testing import CliRunner

    from kilter._cli.main import app

    ended = CliRunner().invoke(app, words)
    return ended.exit_code, ended.output


def main() -> dict[str, object]:
    """What each toy did."""
    Path("toy.toml").write_text(RECIPE)
    Path("some.toy").touch()
    import keras
    from kilter._xla.toy import REWRITTEN
    from kilter.data.augmentation.toy import TRACED

    import kilter
    from kilter._models.layers import ToyDropout
    from kilter._treatment.remedies import REMEDIES

    code, output = command("train", "toy.toml", "--runs", "runs", "--quiet")
    (run,) = Path("runs").iterdir() if code == 0 else [Path(output)]
    last = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    command("report", str(run))
    source = kilter.data.load("some.toy")
    x, y = source.train.x / 255, source.train.y
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), ToyDropout(), keras.layers.Dense(2, "softmax")]
    )
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    found = kilter.diagnose(model, x, y, steps=0, batch_size=13)
    treatment = kilter.treat(
        model,
        x[:40],
        y[:40],
        validation_data=(x[40:], y[40:]),
        batch_size=13,
        epochs=2,
        remedies={"toy-remedy": REMEDIES["toy-remedy"]},
        verbose=0,
    )
    return {
        "check": command("diagnose", "toy.toml", "--steps", "0", "--json", "--quiet"),
        "codes": [one.code for one in found.findings],
        "tried": [change for trial in treatment.trials.tried for change in trial.remedies],
        "schedule": last,
        "curve": command("schedule", "toy.toml", "--out", "rate.html", "--quiet"),
        "data": command("data", "some.toy"),
        "pretrain": command(
            "pretrain",
            "toy.toml",
            "--task",
            "toy",
            "--set",
            "schedule.name=constant",
            "--set",
            "augment.darker=none",
            "--out",
            "e.keras",
            "--json",
            "--quiet",
        ),
        "section": "toy section, 1 epochs" in (run / "report.html").read_text(),
        "augmented": TRACED,
        "rewritten": REWRITTEN,
        "command": command("toy", "world"),
        "help": command("--help"),
    }


if __name__ == "__main__":
    seen = io.StringIO()
    with redirect_stdout(seen):
        result = main()
    sys.stdout.write(json.dumps(result, default=str))
