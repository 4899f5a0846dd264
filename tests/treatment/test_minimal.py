"""Taking changes out one by one, with short trainings that are made up."""

from types import SimpleNamespace
from typing import Any

import pytest

from kilter._treatment.minimal import _Removal, minimal
from kilter._treatment.policy import ScoringPolicy, SearchPolicy


def test_runs_that_ended_early_are_completed_where_all_of_them_count():
    made: list[int] = []

    def run(seed: int, epochs: int) -> Any:
        made.append(seed)
        return SimpleNamespace(seed=seed, score=0.1 if seed == 0 else 0.8)

    search: Any = SimpleNamespace(
        progress=SimpleNamespace(stage=lambda *_: None),
        runner=lambda _: SimpleNamespace(run=run, steps=1),
        cost=SimpleNamespace(compilation=1.0, work=1.0),
        epochs=1,
        scoring=SimpleNamespace(gain=lambda one, other: one - other),
        policy=SimpleNamespace(part_clear=0.25),
    )
    pairs: Any = [SimpleNamespace(seed=seed, score=0.9) for seed in range(3)]
    nothing: Any = None
    removal = _Removal(nothing, search, nothing, nothing, pairs)
    fewer: Any = SimpleNamespace(steps=(SimpleNamespace(code="shuffle"),))
    assert len(removal._trained(fewer, "", enough=True)) == 1
    assert len(removal._trained(fewer, "", enough=True)) == 1
    assert [one.seed for one in removal._trained(fewer, "")] == made == [0, 1, 2]
    assert removal.spent == 4.0


def removed(alone: dict[str, float], chosen: str, asked: str, *, checked: bool = True) -> str:
    """What is left of the ``chosen`` changes, a letter each; scores are sums of what each contributes."""

    def made(codes: str) -> Any:
        return SimpleNamespace(steps=[SimpleNamespace(code=one) for one in codes], changes=list(codes))

    def runner(subject: Any) -> Any:
        score = 0.1 + sum(alone[one.code] for one in subject.steps)
        return SimpleNamespace(run=lambda seed, _: SimpleNamespace(seed=seed, score=score), steps=1)

    def pairs(codes: str) -> Any:
        return SimpleNamespace(runs=[runner(made(codes)).run(seed, 1) for seed in range(6)])

    search: Any = SimpleNamespace(
        progress=SimpleNamespace(stage=lambda *_: None),
        runner=runner,
        cost=SimpleNamespace(compilation=0.0, work=0.0),
        epochs=1,
        full=0.0,
        is_costly=False,
        deadline=SimpleNamespace(stops=lambda _: False),
        scoring=SimpleNamespace(gain=lambda one, other: one - other, policy=ScoringPolicy()),
        policy=SearchPolicy(),
    )
    proof = SimpleNamespace(candidates=[pairs(""), pairs(chosen)])
    remedy_set: Any = SimpleNamespace(again=lambda _, steps: made("".join(one.code for one in steps)))
    trials: Any = SimpleNamespace(proof=proof)
    found = minimal(made(""), made(chosen), search, trials, remedy_set, asked, checked=checked)
    return "".join(one.code for one in found.subject.steps)


@pytest.mark.parametrize(
    ("alone", "chosen", "asked", "checked", "left"),
    [
        ({"a": 0.7, "b": 0.05}, "ab", "a", True, "a"),  # 0.05 is less than a tenth of 0.75
        ({"a": 0.7, "b": 0.05}, "ab", "ab", True, "ab"),  # a finding asks for it
        ({"a": 0.7, "b": 0.05}, "ab", "a", False, "ab"),  # no full training checks it
        ({"a": 0.7, "b": 0.1}, "ab", "a", True, "ab"),
        ({"a": 0.7, "b": 0.05, "c": 0.06}, "abc", "a", True, "ab"),  # together they are more than a tenth
        ({"a": 0.7, "b": 0.03, "c": 0.04}, "abc", "a", True, "a"),
        ({"a": 0.7, "b": 0.005}, "ab", "ab", False, "a"),  # too little to matter
        ({"a": 0.3, "b": 0.04}, "ab", "", True, "ab"),  # a tenth of a smaller effect
    ],
)
def test_a_change_that_no_finding_asked_for_needs_a_tenth_of_the_effect(
    alone: dict[str, float], chosen: str, asked: str, checked: bool, left: str
):
    assert removed(alone, chosen, asked, checked=checked) == left
