"""The numbers that readings of a network are held to, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _of(value: float, source: str) -> Any:
    return field(default=value, metadata={"source": source})


_OWN = "kilter: chosen on small networks, see docs/diagnosis.md"


@dataclass(frozen=True)
class SignalThresholds:
    """Limits by name; ``metadata["source"]`` of each field says where it comes from."""

    # a probe
    deviation_ratio: float = _of(1e3, "float32 holds 7 digits: what is 1000 times smaller adds 4 of them")
    deviation_ratio_warning: float = _of(30.0, _OWN)
    deviation_least: float = _of(1e-5, _OWN)
    unit_share: float = _of(0.8, "AUTOTRAINER (Zhang et al. 2021) calls 70 % dead units a fault")
    unit_share_warning: float = _of(0.3, _OWN)
    # some steps
    gradient_ratio: float = _of(
        1e-4, "AUTOTRAINER (Zhang et al. 2021): vanishing below 1e-3 of the last layer's"
    )
    update_ratio_high: float = _of(1.0, "a step as large as the weights themselves; a sound one is near 1e-3")
    update_ratio_low: float = _of(1e-6, "1000 times below the usual 1e-3 (Karpathy, CS231n notes)")
    movement: float = _of(0.005, _OWN)
    divergence: float = _of(2.0, _OWN)
    worse_steps: float = _of(0.6, "half is what chance gives")
    least_steps: float = _of(32, _OWN)
    # curves
    least_epochs: float = _of(5, _OWN)
    overfit_ratio: float = _of(1.1, "Prechelt 1998, Early stopping: generalisation loss above 5 %; doubled")
    oscillation_share: float = _of(0.6, "a curve that falls changes direction seldom")
    oscillation_size: float = _of(0.1, _OWN)
    fall: float = _of(0.02, _OWN)
    accuracy_band: float = _of(0.005, _OWN)
    stale_ratio: float = _of(2.0, _OWN)


LIMITS = SignalThresholds()
