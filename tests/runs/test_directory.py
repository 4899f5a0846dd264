"""Run directories: made once, read back exactly, listed even when damaged."""

import json
import math
import struct
from datetime import UTC, datetime

import pytest
from tensorboardX.proto import event_pb2

from kilter.errors import RunError
from kilter.runs.directory import create_run, reopen_run
from kilter.runs.environment import describe_environment
from kilter.runs.events import scalars
from kilter.runs.reading import list_runs, open_run
from kilter.runs.records import DataRecord, EpochRecord, Evaluation, Result, best_epoch, default_monitor

START = datetime(2026, 11, 22, 1, 48, 23, tzinfo=UTC)
EPOCHS = [
    EpochRecord(0, {"loss": 2.0, "accuracy": 0.5, "val_loss": 1.5}, seconds=1.25, learning_rate=0.1),
    EpochRecord(
        1, {"loss": math.nan, "accuracy": 0.1, "val_loss": math.inf}, seconds=1.0, compile_seconds=0.5
    ),
    EpochRecord(2, {"loss": 1.0, "accuracy": 0.1 + 0.2, "val_loss": 1.25}, seconds=1.0),
]
RESULT = Result(
    status="finished",
    reason="epochs",
    monitor="val_loss",
    direction="min",
    best_epoch=2,
    epochs=3,
    seconds=3.75,
    parameters=10,
    evaluations={"test": Evaluation(4, {"loss": 0.5, "nothing": math.nan}, ((2, 0), (1, 1)))},
)
DATA = DataRecord(
    name="sales",
    kind="csv table",
    origin="/data/sales.csv",
    task="classification",
    classes=("no", "ja – <b>"),
    input_shape=(3,),
    outputs=2,
    rows={"train": 8, "validation": 4},
    skipped=1,
    image_size=None,
    encoding='{"version": 1}',
    sha256="ab",
)


@pytest.fixture
def run(tmp_path):
    with create_run(tmp_path, "digits", recipe_text='name = "digits"\n', started=START) as run:
        yield run


def test_the_name_tells_time_and_name_and_is_taken_once(run, tmp_path):
    assert run.path.name == "20261122-014823-digits"
    with pytest.raises(RunError, match="20261122-014823-digits"):
        create_run(tmp_path, "digits", started=START)
    assert (run.path / "recipe.toml").read_text() == 'name = "digits"\n', "the first run is untouched"


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "a b\n", "", "..", "x" * 500, "naïve"])
def test_no_name_leads_out_of_the_parent(tmp_path, name):
    with create_run(tmp_path / "runs", name, started=START) as run:
        assert run.path.parent == tmp_path / "runs"
        assert run.path.is_dir()
        assert len(run.path.name) < 130


def test_a_parent_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="runs"):
        create_run(tmp_path / "runs", "digits")


def test_everything_written_is_read_back(run):
    for record in EPOCHS:
        run.record_epoch(record)
    run.write_environment(describe_environment(device="cpu", seed=7))
    run.write_data(DATA)
    run.finish(RESULT)
    records = open_run(run.path)
    assert [record.to_json() for record in records.history] == [record.to_json() for record in EPOCHS]
    assert math.isnan(records.history[1].logs["loss"])
    assert records.history[1].logs["val_loss"] == math.inf
    assert records.history[2].logs["accuracy"] == 0.1 + 0.2, "not a bit of a float64 is lost"
    assert records.data == DATA
    assert records.result is not None
    assert records.result.to_json() == RESULT.to_json()
    assert records.result.evaluations["test"].confusion == ((2, 0), (1, 1))
    assert records.environment["seed"] == 7
    assert records.recipe == {"name": "digits"}


