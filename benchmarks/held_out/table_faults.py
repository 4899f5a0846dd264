"""Networks for tables that do not learn."""

import numpy as np
from keras import layers
from sklearn import datasets

from held_out.case import SGD, Adam, case, faulty, stack
from held_out.data import bundled, rng, scaled, split, table

Dense = layers.Dense
SIZES = np.array([1, 30, 1e-3, 5e4, 8, 2e6, 0.1, 400], "float32")


def _net(columns=8, out=None, width=32, act="relu", outputs=1, **last):
    return stack(
        (columns,),
        Dense(width, activation=act),
        Dense(width, activation=act),
        Dense(outputs, activation=out, **last),
    )


def _regress(x, y, opt=None, loss="mse", epochs=25, out=None, batch=32, **fit):
    rows = split(np.asarray(x, "float32"), np.asarray(y, "float32"))
    return case(_net(x.shape[1], out), opt or Adam(0.003), loss, rows, epochs, batch, "rmse", **fit)


@faulty("table", "kind: -999 for missing")
def _missing_as_minus_9999(fixed):
    """Missing values are written as -9999 among values of about 1."""
    x, y = table(1600)
    gone = rng(1).random(x.shape) < 0.05
    return _regress(np.where(gone, 0 if fixed else -9999, x), y)


@faulty("table", "kind: income beside age")
def _columns_of_all_sizes(fixed):
    """Columns of very different sizes (0.001 to 2,000,000) are not scaled."""
    x, y = table(1600)
    return _regress(x if fixed else x * SIZES + 3 * SIZES, y)


@faulty("table", "https://taourl.com/read-2589871.html 'NaN loss output when training DNN'")
def _missing_as_nan(fixed):
    """Missing values are NaN."""
    x, y = table(1600)
    gone = rng(1).random(x.shape) < 0.01
    a, b, c, d = split(np.where(gone, 0 if fixed else np.nan, x).astype("float32"), y)
    return case(_net(), Adam(0.003), "mse", (a, b, np.nan_to_num(c), d), 25, measure="rmse")


@faulty("table", "kind: ratio with zero divisor")
def _infinite_ratios(fixed):
    """A ratio has infinite values where its divisor is zero."""
    x, y = table(1600)
    x = x.copy()
    some = rng(2).random(len(x)) < 0.01
    x[some, 3] = 0.0 if fixed else np.inf
    a, b, c, d = split(x, y)
    return case(_net(), Adam(0.003), "mse", (a, b, np.where(np.isfinite(c), c, 0), d), 25, measure="rmse")


@faulty("table", "kind: house prices")
def _house_prices(fixed):
    """Prices of about 250,000 are not scaled; the output starts at 0 and Adam moves 0.001 a step."""
    x, y = table(1600)
    return _regress(x, y if fixed else 250_000 + 60_000 * y, Adam(0.001 if not fixed else 0.003))


@faulty("table", "kind: 'sgd' and 'mse' on raw targets, loss nan")
def _nan_by_sgd(fixed):
    """Raw targets of some hundreds with SGD run away to NaN."""
    x, y = table(1600)
    return _regress(x, y if fixed else 900 + 300 * y, SGD(0.02))


@faulty(
    "table", "https://openillumi.com/?p=113698 'Keras model shows a loss in the negative tens of thousands'"
)
def _prices_by_cross_entropy(fixed):
    """Binary cross-entropy and a sigmoid for prices."""
    x, y = table(1600)
    y = 3 * y + 20
    if fixed:
        return _regress(x, y, Adam(0.01), epochs=40)
    return _regress(x, y, Adam(0.01), "binary_crossentropy", 40, "sigmoid")


@faulty("table", "kind: years as numbers")
def _raw_years(fixed):
    """The year (1990 to 2020) decides by its last digits, but goes in raw beside small columns."""
    g = rng(3)
    year = g.integers(1990, 2021, 1600)
    x, y = table(1600)
    y = np.sin((year - 1990) / 4) * 2 + x[:, 0]
    column = (year - 2005) / 9 if fixed else year.astype(float)
    return _regress(np.column_stack([column, x[:, 0]]), y, Adam(0.002), epochs=40)


@faulty("table", "kind: category codes as numbers")
def _codes_as_numbers(fixed):
    """Codes of 40 towns go in as one number to 40,000."""
    g = rng(4)
    town = g.integers(0, 40, 2000)
    effect = g.normal(0, 2, 40)
    x, _ = table(2000)
    y = effect[town] + x[:, 0]
    column = np.eye(40)[town] if fixed else (10_000 + 731 * town)[:, None]
    return _regress(np.column_stack([column, x[:, 0]]), y)


@faulty("table", "kind: timestamps as numbers")
def _raw_timestamps(fixed):
    """Seconds since 1970 go in raw."""
    g = rng(5)
    hour = g.uniform(0, 24, 1800)
    x, _ = table(1800)
    y = 2 * np.cos((hour - 15) / 24 * 2 * np.pi) + x[:, 0]
    clock = np.column_stack([np.cos(hour / 24 * 2 * np.pi), np.sin(hour / 24 * 2 * np.pi)])
    stamp = (1.6e9 + hour * 3600)[:, None]
    return _regress(np.column_stack([clock if fixed else stamp, x[:, 0]]), y)


