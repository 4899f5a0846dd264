"""The limits of the checks, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from kilter._records import Evidence, Severity


def sourced(value: float, source: str) -> Any:
    """A field with its default and its source."""
    return field(default=value, metadata={"source": source})


OWN = "kilter: tuned on small networks, see docs/diagnosis.md"
_AUTOTRAINER = "AUTOTRAINER (Zhang et al. 2021)"


@dataclass(frozen=True)
class Thresholds:
    """Limits by name; ``metadata["source"]`` of each field gives its source."""

    # a probe
    deviation_ratio: float = sourced(1e3, "float32 has 7 digits: 1000 times smaller keeps 4 of them")
    deviation_ratio_warning: float = sourced(30.0, OWN)
    deviation_least: float = sourced(1e-5, OWN)
    unit_share: float = sourced(0.8, f"{_AUTOTRAINER} calls 70 % dead units a fault")
    unit_share_warning: float = sourced(0.3, OWN)
    # some steps
    unit_share_trained: float = sourced(0.9, f"{_AUTOTRAINER} says 70 %; healthy networks reach 86 %")
    gradient_ratio: float = sourced(1e-4, f"{_AUTOTRAINER}: vanishing below 1e-3 of the last layer's")
    update_ratio_high: float = sourced(0.2, "200 times the usual 1e-3 (Karpathy, CS231n notes)")
    update_ratio_low: float = sourced(1e-5, "100 times below the usual 1e-3 (Karpathy, CS231n notes)")
    update_ratio_low_warning: float = sourced(1e-4, "10 times below the usual 1e-3 (Karpathy, CS231n notes)")
    movement: float = sourced(0.005, OWN)
    movement_high: float = sourced(0.1, OWN)
    divergence: float = sourced(2.0, OWN)
    worse_steps: float = sourced(0.6, "chance gives one half")
    worse_size: float = sourced(0.02, OWN)
    gradient_least: float = sourced(1e-12, "below float32 rounding of weights near 1")
    least_steps: float = sourced(32, OWN)
    update_ratio_usual: float = sourced(0.02, "20 times the usual 1e-3 (Karpathy, CS231n notes)")
    # the outcome, in skill: 0 is a constant prediction, 1 is perfect
    short_margin: float = sourced(0.12, OWN)
    learnt_least: float = sourced(0.05, OWN)
    rate_share: float = sourced(0.6, "of the gap to the sibling; limit by kilter")
    # curves
    least_epochs: float = sourced(5, OWN)
    overfit_ratio: float = sourced(1.1, "Prechelt 1998, Early stopping: 5 % above the best; doubled")
    oscillation_share: float = sourced(0.6, "a falling curve rarely changes direction")
    oscillation_size: float = sourced(0.1, OWN)
    fall: float = sourced(0.02, OWN)
    accuracy_band: float = sourced(0.005, OWN)
    falling_share: float = sourced(0.05, OWN)
    slow_share: float = sourced(0.45, "a straight line has half its fall in the second half")
    stale_ratio: float = sourced(2.0, OWN)
    # the model before training
    variance_ratio: float = sourced(1e3, "Schoenholz et al. 2017: depth that a signal survives")
    variance_ratio_warning: float = sourced(10.0, OWN)
    unpaired_depth: float = sourced(4, OWN)
    weight_variance_tolerance: float = sourced(1.35, "LeCun and Glorot on square layers differ by less")
    weight_variance_excess: float = sourced(100.0, "units saturate at 10 times the suitable deviation")
    sigmoid_depth_warning: float = sourced(3, "Glorot & Bengio 2010: sigmoid slope of at most 1/4 a layer")
    sigmoid_depth_severe: float = sourced(6, "Glorot & Bengio 2010: (1/4)^6 is 2e-4")
    tanh_depth_warning: float = sourced(8, "Glorot & Bengio 2010")
    tanh_depth_severe: float = sourced(30, OWN)
    exponential_layers: float = sourced(2, "exp(exp(x)) overflows float32 at x = 4.5")
    dropout: float = sourced(0.85, "Srivastava et al. 2014, figure 9: error steep above 0.8")
    dropout_warning: float = sourced(0.65, "Srivastava et al. 2014, figure 9: error flat from 0.2 to 0.6")
    penalty: float = sourced(0.1, "10 times Keras's default of 0.01; limit by kilter")
    penalty_warning: float = sourced(0.03, "3 times Keras's default of 0.01; limit by kilter")
    leaky_slope: float = sourced(1.0, "a slope of 1 is linear")
    adagrad_depth: float = sourced(3, "Goodfellow et al. 2016, section 8.5.1")
    selu_mean: float = sourced(0.5, "Klambauer et al. 2017, theorem 1: inputs near mean 0")
    selu_deviation: float = sourced(2.0, "Klambauer et al. 2017, theorem 1: inputs near variance 1")
    norm_batch: float = sourced(8, "Wu & He 2018, figure 1: batch statistics are poor below 8 rows")
    norm_lag: float = sourced(0.05, "momentum^steps: initial statistics left after two epochs")
    norm_lag_warning: float = sourced(0.9, "momentum^steps: initial statistics left after two epochs")
    # the data
    input_scale: float = sourced(30.0, "LeCun et al. 1998, section 4.3; limit by kilter")
    input_scale_warning: float = sourced(3.0, "LeCun et al. 1998, section 4.3; limit by kilter")
    input_scale_least: float = sourced(1e-3, "LeCun et al. 1998, section 4.3; limit by kilter")
    feature_scales: float = sourced(
        100.0, "LeCun et al. 1998: condition of the Hessian grows with the square"
    )
    amount_scale: float = sourced(100.0, "Adam at 1e-3 moves a bias by 1 in 1000 steps; limit by kilter")
    amount_scale_warning: float = sourced(10.0, "Bishop 1995, section 8.2; limit by kilter")
    class_ratio: float = sourced(10.0, "He & Garcia 2009: imbalance of 10:1 hides the rare class")
    leakage: float = sourced(0.99, "Kaufman et al. 2012; limit by kilter")
    neighbour_rows: float = sourced(200, "fewer rows cannot tell chance from a weak relation")
    neighbour_score: float = sourced(2.0, "normal approximation: 2.3 % of shuffled labels exceed it")


def band(limits: Thresholds, limit: str, value: float) -> tuple[Severity, str] | None:
    """ "severe" above ``limit``, "warning" above ``limit_warning``, with that name; None below both."""
    bands: tuple[tuple[Severity, str], ...] = (("severe", limit), ("warning", f"{limit}_warning"))
    return next((one for one in bands if value > getattr(limits, one[1])), None)


def seen(limits: Thresholds, limit: str, name: str, value: float | int | str) -> Evidence:
    """``value`` as evidence, with the threshold called ``limit`` and its source."""
    source = next(one.metadata["source"] for one in fields(limits) if one.name == limit)
    return Evidence(name, value, getattr(limits, limit), source)
