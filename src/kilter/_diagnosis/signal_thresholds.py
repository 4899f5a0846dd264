"""The numbers that readings of a network and its curves are held to, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def sourced(value: float, source: str) -> Any:
    """A field of a dataclass: its default, and in ``metadata["source"]`` where it comes from."""
    return field(default=value, metadata={"source": source})


OWN = "kilter: chosen on small networks, see docs/diagnosis.md"
_AUTOTRAINER = "AUTOTRAINER (Zhang et al. 2021)"


@dataclass(frozen=True)
class SignalThresholds:
    """Limits by name; ``metadata["source"]`` of each field says where it comes from."""

    # a probe
    deviation_ratio: float = sourced(1e3, "float32 holds 7 digits: what is 1000 times smaller adds 4 of them")
    deviation_ratio_warning: float = sourced(30.0, OWN)
    deviation_least: float = sourced(1e-5, OWN)
    unit_share: float = sourced(0.8, f"{_AUTOTRAINER} calls 70 % dead units a fault")
    unit_share_warning: float = sourced(0.3, OWN)
    # some steps
    unit_share_trained: float = sourced(0.9, f"{_AUTOTRAINER} says 70 %; sound networks reach 86 % on images")
    gradient_ratio: float = sourced(1e-4, f"{_AUTOTRAINER}: vanishing below 1e-3 of the last layer's")
    update_ratio_high: float = sourced(0.2, "200 times the usual 1e-3 (Karpathy, CS231n notes)")
    update_ratio_low: float = sourced(1e-5, "100 times below the usual 1e-3 (Karpathy, CS231n notes)")
    update_ratio_low_warning: float = sourced(1e-4, "10 times below the usual 1e-3 (Karpathy, CS231n notes)")
    movement: float = sourced(0.005, OWN)
    movement_high: float = sourced(0.1, OWN)
    divergence: float = sourced(2.0, OWN)
    worse_steps: float = sourced(0.6, "half is what chance gives")
    worse_size: float = sourced(0.02, OWN)
    gradient_least: float = sourced(1e-12, "next to float32's rounding of weights near 1, at any usual rate")
    least_steps: float = sourced(32, OWN)
    # curves
    least_epochs: float = sourced(5, OWN)
    overfit_ratio: float = sourced(1.1, "Prechelt 1998, Early stopping: 5 % above the best; doubled")
    oscillation_share: float = sourced(0.6, "a curve that falls changes direction seldom")
    oscillation_size: float = sourced(0.1, OWN)
    fall: float = sourced(0.02, OWN)
    accuracy_band: float = sourced(0.005, OWN)
    falling_share: float = sourced(0.05, OWN)
    slow_share: float = sourced(0.45, "a straight line has half of its fall in the second half")
    stale_ratio: float = sourced(2.0, OWN)
