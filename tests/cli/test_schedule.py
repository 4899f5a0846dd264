"""``kilter schedule``: the rates that training will have, in a table and in a picture."""

import pytest

from kilter.schedules import one_cycle

CYCLE = ["schedule", "digits", "--set", "schedule.name=one_cycle", "--set", "model.hidden=[4]"]


def test_the_table_is_the_schedule_of_the_recipe(kilter, tmp_path):
    picture = tmp_path / "cycle.html"
    ended = kilter(*CYCLE, "--set", "train.epochs=3", "--set", "train.batch_size=256", "--out", picture)
    assert (ended.code, ended.err) == (0, "")
    headings, *rows, told, where = ended.out.splitlines()
    assert headings.split("  ")[0] == "epoch"
    assert told == "one_cycle: 3 epochs of 7 batches"
    cycle = one_cycle(0.001, length=21)
    for epoch, row in enumerate(rows):
        first, last = 7 * epoch, 7 * epoch + 6
        expected = [cycle(first), cycle(last), cycle.momentum(first), cycle.momentum(last)]
        assert [float(word) for word in row.split()] == pytest.approx(
            [epoch + 1, *map(float, expected)], rel=1e-3
        )
    assert where == f"plot: {picture}"
    page = picture.read_text(encoding="utf-8")
    assert "learning rate" in page
    assert "<script src" not in page


def test_a_long_training_is_told_in_a_screen(kilter):
    ended = kilter(*CYCLE, "--set", "train.epochs=1000")
    lines = ended.out.splitlines()
    assert len(lines) == 27
    assert lines[-2].split()[0] == "1000"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "constant: 0.001"),
        (
            ["--set", "schedule.name=performance"],
            "performance: from 0.001, × 0.5 when the validation loss has not",
        ),
    ],
)
def test_schedules_without_a_curve_are_told_in_words(kilter, words, told):
    assert kilter("schedule", "digits", *words).out.startswith(told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "x.html"], "known before training"),
        (["--out", "x.png"], "--out with one of .html"),
        (["--set", "schedule.name=one_cycel"], "did you mean 'one_cycle'?"),
        (["--set", "schedule.name=one_cycle", "--set", "optimizer.name=sgd"], "sgd with a momentum above 0"),
        (["--set", "schedule.name=cosine", "--set", "schedule.warmup=200"], "warm-up shorter"),
    ],
)
def test_what_is_wrong_is_told(kilter, words, told):
    ended = kilter("schedule", "digits", *words)
    assert ended.code == 2
    assert told in ended.err
