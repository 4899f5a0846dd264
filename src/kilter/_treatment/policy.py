"""``Policy``: every number that a treatment's decisions depend on, with its unit, reason and source."""

from dataclasses import dataclass, field, fields
from typing import Any, Final

from kilter._engine.program_cache import MANY_BATCHES, QUICK_WEIGHTS

BY_HAND: Final = "chosen by hand"


def _number(default: Any, unit: str, reason: str, source: str = BY_HAND) -> Any:
    return field(default=default, metadata={"unit": unit, "reason": reason, "source": source})


def _work(default: float, reason: str, seconds: str) -> Any:
    return _number(default, "multiply-adds", reason, f"{BY_HAND}: about {seconds} on 2 cores")


@dataclass(frozen=True)
class SearchPolicy:
    """The lengths of trials, searches and full training runs.

    *Work* is counted from the traced training step, in multiply-adds: about 1e10 a second on two cores.
    """

    held_out: float = _number(0.2, "share of rows", "held-out validation rows if none are given")
    level: float = _number(0.05, "probability", "chance of a false claim in a treatment, over all tests")
    trial_share: float = _number(0.03, "share of the full training", "length of a short trial")
    trial_work: float = _work(1e9, "a trial may always do this much", "0.1 s")
    trial_steps: int = _number(64, "steps", "fewer do not show whether a network learns")
    partial_epoch_steps: int = _number(20, "steps", "minimum, if a trial is shorter than an epoch")
    trial_validation_rows: int = _number(4096, "rows", "one standard error of an accuracy is below 0.8 %")
    search_share: float = _number(0.3, "share of the full training", "all trials of a search")
    search_work: float = _work(
        6e10, "a search may always do this much; a full training that costs more is run only once", "6 s"
    )
    longer: int = _number(5, "times", "trials and search, while nothing has been learnt")
    somewhat_longer: int = _number(2, "times", "a search that is still behind the baselines")
    enough: float = _number(
        0.5,
        "share of what a longer training gains",
        "a trial of a long training that shows this much is long enough",
    )
    proof_share: float = _number(
        0.05, "share of the full training", "trials of a long training are not lengthened to show more"
    )
    few_rows: int = _number(
        30, "rows", "too few to prove anything: an output that cannot fit is repaired without a proof"
    )
    part_pairs: int = _number(3, "paired seeds", "for each change that is removed")
    part_clear: float = _number(
        0.25,
        "of the way from a constant prediction to perfect",
        "a change whose removal costs more in one pair stays, without more pairs",
    )
    part_share: float = _number(0.3, "share of the full training", "runs without one of the changes")
    part_work: float = _work(6e10, "runs without one of the changes may always do this much", "6 s")
    put_back: int = _number(
        3, "full training runs", "removed changes are put back one by one if full training loses without them"
    )
    short_training_steps: int = _number(
        4_000,
        "steps",
        "a shorter full training shares the program of the trials: compiling its own costs more",
    )
    many_batches: int = _number(
        MANY_BATCHES, "batches an epoch", "from this number on, the last partial batch may be left out"
    )
    quick_parameters: int = _number(
        QUICK_WEIGHTS, "weights", "in larger networks, XLA's optimisations save more time than they cost",
        "10 networks on 2 cores: equal at 5,000 steps of 500 weights, at 1,700 steps of 50,000",
    )  # fmt: skip
    small_data: int = _number(64 * 2**20, "bytes", "copying this much to the device is faster than compiling")
    patience_share: float = _number(
        0.5, "share of the epochs", "networks may stay on a plateau for a long time"
    )
    least_patience: int = _number(10, "epochs", "patience in short training runs")


@dataclass(frozen=True)
class ScoringPolicy:
    """When one result is better than another, good enough, or no better than chance."""

    tolerance: float = _number(
        0.01, "accuracy, or share of an error", "a smaller set of changes may lose this"
    )
    worth: float = _number(0.02, "accuracy, or share of an error", "one more change must gain this much")
    clear_accuracy: float = _number(0.01, "accuracy", "a variant must gain this over fewer changes")
    clear_error: float = _number(0.05, "share of the error", "the same for errors")
    short_accuracy: float = _number(
        0.02, "accuracy", "a model this far behind the baselines, beyond 1 standard error, falls short"
    )
    short_error: float = _number(0.05, "share of the error", "the same for errors")
    sound_margin: float = _number(
        0.05,
        "of the way from a constant prediction to perfect",
        "a network without findings may be this far behind",
    )
    least_gain: float = _number(
        0.01, "of the way from a constant prediction to perfect", "a smaller gain does not matter"
    )
    little_left: float = _number(
        0.14, "of a constant prediction's error", "2 % of the variance is left to explain"
    )
    negligible: float = _number(0.02, "of a constant prediction's error", "errors this close count as equal")
    chance_errors: float = _number(
        3.0, "standard errors", "an accuracy must be this far above a constant prediction"
    )
    chance_rmse: float = _number(0.97, "of the targets' deviation", "an error must be below this share")
    beyond_noise: float = _number(
        0.12,
        "of the way from a constant prediction to perfect",
        "a network that learns this much is treated even if the targets look unrelated to the inputs",
    )
    most_columns: int = _number(16, "columns", "up to here each column of numbers has an error of its own")
    jackknife_groups: int = _number(
        20, "groups of rows", "for the standard error of a difference",
        "Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 11",
    )  # fmt: skip
    harm_errors: float = _number(1.0, "standard errors", "a measure that gets worse by more counts as harmed")
    trade: float = _number(
        0.05, "of what it gains", "other outputs may lose this for one that had learnt nothing"
    )
    baseline_rows: int = _number(1_000, "rows", "for nearest neighbours and ridge regression")
    baseline_features: int = _number(512, "features", "above this, a subset of the features is used")
    baseline_targets: int = _number(100, "numbers a row", "above this, there are no baselines")
    neighbours: int = _number(5, "rows", "of nearest neighbours", "scikit-learn's default")


