"""The limits of the checks, each with its source."""

from dataclasses import dataclass, field, fields
from typing import Any

from kilter._records import Evidence, Severity
from kilter._text import number


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
    little_predicted: float = sourced(0.35, "a third of the way from a constant answer; limit by kilter")
    rate_share: float = sourced(0.6, "of the gap to the sibling; limit by kilter")
    few_steps: float = sourced(
        200, "Adam at 1e-3 moves a weight by at most 0.2 in 200 steps; limit by kilter"
    )
    signal_least: float = sourced(0.1, "McCandlish et al. 2018, section 2.3: 10 times the fewest steps")
    signal_most: float = sourced(0.9, "McCandlish et al. 2018, section 2.3: 10 times the fewest rows")
    update_ratio_sustained: float = sourced(0.05, "50 times the usual 1e-3 (Karpathy, CS231n notes)")
    weight_growth: float = sourced(5.0, OWN)
    stability: float = sourced(2.0, "Cohen et al. 2021: gradient descent is stable below 2")
    signal_left: float = sourced(0.02, OWN)
    # speed
    slow_seconds: float = sourced(20.0, "shorter training runs are not worth a change")
    waiting: float = sourced(0.3, OWN)
    compiling: float = sourced(0.5, OWN)
    recompiling: float = sourced(0.1, OWN)
    computing: float = sourced(0.1, OWN)
    memory_growth: float = sourced(0.25, OWN)
    device_speed: float = sourced(5e9, "multiply-adds a second of a slow CPU core")
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
    dropout: float = sourced(0.85, "Srivastava et al. 2014, figure 9: error steep above 0.8")
    dropout_warning: float = sourced(0.65, "Srivastava et al. 2014, figure 9: error flat from 0.2 to 0.6")
    penalty: float = sourced(0.1, "10 times Keras's default of 0.01; limit by kilter")
    penalty_warning: float = sourced(0.03, "3 times Keras's default of 0.01; limit by kilter")
    leaky_slope: float = sourced(1.0, "a slope of 1 is linear")
    decayed_rate: float = sourced(0.01, "of the highest rate: Bengio 2012 searches rates in factors of 10")
    risen: float = sourced(0.1, "Bengio 2012 searches rates in factors of 10")
    decayed_early: float = sourced(0.25, OWN)
    adagrad_depth: float = sourced(3, "Goodfellow et al. 2016, section 8.5.1")
    selu_mean: float = sourced(0.5, "Klambauer et al. 2017, theorem 1: inputs near mean 0")
    selu_deviation: float = sourced(2.0, "Klambauer et al. 2017, theorem 1: inputs near variance 1")
    norm_batch: float = sourced(8, "Wu & He 2018, figure 1: batch statistics are poor below 8 rows")
    smoothing: float = sourced(0.9, "a tenth of each label is left; limit by kilter")
    smoothing_warning: float = sourced(0.5, "Szegedy et al. 2016 use 0.1")
    decay: float = sourced(10.0, "weights stay below about 1 / decay: 0.1")
    decay_warning: float = sourced(2.0, "weights stay below about 1 / decay: 0.5")
    clipped: float = sourced(1e-3, "the same as a rate 1000 times smaller; limit by kilter")
    penalty_share: float = sourced(10.0, "a penalty is to be a small part of the loss; limit by kilter")
    rare_pixels: float = sourced(0.02, "Lin et al. 2017: imbalance of 1:50 and more; limit by kilter")
    field_share: float = sourced(0.5, "half of an object does not show what it is; limit by kilter")
    kl_share: float = sourced(1.0, "Lucas et al. 2019: posteriors collapse where noise exceeds variance")
    kl_share_warning: float = sourced(0.3, "Lucas et al. 2019: most directions vary less; limit by kilter")
    slope_left: float = sourced(0.01, "of the slope of a cross-entropy that is wrong; limit by kilter")
    margin_share: float = sourced(20.0, "distances of untrained networks are of the margin's order")
    easy_pairs: float = sourced(0.995, "a distance without training orders nearly all pairs; limit by kilter")
    nearer_pairs: float = sourced(0.6, "matching pairs are closer by nature; limit by kilter")
    mask_fit: float = sourced(0.15, "chance gives below 0.05 for 100 images; limit by kilter")
    offset: float = sourced(1.5, "pixels; even kernels move by half a pixel each; limit by kilter")
    norm_lag: float = sourced(0.05, "momentum^steps: initial statistics left after two epochs")
    norm_lag_warning: float = sourced(0.9, "momentum^steps: initial statistics left after two epochs")
    # sequences
    recurrent_scale: float = sourced(4.0, "Saxe et al. 2014: orthogonal kernels keep norms; limit by kilter")
    recurrent_scale_least: float = sourced(
        0.02, "Saxe et al. 2014: orthogonal kernels keep norms; limit by kilter"
    )
    forget_kept: float = sourced(0.6, "Jozefowicz et al. 2015: a forget bias of 1 keeps 73 % a step")
    forget_steps: float = sourced(30, OWN)
    continued: float = sourced(0.5, "rows that continue each other differ less than unrelated ones")
    unread: float = sourced(0.3, OWN)
    padding_read: float = sourced(0.7, "sound networks read the content of every row; limit by kilter")
    order_gain: float = sourced(0.15, OWN)
    order_change: float = sourced(5e-5, "float32 sums in another order differ by less")
    shifted: float = sourced(0.95, OWN)
    time_steps: float = sourced(12, OWN)
    time_horizon: float = sourced(4, OWN)
    time_growth: float = sourced(1e3, "Pascanu et al. 2013; limit by kilter")
    long_sequence: float = sourced(200, "Pascanu et al. 2013; limit by kilter")
    head_width: float = sourced(2, "Bhojanapalli et al. 2020: heads narrower than the sequence lose rank")
    attention_rate: float = sourced(3e-3, "Liu et al. 2020; Keras's default of Adam is 1e-3")
    post_norm_depth: float = sourced(8, "Xiong et al. 2020, figure 4: 6 blocks of 2 need a warm-up")
    attention_entropy: float = sourced(0.15, "Zhai et al. 2023: entropy collapse; limit by kilter")
    rows_change: float = sourced(0.01, "float32 sums in another order differ by less; limit by kilter")
    logits: float = sourced(
        5.0, "Zhai et al. 2023: a softmax of such logits reads one token; limit by kilter"
    )
    token_share: float = sourced(0.01, OWN)
    token_likeness: float = sourced(0.995, "Dong et al. 2021: rank 1 is a likeness of 1")
    spike: float = sourced(8.0, "of the median of 50 batches; limit by kilter")
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
    split_scale: float = sourced(3.0, "three times the spread of the training rows; limit by kilter")
    split_shift: float = sourced(1.5, "in spreads (5 % to 95 %) of the training rows; limit by kilter")
    class_mix: float = sourced(0.4, OWN)
    relation_least: float = sourced(0.3, "below it validation may be worse by chance; limit by kilter")
    relation_share: float = sourced(0.4, OWN)
    window_share: float = sourced(0.2, "windows cut after the split share none; limit by kilter")
    padding: float = sourced(0.3, "a third of the steps after the last token; limit by kilter")
    padding_most: float = sourced(0.75, "three of four steps carry no information; limit by kilter")
    padding_kept: float = sourced(0.1, "Pascanu et al. 2013: what fades is hardly learned; limit by kilter")
    padding_average: float = sourced(0.5, "the average is halved; limit by kilter")
    effective_rows: float = sourced(0.05, "Kish 1965: (sum of weights)² / sum of squares; limit by kilter")
    loss_ratio: float = sourced(100.0, "Kendall et al. 2018: equal shares learn best; limit by kilter")
    skill_possible: float = sourced(0.5, "half of what there is to learn is lost; limit by kilter")
    distinct_rows: float = sourced(0.05, "rows of 16 and more numbers hardly ever repeat; limit by kilter")
    bright_pixels: float = sourced(0.03, "drawings and masks have 5 % and more; limit by kilter")
    cut_to_zero: float = sourced(0.5, "68 % of normal values cut to whole numbers are 0; limit by kilter")
    largest_column: float = sourced(0.9, "columns of like units take turns; limit by kilter")
    leakage: float = sourced(0.99, "Kaufman et al. 2012; limit by kilter")
    unrelated_rows: float = sourced(200, "fewer rows cannot tell chance from a weak relation")
    unrelated_p: float = sourced(0.05, "Fisher 1935: no evidence of a relation above it")
    related_p: float = sourced(0.01, "a relation below it; limit by kilter")


