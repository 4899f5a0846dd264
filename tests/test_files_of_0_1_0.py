"""Files that kilter 0.1.0 wrote still open: saved models, a finished run, and a run to resume.

``files-of-0.1.0.zip`` holds a saved model with kilter's own layer and loss and its answers, a finished
run of four epochs, and the same training interrupted after two.
"""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import kilter
from kilter import runs

ARCHIVE = Path(__file__).with_name("files-of-0.1.0.zip")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def val_losses(run: Path) -> list[float]:
    lines = (run / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["logs"]["val_loss"] for line in lines]


def test_a_saved_model_gives_the_recorded_answers(old: Path):
    kilter.nn.RReLU  # noqa: B018  (loads what the file names by its registered name)
    kilter.nn.SmoothedSparseCategoricalCrossentropy  # noqa: B018
    model = keras.models.load_model(old / "objects.keras")
    recorded = np.load(old / "objects-answers.npz")
    np.testing.assert_allclose(model.predict(recorded["x"], verbose=0), recorded["answers"], atol=1e-6)


def test_a_finished_run_opens(old: Path):
    records = runs.open_run(old / "finished")
    assert len(records.history) == 4


@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_run_goes_on_to_the_same_numbers(old: Path):
    runs.resume(old / "interrupted", verbose=0)
    # Rounding differs from machine to machine: the same course of training, not the same bits.
    np.testing.assert_allclose(val_losses(old / "interrupted"), val_losses(old / "finished"), rtol=1e-3)