def test_the_files_are_strict_json(run):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    run.record_epoch(EPOCHS[1])
    run.finish(RESULT)
    for line in (run.path / "history.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    json.loads((run.path / "result.json").read_text(), parse_constant=refuse)


def test_the_status_follows_the_lock_and_the_result(tmp_path):
    run = create_run(tmp_path, "digits", recipe_text="", started=START)
    assert open_run(run.path).status == "training"
    run.close()
    assert open_run(run.path).status == "interrupted"
    with reopen_run(run.path) as again:
        again.finish(RESULT)
    assert open_run(run.path).status == "finished"


def test_a_run_that_is_written_to_cannot_be_reopened(run):
    with pytest.raises(RunError, match="lock"):
        reopen_run(run.path)


def test_runs_are_listed_with_their_best_epoch_and_damaged_ones_too(tmp_path):
    with create_run(tmp_path, "good", recipe_text="", started=START) as run:
        for record in EPOCHS:
            run.record_epoch(record)
    with create_run(tmp_path, "bad", recipe_text="", started=START) as bad:
        (bad.path / "history.jsonl").write_text('{"epoch": "x"}\n')
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    found = {summary.name: summary for summary in list_runs(tmp_path)}
    assert set(found) == {"good", "bad"}
    assert found["bad"].status == "damaged"
    good = found["good"]
    assert (good.monitor, good.best_epoch, good.best, good.epochs) == ("val_loss", 2, 1.25, 3)
    assert good.started == "2026-11-22 01:48:23"
    assert good.seconds == 3.75  # with 0.5 of compiling, as at the end of the training


def test_no_runs_where_there_is_no_folder(tmp_path):
    assert list_runs(tmp_path / "nothing") == ()


DAMAGED = [b"", b"[1]", b"{", b"\xff\xfe"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *[
            (name, content)
            for name in ("result.json", "data.json", "environment.json")
            for content in DAMAGED
        ],
        ("result.json", b'{"status": 1}'),
        ("data.json", b'{"name": "x"}'),
        ("recipe.toml", b"name ="),
        ("recipe.toml", b"\xff\xfe"),
    ],
)
def test_a_damaged_file_is_named(run, name, content):
    (run.path / name).write_bytes(content)
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        open_run(run.path)


def test_a_damaged_line_is_numbered(run):
    run.record_epoch(EPOCHS[0])
    with (run.path / "history.jsonl").open("a") as file:
        file.write("not json\n")
    with pytest.raises(RunError, match="line 2"):
        open_run(run.path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()])
def test_what_is_no_run_is_refused(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(RunError, match="kilter runs"):
        open_run(tmp_path / "x")


def test_the_best_epoch_is_the_first_best_finite_one():
    values = [math.nan, 2.0, 1.0, 1.0, math.inf]
    history = [EpochRecord(epoch, {"loss": value}, 1.0) for epoch, value in enumerate(values)]
    lowest, highest = best_epoch(history, "loss", "min"), best_epoch(history, "loss", "max")
    assert lowest is not None
    assert highest is not None
    assert (lowest.epoch, highest.epoch) == (2, 1)
    assert best_epoch(history, "accuracy", "max") is None
    assert best_epoch(history[:1], "loss", "min") is None
    assert default_monitor(history) == ("loss", "min")


def _events(path):
    """The scalars of an event file by (tag, step): an own reader of TFRecord framing, and of the protobuf."""
    content, found, position = path.read_bytes(), {}, 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        event = event_pb2.Event.FromString(content[position + 12 : position + 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        position += 12 + length + 4
    return found


def test_tensorboard_sees_every_epoch_at_once_with_overlaying_tags(run):
    for record in (EPOCHS[0], EPOCHS[2]):
        run.record_epoch(record)
    (path,) = run.path.glob("events.out.tfevents.*")
    found = _events(path)  # before the file is closed: it is flushed every epoch
    assert found["train/loss", 0] == 2.0
    assert found["validation/loss", 0] == 1.5
    assert found["validation/loss", 2] == 1.25
    assert found["train/learning_rate", 0] == pytest.approx(0.1)


def test_a_learning_rate_in_the_logs_is_not_told_twice():
    record = EpochRecord(0, {"loss": 1.0, "learning_rate": 0.2}, seconds=1.0, learning_rate=0.2)
    assert scalars(record) == {"train/loss": 1.0, "train/seconds": 1.0, "train/learning_rate": 0.2}


def test_two_runs_of_a_name_in_a_second_have_directories_of_their_own(tmp_path):
    paths = []
    for _ in range(2):
        with create_run(tmp_path, "digits") as run:
            paths.append(run.path)
    assert len({path.name for path in paths}) == 2


def test_a_run_that_did_not_begin_is_taken_away(tmp_path):
    create_run(tmp_path, "digits").discard()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_checkpoints_cannot_name_is_refused_before_anything_is_made(tmp_path):
    parent = tmp_path / "r\udce9sultats"
    with pytest.raises(RunError, match="UTF-8"):
        create_run(parent, "x")
    assert not parent.exists()
