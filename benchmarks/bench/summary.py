"""From the epochs that were measured to the figures that are shown: medians, spreads, ratios, shares."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One measured epoch of one peer.

    ``call_seconds`` is the ``fit`` call around it, None where the peer's loop is not a call an epoch.
    ``others`` is the share (0 to 1) of the machine's CPU time that anything but this peer took meanwhile,
    None where the system does not tell.
    """

    seconds: float
    loss: float
    call_seconds: float | None = None
    others: float | None = None


@dataclasses.dataclass(frozen=True)
class Run:
    """What one peer's process did: the first epoch (compiles, warms up), then the measured ones in order.

    ``compile_seconds`` is what the peer itself says, None where it says nothing. ``peak_bytes`` is the
    highest resident memory of its process. ``group`` numbers the set of processes that were interleaved
    with it.
    """

    peer: str
    group: int
    first: Epoch
    epochs: tuple[Epoch, ...]
    peak_bytes: int
    compile_seconds: float | None = None
    note: str = ""
    versions: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of n values."""

    median: float
    low: float
    high: float
    n: int


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    ``seconds`` are per epoch, ``call_seconds`` per ``fit`` call of one epoch (the same where there is no
    such call); ``ratio`` is time over the reference's time in the same group.
    """

    peer: str
    seconds: Spread
    ratio: Spread | None
    call_seconds: float
    compile_seconds: float
    peak_bytes: int
    flops_per_second: float
    share_of_peak: float
    loss: float
    note: str


def spread(values: Sequence[float]) -> Spread:
    """Median and range. Raises ValueError on an empty sequence (there is nothing to summarise).

    Example:
        >>> spread([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0, n=3)
    """
    if not values:
        raise ValueError("spread() needs at least one value")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio(run: Run, reference: Run) -> Spread:
    """Ratio of the medians; its range is that of the round-by-round ratios.

    The peers of a round run right after one another, so a slow spell of the machine hits both sides of a
    round's ratio.
    """
    ours, theirs = _seconds(run), _seconds(reference)
    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Spread(statistics.median(ours) / statistics.median(theirs), min(rounds), max(rounds), len(rounds))


def compile_time(run: Run) -> float:
    """What the peer reports, else the first epoch minus the median of the others (never below zero)."""
    if run.compile_seconds is not None:
        return run.compile_seconds
    return max(0.0, run.first.seconds - statistics.median(_seconds(run)))


def summarise(runs: Sequence[Run], reference: str, flops: int, peak: float) -> tuple[Row, ...]:
    """One row a peer, in the order of ``runs``; the reference, which ran in every group, is pooled.

    ``flops`` is one epoch's, ``peak`` the machine's FLOPs per second. A run in a group without the
    reference gets no ratio.
    """
    references = {run.group: run for run in runs if run.peer == reference}
    rows = []
    for peer in dict.fromkeys(run.peer for run in runs):
        own = [run for run in runs if run.peer == peer]
        times = spread([seconds for run in own for seconds in _seconds(run)])
        anchor = references.get(own[0].group)
        rows.append(
            Row(
                peer=peer,
                seconds=times,
                ratio=ratio(own[0], anchor) if anchor is not None else None,
                call_seconds=statistics.median(_call_seconds(run) for run in own),
                compile_seconds=compile_time(own[0]),
                peak_bytes=max(run.peak_bytes for run in own),
                flops_per_second=flops / times.median,
                share_of_peak=flops / times.median / peak,
                loss=own[0].epochs[-1].loss,
                note=own[0].note,
            )
        )
    return tuple(rows)


def disturbance(runs: Sequence[Run]) -> Spread | None:
    """Share of the machine's CPU time that others took during the measured epochs; None where unknown."""
    shares = [epoch.others for run in runs for epoch in run.epochs if epoch.others is not None]
    return spread(shares) if shares else None


def _call_seconds(run: Run) -> float:
    return statistics.median(
        epoch.seconds if epoch.call_seconds is None else epoch.call_seconds for epoch in run.epochs
    )


def _seconds(run: Run) -> list[float]:
    return [epoch.seconds for epoch in run.epochs]