def band(limits: Thresholds, limit: str, value: float) -> tuple[Severity, str] | None:
    """The severity of ``value`` and the name of the limit that it exceeds; None below both.

    Above ``limit`` it is severe, above ``limit_warning`` a warning.
    """
    bands: tuple[tuple[Severity, str], ...] = (("severe", limit), ("warning", f"{limit}_warning"))
    return next((one for one in bands if value > getattr(limits, one[1])), None)


def between(name: str, value: float, low: float, high: float, source: str = "") -> Evidence:
    """``value`` as evidence that should be from ``low`` to ``high``."""
    return Evidence(name, value, f"{number(low)} to {number(high)}", source)


def seen(limits: Thresholds, limit: str, name: str, value: float | int | str) -> Evidence:
    """``value`` as evidence, with the threshold called ``limit`` and its source."""
    source = next(one.metadata["source"] for one in fields(limits) if one.name == limit)
    return Evidence(name, value, getattr(limits, limit), source)


def in_words(evidence: Evidence) -> str:
    """The value, and in brackets on which side of the threshold it should be."""
    limit, value = evidence.threshold, evidence.value
    told = number(value) if isinstance(value, int | float) else value
    if limit is None:
        return f"{evidence.name}: {told}"
    if isinstance(limit, str) or isinstance(value, str):
        word = "expected"
    elif value > limit:
        word = "expected at most" if limit else "expected"
    else:
        word = "expected at least" if value < limit else "limit"
    return f"{evidence.name}: {told} ({word} {limit if isinstance(limit, str) else number(limit)})"
