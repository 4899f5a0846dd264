"""Taking changes out one by one, with short trainings that are made up."""

from types import SimpleNamespace
from typing import Any

from kilter._treatment.minimal import _Removal


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