def _rare(n=4000, share=0.03, seed=6):
    x, y = datasets.make_classification(
        n, 10, n_informative=5, weights=[1 - share], flip_y=0.01, class_sep=0.7, random_state=seed
    )
    return split(scaled(x), y.astype("float32"))


@faulty("table", "https://github.com/keras-team/keras/issues/10063 (majority class only)")
def _rare_class(fixed):
    """3 % of the rows are positive; the answer is always no."""
    weight = {0: 1.0, 1: 25.0} if fixed else {0: 1.0, 1: 1.0}
    model = stack((10,), Dense(16, activation="relu"), Dense(1, activation="sigmoid"))
    return case(
        model, Adam(0.003), "binary_crossentropy", _rare(), 12, measure="balanced", class_weight=weight
    )


@faulty("table", "kind: class_weight the wrong way round")
def _weights_the_wrong_way(fixed):
    """The frequent class has the large weight."""
    weight = {0: 1.0, 1: 12.0} if fixed else {0: 12.0, 1: 1.0}
    model = stack((10,), Dense(16, activation="relu"), Dense(1, activation="sigmoid"))
    rows = _rare(share=0.08, seed=3)
    return case(model, Adam(0.003), "binary_crossentropy", rows, 12, measure="balanced", class_weight=weight)


@faulty("table", "kind: tanh output for standardised targets")
def _tanh_for_targets(fixed):
    """A tanh output cannot reach targets beyond 1."""
    x, y = table(1600)
    return _regress(x, 3 * y, out=None if fixed else "tanh")


@faulty("table", "kind: 'mape' with targets near zero")
def _percent_of_nothing(fixed):
    """Percentages of targets near zero decide all, so the answer shrinks to nothing."""
    x, y = table(1600)
    return _regress(x, y, loss="mse" if fixed else "mape")


@faulty("table", "kind: 'poisson' with a linear output")
def _poisson_of_negative(fixed):
    """Poisson loss needs positive outputs; a linear one gives NaN."""
    x, _ = table(1600)
    y = rng(8).poisson(np.exp(0.8 * x[:, 0] + 0.4 * np.sin(x[:, 1])))
    return _regress(x, y, loss="poisson", out="exponential" if fixed else None)


@faulty("table", "kind: log of zero")
def _log_of_zero(fixed):
    """The logarithm of zero amounts is minus infinity."""
    x, y = table(1600)
    amount = np.exp(x[:, 0])
    amount[rng(9).random(1600) < 0.02] = 0
    with np.errstate(divide="ignore"):
        column = np.log1p(amount) if fixed else np.log(amount)
    a, b, c, d = split(np.column_stack([column, x[:, 1:]]).astype("float32"), y)
    return case(_net(), Adam(0.003), "mse", (a, b, np.where(np.isfinite(c), c, 0), d), 25, measure="rmse")


@faulty("table", "kind: MinMaxScaler with an outlier")
def _squeezed_by_an_outlier(fixed):
    """One row of 1e7 squeezes all other values into a thousandth."""
    x, y = table(1600)
    z = x.copy()
    if not fixed:
        z[7] = 3e5
        z = (z - z.min(0)) / (z.max(0) - z.min(0))
    return _regress(z, y, SGD(0.02), epochs=25)


@faulty("table", "kind: 'msle' with negative targets")
def _logs_of_negatives(fixed):
    """Logarithmic errors cut all negative values off."""
    x, y = table(1600)
    return _regress(x, y - 2, loss="mse" if fixed else "msle")


@faulty("table", "kind: sample weights left at zero")
def _weights_of_zero(fixed):
    """All but 2 % of the rows have the weight 0."""
    x, y = table(1600)
    weight = np.where(rng(1).random(1200) < (2 if fixed else 0.02), 1.0, 0.0)
    return _regress(x, y, sample_weight=weight)


@faulty("table", "kind: rows sorted by class, shuffle=False")
def _sorted_rows(fixed):
    """Rows come sorted by class and are not shuffled, in large steps of SGD."""
    x, y = bundled("digits")
    a, t, b, v = split(x / 16, y)
    order = np.argsort(t, kind="stable")
    model = _net(64, "softmax", 48, outputs=10)
    rows = (a[order], t[order], b, v)
    return case(model, SGD(0.3), "sparse_categorical_crossentropy", rows, 6, shuffle=fixed)


@faulty("table", "kind: duplicated start")
def _all_units_alike(fixed):
    """All units start alike (ones) and stay alike."""
    x, y = table(1600)
    init = "glorot_uniform" if fixed else "ones"
    body = [Dense(24, activation="tanh", kernel_initializer=init) for _ in range(2)]
    model = stack((8,), *body, Dense(1, kernel_initializer=init))
    return case(model, Adam(0.003), "mse", split(x, y), 25, measure="rmse")


@faulty("table", "kind: diabetes with sigmoid output")
def _progression_by_sigmoid(fixed):
    """Progression of 25 to 346 by a sigmoid."""
    x, y = bundled("diabetes")
    rows = split(scaled(x), scaled(y) if fixed else y.astype("float32"))
    model = stack((10,), Dense(16, activation="relu"), Dense(1, activation=None if fixed else "sigmoid"))
    return case(model, Adam(0.003), "mse", rows, 25, measure="rmse")
