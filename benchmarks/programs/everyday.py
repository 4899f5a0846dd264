"""Ten tables in the shape of well-known public ones, with their holes, ids, dates and texts."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl

Rng = np.random.Generator
Table = tuple[pl.DataFrame, str]


def _holes(rng: Rng, values: Any, share: float, hole: Any = None) -> list[Any]:
    gone = rng.random(len(values)) < share
    return [hole if lost else value for value, lost in zip(np.asarray(values).tolist(), gone, strict=True)]


def _yes(rng: Rng, logit: np.ndarray) -> np.ndarray:
    return rng.random(len(logit)) < 1 / (1 + np.exp(-logit))


def passengers(rng: Rng) -> Table:
    """891 passengers: names, tickets, most cabins and a fifth of the ages missing."""
    n = 891
    sex, grade = (
        rng.choice(["male", "female"], n, p=[0.65, 0.35]),
        rng.choice([1, 2, 3], n, p=[0.24, 0.21, 0.55]),
    )
    age = np.clip(rng.normal(30, 14, n), 0.4, 80).round(1)
    survived = _yes(rng, 2.6 * (sex == "female") - 1.1 * (grade - 2) - 0.03 * (age - 30) - 1.2)
    frame = {
        "PassengerId": range(1, n + 1),
        "Survived": survived.astype(int),
        "Pclass": grade,
        "Name": [
            f"Person, {title} No. {i}" for i, title in enumerate(np.where(sex == "male", "Mr.", "Mrs."))
        ],
        "Sex": sex,
        "Age": _holes(rng, age, 0.2),
        "SibSp": rng.poisson(0.5, n),
        "Parch": rng.poisson(0.4, n),
        "Ticket": [
            f"{rng.choice(['PC', 'A/5', 'SC', ''])} {rng.integers(1000, 400000)}".strip() for _ in range(n)
        ],
        "Fare": np.exp(rng.normal(4 - 0.9 * (grade - 1), 0.5)).round(4),
        "Cabin": _holes(rng, [f"{rng.choice(list('ABCDE'))}{rng.integers(1, 130)}" for _ in range(n)], 0.77),
        "Embarked": _holes(rng, rng.choice(["S", "C", "Q"], n, p=[0.72, 0.19, 0.09]), 0.002),
    }
    return pl.DataFrame(frame, strict=False), "Survived"


def houses(rng: Rng) -> Table:
    """1,460 houses: a sale date, descriptions, "NA" that means none, holes in numbers."""
    n = 1460
    area, quality, built = (
        rng.normal(1500, 480, n).clip(350).round(),
        rng.integers(1, 11, n),
        rng.integers(1890, 2010, n),
    )
    sold = [datetime.date(2006, 1, 1) + datetime.timedelta(days=int(day)) for day in rng.integers(0, 1700, n)]
    garage = rng.choice(["Attchd", "Detchd", "NA"], n, p=[0.6, 0.3, 0.1])
    price = 60 * area + 16000 * quality + 400 * (built - 1950) + 9000 * (garage == "Attchd") + 20000
    price = (price * np.exp(rng.normal(0, 0.09, n))).clip(20000).round()
    frame = {
        "Id": range(1, n + 1),
        "LotFrontage": _holes(rng, rng.normal(70, 20, n).round(), 0.18),
        "GrLivArea": area,
        "OverallQual": quality,
        "YearBuilt": built,
        "GarageType": garage,
        "Street": np.where(rng.random(n) < 0.995, "Pave", "Grvl"),
        "PoolQC": _holes(rng, rng.choice(["Gd", "Ex"], n), 0.995),
        "SaleDate": [str(day) for day in sold],
        "Description": [f"House {i} of {area[i]:.0f} feet, built {built[i]}" for i in range(n)],
        "SalePrice": price,
    }
    return pl.DataFrame(frame, strict=False), "SalePrice"


def churn(rng: Rng) -> Table:
    """2,000 customers, a fifth of whom leave; totals blank for new ones."""
    n = 2000
    months, monthly = rng.integers(0, 73, n), rng.uniform(18, 119, n).round(2)
    contract = rng.choice(["Month-to-month", "One year", "Two year"], n, p=[0.55, 0.21, 0.24])
    leaves = _yes(rng, 1.5 * (contract == "Month-to-month") - 0.05 * months + 0.015 * (monthly - 65) - 0.9)
    frame = {
        "customerID": [
            f"{rng.integers(1000, 9999)}-{''.join(rng.choice(list('ABCDEFGH'), 5))}" for _ in range(n)
        ],
        "gender": rng.choice(["Male", "Female"], n),
        "SeniorCitizen": rng.integers(0, 2, n),
        "Partner": rng.choice(["Yes", "No"], n),
        "tenure": months,
        "Contract": contract,
        "MonthlyCharges": monthly,
        "TotalCharges": [" " if m == 0 else f"{m * c:.2f}" for m, c in zip(months, monthly, strict=True)],
        "Churn": np.where(leaves, "Yes", "No"),
    }
    return pl.DataFrame(frame, strict=False), "Churn"


def bank(rng: Rng) -> Table:
    """4,000 calls of a bank, an eighth of them successful; "unknown" categories, -1 for no contact."""
    n = 4000
    duration, past = rng.exponential(260, n).round(), rng.choice([-1, 0, 1], n, p=[0.8, 0.1, 0.1])
    days = np.where(past < 0, -1, rng.integers(1, 400, n))
    signed = _yes(rng, 0.006 * (duration - 260) + 1.6 * (past == 1) - 2.6)
    frame = {
        "age": rng.integers(18, 90, n),
        "job": rng.choice(["admin.", "technician", "retired", "student", "unknown"], n),
        "marital": rng.choice(["married", "single", "divorced"], n),
        "balance": rng.normal(1300, 2500, n).round(),
        "contact": rng.choice(["cellular", "telephone", "unknown"], n),
        "month": rng.choice(["jan", "may", "aug", "nov"], n),
        "duration": duration,
        "pdays": days,
        "poutcome": np.array(["unknown", "failure", "success"])[past + 1],
        "y": np.where(signed, "yes", "no"),
    }
    return pl.DataFrame(frame, strict=False), "y"


def adults(rng: Rng) -> Table:
    """5,000 adults and their income; "?" where unknown."""
    n = 5000
    age, years, hours = (
        rng.integers(17, 90, n),
        rng.integers(1, 17, n),
        rng.normal(40, 12, n).clip(1, 99).round(),
    )
    gain = np.where(rng.random(n) < 0.08, rng.integers(100, 20000, n), 0)
    rich = _yes(rng, 0.35 * (years - 10) + 0.04 * (age - 38) + 0.03 * (hours - 40) + 0.0002 * gain - 1.4)
    frame = {
        "age": age,
        "workclass": _holes(
            rng, rng.choice(["Private", "Self-emp", "Federal-gov"], n, p=[0.75, 0.17, 0.08]), 0.06, "?"
        ),
        "fnlwgt": rng.integers(12000, 1400000, n),
        "education-num": years,
        "occupation": _holes(
            rng, rng.choice(["Sales", "Exec-managerial", "Craft-repair", "Other"], n), 0.06, "?"
        ),
        "sex": rng.choice(["Male", "Female"], n),
        "capital-gain": gain,
        "hours-per-week": hours,
        "native-country": _holes(
            rng, rng.choice(["United-States", "Mexico", "India"], n, p=[0.9, 0.07, 0.03]), 0.02, "?"
        ),
        "income": np.where(rich, ">50K", "<=50K"),
    }
    return pl.DataFrame(frame, strict=False), "income"


def bikes(rng: Rng) -> Table:
    """4,000 hours of bicycle rental: what counts is in the time stamp."""
    n = 4000
    moments = [datetime.datetime(2011, 1, 1) + datetime.timedelta(hours=4 * i) for i in range(n)]
    hour, weekday = np.array([one.hour for one in moments]), np.array([one.weekday() for one in moments])
    day = np.array([one.timetuple().tm_yday for one in moments])
    warmth = 15 - 12 * np.cos(2 * np.pi * day / 365) + rng.normal(0, 3, n)
    level = (
        3.4
        + 1.2 * np.sin(2 * np.pi * (hour - 7) / 24)
        + 0.05 * warmth
        - 0.2 * (weekday > 4)
        + 0.0002 * np.arange(n)
    )
    frame = {
        "datetime": [str(one) for one in moments],
        "season": [1 + (one.month - 1) // 3 for one in moments],
        "holiday": (rng.random(n) < 0.03).astype(int),
        "temp": _holes(rng, warmth.round(1), 0.03),
        "humidity": rng.integers(20, 100, n),
        "windspeed": rng.exponential(12, n).round(1),
        "count": rng.poisson(np.exp(level)),
    }
    return pl.DataFrame(frame, strict=False), "count"


def diabetes(rng: Rng) -> Table:
    """768 patients; zeros stand for missing measurements."""
    n = 768
    glucose, mass, age = (
        rng.normal(121, 30, n).round(),
        rng.normal(32, 7, n).round(1),
        rng.integers(21, 81, n),
    )
    ill = _yes(rng, 0.04 * (glucose - 121) + 0.09 * (mass - 32) + 0.03 * (age - 33) - 0.9)
    frame = {
        "Pregnancies": rng.poisson(3.8, n),
        "Glucose": _holes(rng, glucose, 0.01, 0.0),
        "BloodPressure": _holes(rng, rng.normal(72, 12, n).round(), 0.05, 0.0),
        "Insulin": _holes(rng, np.exp(rng.normal(4.8, 0.6, n)).round(), 0.48, 0.0),
        "BMI": _holes(rng, mass, 0.015, 0.0),
        "Age": age,
        "Outcome": ill.astype(int),
    }
    return pl.DataFrame(frame, strict=False), "Outcome"


def wine(rng: Rng) -> Table:
    """1,600 wines with marks from 3 to 8, in a file of semicolons."""
    n = 1600
    alcohol, acid, sulphates = rng.normal(10.4, 1.1, n), rng.normal(0.53, 0.18, n), rng.normal(0.66, 0.17, n)
    mark = (
        5.6
        + 0.45 * (alcohol - 10.4)
        - 1.6 * (acid - 0.53)
        + 1.2 * (sulphates - 0.66)
        + rng.normal(0, 0.45, n)
    )
    frame = {
        "fixed acidity": rng.normal(8.3, 1.7, n).round(1),
        "volatile acidity": acid.round(3),
        "residual sugar": rng.exponential(2.5, n).round(1),
        "density": rng.normal(0.9967, 0.0019, n).round(5),
        "sulphates": sulphates.round(2),
        "alcohol": alcohol.round(1),
        "quality": mark.round().clip(3, 8).astype(int),
    }
    return pl.DataFrame(frame, strict=False), "quality"


def air(rng: Rng) -> Table:
    """3,000 hours of air quality: -200 where a sensor failed, dates and times in columns of their own."""
    n = 3000
    moments = [datetime.datetime(2004, 3, 10, 18) + datetime.timedelta(hours=i) for i in range(n)]
    traffic = (
        2 + np.sin(2 * np.pi * (np.array([one.hour for one in moments]) - 8) / 24) + rng.normal(0, 0.4, n)
    )
    frame = {
        "Date": [one.strftime("%d/%m/%Y") for one in moments],
        "Time": [one.strftime("%H.%M.%S") for one in moments],
        "PT08.S1": _holes(rng, (800 + 130 * traffic + rng.normal(0, 25, n)).round(), 0.04, -200.0),
        "NMHC": _holes(rng, (60 * traffic).round(), 0.9, -200.0),
        "T": _holes(rng, rng.normal(18, 8, n).round(1), 0.04, -200.0),
        "RH": _holes(rng, rng.normal(49, 17, n).round(1), 0.04, -200.0),
        "benzene": (3 + 4 * traffic + rng.normal(0, 0.6, n)).round(1),
    }
    return pl.DataFrame(frame, strict=False), "benzene"


def genes(rng: Rng) -> Table:
    """60 tissues of two kinds by 12,000 genes, 40 of which matter."""
    n, many = 60, 12000
    kind = rng.permutation(np.repeat(["ALL", "AML"], n // 2))
    values = rng.normal(0, 1, (n, many))
    values[:, :40] += 1.3 * (kind == "AML")[:, None]
    frame = {f"gene{i}": values[:, i].round(3) for i in range(many)}
    return pl.DataFrame({**frame, "tissue": kind}, strict=False), "tissue"


TABLES: Final[dict[str, Callable[[Rng], Table]]] = {
    one.__name__: one for one in (passengers, houses, churn, bank, adults, bikes, diabetes, wine, air, genes)
}
SEPARATORS: Final = {"wine": ";"}