@dataclass(frozen=True)
class RemedyPolicy:
    """The values that remedies set, and the limits that trigger them."""

    rate_search_steps: tuple[int, ...] = _number(
        (100, 300), "steps", "of the first search, and of a second one if the first finds nothing",
        "12 deep networks on few rows: 100 steps found a rate for 6 of them, 300 for all",
    )  # fmt: skip
    near_rate: float = _number(2.0, "factor", "a learning rate this close to the one found is kept")
    clip_steps: int = _number(50, "steps", "steps from which the clipping threshold is read")
    clip_norm: float = _number(
        1.0, "norm", "threshold where none can be measured", "Géron, Hands-On ML, ch. 11"
    )
    leaky_slope: float = _number(0.2, "slope", "in place of a leaky slope of 1 or more")
    drawn_factor: float = _number(2.0, "factor", "a mean square this far off is not from the initialiser")
    drawn_deviations: float = _number(5.0, "deviations", "allowed to the mean square of small kernels")
    large_bias: float = _number(1.0, "mean size", "biases this large silence units or hold them open")
    least_feature_deviation: float = _number(
        0.05, "share of the range", "below it, a rare pixel would be scaled to 30"
    )
    least_norm_batch: int = _number(8, "rows", "fewer rows give a poor mean and variance", "Wu & He 2018")
    average_left: float = _number(0.05, "share", "of the initial moving averages when they must have adapted")
    momenta: tuple[tuple[float, float], ...] = _number(
        ((0.99, 0.5), (0.95, 0.5), (0.9, 0.5), (0.8, 2.0), (0.5, 2.0)), "(momentum, epochs)",
        "the first one with averages that adapt within its epochs is used",
        "30 layers on 2,000 rows of CIFAR-10: 0.20–0.27 accuracy with 0.9, 0.19–0.23 with 0.99",
    )  # fmt: skip
    dropout: float = _number(
        0.2, "rate", "costs narrow layers little", "Srivastava et al. 2014 use 0.5 in wide ones"
    )
    alpha_dropout: float = _number(0.1, "rate", "SELU tolerates less")
    most_dropout: float = _number(0.5, "rate", "a higher one is lowered", "Srivastava et al. 2014")
    l2: float = _number(1e-4, "factor", "of the sum of squared weights")
    most_penalty: float = _number(0.01, "factor", "a larger penalty is lowered", "Keras's default factor")
    adam_rate: float = _number(
        0.0, "rate", "of Adam as a repair, constant; 0: as high as suits the network, and falling for classes"
    )
    mark_missing: bool = _number(False, "yes or no", "whether missing values stay apart from the others")
    max_norm: float = _number(3.0, "norm", "of a unit's incoming weights", "Srivastava et al. 2014: 3 to 4")
    shift: float = _number(0.1, "share of the image", "of augmented images")
    residual_layers: int = _number(8, "hidden layers", "shallower stacks train without skip connections")
    residual_span: int = _number(2, "layers", "inside a skip connection", "He et al. 2016")
    most_classes: int = _number(1000, "classes", "larger class numbers count as identifiers")
    usual_batch: int = _number(32, "rows", "smaller batches are raised to this", "Keras's default")
    largest_batch: int = _number(256, "rows", "batches are not raised beyond this")
    batch_steps: int = _number(10, "steps an epoch", "a larger batch must leave at least this many")
    stop_patience: int = _number(3, "epochs", "least patience of early stopping as a remedy")
    stop_share: float = _number(0.2, "share of the epochs", "patience of early stopping as a remedy")


@dataclass(frozen=True)
class Policy:
    """Every number that :func:`kilter.treat` uses in decisions, in ``search``, ``scoring``, ``remedies``.

    ``dataclasses.fields`` of each group has ``metadata`` with the ``unit``, ``reason`` and ``source``.

    Example:
        >>> import kilter
        >>> policy = kilter.Policy(search=kilter.Policy.Search(trial_steps=128))
        >>> policy.search.trial_steps, policy.scoring.worth
        (128, 0.02)
    """

    search: SearchPolicy = SearchPolicy()
    scoring: ScoringPolicy = ScoringPolicy()
    remedies: RemedyPolicy = RemedyPolicy()

    Search = SearchPolicy
    Scoring = ScoringPolicy
    Remedies = RemedyPolicy


def listed(policy: Policy) -> list[tuple[str, str, Any, str, str, str]]:
    """(group, name, value, unit, reason, source) of every number."""
    return [
        (
            group.name,
            one.name,
            getattr(part, one.name),
            *(one.metadata[key] for key in ("unit", "reason", "source")),
        )
        for group in fields(policy)
        for part in [getattr(policy, group.name)]
        for one in fields(part)
    ]
