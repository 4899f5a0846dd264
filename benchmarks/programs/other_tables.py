"""Ten more tables, to check defaults that were chosen on the everyday ones; six of them are real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl
from sklearn import datasets

Rng = np.random.Generator
Table = tuple[pl.DataFrame, str]


def _bundled(load: Callable[..., Any], target: str, *, named: bool = False) -> Table:
    """A set that comes with scikit-learn; ``named``: the target as names of classes."""
    read = load()
    y = np.asarray(read.target_names)[read.target] if named else read.target
    names = [str(name).replace(" (cm)", "") for name in read.feature_names]
    return pl.DataFrame({**dict(zip(names, read.data.T, strict=True)), target: y}), target


def tumours(rng: Rng) -> Table:
    """569 tumours by 30 measurements, benign or malignant."""
    return _bundled(datasets.load_breast_cancer, "diagnosis", named=True)


def cultivars(rng: Rng) -> Table:
    """178 wines of three cultivars by 13 measurements."""
    return _bundled(datasets.load_wine, "cultivar", named=True)


def progression(rng: Rng) -> Table:
    """442 patients, ten measurements, the progression of diabetes a year later."""
    return _bundled(datasets.load_diabetes, "progression")


def irises(rng: Rng) -> Table:
    """150 flowers of three species."""
    return _bundled(datasets.load_iris, "species", named=True)


def digits(rng: Rng) -> Table:
    """1,797 digits as 64 columns of grey levels."""
    return _bundled(datasets.load_digits, "digit")


def athletes(rng: Rng) -> Table:
    """20 men: weight from waist, pulse and three exercises."""
    read: Any = datasets.load_linnerud()
    columns = dict(zip(read.feature_names, read.data.T, strict=True))
    columns |= dict(zip(read.target_names, read.target.T, strict=True))
    weight = columns.pop("Weight")
    return pl.DataFrame({**columns, "Weight": weight}), "Weight"


def insurance(rng: Rng) -> Table:
    """1,338 policies: skewed charges, in which smoking and weight multiply."""
    n = 1338
    age, mass = rng.integers(18, 65, n), rng.normal(30.5, 6, n).round(2)
    smoker, children = rng.random(n) < 0.2, rng.poisson(1.1, n)
    charge = 30 * age + 0.2 * age**2 * 3.2 + 480 * children + 1400 * smoker * np.maximum(mass - 21, 0)
    charge = charge * np.exp(rng.normal(0, 0.2, n)) + rng.exponential(900, n)
    frame = {
        "age": age,
        "sex": rng.choice(["male", "female"], n),
        "bmi": mass,
        "children": children,
        "smoker": np.where(smoker, "yes", "no"),
        "region": rng.choice(["northwest", "northeast", "southwest", "southeast"], n),
        "charges": charge.round(2),
    }
    return pl.DataFrame(frame), "charges"


def loans(rng: Rng) -> Table:
    """5,000 loans, an eighth of them not repaid: incomes over four orders of magnitude, 60 purposes."""
    n = 5000
    income, amount = np.exp(rng.normal(10.6, 1.0, n)).round(), np.exp(rng.normal(9.2, 0.9, n)).round()
    purposes = np.array([f"purpose {i}" for i in range(60)])
    weights = 1 / np.arange(1, 61) ** 1.2
    purpose = rng.choice(60, n, p=weights / weights.sum())
    late = rng.poisson(0.3, n)
    logit = 0.9 * (np.log(amount) - np.log(income) + 1.4) + 0.8 * late + 0.5 * (purpose % 3 == 0) - 2.9
    missing = rng.random(n) < 0.1
    frame = {
        "income": [None if gone else value for gone, value in zip(missing, income.tolist(), strict=True)],
        "amount": amount,
        "purpose": purposes[purpose],
        "late payments": late,
        "term": rng.choice(["36 months", "60 months"], n),
        "repaid": np.where(rng.random(n) < 1 / (1 + np.exp(-logit)), "no", "yes"),
    }
    return pl.DataFrame(frame, strict=False), "repaid"


def districts(rng: Rng) -> Table:
    """6,000 districts: prices by place, with long tails and caps, as in the Californian census."""
    n = 6000
    east, north = rng.uniform(-124, -114, n), rng.uniform(32, 42, n)
    income = np.exp(rng.normal(1.2, 0.45, n))
    people, rooms = np.exp(rng.normal(7, 0.7, n)).round(), np.exp(rng.normal(1.65, 0.3, n))
    coast = np.exp(-((east + 124 - 0.8 * (42 - north)) ** 2) / 4)
    cities = sum(np.exp(-((east - x) ** 2 + (north - y) ** 2)) for x, y in ((-118, 34), (-122, 37.5)))
    price = 0.4 + 0.42 * income + 0.9 * coast + 1.3 * cities + 0.1 * np.log(rooms)
    price = np.clip(price * np.exp(rng.normal(0, 0.15, n)), 0.15, 5.0)
    frame = {
        "longitude": east.round(2),
        "latitude": north.round(2),
        "income": income.round(4),
        "population": people,
        "rooms": rooms.round(3),
        "age": rng.integers(1, 52, n),
        "value": price.round(3),
    }
    return pl.DataFrame(frame), "value"


def spectra(rng: Rng) -> Table:
    """90 samples by 1,500 wavelengths that vary together; one substance explains the target."""
    n, many = 90, 1500
    place = np.linspace(0, 1, many)
    peaks = np.exp(-((place[None, :] - rng.uniform(0, 1, 8)[:, None]) ** 2) / 0.004)
    shares = rng.gamma(2.0, 1.0, (n, 8))
    values = shares @ peaks + rng.normal(0, 0.05, (n, many))
    frame = {f"nm{i}": values[:, i].round(4) for i in range(many)}
    return pl.DataFrame({**frame, "protein": (shares[:, 3] + rng.normal(0, 0.2, n)).round(3)}), "protein"


TABLES: Final[dict[str, Callable[[Rng], Table]]] = {
    one.__name__: one
    for one in (
        tumours,
        cultivars,
        progression,
        irises,
        digits,
        athletes,
        insurance,
        loans,
        districts,
        spectra,
    )
}
