"""A seeded sample of ``make crash``: killed trainings end with the bits of undisturbed ones."""

import random

import pytest

from .crashing import SUBJECTS, Kill, outcome, plan, train_killed, trial


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What an undisturbed training leaves, by subject."""
    made = {}

    def of(subject):
        if subject not in made:
            made[subject] = trial(subject, tmp_path_factory.mktemp(subject) / "runs", [])[1]
        return made[subject]

    return of


# One kill within an epoch and one within a save: about 6 s with its undisturbed training.
@pytest.mark.sampled(4)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_killed_within_an_epoch_and_within_a_save(subject, undisturbed, tmp_path):
    codes, found = trial(subject, tmp_path, [Kill("chunk", 8), Kill("save", 31)])
    assert codes[-1] == 0
    assert -9 in codes
    assert found == undisturbed(subject)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("subject", SUBJECTS)
def test_killed_at_random_moments(subject, seed, undisturbed, tmp_path):
    generator = random.Random(seed)
    for _ in range(2):
        assert train_killed(subject, tmp_path, plan(generator)) in (0, -9)
    assert train_killed(subject, tmp_path, None) == 0
    assert outcome(tmp_path) == undisturbed(subject)
